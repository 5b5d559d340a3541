package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/progress"
)

// imageIn returns the id of an image at t: as given, else of the newest.
func imageIn(ctx context.Context, t image.Target, id string) (string, error) {
	if id != "" {
		return id, nil
	}
	var broken string
	var why error
	list, err := image.List(ctx, t, func(id string, err error) {
		if broken == "" {
			broken, why = id, err
		}
	})
	if err != nil {
		return "", err
	}
	var index uint64
	_, _ = fmt.Sscanf(broken, "%d-", &index) // it has this form
	switch {
	case broken != "" && (len(list) == 0 || index > list[0].Index):
		return "", &errs.Error{Kind: errs.KindOf(why), Subject: "image " + broken, Detail: "the newest image at " + t.String() + " cannot be used; name another one with --id", Err: why}
	case len(list) == 0:
		return "", errs.New(errs.NoSuchSnapshot, t.String(), "it holds no image")
	}
	return list[0].ID, nil
}

// imageRow is an image as --json shows it.
type imageRow struct {
	*image.Manifest
	Files int    `json:"files"`
	Error string `json:"error,omitempty"`
}

type imageList struct {
	Dir string `arg:"" help:"Directory or s3:// URL that images were exported to"`
}

// Help says how a bucket is written.
func (c *imageList) Help() string { return fromHere }

// Run lists the images.
func (c *imageList) Run(ctx context.Context, s *Session) error {
	at, err := s.imageTarget(c.Dir)
	if err != nil {
		return err
	}
	type damage struct {
		ID    string `json:"id"`
		Error string `json:"error"`
	}
	var damaged []damage
	list, err := image.List(ctx, at, func(id string, err error) {
		damaged = append(damaged, damage{id, message(err)})
	})
	if err != nil {
		return err
	}
	t := s.table("ID", "INDEX", "TERM", "CREATED", "NODE", "BLOCKS", "FILES", "SIZE")
	for _, m := range list {
		if s.JSON {
			err = s.doneAs(imageRow{Manifest: m, Files: len(m.Files)}, "")
		} else {
			blocks := "no"
			if m.Blocks {
				blocks = "yes"
			}
			err = t.row(nil, m.ID, m.Index, m.Term, when(m.CreatedMs), m.Node.ID, blocks, len(m.Files), size(uint64(m.Bytes)))
		}
		if err != nil {
			return err
		}
	}
	if err := t.end(); err != nil {
		return err
	}
	for _, d := range damaged {
		if err := s.doneAs(d, "%s: damaged: %s", d.ID, d.Error); err != nil {
			return err
		}
		s.code = ExitCorrupt
	}
	if len(list)+len(damaged) == 0 {
		s.remark("There is no image in %s.", c.Dir)
	}
	return nil
}

type imageVerify struct {
	Dir     string `arg:"" help:"Directory or s3:// URL that images were exported to"`
	ID      string `name:"id" placeholder:"ID" help:"Which image (default: the newest)."`
	Strict  bool   `help:"Also open a copy of the names: every table, the position and the digest of the state are checked."`
	Scratch string `placeholder:"DIR" help:"Where --strict copies the names to: an empty or absent directory, which is removed afterwards (default: one below the system's for temporary files)."`
}

// Help says what --json prints.
func (c *imageVerify) Help() string {
	return `Every file is read and compared with its checksum. With --json each defect is an object on a line of its own, {"file": …, "what": …, "expected": …, "found": …}; the last line is {"summary": {…}}.` + "\n\n" + fromHere
}

// Run checks the image.
func (c *imageVerify) Run(ctx context.Context, s *Session) (err error) {
	if c.Scratch != "" && !c.Strict {
		return errs.New(errs.Invalid, "--scratch", "goes with --strict")
	}
	at, err := s.imageTarget(c.Dir)
	if err != nil {
		return err
	}
	id, err := imageIn(ctx, at, c.ID)
	if err != nil {
		return err
	}
	o := image.VerifyOptions{Defect: s.defect}
	scratch := s.path(c.Scratch)
	if c.Strict {
		o.Mode = image.Strict
		if scratch == "" {
			if scratch, err = os.MkdirTemp("", "o3-verify-"); err != nil {
				return errs.Wrap(errs.Internal, "directory for temporary files", err)
			}
			defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
		}
	}
	bar := s.bytesBar("verify")
	o.Progress = func(done, total int64) { bar.SetTotal(total); bar.Set(done) }
	got, err := image.VerifyTarget(ctx, at, id, scratch, o)
	bar.Close()
	if err != nil && errs.KindOf(err) != errs.Corrupt {
		return err
	}
	if s.JSON {
		type summary struct {
			ID string `json:"id"`
			image.Verified
		}
		if err := s.doneAs(map[string]any{"summary": summary{id, got}}, ""); err != nil {
			return err
		}
	}
	if err != nil || s.JSON {
		return err
	}
	return s.done(nil, "Image %s is good: %d files, %s.", id, got.Files, size(uint64(got.Bytes)))
}

func (s *Session) defect(d image.Defect) {
	if s.JSON {
		_ = json.NewEncoder(s.Stdout).Encode(d) // the exit code says it too
		return
	}
	fmt.Fprintln(s.Stdout, oneLine(d.String()))
}

func (s *Session) bytesBar(label string) *progress.Bar {
	return progress.Start(progress.Options{Label: label, Bytes: true, Out: s.Stderr, Quiet: s.Quiet || s.JSON})
}

