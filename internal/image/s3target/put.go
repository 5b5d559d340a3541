package s3target

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/crc64nvme"
	"golang.org/x/sync/errgroup"

	"o3/internal/errs"
)

// maxParts is how many parts an upload gets at most; stores take 10,000.
const maxParts = 9000

// bounded limits a request, with its repetitions, that carries n bytes.
func (t *Target) bounded(ctx context.Context, n int64) (context.Context, context.CancelFunc) {
	once := t.o.Patience + time.Duration(n/(64<<10))*time.Second
	return context.WithTimeout(ctx, time.Duration(t.o.Attempts)*once)
}

// Put implements image.Target. What fits a part goes in one request, the rest in
// parts, which the store puts together when it has them all.
func (t *Target) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	ctx, done, err := t.locked(ctx)
	if err != nil {
		return err
	}
	defer done()
	part := t.o.PartSize
	for size/part >= maxParts {
		part *= 2
	}
	buf := make([]byte, min(part, size+1))
	n, err := io.ReadFull(r, buf)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case err != nil && int64(n) != size, err == nil && int64(n) > size:
		return t.wrongSize(name, size)
	case err != nil:
		return t.whole(ctx, name, buf[:n])
	}
	return t.parts(ctx, name, size, part, buf, r)
}

func (t *Target) wrongSize(name string, size int64) error {
	return &errs.Error{Kind: errs.Invalid, Op: "s3target.Put", Subject: t.subject(t.key(name)), Detail: "what was given to be stored has another size than was said", Err: io.ErrUnexpectedEOF}
}

// whole stores an object in one request.
func (t *Target) whole(ctx context.Context, name string, data []byte) error {
	in := &s3.PutObjectInput{Bucket: &t.o.Place.Bucket, Key: aws.String(t.key(name)), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data)))}
	switch t.o.Place.Checksum {
	case "", "crc64nvme":
		in.ChecksumCRC64NVME = crcText(crc64nvme.Checksum(data))
	case "sha256":
		in.ChecksumSHA256 = shaText(data)
	}
	rctx, cancel := t.bounded(ctx, int64(len(data)))
	defer cancel()
	_, err := t.client.PutObject(rctx, in)
	return t.fault(ctx, "Put", t.key(name), err)
}

func crcText(sum uint64) *string {
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, sum)))
}

func shaText(data []byte) *string {
	sum := sha256.Sum256(data)
	return aws.String(base64.StdEncoding.EncodeToString(sum[:]))
}

// upload is an object that is stored in parts.
type upload struct {
	t    *Target
	key  string
	id   *string
	size int64
	crc  uint64 // of all that was read
	done []types.CompletedPart
}

// parts stores an object in parts; read holds the first. When it fails the parts
// are dropped, if the store can be told so; the next export to the place drops
// what is left.
func (t *Target) parts(ctx context.Context, name string, size, part int64, read []byte, r io.Reader) error {
	u := &upload{t: t, key: t.key(name), size: size, done: make([]types.CompletedPart, (size+part-1)/part)}
	if err := u.begin(ctx); err != nil {
		return err
	}
	err := u.send(ctx, part, read, r)
	if err == nil {
		err = u.finish(ctx)
	}
	if err == nil {
		return nil
	}
	actx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.o.Patience)
	defer cancel()
	_, aerr := t.client.AbortMultipartUpload(actx, &s3.AbortMultipartUploadInput{Bucket: &t.o.Place.Bucket, Key: &u.key, UploadId: u.id})
	if aerr != nil && codeOf(aerr) != "NoSuchUpload" {
		err = errors.Join(err, t.fault(actx, "Put", u.key, aerr))
	}
	return err
}

func (u *upload) begin(ctx context.Context) error {
	t := u.t
	in := &s3.CreateMultipartUploadInput{Bucket: &t.o.Place.Bucket, Key: &u.key}
	switch t.o.Place.Checksum {
	case "", "crc64nvme":
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc64nvme, types.ChecksumTypeFullObject
	case "sha256":
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmSha256, types.ChecksumTypeComposite
	}
	rctx, cancel := t.bounded(ctx, 0)
	defer cancel()
	out, err := t.client.CreateMultipartUpload(rctx, in)
	if err != nil {
		return t.fault(ctx, "Put", u.key, err)
	}
	u.id = out.UploadId
	return nil
}

