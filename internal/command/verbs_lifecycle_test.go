package command_test

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/fsm/fsmtest"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// lifecycleVerbs are the commands of lifecycle.
var lifecycleVerbs = map[string]func(*script, *words) proto.Message{
	// set-lifecycle bucket rules=id:days,…
	"set-lifecycle": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		c := &o3v1.LifecycleConfiguration{}
		for _, p := range w.pairs("rules") {
			c.Rules = append(c.Rules, ageRule(p.Name, int32(w.parse(p.Value))))
		}
		if n := w.num("long"); n > 0 {
			c.Rules[0].Id = strings.Repeat("é", int(n))
		}
		for n := w.num("times"); uint64(len(c.Rules)) < n; {
			c.Rules = append(c.Rules, ageRule(fmt.Sprint("rule ", len(c.Rules)), 1))
		}
		return &o3v1.SetLifecycleRequest{Volume: v, Bucket: b, Configuration: c}
	},
	"delete-lifecycle": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &o3v1.DeleteLifecycleRequest{Volume: v, Bucket: b}
	},
	// suspend [bucket]; without one all are meant.
	"suspend": func(_ *script, w *words) proto.Message { return suspension(w, true) },
	"resume":  func(_ *script, w *words) proto.Message { return suspension(w, false) },
	// start-scan bucket bucket-id rules' op; scan and seq are those of the scan before.
	"start-scan": func(_ *script, w *words) proto.Message {
		r := &commandpb.StartLifecycleScan{Scan: scanWords(w), EstimatedRows: w.num("estimate")}
		if w.has("cutoff") {
			r.CutoffMs = fsmtest.Start + int64(w.num("cutoff"))
		}
		return r
	},
	"step": step,
	// checkpoint-trash bucket bucket-id owner checkpoint
	"checkpoint-trash": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &commandpb.CheckpointTrash{Volume: v, Bucket: b, BucketId: w.parseID(w.arg(1)), Owner: w.arg(2), Checkpoint: w.arg(3), Limit: uint32(w.num("limit"))}
	},
	"empty-trash": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &commandpb.EmptyTrash{Volume: v, Bucket: b, BucketId: w.parseID(w.arg(1)), Owner: w.arg(2), Checkpoint: w.arg(3), Limit: uint32(w.num("limit"))}
	},
}

func ageRule(id string, days int32) *o3v1.LifecycleRule {
	return &o3v1.LifecycleRule{Id: id, Enabled: true, Filter: &o3v1.LifecycleFilter{}, ExpireDays: proto.Int32(days)}
}

func suspension(w *words, suspended bool) proto.Message {
	r := &commandpb.SuspendLifecycle{Suspended: suspended, Reason: strings.Repeat(w.str("reason"), max(1, int(w.num("times"))))}
	if len(w.args) > 0 {
		r.Volume, r.Bucket = spot(w.arg(0))
	}
	return r
}

func scanWords(w *words) *commandpb.LifecycleScan {
	v, b := spot(w.arg(0))
	return &commandpb.LifecycleScan{
		Volume: v, Bucket: b, BucketId: w.parseID(w.arg(1)), ConfigurationId: w.parse(w.arg(2)), ScanId: w.id("scan"), Sequence: w.num("seq"),
	}
}

// step: step bucket bucket-id rules' op scan=op.n seq=n phase=KEYS last=path
// mpu=name:op.n rows=n, and the victims: delete 0 path since, trash …, abort 0 key
// upload. A path's directory is the one that is there; path@op.n names another.
func step(s *script, w *words) proto.Message {
	r := &commandpb.LifecycleStep{
		Scan: scanWords(w), Phase: schemapb.LifecyclePhase_LIFECYCLE_PHASE_KEYS,
		ScannedRows: w.num("rows"), Error: strings.Repeat(w.str("error"), max(1, int(w.num("times")))),
	}
	if w.has("last") {
		r.LastScannedKey, r.LastScannedParent = s.located(w, r.Scan, w.str("last"))
	}
	if w.has("phase") {
		r.Phase = schemapb.LifecyclePhase(schemapb.LifecyclePhase_value["LIFECYCLE_PHASE_"+w.str("phase")])
	}
	if name, id, ok := strings.Cut(w.str("mpu"), ":"); ok {
		r.LastScannedMpuKey = command.UploadPosition(name, ns.ObjectID(w.parseID(id)))
	} else {
		r.LastScannedMpuKey = w.str("mpu")
	}
	for i := 3; i < len(w.args); i += 4 {
		v := &commandpb.LifecycleVictim{Rule: uint32(w.parse(w.arg(i + 1)))}
		v.Action = commandpb.LifecycleAction(commandpb.LifecycleAction_value["LIFECYCLE_ACTION_"+strings.ToUpper(w.arg(i))])
		if v.Action == commandpb.LifecycleAction_LIFECYCLE_ACTION_ABORT {
			v.Path, v.UploadId = w.arg(i+2), w.parseID(w.arg(i+3))
		} else {
			v.Path, v.ParentId = s.located(w, r.Scan, w.arg(i+2))
			v.Since = w.parse(w.arg(i + 3))
		}
		r.Victims = append(r.Victims, v)
	}
	return r
}

// located returns a path and the id of its directory, 0 if there is none.
func (s *script) located(w *words, scan *commandpb.LifecycleScan, path string) (string, uint64) {
	if path, id, ok := strings.Cut(path, "@"); ok {
		return path, w.parseID(id)
	}
	b, err := view.New(s.d.Store).Bucket(scan.Volume, scan.Bucket)
	if err != nil {
		return path, 0
	}
	dir := path[:strings.LastIndexByte(strings.TrimSuffix(path, "/"), '/')+1]
	if b.Layout() != ns.FileSystem || dir == "" {
		return path, uint64(b.ID())
	}
	e, err := view.New(s.d.Store).Key(b, dir)
	if err != nil {
		return path, 0
	}
	return path, e.Row.ObjectId
}

func stepText(b *commandpb.LifecycleStepReply) string {
	out := fmt.Sprintf(" at %d {%s}", b.State.Sequence, fsmtest.Text(b.Done))
	for _, s := range b.Skips {
		out += fmt.Sprintf(" [victim %d: %s]", s.Victim, s.Reason)
	}
	return out
}
