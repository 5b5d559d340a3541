package obs

import (
	"time"

	"o3/internal/errs"
	"o3/internal/transfer"
)

// transferTable returns the metrics of images and log on their way to other nodes.
func transferTable() []Metric {
	return []Metric{
		{Name: "o3_transfer_streams_total", Type: Counter, Unit: "streams", Labels: []string{"result"}, Help: "Streams with parts of files of images that ended (done or cut)"},
		{Name: "o3_transfer_stream_seconds", Type: Histogram, Unit: "seconds", Buckets: latencyBuckets(), Help: "Time that such a stream took"},
		{Name: "o3_transfer_sent_bytes_total", Type: Counter, Unit: "bytes", Help: "Bytes that were sent for them, after compression"},
		{Name: "o3_transfer_file_bytes_total", Type: Counter, Unit: "bytes", Help: "Bytes of files in them, before compression"},
		{Name: "o3_transfer_refused_total", Type: Counter, Unit: "requests", Labels: []string{"reason"}, Help: "Requests for images or the log that were refused, by the kind of error"},
		sampled(Gauge, "o3_transfer_streams", "streams", "Streams that are being sent"),
		sampled(Gauge, "o3_transfer_waiting", "requests", "Requests that wait for a stream"),
		{Name: "o3_transfer_leases_total", Type: Counter, Unit: "leases", Labels: []string{"ended"}, Help: "Leases of receivers on images that ended (released or expired)"},
		sampled(Gauge, "o3_transfer_leases", "leases", "Leases of receivers on images, at this node"),
		sampled(Gauge, "o3_transfer_log_holds", "leases", "Leases on the log, of the whole group"),
		sampled(Gauge, "o3_transfer_log_hold_age_seconds", "seconds", "Time since the oldest of them was taken; 0 while there is none"),
		sampled(Gauge, "o3_transfer_log_held_entries", "entries", "Entries of this node's log that they keep"),
		{Name: "o3_transfer_log_holds_lost_total", Type: Counter, Unit: "leases", Labels: []string{"reason"}, Help: "Leases on the log that ended without their holder (expired, or broken: they kept more than ozone.om.bootstrap.log.hold.limit), and those that this node's log did not reach back for (late)"},
		{Name: "o3_transfer_log_readers", Type: Gauge, Unit: "streams", Help: "Readers of the log"},
		{Name: "o3_transfer_log_entries_total", Type: Counter, Unit: "entries", Help: "Entries of the log that were sent to readers"},
		{Name: "o3_transfer_log_bytes_total", Type: Counter, Unit: "bytes", Help: "Bytes of them"},
	}
}

// Transfers is what the source of images reports.
func (o *Obs) Transfers() transfer.ServerListener {
	seconds := o.Histogram("o3_transfer_stream_seconds") // shown with 0 from the start
	for _, result := range []string{"done", "cut"} {
		o.Counter("o3_transfer_streams_total", result)
	}
	for _, how := range []string{"released", "expired"} {
		o.Counter("o3_transfer_leases_total", how)
	}
	for _, why := range []string{"expired", "broken", "late"} {
		o.Counter("o3_transfer_log_holds_lost_total", why)
	}
	return transfer.ServerListener{
		Refused: func(who, what string, err error) {
			o.Counter("o3_transfer_refused_total", errs.KindOf(err).String()).Inc()
			o.Log.Warn("transfer: refused", "who", who, "what", what, "error", err)
		},
		StreamBegin: func(transfer.Stream) {},
		StreamEnd: func(s transfer.Stream, err error) {
			result := "done"
			if err != nil {
				result = "cut"
				o.Log.Info("transfer: a stream was cut", "who", s.Who, "image", s.Image, "sent", s.Sent, "took", s.Took, "error", err)
			}
			o.Counter("o3_transfer_streams_total", result).Inc()
			o.Counter("o3_transfer_sent_bytes_total").Add(float64(s.Sent))
			o.Counter("o3_transfer_file_bytes_total").Add(float64(s.Bytes))
			seconds.Observe(s.Took.Seconds())
		},
		HoldBegin: func(h transfer.Hold) {
			o.Log.Info("transfer: a receiver holds an image", "who", h.Who, "receiver", h.Receiver, "image", h.Image)
		},
		HoldEnd: func(h transfer.Hold, expired bool) {
			how, log := "released", o.Log.Info
			if expired {
				how, log = "expired", o.Log.Warn
			}
			o.Counter("o3_transfer_leases_total", how).Inc()
			log("transfer: a receiver holds an image no more", "who", h.Who, "receiver", h.Receiver, "image", h.Image, "ended", how)
		},
	}
}

// SampleTransfers shows what the source does at each scrape.
func (o *Obs) SampleTransfers(status func() transfer.ServerStatus) {
	o.Sample(func(s *Sampler) {
		st := status()
		s.Set("o3_transfer_streams", float64(st.Streams))
		s.Set("o3_transfer_waiting", float64(st.Waiting))
		s.Set("o3_transfer_leases", float64(len(st.Holds)))
	})
}

// SampleLogHolds shows the leases on the log at each scrape: when the oldest was
// taken, how many there are and how many entries they keep.
func (o *Obs) SampleLogHolds(held func() (oldest time.Time, count int, entries uint64)) {
	o.Sample(func(s *Sampler) {
		oldest, count, entries := held()
		age := 0.0
		if !oldest.IsZero() {
			age = max(0, time.Since(oldest).Seconds())
		}
		s.Set("o3_transfer_log_holds", float64(count))
		s.Set("o3_transfer_log_hold_age_seconds", age)
		s.Set("o3_transfer_log_held_entries", float64(entries))
	})
}

// LogHoldExpired notes that a lease on the log ended because nobody renewed it.
func (o *Obs) LogHoldExpired(name string) {
	o.Counter("o3_transfer_log_holds_lost_total", "expired").Inc()
	o.Log.Warn("transfer: a lease on the log expired: nobody renewed it", "lease", name)
}

// LogHoldBroken notes that a lease on the log was ended because it kept too much.
func (o *Obs) LogHoldBroken(name string, kept, limit int64) {
	o.Counter("o3_transfer_log_holds_lost_total", "broken").Inc()
	o.Log.Error("transfer: a lease on the log kept too much and was ended: its receiver needs a newer image", "lease", name, "kept", kept, "limit", limit)
}

// LogHoldLate notes that this node's log does not reach back as far as a lease.
func (o *Obs) LogHoldLate(name string, index uint64, err error) {
	o.Counter("o3_transfer_log_holds_lost_total", "late").Inc()
	o.Log.Warn("transfer: this node's log does not reach back to a lease", "lease", name, "index", index, "error", err)
}

// LogRefused notes a reader of the log that was refused.
func (o *Obs) LogRefused(err error) {
	o.Counter("o3_transfer_refused_total", errs.KindOf(err).String()).Inc()
}

// LogReader notes a reader of the log; the result ends it.
func (o *Obs) LogReader() (end func()) {
	g := o.Gauge("o3_transfer_log_readers")
	g.Inc()
	return g.Dec
}

// LogSent notes entries that were sent to a reader.
func (o *Obs) LogSent(entries, bytes int) {
	o.Counter("o3_transfer_log_entries_total").Add(float64(entries))
	o.Counter("o3_transfer_log_bytes_total").Add(float64(bytes))
}
