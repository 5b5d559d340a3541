package rpctest

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/s3/sigv4"
)

// Data returns the handler of /s3/<volume>/<bucket>/<key>: put, get with
// ranges, head, and multipart uploads.
func (m *Memory) Data() http.Handler {
	verifier := sigv4.NewVerifier(sigv4.Options{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var who access.Principal
		id, err := verifier.Verify(sigv4.FromHTTP(r), time.Now(), func(key string) (string, error) {
			secret, p, err := m.Secret(r.Context(), key)
			who = p
			return secret, err
		})
		if err != nil {
			refuse(w, http.StatusForbidden, "AccessDenied", err.Error())
			return
		}
		body, err := io.ReadAll(r.Body)
		if sum := sha256.Sum256(body); err != nil || hex.EncodeToString(sum[:]) != id.PayloadSHA256 {
			refuse(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch", "the body is not the one that was signed")
			return
		}
		m.data(w, r.WithContext(access.NewContext(r.Context(), who)), body)
	})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: code, Message: message})
}

func (m *Memory) data(w http.ResponseWriter, r *http.Request, body []byte) {
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/s3/"), "/", 3)
	if len(parts) != 3 {
		refuse(w, http.StatusBadRequest, "InvalidURI", "no key in the path")
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.bucket(parts[0], parts[1])
	if err != nil {
		refuse(w, http.StatusNotFound, "NoSuchBucket", errs.Message(err))
		return
	}
	q, key := r.URL.Query(), parts[2]
	o := b.keys[key]
	if r.Header.Get("If-None-Match") == "*" && o != nil {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "the key exists")
		return
	}
	if match := strings.Trim(r.Header.Get("If-Match"), `"`); match != "" && (o == nil || o.info.Etag != match) {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "the key is another")
		return
	}
	switch {
	case q.Has("uploads") || q.Has("uploadId"):
		m.multipart(w, r, b, key, body)
	case r.Method == http.MethodPut:
		m.store(w, r, b, key, body, r.Header, "")
	case o == nil:
		refuse(w, http.StatusNotFound, "NoSuchKey", "no such key "+key)
	default:
		w.Header().Set("ETag", `"`+o.info.Etag+`"`)
		if o.info.Headers.GetContentType() != "" {
			w.Header().Set("Content-Type", o.info.Headers.ContentType)
		}
		for _, p := range o.info.Headers.GetUser() {
			w.Header().Set("X-Amz-Meta-"+p.Name, p.Value)
		}
		http.ServeContent(w, r, "", time.UnixMilli(o.info.ModifiedMs), bytes.NewReader(o.data))
	}
}

func (m *Memory) store(w http.ResponseWriter, r *http.Request, b *bucket, key string, body []byte, header http.Header, etag string) {
	h := &o3v1.Headers{ContentType: header.Get("Content-Type")}
	for name, v := range header {
		if rest, ok := strings.CutPrefix(name, "X-Amz-Meta-"); ok {
			h.User = append(h.User, &o3v1.Pair{Name: strings.ToLower(rest), Value: v[0]})
		}
	}
	info, err := m.put(r.Context(), b, key, body, etag, h, nil)
	if err != nil {
		refuse(w, http.StatusBadRequest, "InvalidArgument", errs.Message(err))
		return
	}
	m.writes["PutObject"]++
	w.Header().Set("ETag", `"`+info.Etag+`"`)
}

// upload is an unfinished multipart upload.
type upload struct {
	header http.Header
	parts  map[int][]byte
}

func (m *Memory) multipart(w http.ResponseWriter, r *http.Request, b *bucket, key string, body []byte) {
	q := r.URL.Query()
	id := q.Get("uploadId")
	if q.Has("uploads") {
		id = fmt.Sprintf("upload-%d", m.next())
		m.uploads[id] = &upload{r.Header.Clone(), map[int][]byte{}}
		_, _ = fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
		return
	}
	u := m.uploads[id]
	if u == nil {
		refuse(w, http.StatusNotFound, "NoSuchUpload", "no upload "+id)
		return
	}
	parts := u.parts
	switch r.Method {
	case http.MethodDelete:
		delete(m.uploads, id)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPut:
		n, _ := strconv.Atoi(q.Get("partNumber"))
		sum := md5.Sum(body)
		parts[n] = body
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
	case http.MethodPost:
		var whole, sums []byte
		for n := 1; n <= len(parts); n++ {
			sum := md5.Sum(parts[n])
			whole, sums = append(whole, parts[n]...), append(sums, sum[:]...)
		}
		sum := md5.Sum(sums)
		etag := fmt.Sprintf("%s-%d", hex.EncodeToString(sum[:]), len(parts))
		delete(m.uploads, id)
		m.store(w, r, b, key, whole, u.header, etag)
		_, _ = fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>&quot;%s&quot;</ETag></CompleteMultipartUploadResult>", etag)
	}
}

// Uploads returns how many multipart uploads are unfinished.
func (m *Memory) Uploads() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.uploads)
}
