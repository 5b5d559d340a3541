package xmlapi

import "time"

// Checksum is the checksum of an object or a part.
type Checksum struct {
	Algorithm string // CRC32, CRC32C, CRC64NVME, SHA1, SHA256
	Value     string // base64, with "-parts" for a composite one
}

func appendChecksums(b []byte, sums []Checksum) []byte {
	for _, s := range sums {
		b = text(b, "Checksum"+s.Algorithm, s.Value)
	}
	return b
}

// InitiateMultipartUpload is InitiateMultipartUploadResult.
type InitiateMultipartUpload struct{ Bucket, Key, UploadID string }

// AppendXML implements Document.
func (u *InitiateMultipartUpload) AppendXML(b []byte) []byte {
	b = begin(b, "InitiateMultipartUploadResult")
	b = text(b, "Bucket", u.Bucket)
	b = text(b, "Key", u.Key)
	b = text(b, "UploadId", u.UploadID)
	return shut(b, "InitiateMultipartUploadResult")
}

// CompletedUpload is CompleteMultipartUploadResult.
type CompletedUpload struct {
	Location     string
	Bucket       string
	Key          string
	ETag         string // without quotes
	Checksums    []Checksum
	ChecksumType string
}

// AppendXML implements Document.
func (u *CompletedUpload) AppendXML(b []byte) []byte {
	b = begin(b, "CompleteMultipartUploadResult")
	b = text(b, "Location", u.Location)
	b = text(b, "Bucket", u.Bucket)
	b = text(b, "Key", u.Key)
	b = etag(b, u.ETag)
	b = appendChecksums(b, u.Checksums)
	b = optional(b, "ChecksumType", u.ChecksumType)
	return shut(b, "CompleteMultipartUploadResult")
}

// Upload is an entry of ListUploads.
type Upload struct {
	Key               string
	UploadID          string
	Initiator         Owner
	Owner             Owner
	StorageClass      string // "" means STANDARD
	Initiated         time.Time
	ChecksumAlgorithm string
	ChecksumType      string
}

// ListUploads is ListMultipartUploadsResult.
type ListUploads struct {
	Bucket             string
	KeyMarker          string
	UploadIDMarker     string
	NextKeyMarker      string
	NextUploadIDMarker string
	Prefix             string
	Delimiter          string
	EncodingType       string
	MaxUploads         int
	IsTruncated        bool
	Uploads            []Upload
	CommonPrefixes     []string
}

// AppendXML implements Document.
func (l *ListUploads) AppendXML(b []byte) []byte {
	n := encodedBy(l.EncodingType)
	b = begin(b, "ListMultipartUploadsResult")
	b = text(b, "Bucket", l.Bucket)
	b = n.text(b, "KeyMarker", l.KeyMarker)
	b = text(b, "UploadIdMarker", l.UploadIDMarker)
	b = n.optional(b, "NextKeyMarker", l.NextKeyMarker)
	b = optional(b, "NextUploadIdMarker", l.NextUploadIDMarker)
	b = n.text(b, "Prefix", l.Prefix)
	b = n.optional(b, "Delimiter", l.Delimiter)
	b = optional(b, "EncodingType", l.EncodingType)
	b = number(b, "MaxUploads", int64(l.MaxUploads))
	b = boolean(b, "IsTruncated", l.IsTruncated)
	for _, u := range l.Uploads {
		b = open(b, "Upload")
		b = n.text(b, "Key", u.Key)
		b = text(b, "UploadId", u.UploadID)
		b = u.Initiator.append(b, "Initiator")
		b = u.Owner.append(b, "Owner")
		b = storageClass(b, u.StorageClass)
		b = instant(b, "Initiated", u.Initiated)
		b = optional(b, "ChecksumAlgorithm", u.ChecksumAlgorithm)
		b = optional(b, "ChecksumType", u.ChecksumType)
		b = shut(b, "Upload")
	}
	b = n.prefixes(b, l.CommonPrefixes)
	return shut(b, "ListMultipartUploadsResult")
}

// Part is an entry of ListParts.
type Part struct {
	Number       int
	LastModified time.Time
	ETag         string // without quotes
	Size         int64
	Checksums    []Checksum
}

// ListParts is ListPartsResult.
type ListParts struct {
	Bucket            string
	Key               string
	UploadID          string
	Initiator         Owner
	Owner             Owner
	StorageClass      string // "" means STANDARD
	PartNumberMarker  int
	NextMarker        int // the last part of this page; shown when not zero
	MaxParts          int
	IsTruncated       bool
	EncodingType      string
	ChecksumAlgorithm string
	ChecksumType      string
	Parts             []Part
}

// AppendXML implements Document.
func (l *ListParts) AppendXML(b []byte) []byte {
	b = begin(b, "ListPartsResult")
	b = text(b, "Bucket", l.Bucket)
	b = encodedBy(l.EncodingType).text(b, "Key", l.Key)
	b = text(b, "UploadId", l.UploadID)
	b = l.Initiator.append(b, "Initiator")
	b = l.Owner.append(b, "Owner")
	b = storageClass(b, l.StorageClass)
	b = number(b, "PartNumberMarker", int64(l.PartNumberMarker))
	if l.NextMarker != 0 {
		b = number(b, "NextPartNumberMarker", int64(l.NextMarker))
	}
	b = number(b, "MaxParts", int64(l.MaxParts))
	b = optional(b, "EncodingType", l.EncodingType)
	b = boolean(b, "IsTruncated", l.IsTruncated)
	b = optional(b, "ChecksumAlgorithm", l.ChecksumAlgorithm)
	b = optional(b, "ChecksumType", l.ChecksumType)
	for _, p := range l.Parts {
		b = open(b, "Part")
		b = number(b, "PartNumber", int64(p.Number))
		b = instant(b, "LastModified", p.LastModified)
		b = etag(b, p.ETag)
		b = number(b, "Size", p.Size)
		b = appendChecksums(b, p.Checksums)
		b = shut(b, "Part")
	}
	return shut(b, "ListPartsResult")
}

// Copied is CopyObjectResult, or CopyPartResult.
type Copied struct {
	Part         bool // of UploadPartCopy
	LastModified time.Time
	ETag         string // without quotes
	Checksums    []Checksum
	ChecksumType string
}

// AppendXML implements Document.
func (c *Copied) AppendXML(b []byte) []byte {
	root := "CopyObjectResult"
	if c.Part {
		root = "CopyPartResult"
	}
	b = begin(b, root)
	b = instant(b, "LastModified", c.LastModified)
	b = etag(b, c.ETag)
	b = appendChecksums(b, c.Checksums)
	b = optional(b, "ChecksumType", c.ChecksumType)
	return shut(b, root)
}
