package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run the program as a process.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"o3": main}) }

func TestProgram(t *testing.T) { testscript.Run(t, testscript.Params{Dir: "testdata/script"}) }
