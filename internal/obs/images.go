package obs

import (
	"time"

	"o3/internal/errs"
	"o3/internal/image"
)

// imageTable returns the metrics of the images of the node.
func imageTable() []Metric {
	return []Metric{
		{Name: "o3_images_created_total", Type: Counter, Unit: "images", Help: "Images of the node that were made"},
		{Name: "o3_image_create_seconds", Type: Histogram, Unit: "seconds", Buckets: latencyBuckets(), Help: "Time that making an image took"},
		{Name: "o3_image_created_bytes_total", Type: Counter, Unit: "bytes", Help: "Bytes of the files of images that were made; most are shared with the store or with each other"},
		{Name: "o3_image_hashed_bytes_total", Type: Counter, Unit: "bytes", Help: "Bytes that were read for the checksums of images"},
		{Name: "o3_image_failures_total", Type: Counter, Unit: "failures", Labels: []string{"reason"}, Help: "Images that could not be made or removed, by the kind of error"},
		{Name: "o3_images_removed_total", Type: Counter, Unit: "images", Help: "Images that were removed, by retention or on demand"},
		{Name: "o3_images_damaged_total", Type: Counter, Unit: "images", Help: "Images that were found damaged at start"},
		sampled(Gauge, "o3_images", "images", "Images that are kept"),
		sampled(Gauge, "o3_images_bytes", "bytes", "Bytes of their files, each image counted as a whole; most are shared with the store or with each other"),
		sampled(Gauge, "o3_image_age_seconds", "seconds", "Time since the newest image was made; 0 while there is none"),
		sampled(Gauge, "o3_shelf_images", "images", "Images on the shelf, with the bytes of objects"),
		sampled(Gauge, "o3_shelf_bytes", "bytes", "Bytes of their files; most are shared with the block store, but stay on the disk when it frees them"),
		{Name: "o3_image_exports_total", Type: Counter, Unit: "exports", Labels: []string{"result"}, Help: "Exports of images that ended (done, failed or cancelled)"},
		{Name: "o3_image_exported_bytes_total", Type: Counter, Unit: "bytes", Help: "Bytes that exports wrote; what lay at the target already is not counted"},
		sampled(Gauge, "o3_image_export_success_timestamp_seconds", "seconds", "When the newest good export of those that are remembered ended, as a Unix time; 0 while there is none"),
		{Name: "o3_image_prunes_total", Type: Counter, Unit: "prunes", Labels: []string{"result"}, Help: "Removals of old images at the target of the exports that the node makes by itself (done or failed)"},
	}
}

// Images is what the keeper of images reports.
func (o *Obs) Images() image.Listener {
	seconds := o.Histogram("o3_image_create_seconds") // shown with 0 from the start
	return image.Listener{
		Created: func(c image.Created) {
			o.Counter("o3_images_created_total").Inc()
			seconds.Observe(c.Took.Seconds())
			o.Counter("o3_image_created_bytes_total").Add(float64(c.Manifest.Bytes))
			o.Counter("o3_image_hashed_bytes_total").Add(float64(c.Hashed))
			o.Log.Info("images: made", "image", c.Manifest.ID, "files", len(c.Manifest.Files), "bytes", c.Manifest.Bytes, "hashed", c.Hashed, "took", c.Took)
		},
		Failed: func(reason string, err error) {
			o.Counter("o3_image_failures_total", reason).Inc()
			o.Log.Warn("images: one could not be made or removed", "reason", reason, "error", err)
		},
		Removed: func(id string, bytes int64) {
			o.Counter("o3_images_removed_total").Inc()
			o.Log.Info("images: removed", "image", id, "bytes", bytes)
		},
		Damaged: func(name string, err error) {
			o.Counter("o3_images_damaged_total").Inc()
			o.Log.Error("images: one is damaged, and left as it is", "image", name, "error", err)
		},
	}
}

// ImageExport notes that an export of an image ended: result is done, failed or
// cancelled, written the bytes it wrote.
func (o *Obs) ImageExport(result, directory, img string, written int64, took time.Duration, err error) {
	o.Counter("o3_image_exports_total", result).Inc()
	o.Counter("o3_image_exported_bytes_total").Add(float64(written))
	log := o.Log.Info
	if err != nil {
		log = o.Log.Warn
	}
	log("images: an export ended", "result", result, "directory", directory, "image", img, "written", written, "took", took, "error", err)
}

// ShelfRemoved notes that an image was removed from the shelf.
func (o *Obs) ShelfRemoved(id string) {
	o.Counter("o3_images_removed_total").Inc()
	o.Log.Info("images: removed from the shelf", "image", id)
}

// ShelfFailed notes what went wrong with the shelf.
func (o *Obs) ShelfFailed(err error) {
	o.Counter("o3_image_failures_total", errs.KindOf(err).String()).Inc()
	o.Log.Warn("images: the shelf", "error", err)
}

// SampleShelf shows the images on the shelf at each scrape.
func (o *Obs) SampleShelf(list func() []image.Info) {
	o.Sample(func(s *Sampler) {
		bytes := int64(0)
		all := list()
		for _, i := range all {
			bytes += i.Manifest.Bytes
		}
		s.Set("o3_shelf_images", float64(len(all)))
		s.Set("o3_shelf_bytes", float64(bytes))
	})
}

// ImagePrune notes that old images were removed at a target, or why not.
func (o *Obs) ImagePrune(target string, out image.Pruned, err error) {
	if err != nil {
		o.Counter("o3_image_prunes_total", "failed").Inc()
		o.Log.Warn("images: old ones at the target cannot be removed", "target", target, "error", err)
		return
	}
	o.Counter("o3_image_prunes_total", "done").Inc()
	o.Log.Info("images: old ones at the target were removed", "target", target, "images", len(out.Images), "files", out.Files, "bytes", out.Bytes)
}

// SampleImages shows the images, and when the last good export ended, at each
// scrape.
func (o *Obs) SampleImages(list func() []image.Info, exported func() time.Time) {
	for _, result := range []string{"done", "failed"} {
		o.Counter("o3_image_prunes_total", result) // shown as 0 from the start
	}
	for _, result := range []string{"done", "failed", "cancelled"} {
		o.Counter("o3_image_exports_total", result) // shown as 0 from the start
	}
	o.Sample(func(s *Sampler) {
		bytes := int64(0)
		all := list()
		for _, i := range all {
			bytes += i.Manifest.Bytes
		}
		s.Set("o3_images", float64(len(all)))
		s.Set("o3_images_bytes", float64(bytes))
		age := 0.0
		if len(all) > 0 {
			age = max(0, time.Since(time.UnixMilli(all[0].Manifest.CreatedMs)).Seconds())
		}
		s.Set("o3_image_age_seconds", age)
		success := 0.0
		if at := exported(); !at.IsZero() {
			success = float64(at.UnixMilli()) / 1000
		}
		s.Set("o3_image_export_success_timestamp_seconds", success)
	})
}
