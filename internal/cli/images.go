package cli

import (
	"context"
	"crypto/rand"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/errs"
	"o3/internal/image/s3target"
	"o3/internal/progress"
)

type omCmd struct {
	Bootstrap bootstrapCmd `cmd:"" help:"Make a node of a running one."`
	Snapshots omSnapshots  `cmd:"" help:"List the images that the node keeps, make one or delete one."`
	Image     imageCmd     `cmd:"" help:"Carry images away from the node, check them there, and make a node of one."`
	Rollback  omRollback   `cmd:"" help:"Put back the state that a bootstrap or an import has replaced, while it is kept."`
}

type imageCmd struct {
	Export imageExport `cmd:"" help:"Bring a new image, with the bytes of objects, to a directory of the node's machine or to a bucket."`
	Status imageStatus `cmd:"" help:"Where the last export stands."`
	Cancel imageCancel `cmd:"" help:"Stop the export that runs."`
	List   imageList   `cmd:"" help:"List the images in a directory or bucket."`
	Verify imageVerify `cmd:"" help:"Check an image in a directory or bucket."`
	Import imageImport `cmd:"" help:"Make an image in a directory or bucket the data directory of a node."`
	Prune  imagePrune  `cmd:"" help:"Remove the oldest images in a directory or bucket, and the files that only they need."`
}

type omSnapshots struct {
	Create     bool   `xor:"act" help:"Make an image of what the node has applied, and wait for it."`
	WithBlocks bool   `help:"With --create: add the bytes of objects, as links beside them, so that a node can be made of it elsewhere."`
	Delete     string `xor:"act" placeholder:"ID" help:"Delete an image."`
}

// Help tells these snapshots from others.
func (c *omSnapshots) Help() string {
	return "An image is the namespace of the node at one moment, in files of its disk; it holds the bytes of objects only if it was made with them. While it does, what is deleted or rewritten afterwards keeps its room on the disk. Snapshots of buckets are something else: o3 sh snapshot."
}

// Run lists, makes or deletes.
func (c *omSnapshots) Run(ctx context.Context, s *Session) error {
	if c.WithBlocks && !c.Create {
		return errs.New(errs.Invalid, "--with-blocks", "goes with --create")
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	switch {
	case c.Create:
		return c.create(ctx, s, o3)
	case c.Delete != "":
		r, err := o3.DeleteImage(ctx, &o3v1.DeleteImageRequest{Id: c.Delete})
		if err != nil {
			return err
		}
		return s.done(r, "Deleted image %s.", c.Delete)
	}
	r, err := o3.ListImages(ctx, &o3v1.ListImagesRequest{})
	if err != nil {
		return err
	}
	t := s.table("ID", "INDEX", "TERM", "CREATED", "BLOCKS", "SIZE", "DIGEST")
	for _, i := range r.Images {
		blocks := "no"
		if i.Blocks {
			blocks = "yes"
		}
		if err := t.row(i, i.Id, i.Index, i.Term, when(i.CreatedMs), blocks, size(i.Bytes), i.Digest); err != nil {
			return err
		}
	}
	if t.rows == 0 {
		s.remark("The node keeps no image; --create makes one.")
	}
	return t.end()
}

func (c *omSnapshots) create(ctx context.Context, s *Session, o3 *client.Client) error {
	ticket := ""
	for {
		r, err := o3.CreateImage(ctx, &o3v1.CreateImageRequest{Ticket: ticket, WithBlocks: c.WithBlocks})
		if err != nil {
			return err
		}
		if i := r.Image; i != nil {
			return s.done(i, "Image %s: %d files, %s, digest %s.", i.Id, i.Files, size(i.Bytes), i.Digest)
		}
		if ticket == "" {
			s.remark("The image is being made; its files are read for their checksums.")
		}
		ticket = r.Ticket
	}
}

type imageExport struct {
	Dir      string `arg:"" help:"Absolute path on the node's machine (it, or the directory it is in, must be there) or s3:// URL of a bucket"`
	NoBlocks bool   `help:"Leave out the bytes of objects; they must be kept some other way."`
}

// Help tells how it goes.
func (c *imageExport) Help() string {
	return "The node works on meanwhile. Files that an earlier export brought there are not written again; an export that was cut off goes on when it is run again. Interrupting the command cancels the export.\n\n" +
		keysOfBuckets + "the node has its own, ozone.om.image.s3.access.key and ozone.om.image.s3.secret.key, or its environment. The node itself must reach the endpoint."
}

// Run begins an export and follows it.
func (c *imageExport) Run(ctx context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	if s3target.IsURL(c.Dir) { // what may be a secret is not sent
		if _, err := s3target.Parse(c.Dir); err != nil {
			return err
		}
	}
	id := rand.Text()
	r, err := o3.ExportImage(ctx, &o3v1.ExportImageRequest{Directory: c.Dir, WithBlocks: !c.NoBlocks, ExportId: id})
	if err != nil && ctx.Err() == nil {
		return err
	}
	e := r.GetExport()
	if err == nil {
		e, err = followExport(ctx, s, o3, e)
	}
	if ctx.Err() != nil {
		if e, err = stopExport(ctx, s, o3, id); errs.KindOf(err) == errs.NoSuchJob {
			err = errs.New(errs.Canceled, "", "interrupted")
		}
	}
	if err != nil {
		return err
	}
	return exportEnded(s, e)
}

// exportLook is the time between looks at an export.
const exportLook = 200 * time.Millisecond

// followExport shows an export until it is over or ctx ends.
func followExport(ctx context.Context, s *Session, o3 *client.Client, e *o3v1.ExportInfo) (*o3v1.ExportInfo, error) {
	bar := progress.Start(progress.Options{Label: exportPhase(e), Bytes: true, Out: s.Stderr, Quiet: s.Quiet || s.JSON})
	defer bar.Close()
	tick := time.NewTicker(exportLook)
	defer tick.Stop()
	for e.State == o3v1.ExportState_EXPORT_STATE_RUNNING {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return e, nil
		}
		r, err := o3.GetExport(ctx, &o3v1.GetExportRequest{ExportId: e.ExportId})
		if err != nil {
			return e, err
		}
		e = r.Export
		bar.SetLabel(exportPhase(e))
		bar.SetTotal(int64(e.BytesTotal))
		bar.Set(int64(e.BytesDone))
	}
	return e, nil
}

