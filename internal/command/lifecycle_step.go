package command

import (
	"fmt"
	"strings"

	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

const (
	phaseKeys    = schemapb.LifecyclePhase_LIFECYCLE_PHASE_KEYS
	phaseUploads = schemapb.LifecyclePhase_LIFECYCLE_PHASE_UPLOADS
	phaseDone    = schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE

	actionDelete = commandpb.LifecycleAction_LIFECYCLE_ACTION_DELETE
	actionTrash  = commandpb.LifecycleAction_LIFECYCLE_ACTION_TRASH
	actionAbort  = commandpb.LifecycleAction_LIFECYCLE_ACTION_ABORT
)

// lifecycleStep deals with the victims of a stretch of a scan and saves, in the
// same op, where it ends: so each victim is dealt with once, whoever goes on
// with the scan. The counters are of what was done here.
func lifecycleStep(t *Tx, c *commandpb.LifecycleStep) (*commandpb.LifecycleStepReply, error) {
	s, err := t.scan(c.Scan)
	if err != nil {
		return nil, err
	}
	if !s.underway() {
		return nil, errs.New(errs.Conflict, "lifecycle scan of "+s.b.path(), "it is at its end, or by other rules")
	}
	if err := s.checkStep(c); err != nil {
		return nil, err
	}
	w := sweep{t: t, scanState: s, reply: &commandpb.LifecycleStepReply{State: s.row, Done: &schemapb.LifecycleRuleCounters{}}}
	for i, v := range c.Victims {
		if err := w.victim(uint32(i), v); err != nil {
			return nil, err
		}
	}
	if err := w.leave(); err != nil {
		return nil, err
	}
	s.save(t, c)
	t.wrote()
	return w.reply, schema.LifecycleScans.Put(t.w, s.b.id(), s.row)
}

// save notes in the scan's row where the step ended.
func (s scanState) save(t *Tx, c *commandpb.LifecycleStep) {
	row := s.row
	row.Sequence++
	row.Phase = c.Phase
	row.SavedTime = uint64(t.now)
	row.ScannedRows += c.ScannedRows
	if c.LastScannedKey != "" {
		row.LastScannedKey = c.LastScannedKey
		if s.b.fso() {
			trimmed := strings.TrimSuffix(c.LastScannedKey, "/")
			i := strings.LastIndexByte(trimmed, '/')
			row.LastScannedDir = trimmed[:max(i, 0)]
			row.LastScannedDirKey = fmt.Sprintf("/%d/%d/%s", s.b.id(), c.LastScannedParent, c.LastScannedKey[i+1:])
		}
	}
	if c.LastScannedMpuKey != "" {
		row.LastScannedMpuKey = c.LastScannedMpuKey
	}
	if c.Phase == phaseDone {
		row.ScanEndTime = uint64(t.now)
	}
	if c.Error != "" {
		row.LastError, row.LastErrorTime = c.Error, uint64(t.now)
	}
}

// checkStep refuses a step that goes back, or whose victims are not of its
// stretch, each once and in order.
func (s scanState) checkStep(c *commandpb.LifecycleStep) error {
	bad := func(why string) error { return errs.New(errs.Invalid, "lifecycle scan of "+s.b.path(), why) }
	layout := ns.Layout(s.b.row.Layout)
	switch {
	case c.Phase < s.row.Phase || c.Phase > phaseDone:
		return bad(fmt.Sprintf("phase %v cannot follow %v", c.Phase, s.row.Phase))
	case len(c.Error) > MaxStepError:
		return bad(fmt.Sprintf("the error has %d bytes, at most %d are allowed", len(c.Error), MaxStepError))
	case len(c.LastScannedKey) > ns.MaxKeyName:
		return bad(fmt.Sprintf("the last key has %d bytes", len(c.LastScannedKey)))
	case s.row.Phase > phaseKeys && c.LastScannedKey != "":
		return bad("the keys are scanned already")
	case c.Phase == phaseKeys && c.LastScannedMpuKey != "":
		return bad("the keys are not scanned yet")
	}
	keys, uploads, err := s.stretch(layout, c)
	if err != nil {
		return err
	}
	var size StepSize
	for i, v := range c.Victims {
		if !size.Add(layout, v) {
			return bad(fmt.Sprintf("%d victims are more than a step takes", len(c.Victims)))
		}
		if why := s.checkVictim(v, &keys, &uploads); why != "" {
			return bad(fmt.Sprintf("victim %d, %.100q: %s", i, v.Path, why))
		}
	}
	return nil
}

// span is what is left of a stretch: positions after from, up to to.
type span struct{ from, to string }

// take moves the beginning of the span to position, if that lies in it.
func (s *span) take(position string) bool {
	if position <= s.from || position > s.to {
		return false
	}
	s.from = position
	return true
}

// stretch returns the keys and the uploads that the step covers.
func (s scanState) stretch(layout ns.Layout, c *commandpb.LifecycleStep) (keys, uploads span, err error) {
	keys = span{ScanAfter(layout, s.row.LastScannedKey), ScanAfter(layout, c.LastScannedKey)}
	if uploads.from, err = s.uploadAt(s.row.LastScannedMpuKey); err != nil {
		return
	}
	if uploads.to, err = s.uploadAt(c.LastScannedMpuKey); err != nil {
		return
	}
	if c.LastScannedKey != "" && keys.to < keys.from || c.LastScannedMpuKey != "" && uploads.to < uploads.from {
		err = errs.New(errs.Invalid, "lifecycle scan of "+s.b.path(), "the step goes back")
	}
	return
}

// uploadAt returns the encoded key of an upload's position, "" for none.
func (s scanState) uploadAt(position string) (string, error) {
	if position == "" {
		return "", nil
	}
	key, err := ParseUploadPosition(s.b.id(), position)
	return string(schema.Uploads.Key(key)), err
}

// checkVictim says what is wrong with a victim, "" for nothing.
func (s scanState) checkVictim(v *commandpb.LifecycleVictim, keys, uploads *span) string {
	layout := ns.Layout(s.b.row.Layout)
	switch {
	case int(v.Rule) >= len(s.rules.Rules):
		return "there is no such rule"
	case v.Path == "":
		return "it has no path"
	case v.Action == actionAbort:
		if !uploads.take(string(schema.Uploads.Key(schema.UploadKey{Bucket: s.b.id(), Name: v.Path, Upload: ns.ObjectID(v.UploadId)}))) {
			return "the step does not cover it, or not now"
		}
	case v.Action != actionDelete && v.Action != actionTrash:
		return fmt.Sprintf("action %d is not known", v.Action)
	case strings.HasPrefix(v.Path, TrashPrefix):
		return "it is in the trash"
	case !keys.take(ScanAfter(layout, v.Path)):
		return "the step does not cover it, or not now"
	}
	return ""
}
