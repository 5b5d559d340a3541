package command

import (
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

func createVolume(t *Tx, c *o3v1.CreateVolumeRequest) (*o3v1.CreateVolumeResponse, error) {
	if err := ns.CheckBucketName("volume", c.Volume); err != nil {
		return nil, err
	}
	if v, err := t.volume(c.Volume); err == nil {
		return nil, errs.New(errs.VolumeExists, c.Volume, "owned by "+v.row.Owner)
	} else if errs.KindOf(err) != errs.NoSuchVolume {
		return nil, err
	}
	id, err := t.newID()
	if err != nil {
		return nil, err
	}
	row := &schemapb.Volume{
		ObjectId: uint64(id), Since: uint64(t.op), Owner: orElse(c.Owner, t.principal),
		CreatedMs: t.now, ModifiedMs: t.now,
		QuotaBytes: c.QuotaBytes, QuotaNames: c.QuotaNames, Grants: c.Grants,
	}
	t.wrote()
	t.volumes[c.Volume] = &volumeState{name: c.Volume, row: row, dirty: true}
	return &o3v1.CreateVolumeResponse{Volume: VolumeInfo(c.Volume, row)}, nil
}

func updateVolume(t *Tx, c *o3v1.UpdateVolumeRequest) (*o3v1.UpdateVolumeResponse, error) {
	v, err := t.volume(c.Volume)
	if err != nil {
		return nil, err
	}
	row := v.row
	if c.Owner != nil {
		row.Owner = *c.Owner
	}
	if c.QuotaBytes != nil {
		row.QuotaBytes = *c.QuotaBytes
	}
	if c.QuotaNames != nil {
		row.QuotaNames = *c.QuotaNames
	}
	if c.SetGrants {
		row.Grants = c.Grants
	}
	row.ModifiedMs, row.Since = t.now, uint64(t.op)
	v.dirty = true
	t.wrote()
	return &o3v1.UpdateVolumeResponse{Volume: VolumeInfo(c.Volume, row)}, nil
}

func deleteVolume(t *Tx, c *o3v1.DeleteVolumeRequest) (*o3v1.DeleteVolumeResponse, error) {
	v, err := t.volume(c.Volume)
	if err != nil {
		return nil, err
	}
	if v.row.Buckets > 0 {
		return nil, errs.New(errs.NotEmpty, c.Volume, fmt.Sprintf("the volume has %d buckets", v.row.Buckets))
	}
	if c.Volume == ns.S3Volume {
		return nil, errs.New(errs.Denied, c.Volume, "S3 clients need this volume")
	}
	delete(t.volumes, c.Volume)
	t.wrote()
	return &o3v1.DeleteVolumeResponse{}, schema.Volumes.Delete(t.w, c.Volume)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
