package xmlapi

import "time"

// Owner is a principal as S3 shows it.
type Owner struct {
	ID          string
	DisplayName string
}

func (o Owner) append(b []byte, element string) []byte {
	b = open(b, element)
	b = text(b, "ID", o.ID)
	b = optional(b, "DisplayName", o.DisplayName)
	return shut(b, element)
}

// Bucket is an entry of ListBuckets.
type Bucket struct {
	Name    string
	Created time.Time
	Region  string // shown when not empty
}

// ListBuckets is ListAllMyBucketsResult.
type ListBuckets struct {
	Owner             Owner
	Buckets           []Bucket
	Prefix            string // of the request; shown when not empty
	ContinuationToken string // of the next page; empty on the last
}

// AppendXML implements Document.
func (l *ListBuckets) AppendXML(b []byte) []byte {
	b = begin(b, "ListAllMyBucketsResult")
	b = l.Owner.append(b, "Owner")
	b = open(b, "Buckets")
	for _, k := range l.Buckets {
		b = open(b, "Bucket")
		b = text(b, "Name", k.Name)
		b = instant(b, "CreationDate", k.Created)
		b = optional(b, "BucketRegion", k.Region)
		b = shut(b, "Bucket")
	}
	b = shut(b, "Buckets")
	b = optional(b, "Prefix", l.Prefix)
	b = optional(b, "ContinuationToken", l.ContinuationToken)
	return shut(b, "ListAllMyBucketsResult")
}

// Object is an entry of a listing of keys.
type Object struct {
	Key               string
	LastModified      time.Time
	ETag              string // without quotes
	Size              int64
	StorageClass      string // "" means STANDARD
	Owner             *Owner // nil where the client did not ask
	ChecksumAlgorithm string // CRC32, …; "" for none
	ChecksumType      string // COMPOSITE, FULL_OBJECT; "" for none
}

// append appends the fields of o, without the enclosing element. version is
// called after Key, where versions have theirs.
func (o *Object) append(b []byte, n names, version func([]byte) []byte) []byte {
	b = n.text(b, "Key", o.Key)
	if version != nil {
		b = version(b)
	}
	b = instant(b, "LastModified", o.LastModified)
	b = etag(b, o.ETag)
	b = optional(b, "ChecksumAlgorithm", o.ChecksumAlgorithm)
	b = optional(b, "ChecksumType", o.ChecksumType)
	b = number(b, "Size", o.Size)
	if o.Owner != nil {
		b = o.Owner.append(b, "Owner")
	}
	return storageClass(b, o.StorageClass)
}

func storageClass(b []byte, class string) []byte {
	if class == "" {
		class = "STANDARD"
	}
	return text(b, "StorageClass", class)
}

func contents(b []byte, n names, objects []Object) []byte {
	for i := range objects {
		b = append(b, "<Contents>"...)
		b = objects[i].append(b, n, nil)
		b = append(b, "</Contents>"...)
	}
	return b
}

// ListObjects is ListBucketResult of ListObjects (version 1).
type ListObjects struct {
	Name           string
	Prefix         string
	Marker         string
	NextMarker     string // shown when not empty
	MaxKeys        int
	Delimiter      string
	EncodingType   string // "" or "url": of keys, prefixes, delimiter and markers
	IsTruncated    bool
	Contents       []Object
	CommonPrefixes []string
}

// AppendXML implements Document.
func (l *ListObjects) AppendXML(b []byte) []byte {
	n := encodedBy(l.EncodingType)
	b = begin(b, "ListBucketResult")
	b = text(b, "Name", l.Name)
	b = n.text(b, "Prefix", l.Prefix)
	b = n.text(b, "Marker", l.Marker)
	b = n.optional(b, "NextMarker", l.NextMarker)
	b = number(b, "MaxKeys", int64(l.MaxKeys))
	b = n.optional(b, "Delimiter", l.Delimiter)
	b = optional(b, "EncodingType", l.EncodingType)
	b = boolean(b, "IsTruncated", l.IsTruncated)
	b = contents(b, n, l.Contents)
	b = n.prefixes(b, l.CommonPrefixes)
	return shut(b, "ListBucketResult")
}