type imageImport struct {
	Dir      string `arg:"" help:"Directory or s3:// URL that images were exported to"`
	ID       string `name:"id" placeholder:"ID" help:"Which image (default: the newest)."`
	Data     string `required:"" placeholder:"DIR" help:"Data directory to make: absent or empty, or of the same import cut off before."`
	BlockDir string `placeholder:"DIR" help:"Where the bytes of objects go (default: blocks in the data directory)."`
	NodeID   string `name:"node-id" placeholder:"ID" help:"ozone.om.node.id of the new node (default: that of the image)."`
	Strict   bool   `help:"Verify all that was restored: every table, the digest of the state and every block."`
	Replace  bool   `help:"Let the node that is in the data directory make way; its server must not run. It is kept until the new one has served (o3 admin om rollback)."`

	made bool // with Replace: there was no node before
}

// Help tells what comes of it.
func (c *imageImport) Help() string {
	return "Every file is compared with its checksum while it is copied. The node that is made is a group of one, whatever group the image was made in. An import that was cut off goes on when it is run again; until it is complete no node starts on the directory.\n\n" +
		"With --replace the disk needs room for both states: the image is restored to DIR/staged first, and then takes the place of om, node and, when it has the bytes of objects, blocks; all else in DIR stays. An image without bytes takes up the block directory that is there, which must belong to its node.\n\n" + fromHere
}

// Run restores the image.
func (c *imageImport) Run(ctx context.Context, s *Session) error {
	at, err := s.imageTarget(c.Dir)
	if err != nil {
		return err
	}
	id, err := imageIn(ctx, at, c.ID)
	if err != nil {
		return err
	}
	o := image.ImportOptions{NodeID: c.NodeID, Strict: c.Strict, Defect: s.defect}
	for to, from := range map[*string]string{&o.DataDir: c.Data, &o.BlockDir: c.BlockDir} {
		if from == "" {
			continue
		}
		if *to, err = filepath.Abs(s.path(from)); err != nil {
			return errs.Wrap(errs.Internal, from, err)
		}
	}
	if o.DataDir == "" {
		return errs.New(errs.Invalid, "--data", "it must name a directory")
	}
	if c.Replace {
		return c.replace(ctx, s, at, id, o)
	}
	bar := s.bytesBar("import")
	o.Progress = func(done, total int64) { bar.SetTotal(total); bar.Set(done) }
	got, err := image.Import(ctx, at, id, o)
	bar.Close()
	if err != nil {
		return err
	}
	return c.tell(s, o, got)
}

// tell says what was restored, and how to start it.
func (c *imageImport) tell(s *Session, o image.ImportOptions, got image.Imported) error {
	m := got.Manifest
	start := "o3 server --data " + o.DataDir
	if node := first(o.NodeID, m.Node.ID); node != "om1" {
		start += " -D ozone.om.node.id=" + node
	}
	if o.BlockDir != "" {
		start += " -D ozone.block.dir=" + o.BlockDir
	}
	if s.JSON {
		type restored struct {
			imageRow
			Data    string `json:"data"`
			Start   string `json:"start"`
			Fetched int64  `json:"fetched_bytes"`
		}
		return s.doneAs(restored{imageRow{Manifest: m, Files: len(m.Files)}, o.DataDir, start, got.Fetched}, "")
	}
	var b strings.Builder
	if got.Files == 0 {
		fmt.Fprintf(&b, "Image %s was restored to %s before; nothing was left to do.\n", m.ID, o.DataDir)
	} else {
		fmt.Fprintf(&b, "Restored image %s of node %s to %s: %d files, %s.\n", m.ID, m.Node.ID, o.DataDir, got.Files, size(uint64(got.Bytes)))
	}
	fmt.Fprintf(&b, "It is of %s, at index %d of term %d, digest %s.\n", when(m.CreatedMs), m.Index, m.Term, m.Digest)
	if c.Replace {
		c.replaced(&b, o.DataDir)
	} else if !m.Blocks {
		fmt.Fprintf(&b, "It has no bytes of objects: before the start, put the block directory of the lost node in the place of %s.\n", first(o.BlockDir, filepath.Join(o.DataDir, "blocks")))
	}
	fmt.Fprintf(&b, "Users and access keys are those of the image. Start it:\n  %s", start)
	return s.done(nil, "%s", b.String())
}

type imagePrune struct {
	Dir  string `arg:"" help:"Directory or s3:// URL that images were exported to"`
	Keep int    `required:"" placeholder:"N" help:"How many of the newest images stay, at least 1."`
}

// Help says how a bucket is written, and what must not go on meanwhile.
func (c *imagePrune) Help() string {
	return "While an export to the place runs nothing is removed; neither does an export begin meanwhile. An import or a verification of an image that is removed meanwhile fails.\n\n" + fromHere
}

// Run removes images.
func (c *imagePrune) Run(ctx context.Context, s *Session) error {
	if c.Keep < 1 {
		return errs.New(errs.Invalid, fmt.Sprintf("--keep %d", c.Keep), "at least 1")
	}
	at, err := s.imageTarget(c.Dir)
	if err != nil {
		return err
	}
	got, err := image.Prune(ctx, at, c.Keep)
	if err != nil {
		return err
	}
	got.Images = append([]string{}, got.Images...) // [] and not null
	return s.doneAs(got, "Removed %d images and %d files, %s.", len(got.Images), got.Files, size(uint64(got.Bytes)))
}
