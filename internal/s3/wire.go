package s3

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"o3/internal/errs"
	"o3/internal/s3/xmlapi"
)

// source is the body of a request as it comes over the wire: it counts bytes,
// limits the time without one, and remembers what went wrong with the client.
type source struct {
	body  io.Reader
	w     http.ResponseWriter
	idle  time.Duration
	until time.Time // the deadline that is set, zero for none
	read  int64
	ended bool  // no more will come
	err   error // the first failure of the client, in S3's terms
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	// One deadline serves for many reads: it is moved when a quarter is gone.
	if now := time.Now(); s.until.Sub(now) < s.idle*3/4 {
		s.until = now.Add(s.idle)
		_ = http.NewResponseController(s.w).SetReadDeadline(s.until) // unsupported: the server's own limits hold
	}
	n, err := s.body.Read(p)
	s.read += int64(n)
	if err == nil {
		return n, nil
	}
	s.ended = true
	if err == io.EOF {
		// The server may now wait for the client to leave, as long as it takes.
		_ = http.NewResponseController(s.w).SetReadDeadline(time.Time{})
		return n, err
	}
	s.err = clientError(err) // and the deadline stays: there is nothing more to wait for
	return n, s.err
}

// leave bounds the time in which the server reads what the handler did not.
func (s *source) leave() {
	if !s.ended && s.body != http.NoBody {
		_ = http.NewResponseController(s.w).SetReadDeadline(time.Now().Add(s.idle))
	}
}

// clientError is what a failed read of a body means.
func clientError(err error) error {
	ne, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) || ok && ne.Timeout():
		return &apiError{code: "RequestTimeout", message: codes["RequestTimeout"].text, cause: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &apiError{code: "IncompleteBody", message: codes["IncompleteBody"].text, cause: err}
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return &apiError{code: "EntityTooLarge", message: codes["EntityTooLarge"].text, cause: err}
	}
	return errs.Wrap(errs.Canceled, "body", err)
}

// sink is the body of the answer: it counts bytes and limits the time that one
// write may take.
type sink struct {
	w       http.ResponseWriter
	idle    time.Duration
	until   time.Time
	started bool // the status line is out, or may be
	written int64
}

// maxWrite is how many bytes must move within the idle time.
const maxWrite = 64 << 10

// Write implements io.Writer.
func (s *sink) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		if now := time.Now(); s.until.Sub(now) < s.idle*3/4 {
			s.until = now.Add(s.idle)
			_ = http.NewResponseController(s.w).SetWriteDeadline(s.until)
		}
		var m int
		m, err = s.w.Write(p[:min(len(p), maxWrite)])
		n, p = n+m, p[m:]
	}
	s.written += int64(n)
	if err != nil {
		err = errs.Wrap(errs.Canceled, "answer", err)
	}
	return n, err
}

// rest sends what is buffered and lifts the deadline, for whatever else will
// use the connection. A small answer leaves only here.
func (s *sink) rest() {
	if !s.until.IsZero() {
		c := http.NewResponseController(s.w)
		_ = c.Flush() // fails where the writes before failed
		_ = c.SetWriteDeadline(time.Time{})
	}
}

// write sends a reply.
func (g *Gateway) write(r *request, rep *reply) error {
	if rep.close != nil {
		defer rep.close()
	}
	switch {
	case rep.document != nil:
		return g.writeDocument(r, rep.status, rep.document)
	case rep.body != nil:
		r.set("Content-Length", strconv.FormatInt(rep.length, 10))
	case rep.status == http.StatusOK && r.Method != http.MethodHead:
		r.set("Content-Length", "0")
	}
	r.out.started = true
	r.out.w.WriteHeader(rep.status)
	if rep.body == nil || r.Method == http.MethodHead {
		return nil
	}
	return rep.body(&r.out)
}

// writeDocument sends an XML document.
func (g *Gateway) writeDocument(r *request, status int, d document) error {
	buf := g.scratch.Get().(*[]byte)
	defer g.scratch.Put(buf)
	*buf = d.AppendXML((*buf)[:0])
	r.set("Content-Type", xmlapi.ContentType)
	r.set("Content-Length", strconv.Itoa(len(*buf)))
	r.out.started = true
	r.out.w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := r.out.Write(*buf)
	return err
}

// writeError sends an error and returns its status and code.
func (g *Gateway) writeError(r *request, err error) (int, string) {
	a := answerOf(err)
	if context.Cause(r.ctx) != nil && errs.KindOf(err) == errs.Canceled {
		a.status, a.code = statusClientGone, "RequestCanceled"
	}
	if r.in.err != nil || !r.in.ended && r.in.body != http.NoBody && r.ContentLength > bufferSize {
		r.set("Connection", "close") // the rest of the body is not worth reading
	}
	if a.status != http.StatusNotModified {
		r.clear(a.status)
	}
	if a.status == http.StatusNotModified || r.Method == http.MethodHead {
		r.out.started = true
		r.out.w.WriteHeader(a.status)
		return a.status, a.code
	}
	_ = g.writeDocument(r, a.status, &xmlapi.ErrorDocument{
		Code: a.code, Message: readable(a.message), Resource: readable(r.resource()), RequestID: r.id, HostID: g.hostID,
		Elements: r.errorElements(a),
	}) // who cannot be told has left
	return a.status, a.code
}

// clear takes back the headers that described a success.
func (r *request) clear(status int) {
	for name := range r.header {
		switch name {
		case "X-Amz-Request-Id", "X-Amz-Id-2", "Server", "Connection", "Retry-After", "X-Amz-Bucket-Region":
		case "Content-Range":
			if status != http.StatusRequestedRangeNotSatisfiable {
				delete(r.header, name)
			}
		default:
			delete(r.header, name)
		}
	}
}

// resource is what an error is about.
func (r *request) resource() string {
	switch {
	case r.bucket == "":
		return "/"
	case r.key == "":
		return "/" + r.bucket
	}
	return "/" + r.bucket + "/" + r.key
}

// errorElements are the further elements of an error: its own, or those that
// S3 adds to some codes.
func (r *request) errorElements(a answer) [][2]string {
	if len(a.elements) > 0 {
		out := make([][2]string, len(a.elements))
		for i, e := range a.elements {
			out[i] = [2]string{e[0], readable(e[1])}
		}
		return out
	}
	switch a.code {
	case "NoSuchKey":
		return [][2]string{{"Key", readable(r.key)}}
	case "NoSuchBucket", "BucketNotEmpty", "BucketAlreadyExists", "BucketAlreadyOwnedByYou":
		return [][2]string{{"BucketName", r.bucket}}
	}
	return nil
}

// readable replaces what XML cannot hold: an error must be readable, whatever
// the client sent.
func readable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0xFFFE || c == 0xFFFF {
			return '\uFFFD'
		}
		return c
	}, s)
}