// ListObjectsV2 is ListBucketResult of ListObjectsV2.
type ListObjectsV2 struct {
	Name                  string
	Prefix                string
	StartAfter            string
	ContinuationToken     string // of the request
	NextContinuationToken string
	KeyCount              int // keys and common prefixes
	MaxKeys               int
	Delimiter             string
	EncodingType          string // "" or "url": of keys, prefixes, delimiter and StartAfter
	IsTruncated           bool
	Contents              []Object
	CommonPrefixes        []string
}

// AppendXML implements Document.
func (l *ListObjectsV2) AppendXML(b []byte) []byte {
	n := encodedBy(l.EncodingType)
	b = begin(b, "ListBucketResult")
	b = text(b, "Name", l.Name)
	b = n.text(b, "Prefix", l.Prefix)
	b = n.optional(b, "StartAfter", l.StartAfter)
	b = optional(b, "ContinuationToken", l.ContinuationToken)
	b = optional(b, "NextContinuationToken", l.NextContinuationToken)
	b = number(b, "KeyCount", int64(l.KeyCount))
	b = number(b, "MaxKeys", int64(l.MaxKeys))
	b = n.optional(b, "Delimiter", l.Delimiter)
	b = optional(b, "EncodingType", l.EncodingType)
	b = boolean(b, "IsTruncated", l.IsTruncated)
	b = contents(b, n, l.Contents)
	b = n.prefixes(b, l.CommonPrefixes)
	return shut(b, "ListBucketResult")
}

// Version is an entry of a listing of versions.
type Version struct {
	Object
	VersionID    string // "null" in a bucket without versions
	IsLatest     bool
	DeleteMarker bool // then ETag, Size, checksums and class are not shown
}

// ListVersions is ListVersionsResult.
type ListVersions struct {
	Name                string
	Prefix              string
	KeyMarker           string
	VersionIDMarker     string
	NextKeyMarker       string
	NextVersionIDMarker string
	MaxKeys             int
	Delimiter           string
	EncodingType        string
	IsTruncated         bool
	Versions            []Version // in the order of the listing
	CommonPrefixes      []string
}

// AppendXML implements Document.
func (l *ListVersions) AppendXML(b []byte) []byte {
	n := encodedBy(l.EncodingType)
	b = begin(b, "ListVersionsResult")
	b = text(b, "Name", l.Name)
	b = n.text(b, "Prefix", l.Prefix)
	b = n.text(b, "KeyMarker", l.KeyMarker)
	b = text(b, "VersionIdMarker", l.VersionIDMarker)
	b = n.optional(b, "NextKeyMarker", l.NextKeyMarker)
	b = optional(b, "NextVersionIdMarker", l.NextVersionIDMarker)
	b = number(b, "MaxKeys", int64(l.MaxKeys))
	b = n.optional(b, "Delimiter", l.Delimiter)
	b = optional(b, "EncodingType", l.EncodingType)
	b = boolean(b, "IsTruncated", l.IsTruncated)
	for i := range l.Versions {
		b = l.Versions[i].append(b, n)
	}
	b = n.prefixes(b, l.CommonPrefixes)
	return shut(b, "ListVersionsResult")
}

func (v *Version) append(b []byte, n names) []byte {
	id := func(b []byte) []byte {
		b = text(b, "VersionId", v.VersionID)
		return boolean(b, "IsLatest", v.IsLatest)
	}
	if !v.DeleteMarker {
		b = open(b, "Version")
		b = v.Object.append(b, n, id)
		return shut(b, "Version")
	}
	b = open(b, "DeleteMarker")
	b = id(n.text(b, "Key", v.Key))
	b = instant(b, "LastModified", v.LastModified)
	if v.Owner != nil {
		b = v.Owner.append(b, "Owner")
	}
	return shut(b, "DeleteMarker")
}
