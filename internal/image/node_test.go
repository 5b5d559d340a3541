package image_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/app"
	"o3/internal/config"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/pebblekv"
	"o3/internal/schema"
)

// serve runs a node on dir until it is ready, and stops it in good order.
func serve(t *testing.T, dir string) (out string, err error) {
	t.Helper()
	cfg, err := config.Load(config.Sources{Data: dir, Set: []string{
		"ozone.om.address=127.0.0.1:0", "ozone.s3g.http-address=127.0.0.1:0", "ozone.server.roles=s3,om", "ozone.block.reserve=0",
		"ozone.om.db.cache.size=4MB", "ozone.om.db.memtable.size=1MB", "ozone.service.shutdown.timeout=2m",
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	var said bytes.Buffer
	ready := false
	err = app.Run(ctx, app.Options{Config: cfg, Out: &said, Ready: func(app.Endpoints) { ready = true; stop() }})
	if err == nil && !ready {
		t.Error("the node was never ready")
	}
	return said.String(), err
}

// TestNodeStartsOnWhatWasImported: a real node takes a restored directory for its
// own and keeps its users; on one whose import was cut off it does not start.
func TestNodeStartsOnWhatWasImported(t *testing.T) {
	top := t.TempDir()
	old, restored := filepath.Join(top, "old"), filepath.Join(top, "new")
	out, err := serve(t, old)
	if err != nil || !strings.Contains(out, "shown once") {
		t.Fatal(out, err)
	}
	s, err := pebblekv.Open(pebblekv.Options{Dir: filepath.Join(old, "om", "store"), Name: "om", Version: schema.Format, DisableWAL: true})
	if err != nil {
		t.Fatal(err)
	}
	k, err := image.Open(image.Options{Dir: filepath.Join(old, "om", "images"), Store: s, Node: image.Node{ID: "om1", Number: 1}, Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	img, err := k.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	target := image.Directory{Dir: filepath.Join(top, "backup"), Reserve: -1}
	if _, err := image.Export(t.Context(), img, target, image.ExportOptions{Blocks: filepath.Join(old, "blocks")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	m := img.Manifest
	path := filepath.Join(target.Dir, "files", m.Files[0].Path+"@"+m.Files[0].XXH3+"-*")
	found, err := filepath.Glob(path)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := os.Rename(found[0], found[0]+".away"); err != nil {
		t.Fatal(err)
	}
	o := image.ImportOptions{FS: vfs.Default, DataDir: restored, Reserve: -1, Strict: true}
	if _, err := image.Import(t.Context(), target, m.ID, o); errs.KindOf(err) != errs.Corrupt {
		t.Fatal(err)
	}
	if _, err := serve(t, restored); errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), "was begun here and not finished") {
		t.Errorf("a node on half an import: %v", err)
	}
	if err := os.Rename(found[0]+".away", found[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := image.Import(t.Context(), target, m.ID, o); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if out, err := serve(t, restored); err != nil || strings.Contains(out, "shown once") {
			t.Errorf("the restored node: %s, %v", out, err)
		}
	}
}
