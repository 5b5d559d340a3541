// Package s3 is the S3 API of the store: it decodes requests, checks their
// signatures, calls the namespace and the block store, and encodes answers.
//
// The API is a table (routes.go): the router, the labels of metrics, the
// refusal of what is not implemented and docs/s3.md derive from it. A Gateway
// is an http.Handler; it starts no goroutine of its own, keeps nothing between
// requests but pooled buffers, and works for as long as the request's context
// lives, so that a client that leaves cancels its work. Draining is the
// business of the http.Server around it.
//
// It guarantees: a key is committed only after all its bytes were received,
// matched every length, digest and signature the client gave, and are durable;
// bytes read back are verified by the block store before they are sent, and an
// answer that cannot be completed is cut off, never padded; what a request asks
// for and the table does not implement is refused by name, never ignored.
package s3

import (
	"context"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
)

// Namespace is what the gateway needs of the OM: the methods have the shape of
// the generated handler, so that an OM in this process and a client of a remote
// one both fit. The principal travels in the context (package access); errors
// carry a kind (package errs). It must be safe for concurrent use.
type Namespace interface {
	CreateBucket(context.Context, *o3v1.CreateBucketRequest) (*o3v1.CreateBucketResponse, error)
	GetBucket(context.Context, *o3v1.GetBucketRequest) (*o3v1.GetBucketResponse, error)
	ListBuckets(context.Context, *o3v1.ListBucketsRequest) (*o3v1.ListBucketsResponse, error)
	UpdateBucket(context.Context, *o3v1.UpdateBucketRequest) (*o3v1.UpdateBucketResponse, error)
	DeleteBucket(context.Context, *o3v1.DeleteBucketRequest) (*o3v1.DeleteBucketResponse, error)
	SetLifecycle(context.Context, *o3v1.SetLifecycleRequest) (*o3v1.SetLifecycleResponse, error)
	GetLifecycle(context.Context, *o3v1.GetLifecycleRequest) (*o3v1.GetLifecycleResponse, error)
	DeleteLifecycle(context.Context, *o3v1.DeleteLifecycleRequest) (*o3v1.DeleteLifecycleResponse, error)

	OpenKey(context.Context, *o3v1.OpenKeyRequest) (*o3v1.OpenKeyResponse, error)
	CommitKey(context.Context, *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error)
	AbandonKey(context.Context, *o3v1.AbandonKeyRequest) (*o3v1.AbandonKeyResponse, error)
	GetKey(context.Context, *o3v1.GetKeyRequest) (*o3v1.GetKeyResponse, error)
	ListKeys(context.Context, *o3v1.ListKeysRequest) (*o3v1.ListKeysResponse, error)
	DeleteKeys(context.Context, *o3v1.DeleteKeysRequest) (*o3v1.DeleteKeysResponse, error)
	CopyKey(context.Context, *o3v1.CopyKeyRequest) (*o3v1.CopyKeyResponse, error)
	UpdateKey(context.Context, *o3v1.UpdateKeyRequest) (*o3v1.UpdateKeyResponse, error)

	CreateUpload(context.Context, *o3v1.CreateUploadRequest) (*o3v1.CreateUploadResponse, error)
	CommitPart(context.Context, *o3v1.CommitPartRequest) (*o3v1.CommitPartResponse, error)
	CopyPart(context.Context, *o3v1.CopyPartRequest) (*o3v1.CopyPartResponse, error)
	GetUpload(context.Context, *o3v1.GetUploadRequest) (*o3v1.GetUploadResponse, error)
	ListUploads(context.Context, *o3v1.ListUploadsRequest) (*o3v1.ListUploadsResponse, error)
	ListParts(context.Context, *o3v1.ListPartsRequest) (*o3v1.ListPartsResponse, error)
	CompleteUpload(context.Context, *o3v1.CompleteUploadRequest) (*o3v1.CompleteUploadResponse, error)
	AbortUpload(context.Context, *o3v1.AbortUploadRequest) (*o3v1.AbortUploadResponse, error)
}

// Credentials knows the access keys. Secret returns the secret of a key and the
// principal that signs with it; kind NoSuchPrincipal for a key that does not
// exist, is revoked, or whose user is disabled. It must be safe for concurrent
// use and fast: it is asked once per signed request.
type Credentials interface {
	Secret(ctx context.Context, accessKeyID string) (secret string, p access.Principal, err error)
}
