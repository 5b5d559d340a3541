package client

import (
	"context"

	o3v1 "o3/api/o3/v1"
	"o3/api/o3/v1/o3v1connect"
)

// The methods of the namespace API. Fields and limits stand with the messages;
// a write is stamped here unless its request has a stamp.

// CreateVolume creates a volume. Admins only.
func (c *Client) CreateVolume(ctx context.Context, req *o3v1.CreateVolumeRequest) (*o3v1.CreateVolumeResponse, error) {
	return write(ctx, c, "CreateVolume", req, o3v1connect.OMClient.CreateVolume)
}

// GetVolume returns a volume.
func (c *Client) GetVolume(ctx context.Context, req *o3v1.GetVolumeRequest) (*o3v1.GetVolumeResponse, error) {
	return read(ctx, c, "GetVolume", req, o3v1connect.OMClient.GetVolume)
}

// ListVolumes returns a page of the volumes in byte order of their names; see Volumes.
func (c *Client) ListVolumes(ctx context.Context, req *o3v1.ListVolumesRequest) (*o3v1.ListVolumesResponse, error) {
	return read(ctx, c, "ListVolumes", req, o3v1connect.OMClient.ListVolumes)
}

// UpdateVolume changes owner, quotas or grants of a volume.
func (c *Client) UpdateVolume(ctx context.Context, req *o3v1.UpdateVolumeRequest) (*o3v1.UpdateVolumeResponse, error) {
	return write(ctx, c, "UpdateVolume", req, o3v1connect.OMClient.UpdateVolume)
}

// DeleteVolume deletes a volume that holds no bucket.
func (c *Client) DeleteVolume(ctx context.Context, req *o3v1.DeleteVolumeRequest) (*o3v1.DeleteVolumeResponse, error) {
	return write(ctx, c, "DeleteVolume", req, o3v1connect.OMClient.DeleteVolume)
}

// CreateBucket creates a bucket.
func (c *Client) CreateBucket(ctx context.Context, req *o3v1.CreateBucketRequest) (*o3v1.CreateBucketResponse, error) {
	return write(ctx, c, "CreateBucket", req, o3v1connect.OMClient.CreateBucket)
}

// GetBucket returns a bucket with its usage.
func (c *Client) GetBucket(ctx context.Context, req *o3v1.GetBucketRequest) (*o3v1.GetBucketResponse, error) {
	return read(ctx, c, "GetBucket", req, o3v1connect.OMClient.GetBucket)
}

// ListBuckets returns a page of a volume's buckets in byte order of their names; see Buckets.
func (c *Client) ListBuckets(ctx context.Context, req *o3v1.ListBucketsRequest) (*o3v1.ListBucketsResponse, error) {
	return read(ctx, c, "ListBuckets", req, o3v1connect.OMClient.ListBuckets)
}

// UpdateBucket changes owner, quotas, grants or tags of a bucket.
func (c *Client) UpdateBucket(ctx context.Context, req *o3v1.UpdateBucketRequest) (*o3v1.UpdateBucketResponse, error) {
	return write(ctx, c, "UpdateBucket", req, o3v1connect.OMClient.UpdateBucket)
}

// DeleteBucket deletes an empty bucket.
func (c *Client) DeleteBucket(ctx context.Context, req *o3v1.DeleteBucketRequest) (*o3v1.DeleteBucketResponse, error) {
	return write(ctx, c, "DeleteBucket", req, o3v1connect.OMClient.DeleteBucket)
}

// OpenKey notes that a large key is being written.
func (c *Client) OpenKey(ctx context.Context, req *o3v1.OpenKeyRequest) (*o3v1.OpenKeyResponse, error) {
	return write(ctx, c, "OpenKey", req, o3v1connect.OMClient.OpenKey)
}

// CommitKey publishes a key whose bytes are stored already or travel along.
func (c *Client) CommitKey(ctx context.Context, req *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error) {
	return write(ctx, c, "CommitKey", req, o3v1connect.OMClient.CommitKey)
}

