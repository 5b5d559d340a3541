package obs

import (
	"time"

	"o3/internal/tlsconf"
)

// TLS is what the certificates of a listener (s3, om, raft) report.
func (o *Obs) TLS(listener string) tlsconf.Listener {
	ok, failed := o.Counter("o3_tls_reloads_total", listener, "ok"), o.Counter("o3_tls_reloads_total", listener, "error")
	return tlsconf.Listener{
		Reloaded: func(f tlsconf.Files, notAfter time.Time) {
			ok.Inc()
			o.Log.Info("certificate reloaded", "listener", listener, "file", f.Cert, "expires", notAfter)
		},
		Failed: func(f tlsconf.Files, err error) {
			failed.Inc()
			o.Log.Error("changed certificate refused; the old one stays in use", "listener", listener, "file", f.Cert, "error", err)
		},
	}
}

// SampleTLS shows when the certificate of a listener expires.
func (o *Obs) SampleTLS(listener string, s *tlsconf.Source) {
	o.Sample(func(m *Sampler) {
		if end := s.NotAfter(); !end.IsZero() {
			m.Set("o3_tls_certificate_expiry_seconds", float64(end.Unix()), listener)
		}
	})
}
