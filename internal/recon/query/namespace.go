package query

import (
	"o3/internal/recon/generation"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// CountStats counts what is below a path; -1 is what cannot be there.
type CountStats struct {
	NumVolume int64 `json:"numVolume"`
	NumBucket int64 `json:"numBucket"`
	NumDir    int64 `json:"numDir"`
	NumKey    int64 `json:"numKey"`
}

// SummaryResponse answers /namespace/summary.
type SummaryResponse struct {
	Path       string     `json:"path"`
	Type       Type       `json:"type" enum:"ROOT,VOLUME,BUCKET,DIRECTORY,KEY,UNKNOWN"`
	CountStats CountStats `json:"countStats"`
	ObjectInfo ObjectInfo `json:"objectInfo" doc:"null when there is nothing at the path"`
	Status     Status     `json:"status" enum:"OK,PATH_NOT_FOUND"`
}

// Summary says what is at a path and how much is below it.
func Summary(v *generation.View, path string) (SummaryResponse, error) {
	r := SummaryResponse{Path: path, Type: TypeUnknown, CountStats: CountStats{-1, -1, -1, 0}, Status: StatusNotFound}
	p, err := locate(v, path)
	if err != nil || p.kind == TypeUnknown {
		return r, err
	}
	c, err := p.total(v)
	if err != nil {
		return r, err
	}
	r.Path, r.Type, r.Status = p.path, p.kind, StatusOK
	r.CountStats = CountStats{-1, -1, c.Directories, c.Files}
	switch p.kind {
	case TypeRoot:
		r.CountStats.NumVolume, r.CountStats.NumBucket = c.volumes, c.buckets
		r.ObjectInfo = Object{Metadata: map[string]string{}, Name: "/", QuotaInBytes: -1, QuotaInNamespace: -1, UsedNamespace: c.Files + c.Directories, ACLs: []ACL{}}
	case TypeVolume:
		r.CountStats.NumBucket = c.buckets
		r.ObjectInfo = volumeOf(p.volume, p.vol)
	case TypeBucket:
		r.ObjectInfo = bucketOf(p.bucket)
	case TypeDirectory:
		r.ObjectInfo = entryOf(p.bucket, p.entry)
	case TypeKey:
		r.CountStats.NumDir, r.CountStats.NumKey = -1, 0
		r.ObjectInfo = entryOf(p.bucket, p.entry)
	}
	return r, nil
}

// DistResponse answers /namespace/dist.
type DistResponse struct {
	Dist   []int64 `json:"dist" doc:"files by size in 41 bins: up to 1 KiB, up to 2 KiB, … up to 512 TiB, more; empty when status is not OK"`
	Status Status  `json:"status" enum:"OK,PATH_NOT_FOUND,TYPE_NOT_APPLICABLE"`
}

// Dist says how many files of which size are below a path.
func Dist(v *generation.View, path string) (DistResponse, error) {
	r := DistResponse{Dist: []int64{}, Status: StatusNotFound}
	p, err := locate(v, path)
	switch {
	case err != nil || p.kind == TypeUnknown:
		return r, err
	case p.kind == TypeKey:
		r.Status = StatusNotApplicable
		return r, nil
	}
	c, err := p.total(v)
	r.Dist, r.Status = c.Bins[:], StatusOK
	return r, err
}

// QuotaResponse answers /namespace/quota.
type QuotaResponse struct {
	Allowed int64  `json:"allowed" doc:"bytes; -1: no quota; of the root the sum of its volumes', -1 if one has none"`
	Used    int64  `json:"used" doc:"bytes that count in the quota"`
	Status  Status `json:"status" enum:"OK,PATH_NOT_FOUND,TYPE_NOT_APPLICABLE"`
}

// Quota says what a volume or bucket may have and has.
func Quota(v *generation.View, path string) (QuotaResponse, error) {
	r := QuotaResponse{Status: StatusNotFound}
	p, err := locate(v, path)
	if err != nil || p.kind == TypeUnknown {
		return r, err
	}
	r.Status = StatusOK
	switch p.kind {
	case TypeRoot:
		return rootQuota(v)
	case TypeVolume:
		r.Allowed, r.Used = quota(p.vol.QuotaBytes), int64(p.vol.UsedBytes)
	case TypeBucket:
		r.Allowed, r.Used = quota(p.bucket.Row.QuotaBytes), usedBytes(p.bucket.Row)
	default:
		r.Status = StatusNotApplicable
	}
	return r, nil
}

// rootQuota adds up the volumes.
func rootQuota(v *generation.View) (QuotaResponse, error) {
	r := QuotaResponse{Status: StatusOK}
	seen := 0
	lower, upper := schema.Volumes.All()
	err := schema.Volumes.Scan(v.Rows, lower, upper, func(_ string, vol *schemapb.Volume) (bool, error) {
		if seen++; seen > MaxBuckets {
			return false, tooManyBuckets()
		}
		if q := quota(vol.QuotaBytes); q < 0 || r.Allowed < 0 {
			r.Allowed = -1
		} else {
			r.Allowed += q
		}
		r.Used += int64(vol.UsedBytes)
		return true, nil
	})
	if seen == 0 {
		r.Allowed = -1
	}
	return r, err
}