// AbandonKey takes back an OpenKey.
func (c *Client) AbandonKey(ctx context.Context, req *o3v1.AbandonKeyRequest) (*o3v1.AbandonKeyResponse, error) {
	return write(ctx, c, "AbandonKey", req, o3v1connect.OMClient.AbandonKey)
}

// GetKey returns what is known of a key; Get reads its bytes.
func (c *Client) GetKey(ctx context.Context, req *o3v1.GetKeyRequest) (*o3v1.GetKeyResponse, error) {
	return read(ctx, c, "GetKey", req, o3v1connect.OMClient.GetKey)
}

// ListKeys returns a page of a bucket's keys; see Keys.
func (c *Client) ListKeys(ctx context.Context, req *o3v1.ListKeysRequest) (*o3v1.ListKeysResponse, error) {
	return read(ctx, c, "ListKeys", req, o3v1connect.OMClient.ListKeys)
}

// DeleteKeys deletes up to 1,000 keys; each has a result of its own.
func (c *Client) DeleteKeys(ctx context.Context, req *o3v1.DeleteKeysRequest) (*o3v1.DeleteKeysResponse, error) {
	return write(ctx, c, "DeleteKeys", req, o3v1connect.OMClient.DeleteKeys)
}

// RenameKey moves a key or directory within its bucket.
func (c *Client) RenameKey(ctx context.Context, req *o3v1.RenameKeyRequest) (*o3v1.RenameKeyResponse, error) {
	return write(ctx, c, "RenameKey", req, o3v1connect.OMClient.RenameKey)
}

// CopyKey makes a key that shares the bytes of another.
func (c *Client) CopyKey(ctx context.Context, req *o3v1.CopyKeyRequest) (*o3v1.CopyKeyResponse, error) {
	return write(ctx, c, "CopyKey", req, o3v1connect.OMClient.CopyKey)
}

// UpdateKey changes tags, grants, owner or headers of a key.
func (c *Client) UpdateKey(ctx context.Context, req *o3v1.UpdateKeyRequest) (*o3v1.UpdateKeyResponse, error) {
	return write(ctx, c, "UpdateKey", req, o3v1connect.OMClient.UpdateKey)
}

// CreateDirectory creates a directory and those above it.
func (c *Client) CreateDirectory(ctx context.Context, req *o3v1.CreateDirectoryRequest) (*o3v1.CreateDirectoryResponse, error) {
	return write(ctx, c, "CreateDirectory", req, o3v1connect.OMClient.CreateDirectory)
}

// CreateUpload begins a multipart upload.
func (c *Client) CreateUpload(ctx context.Context, req *o3v1.CreateUploadRequest) (*o3v1.CreateUploadResponse, error) {
	return write(ctx, c, "CreateUpload", req, o3v1connect.OMClient.CreateUpload)
}

// CommitPart publishes a part of an upload.
func (c *Client) CommitPart(ctx context.Context, req *o3v1.CommitPartRequest) (*o3v1.CommitPartResponse, error) {
	return write(ctx, c, "CommitPart", req, o3v1connect.OMClient.CommitPart)
}

// CopyPart makes a part that shares the bytes of a key.
func (c *Client) CopyPart(ctx context.Context, req *o3v1.CopyPartRequest) (*o3v1.CopyPartResponse, error) {
	return write(ctx, c, "CopyPart", req, o3v1connect.OMClient.CopyPart)
}

// GetUpload returns an unfinished upload.
func (c *Client) GetUpload(ctx context.Context, req *o3v1.GetUploadRequest) (*o3v1.GetUploadResponse, error) {
	return read(ctx, c, "GetUpload", req, o3v1connect.OMClient.GetUpload)
}

// ListUploads returns a page of the unfinished uploads; see Uploads.
func (c *Client) ListUploads(ctx context.Context, req *o3v1.ListUploadsRequest) (*o3v1.ListUploadsResponse, error) {
	return read(ctx, c, "ListUploads", req, o3v1connect.OMClient.ListUploads)
}

// ListParts returns a page of the parts of an upload; see Parts.
func (c *Client) ListParts(ctx context.Context, req *o3v1.ListPartsRequest) (*o3v1.ListPartsResponse, error) {
	return read(ctx, c, "ListParts", req, o3v1connect.OMClient.ListParts)
}

