package client_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"o3/client"
	"o3/internal/errs"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// TestFormats: a credentials file of every format ever released is read by this
// program. The fixtures never change; see docs/formats/README.md.
func TestFormats(t *testing.T) {
	want := client.Credentials{Version: 1, AccessKey: "AKFIXTURE", SecretKey: "not-a-secret <&> é"}
	if *makeFormat != "" {
		dir := filepath.Join(formatsDir, *makeFormat)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := client.WriteCredentials(filepath.Join(dir, client.CredentialsFile), want); err != nil {
			t.Fatal(err)
		}
	}
	dirs, err := os.ReadDir(formatsDir)
	if err != nil || len(dirs) == 0 {
		t.Fatal(dirs, err)
	}
	newest := dirs[len(dirs)-1]
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join(formatsDir, d.Name(), client.CredentialsFile))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), client.CredentialsFile) // the tree cannot keep the mode
			writeMode(t, path, string(raw), 0o600)
			got, err := client.ReadCredentials(path)
			if err != nil || got != want {
				t.Errorf("%+v, %v", got, err)
			}
			if err := client.WriteCredentials(path, want); err != nil {
				t.Fatal(err)
			}
			if again, err := os.ReadFile(path); d == newest && (err != nil || !bytes.Equal(again, raw)) {
				t.Errorf("this program writes another file: undo the change, or make a new format "+
					"(docs/formats/README.md).\ngot\n%s\nwant\n%s", again, raw)
			}
			for _, c := range []struct {
				old, now string
				want     errs.Kind
			}{
				{`"version": `, `"version": 9`, errs.FormatTooNew},
				{`"version"`, `"revision"`, errs.FormatUnknown},
				{`{`, `[`, errs.FormatUnknown},
			} {
				writeMode(t, path, strings.Replace(string(raw), c.old, c.now, 1), 0o600)
				_, err := client.ReadCredentials(path)
				if e := wantKind(t, err, c.want); !strings.Contains(e.Subject, path) {
					t.Errorf("%s: %v", c.now, e)
				}
			}
		})
	}
}
