package web_test

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// rulesOf returns n rules, of which the first on are enabled.
func rulesOf(n, on uint64) *o3v1.LifecycleConfiguration {
	days, c := int32(1), &o3v1.LifecycleConfiguration{}
	for i := range n {
		c.Rules = append(c.Rules, &o3v1.LifecycleRule{
			Id: fmt.Sprintf("%d/rule, of %d", i, n), Enabled: i < on, Filter: &o3v1.LifecycleFilter{}, ExpireDays: &days, AbortDays: &days,
		})
	}
	return c
}

// lifecycle makes the command of a line about a bucket's lifecycle, nil for none.
func (r *rig) lifecycle(verb, volume, bucket, reason string, num func(string) uint64) proto.Message {
	switch verb {
	case "suspend", "resume":
		if volume == "all" {
			volume = ""
		}
		return &commandpb.SuspendLifecycle{Volume: volume, Bucket: bucket, Suspended: verb == "suspend", Reason: reason}
	case "rules":
		return &o3v1.SetLifecycleRequest{Volume: volume, Bucket: bucket, Configuration: rulesOf(num("n"), num("on"))}
	case "unrules":
		return &o3v1.DeleteLifecycleRequest{Volume: volume, Bucket: bucket}
	}
	v := view.New(r.d.Store)
	b, err := v.Bucket(volume, bucket)
	if err != nil {
		return &commandpb.StartLifecycleScan{Scan: &commandpb.LifecycleScan{Volume: volume, Bucket: bucket}} // which will be refused
	}
	state, _, err := v.LifecycleScan(b.ID())
	if err != nil {
		r.t.Fatal(err)
	}
	scan := &commandpb.LifecycleScan{
		Volume: volume, Bucket: bucket, BucketId: uint64(b.ID()), ConfigurationId: b.Row.LifecycleUpdateId, ScanId: state.GetScanID(), Sequence: state.GetSequence(),
	}
	if verb == "scan" {
		return &commandpb.StartLifecycleScan{Scan: scan, EstimatedRows: num("rows")}
	}
	step := &commandpb.LifecycleStep{Scan: scan, ScannedRows: num("rows"), Error: strings.ReplaceAll(reason, "_", " ")}
	rules, ok, err := v.Lifecycle(b.ID())
	if err != nil {
		r.t.Fatal(err)
	}
	if !ok || state == nil || state.LifecycleConfigurationUpdateID != rules.UpdateId {
		return step // which will be refused
	}
	r.fill(v, b, step, state, uint64(len(rules.Rules)), num("n"))
	return step
}

// fill gives a step the next n keys of its scan, or, when there are fewer, all
// uploads, which is its end. Of three keys one is deleted, one is moved to trash
// and one is found changed.
func (r *rig) fill(v view.View, b view.Bucket, step *commandpb.LifecycleStep, state *schemapb.LifecycleScanState, rules, n uint64) {
	step.Phase = schemapb.LifecyclePhase_LIFECYCLE_PHASE_KEYS
	add := func(x *commandpb.LifecycleVictim) {
		x.Rule = uint32((state.ScannedRows + uint64(len(step.Victims))) % rules)
		step.Victims = append(step.Victims, x)
	}
	s, err := v.Scan(b)
	if err != nil {
		r.t.Fatal(err)
	}
	defer s.Close()
	for ok := s.Seek(command.ScanAfter(b.Layout(), state.LastScannedKey)); ok && uint64(len(step.Victims)) < n; ok = s.Next() {
		if s.Left() || s.Row.Directory || strings.HasPrefix(s.Path(), command.TrashPrefix) {
			continue
		}
		x := &commandpb.LifecycleVictim{Action: commandpb.LifecycleAction_LIFECYCLE_ACTION_DELETE, Path: s.Path(), ParentId: uint64(s.Parent), Since: uint64(s.Row.Since)}
		switch len(step.Victims) % 3 {
		case 1:
			x.Action = commandpb.LifecycleAction_LIFECYCLE_ACTION_TRASH
		case 2:
			x.Since--
		}
		step.LastScannedKey, step.LastScannedParent = x.Path, x.ParentId
		add(x)
	}
	if s.Err() != nil {
		r.t.Fatal(s.Err())
	}
	if uint64(len(step.Victims)) == n && n > 0 {
		return
	}
	step.Phase = schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE
	err = v.UploadsFrom(b, "", "", func(u view.UploadRow) (bool, error) {
		add(&commandpb.LifecycleVictim{Action: commandpb.LifecycleAction_LIFECYCLE_ACTION_ABORT, Path: u.Key.Name, UploadId: uint64(u.Key.Upload)})
		step.LastScannedMpuKey = u.Position()
		return true, nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}