// send reads the parts one after the other and sends Parallel of them at once.
func (u *upload) send(ctx context.Context, part int64, buf []byte, r io.Reader) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	free := make(chan []byte, u.t.o.Parallel)
	for range u.t.o.Parallel - 1 {
		free <- nil // made when it is needed
	}
	read, end := int64(0), false
	for n, number := len(buf), 0; ; number++ {
		if n > 0 {
			if read += int64(n); read > u.size {
				err = u.t.wrongSize(u.key[len(u.t.o.Place.Prefix):], u.size)
				break
			}
			u.crc = crc64nvme.Update(u.crc, buf[:n])
			data := buf[:n]
			g.Go(func() error {
				err := u.part(gctx, number, data)
				free <- data[:cap(data)]
				return err
			})
		}
		if end {
			break
		}
		select {
		case buf = <-free:
		case <-gctx.Done():
			return g.Wait()
		}
		if buf == nil {
			buf = make([]byte, part)
		}
		buf = buf[:part]
		n, err = io.ReadFull(r, buf)
		if end = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); end {
			err = nil
		}
		if err != nil {
			break
		}
	}
	if err == nil && read != u.size {
		err = u.t.wrongSize(u.key[len(u.t.o.Place.Prefix):], u.size)
	}
	if err != nil {
		cancel()
	}
	if werr := g.Wait(); err == nil {
		err = werr
	}
	return err
}

// part stores a part, counted from 0.
func (u *upload) part(ctx context.Context, number int, data []byte) error {
	t := u.t
	in := &s3.UploadPartInput{Bucket: &t.o.Place.Bucket, Key: &u.key, UploadId: u.id, PartNumber: aws.Int32(int32(number) + 1),
		Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data)))}
	done := types.CompletedPart{PartNumber: in.PartNumber}
	switch t.o.Place.Checksum {
	case "", "crc64nvme":
		in.ChecksumCRC64NVME = crcText(crc64nvme.Checksum(data))
		done.ChecksumCRC64NVME = in.ChecksumCRC64NVME
	case "sha256":
		in.ChecksumSHA256 = shaText(data)
		done.ChecksumSHA256 = in.ChecksumSHA256
	}
	rctx, cancel := t.bounded(ctx, int64(len(data)))
	defer cancel()
	out, err := t.client.UploadPart(rctx, in)
	if err != nil {
		return t.fault(ctx, "Put", u.key, err)
	}
	done.ETag = out.ETag
	u.done[number] = done
	return nil
}

// finish makes the object of the parts.
func (u *upload) finish(ctx context.Context) error {
	t := u.t
	in := &s3.CompleteMultipartUploadInput{Bucket: &t.o.Place.Bucket, Key: &u.key, UploadId: u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.done}}
	if c := t.o.Place.Checksum; c == "" || c == "crc64nvme" {
		in.ChecksumCRC64NVME, in.ChecksumType = crcText(u.crc), types.ChecksumTypeFullObject
	}
	rctx, cancel := t.bounded(ctx, u.size/16) // the store may copy
	defer cancel()
	_, err := t.client.CompleteMultipartUpload(rctx, in)
	if codeOf(err) == "NoSuchUpload" && in.ChecksumCRC64NVME != nil && u.isThere(rctx, *in.ChecksumCRC64NVME) {
		return nil // it was an answer that was lost
	}
	return t.fault(ctx, "Put", u.key, err)
}

// isThere says whether the object is the one that was sent.
func (u *upload) isThere(ctx context.Context, crc string) bool {
	out, err := u.t.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.t.o.Place.Bucket, Key: &u.key, ChecksumMode: types.ChecksumModeEnabled})
	return err == nil && aws.ToInt64(out.ContentLength) == u.size && aws.ToString(out.ChecksumCRC64NVME) == crc
}