// CompleteUpload makes a key of the parts of an upload.
func (c *Client) CompleteUpload(ctx context.Context, req *o3v1.CompleteUploadRequest) (*o3v1.CompleteUploadResponse, error) {
	return write(ctx, c, "CompleteUpload", req, o3v1connect.OMClient.CompleteUpload)
}

// AbortUpload drops an upload and its parts.
func (c *Client) AbortUpload(ctx context.Context, req *o3v1.AbortUploadRequest) (*o3v1.AbortUploadResponse, error) {
	return write(ctx, c, "AbortUpload", req, o3v1connect.OMClient.AbortUpload)
}

// SetLifecycle gives a bucket a lifecycle configuration in the place of any it has.
func (c *Client) SetLifecycle(ctx context.Context, req *o3v1.SetLifecycleRequest) (*o3v1.SetLifecycleResponse, error) {
	return write(ctx, c, "SetLifecycle", req, o3v1connect.OMClient.SetLifecycle)
}

// GetLifecycle returns the lifecycle configuration of a bucket. Kind
// NoSuchConfiguration: it has none.
func (c *Client) GetLifecycle(ctx context.Context, req *o3v1.GetLifecycleRequest) (*o3v1.GetLifecycleResponse, error) {
	return read(ctx, c, "GetLifecycle", req, o3v1connect.OMClient.GetLifecycle)
}

// DeleteLifecycle takes the lifecycle configuration of a bucket away, if it has one.
func (c *Client) DeleteLifecycle(ctx context.Context, req *o3v1.DeleteLifecycleRequest) (*o3v1.DeleteLifecycleResponse, error) {
	return write(ctx, c, "DeleteLifecycle", req, o3v1connect.OMClient.DeleteLifecycle)
}

// LifecycleStatus returns a page of where lifecycle scans stand; see LifecycleStates.
func (c *Client) LifecycleStatus(ctx context.Context, req *o3v1.LifecycleStatusRequest) (*o3v1.LifecycleStatusResponse, error) {
	return read(ctx, c, "LifecycleStatus", req, o3v1connect.OMClient.LifecycleStatus)
}

// PreviewLifecycle returns a part of what a lifecycle scan would do; see Preview.
func (c *Client) PreviewLifecycle(ctx context.Context, req *o3v1.PreviewLifecycleRequest) (*o3v1.PreviewLifecycleResponse, error) {
	return read(ctx, c, "PreviewLifecycle", req, o3v1connect.OMClient.PreviewLifecycle)
}

// SuspendLifecycle stops the lifecycle scans of a bucket, or of all for admins.
func (c *Client) SuspendLifecycle(ctx context.Context, req *o3v1.SuspendLifecycleRequest) (*o3v1.SuspendLifecycleResponse, error) {
	return read(ctx, c, "SuspendLifecycle", req, o3v1connect.OMClient.SuspendLifecycle)
}

// ResumeLifecycle lets them go on from where they stand.
func (c *Client) ResumeLifecycle(ctx context.Context, req *o3v1.ResumeLifecycleRequest) (*o3v1.ResumeLifecycleResponse, error) {
	return read(ctx, c, "ResumeLifecycle", req, o3v1connect.OMClient.ResumeLifecycle)
}

// RunLifecycle begins a lifecycle scan of a bucket now instead of when it is due.
func (c *Client) RunLifecycle(ctx context.Context, req *o3v1.RunLifecycleRequest) (*o3v1.RunLifecycleResponse, error) {
	return read(ctx, c, "RunLifecycle", req, o3v1connect.OMClient.RunLifecycle)
}

// CreateUser creates a user. Admins only.
func (c *Client) CreateUser(ctx context.Context, req *o3v1.CreateUserRequest) (*o3v1.CreateUserResponse, error) {
	return write(ctx, c, "CreateUser", req, o3v1connect.OMClient.CreateUser)
}

// ListUsers returns a page of the users; see Users.
func (c *Client) ListUsers(ctx context.Context, req *o3v1.ListUsersRequest) (*o3v1.ListUsersResponse, error) {
	return read(ctx, c, "ListUsers", req, o3v1connect.OMClient.ListUsers)
}

