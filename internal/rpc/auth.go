package rpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/s3/sigv4"
)

const contentSHA256 = "X-Amz-Content-Sha256"

// authenticate returns who sent r: by signature where there is one, else by
// the verified client certificate. It does not read the body.
func (s *Server) authenticate(ctx context.Context, r *http.Request, call *Call) (access.Principal, error) {
	if r.Header.Get("Authorization") == "" && !strings.Contains(r.URL.RawQuery, "X-Amz-") {
		if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
			return s.byCertificate(ctx, r)
		}
		return access.Principal{}, errs.New(errs.Unauthenticated, call.Procedure,
			"the request is not signed: sign it with signature V4, service \""+Service+"\", or present a client certificate")
	}
	var found access.Principal
	id, err := s.verifier.Verify(sigv4.FromHTTP(r), time.Now(), func(key string) (string, error) {
		call.AccessKey = shorten(key)
		secret, p, err := s.opts.Principals.Secret(ctx, key)
		found = p
		return secret, err
	})
	if err != nil {
		return access.Principal{}, signatureError(call, err)
	}
	if id.Presigned {
		return access.Principal{}, errs.New(errs.Unauthenticated, call.Procedure, "presigned calls are not accepted: sign the headers")
	}
	if id.Payload != sigv4.PayloadHash {
		return access.Principal{}, errs.New(errs.Unauthenticated, call.Procedure,
			"x-amz-content-sha256 is "+id.Payload.String()+": it must be the SHA-256 of the body, in hex")
	}
	if found.Anonymous() {
		return access.Principal{}, errs.New(errs.Internal, call.Procedure, "the access key belongs to nobody")
	}
	found.AccessKey = call.AccessKey
	return found, nil
}

func (s *Server) byCertificate(ctx context.Context, r *http.Request) (access.Principal, error) {
	name := r.TLS.VerifiedChains[0][0].Subject.CommonName
	refuse := func(why string) (access.Principal, error) {
		return access.Principal{}, errs.New(errs.Unauthenticated, fmt.Sprintf("client certificate with common name %q", shorten(name)), why)
	}
	if name == "" {
		return refuse("the common name must be a user")
	}
	p, err := s.opts.Principals.User(ctx, name)
	switch {
	case errs.KindOf(err) == errs.NoSuchPrincipal:
		return refuse("there is no such user, or it is disabled")
	case err != nil:
		return access.Principal{}, err
	case p.Anonymous():
		return refuse("the common name must be a user")
	}
	return p, nil
}

// signatureError says what is wrong with a signature, with the values that
// the verifier found; never the canonical request, which may hold names that
// are not the caller's to see.
func signatureError(call *Call, err error) error {
	e, ok := errors.AsType[*sigv4.Error](err)
	if !ok {
		return err
	}
	var b strings.Builder
	b.WriteString(e.Message)
	for _, el := range e.Elements {
		switch el[0] {
		case "RequestTime", "ServerTime", "MaxAllowedSkewMilliseconds", "HeadersNotSigned", "ArgumentValue", "AWSAccessKeyId":
			fmt.Fprintf(&b, " %s: %s.", el[0], shorten(el[1]))
		}
	}
	return &errs.Error{Kind: errs.KindOf(err), Subject: call.Procedure, Detail: b.String(), Err: err}
}

// bindBody reads the body of a signed request and checks that it is the one
// which was signed. An unsigned request (client certificate) keeps its body.
func (s *Server) bindBody(ctx context.Context, w http.ResponseWriter, r *http.Request, call *Call) error {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(s.opts.BodyTimeout)) // not every writer can
	if r.Header.Get("Authorization") == "" {
		r.Body = &countingBody{r.Body, call, rc}
		return nil
	}
	most := int64(s.opts.MaxMessage) + 5 // gRPC puts 5 bytes before a message
	if r.ContentLength > most {
		return errs.New(errs.TooLarge, call.Procedure, fmt.Sprintf("the message has %d bytes; at most %d are allowed", r.ContentLength, s.opts.MaxMessage))
	}
	body, err := readAll(r.Body, r.ContentLength, most)
	call.Bytes = int64(len(body))
	_ = rc.SetReadDeadline(time.Time{})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return errs.Wrap(errs.Invalid, call.Procedure+": reading the body", err)
	case int64(len(body)) > most:
		return errs.New(errs.TooLarge, call.Procedure, fmt.Sprintf("the message has more than the %d bytes allowed", s.opts.MaxMessage))
	}
	sum := sha256.Sum256(body)
	want := strings.ToLower(r.Header.Get(contentSHA256))
	if subtle.ConstantTimeCompare([]byte(want), []byte(hex.EncodeToString(sum[:]))) != 1 {
		return errs.New(errs.BadDigest, call.Procedure, "the body is not the one that was signed: its SHA-256 is "+hex.EncodeToString(sum[:])+", x-amz-content-sha256 says "+shorten(want))
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// readAll reads r to its end, or one byte beyond most.
func readAll(r io.Reader, length, most int64) ([]byte, error) {
	if length >= 0 {
		b := make([]byte, length)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	return io.ReadAll(io.LimitReader(r, most+1))
}

// countingBody counts what is read of a body.
type countingBody struct {
	io.ReadCloser
	call *Call
	rc   *http.ResponseController
}

// Read implements io.Reader; at the end it lifts the limit of time.
func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.call.Bytes += int64(n)
	if err != nil {
		_ = b.rc.SetReadDeadline(time.Time{}) // not every writer can
	}
	return n, err
}