// exportPhase says in words what an export does.
func exportPhase(e *o3v1.ExportInfo) string {
	switch e.Phase {
	case "IMAGE":
		return "making the image"
	case "NAMES":
		return "export: names"
	case "BLOCKS":
		return "export: blocks"
	case "MANIFEST":
		return "export: manifest"
	}
	return "export"
}

// stopExport cancels an export whose follower was interrupted, and waits until it
// has ended.
func stopExport(ctx context.Context, s *Session, o3 *client.Client, id string) (*o3v1.ExportInfo, error) {
	s.remark("Interrupted: the export is being cancelled.")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	r, err := o3.CancelExport(ctx, &o3v1.CancelExportRequest{ExportId: id})
	if err != nil {
		return nil, err
	}
	return followExport(ctx, s, o3, r.Export)
}

// exportEnded tells how an export ended.
func exportEnded(s *Session, e *o3v1.ExportInfo) error {
	if e.State == o3v1.ExportState_EXPORT_STATE_DONE {
		return s.done(e, "Exported image %s to %s: %d files, %s, of which %s were written.", e.ImageId, e.Directory, e.Files, size(e.BytesTotal), size(e.BytesWritten))
	}
	kind := errs.Kind(e.ErrorKind)
	if kind == errs.OK { // it runs still
		kind = errs.Unavailable
	}
	return errs.New(kind, "export to "+e.Directory, first(e.Error, "it has not ended yet; o3 admin om image status shows it"))
}

type imageStatus struct{}

// Run shows the last export.
func (c *imageStatus) Run(ctx context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.GetExport(ctx, &o3v1.GetExportRequest{})
	if errs.KindOf(err) == errs.NoSuchJob {
		return errs.New(errs.NoSuchJob, "export", "the node has begun none")
	}
	if err != nil {
		return err
	}
	e := r.Export
	share, left := "", ""
	if e.State == o3v1.ExportState_EXPORT_STATE_RUNNING {
		share = percentage(float64(e.Percent))
		if e.EtaMs > 0 {
			left = shortTime(e.EtaMs)
		}
	}
	blocks := "yes"
	if !e.WithBlocks {
		blocks = "no"
	}
	return s.describe(e, field{"Export", e.ExportId}, field{"State", exportState(e)}, field{"Target", e.Directory}, field{"With blocks", blocks},
		field{"Image", e.ImageId}, field{"Phase", e.Phase}, field{"Percent", share}, field{"Left", left}, field{"Done", size(e.BytesDone)},
		field{"Of", size(e.BytesTotal)}, field{"Written", size(e.BytesWritten)}, field{"Files", e.Files},
		field{"Started", when(e.StartedMs)}, field{"Finished", when(e.FinishedMs)}, field{"Error", e.Error})
}

func exportState(e *o3v1.ExportInfo) string {
	return map[o3v1.ExportState]string{
		o3v1.ExportState_EXPORT_STATE_RUNNING: "running", o3v1.ExportState_EXPORT_STATE_DONE: "done",
		o3v1.ExportState_EXPORT_STATE_FAILED: "failed", o3v1.ExportState_EXPORT_STATE_CANCELLED: "cancelled",
	}[e.State]
}

type imageCancel struct{}

// Run stops the export.
func (c *imageCancel) Run(ctx context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	now, err := o3.GetExport(ctx, &o3v1.GetExportRequest{})
	if err != nil && errs.KindOf(err) != errs.NoSuchJob {
		return err
	}
	if err != nil || now.Export.State != o3v1.ExportState_EXPORT_STATE_RUNNING {
		return errs.New(errs.NoSuchJob, "export", "none runs")
	}
	r, err := o3.CancelExport(ctx, &o3v1.CancelExportRequest{ExportId: now.Export.ExportId})
	if err != nil {
		return err
	}
	e, err := followExport(ctx, s, o3, r.Export)
	if err != nil {
		return err
	}
	if e.State != o3v1.ExportState_EXPORT_STATE_CANCELLED {
		return exportEnded(s, e)
	}
	return s.done(e, "The export to %s is cancelled.", e.Directory)
}