// UpdateUser changes the role of a user, or disables or enables it.
func (c *Client) UpdateUser(ctx context.Context, req *o3v1.UpdateUserRequest) (*o3v1.UpdateUserResponse, error) {
	return write(ctx, c, "UpdateUser", req, o3v1connect.OMClient.UpdateUser)
}

// DeleteUser deletes a user and its access keys.
func (c *Client) DeleteUser(ctx context.Context, req *o3v1.DeleteUserRequest) (*o3v1.DeleteUserResponse, error) {
	return write(ctx, c, "DeleteUser", req, o3v1connect.OMClient.DeleteUser)
}

// CreateAccessKey creates an access key, or gives an existing one a new secret. The answer alone holds the secret.
func (c *Client) CreateAccessKey(ctx context.Context, req *o3v1.CreateAccessKeyRequest) (*o3v1.CreateAccessKeyResponse, error) {
	return write(ctx, c, "CreateAccessKey", req, o3v1connect.OMClient.CreateAccessKey)
}

// ListAccessKeys returns a page of the access keys; see AccessKeys.
func (c *Client) ListAccessKeys(ctx context.Context, req *o3v1.ListAccessKeysRequest) (*o3v1.ListAccessKeysResponse, error) {
	return read(ctx, c, "ListAccessKeys", req, o3v1connect.OMClient.ListAccessKeys)
}

// RevokeAccessKey makes an access key useless for good.
func (c *Client) RevokeAccessKey(ctx context.Context, req *o3v1.RevokeAccessKeyRequest) (*o3v1.RevokeAccessKeyResponse, error) {
	return write(ctx, c, "RevokeAccessKey", req, o3v1connect.OMClient.RevokeAccessKey)
}

// Status returns the state of the node that answers.
func (c *Client) Status(ctx context.Context, req *o3v1.StatusRequest) (*o3v1.StatusResponse, error) {
	return read(ctx, c, "Status", req, o3v1connect.OMClient.Status)
}

// BlockStatus returns the state of the node's block store.
func (c *Client) BlockStatus(ctx context.Context, req *o3v1.BlockStatusRequest) (*o3v1.BlockStatusResponse, error) {
	return read(ctx, c, "BlockStatus", req, o3v1connect.OMClient.BlockStatus)
}

// StartScrub starts a check of every block of the node's store; one that runs goes on.
func (c *Client) StartScrub(ctx context.Context, req *o3v1.StartScrubRequest) (*o3v1.StartScrubResponse, error) {
	return read(ctx, c, "StartScrub", req, o3v1connect.OMClient.StartScrub)
}

// CreateSnapshot makes a snapshot of a bucket.
func (c *Client) CreateSnapshot(ctx context.Context, req *o3v1.CreateSnapshotRequest) (*o3v1.CreateSnapshotResponse, error) {
	return write(ctx, c, "CreateSnapshot", req, o3v1connect.OMClient.CreateSnapshot)
}

// GetSnapshot describes a live snapshot.
func (c *Client) GetSnapshot(ctx context.Context, req *o3v1.GetSnapshotRequest) (*o3v1.GetSnapshotResponse, error) {
	return read(ctx, c, "GetSnapshot", req, o3v1connect.OMClient.GetSnapshot)
}

// ListSnapshots returns a page of a bucket's snapshots; see Snapshots.
func (c *Client) ListSnapshots(ctx context.Context, req *o3v1.ListSnapshotsRequest) (*o3v1.ListSnapshotsResponse, error) {
	return read(ctx, c, "ListSnapshots", req, o3v1connect.OMClient.ListSnapshots)
}

// RenameSnapshot gives a snapshot another name.
func (c *Client) RenameSnapshot(ctx context.Context, req *o3v1.RenameSnapshotRequest) (*o3v1.RenameSnapshotResponse, error) {
	return write(ctx, c, "RenameSnapshot", req, o3v1connect.OMClient.RenameSnapshot)
}

