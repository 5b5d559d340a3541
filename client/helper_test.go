package client_test

import (
	"encoding/base64"
	"os"
	"testing"
)

func base64Of(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

func writeMode(t *testing.T, path, text string, mode uint32) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, os.FileMode(mode)); err != nil {
		t.Fatal(err)
	}
}
