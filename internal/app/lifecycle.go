package app

import (
	"context"
	"fmt"
	"strconv"

	"o3/internal/audit"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/lifecycle"
	"o3/internal/schema/schemapb"
)

// makeLifecycle makes the service that scans buckets for their lifecycle rules.
func (n *node) makeLifecycle() {
	l := n.cfg.Lifecycle
	window, _ := lifecycle.ParseWindow(l.Window) // the configuration was checked
	o := lifecycle.Options{
		Namespace: n.om, Leads: n.leads, Off: !l.Enabled, Changes: n.replica.Settings,
		Interval: l.Interval, Timeout: l.Timeout, Workers: l.Workers, Batch: l.Batch, AbortParts: l.AbortParts,
		SaveInterval: l.SaveInterval, SaveRows: uint64(l.SaveRows), Rate: float64(l.Rate), Window: window, Day: l.Day,
		Trash: l.Trash, TrashCheckpoint: l.TrashCheckpoint, TrashKeep: never(l.TrashKeep),
		Listener: n.trail.lifecycle(n.obs.Lifecycle()),
	}
	if n.hooks.lifecycle != nil {
		n.hooks.lifecycle(&o)
	}
	n.cycles = lifecycle.New(o)
	n.obs.SampleLifecycle(n.cycles)
}

// sourceLifecycle marks records of what no caller asked for.
const sourceLifecycle = "LIFECYCLE"

// lifecycle has what lifecycle scans do noted in the audit log, and told to to.
func (t *trail) lifecycle(to lifecycle.Listener) lifecycle.Listener {
	stepped, emptied := to.Stepped, to.Emptied
	to.Stepped = func(s lifecycle.Step) {
		stepped(s)
		t.step(s)
	}
	to.Emptied = func(e lifecycle.Emptied) {
		emptied(e)
		t.emptied(e)
	}
	return to
}

// step notes what a command of a scan did, if it did anything: one record with
// all it names.
func (t *trail) step(s lifecycle.Step) {
	if t.log == nil || len(s.Victims) == 0 {
		return
	}
	skipped := make(map[int]string, len(s.Reply.Skips))
	for _, k := range s.Reply.Skips {
		skipped[int(k.Victim)] = k.Reason
	}
	var done, refused []string
	for i, v := range s.Victims {
		name := victimText(v, s.Rules)
		if why, left := skipped[i]; left {
			refused = append(refused, name+": "+why)
		} else {
			done = append(done, name)
		}
	}
	d := s.Reply.Done
	details := map[string]string{
		"source": sourceLifecycle, "scan": strconv.FormatUint(s.State.ScanID, 16), "sequence": strconv.FormatUint(s.State.Sequence, 10),
		"bytes": strconv.FormatUint(d.DeletedBytes+d.MovedBytes+d.AbortedBytes, 10),
	}
	t.record(context.Background(), audit.Record{
		Action: "lifecycle:Step", Resource: "/" + s.Volume + "/" + s.Bucket, Params: params(details, done, refused), Result: errs.OK.String(),
	})
}

// victimText says what happened to a victim and by which rule.
func victimText(v *commandpb.LifecycleVictim, rules *schemapb.LifecycleConfiguration) string {
	verb := map[commandpb.LifecycleAction]string{
		commandpb.LifecycleAction_LIFECYCLE_ACTION_DELETE: "delete", commandpb.LifecycleAction_LIFECYCLE_ACTION_TRASH: "trash",
		commandpb.LifecycleAction_LIFECYCLE_ACTION_ABORT: "abort",
	}[v.Action]
	return fmt.Sprintf("%s %s by %s", verb, v.Path, rules.Rules[v.Rule].Id)
}

func (t *trail) emptied(e lifecycle.Emptied) {
	action := "lifecycle:CheckpointTrash"
	if e.Gone {
		action = "lifecycle:EmptyTrash"
	}
	t.record(context.Background(), audit.Record{
		Action: action, Resource: "/" + e.Volume + "/" + e.Bucket + "/.Trash/" + e.Owner + "/" + e.Checkpoint, Result: errs.OK.String(),
		Params: map[string]string{"source": sourceLifecycle, "keys": strconv.FormatUint(e.Keys, 10), "bytes": strconv.FormatUint(e.Bytes, 10)},
	})
}