// DeleteSnapshot deletes a snapshot.
func (c *Client) DeleteSnapshot(ctx context.Context, req *o3v1.DeleteSnapshotRequest) (*o3v1.DeleteSnapshotResponse, error) {
	return write(ctx, c, "DeleteSnapshot", req, o3v1connect.OMClient.DeleteSnapshot)
}

// RestoreSnapshot restores one page of a key, a prefix or a bucket; see Restore.
// A page may be asked for again: what is restored already stays.
func (c *Client) RestoreSnapshot(ctx context.Context, req *o3v1.RestoreSnapshotRequest) (*o3v1.RestoreSnapshotResponse, error) {
	return read(ctx, c, "RestoreSnapshot", req, o3v1connect.OMClient.RestoreSnapshot)
}

// SubmitDiff asks for the difference of two snapshots.
func (c *Client) SubmitDiff(ctx context.Context, req *o3v1.SubmitDiffRequest) (*o3v1.SubmitDiffResponse, error) {
	return read(ctx, c, "SubmitDiff", req, o3v1connect.OMClient.SubmitDiff)
}

// GetDiff tells where a diff stands and returns a page of its report; see DiffEntries.
func (c *Client) GetDiff(ctx context.Context, req *o3v1.GetDiffRequest) (*o3v1.GetDiffResponse, error) {
	return read(ctx, c, "GetDiff", req, o3v1connect.OMClient.GetDiff)
}

// CancelDiff stops a diff.
func (c *Client) CancelDiff(ctx context.Context, req *o3v1.CancelDiffRequest) (*o3v1.CancelDiffResponse, error) {
	return read(ctx, c, "CancelDiff", req, o3v1connect.OMClient.CancelDiff)
}

// ListDiffs returns a page of a bucket's diffs; see Diffs.
func (c *Client) ListDiffs(ctx context.Context, req *o3v1.ListDiffsRequest) (*o3v1.ListDiffsResponse, error) {
	return read(ctx, c, "ListDiffs", req, o3v1connect.OMClient.ListDiffs)
}

// ForgetDiff drops a diff that is over, and its report.
func (c *Client) ForgetDiff(ctx context.Context, req *o3v1.ForgetDiffRequest) (*o3v1.ForgetDiffResponse, error) {
	return read(ctx, c, "ForgetDiff", req, o3v1connect.OMClient.ForgetDiff)
}

// CreateImage makes an image of the node, or tells with which ticket to ask again.
func (c *Client) CreateImage(ctx context.Context, req *o3v1.CreateImageRequest) (*o3v1.CreateImageResponse, error) {
	return read(ctx, c, "CreateImage", req, o3v1connect.OMClient.CreateImage)
}

// ListImages returns the images of the node, the newest first.
func (c *Client) ListImages(ctx context.Context, req *o3v1.ListImagesRequest) (*o3v1.ListImagesResponse, error) {
	return read(ctx, c, "ListImages", req, o3v1connect.OMClient.ListImages)
}

// DeleteImage removes an image of the node.
func (c *Client) DeleteImage(ctx context.Context, req *o3v1.DeleteImageRequest) (*o3v1.DeleteImageResponse, error) {
	return read(ctx, c, "DeleteImage", req, o3v1connect.OMClient.DeleteImage)
}

// ExportImage begins to export a new image to a directory of the node's machine. With
// an ExportId it is safe to repeat.
func (c *Client) ExportImage(ctx context.Context, req *o3v1.ExportImageRequest) (*o3v1.ExportImageResponse, error) {
	return read(ctx, c, "ExportImage", req, o3v1connect.OMClient.ExportImage)
}

// GetExport tells where an export stands.
func (c *Client) GetExport(ctx context.Context, req *o3v1.GetExportRequest) (*o3v1.GetExportResponse, error) {
	return read(ctx, c, "GetExport", req, o3v1connect.OMClient.GetExport)
}

// CancelExport stops an export.
func (c *Client) CancelExport(ctx context.Context, req *o3v1.CancelExportRequest) (*o3v1.CancelExportResponse, error) {
	return read(ctx, c, "CancelExport", req, o3v1connect.OMClient.CancelExport)
}
