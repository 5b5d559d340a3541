package task

import (
	"o3/internal/keys"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// The slots of lifecycleInsightTable. To each slot of a bucket one row at most
// contributes; those before lifecycleSums are summed up over all buckets too, under
// schema.EveryBucket.
const (
	slotConfigured = iota
	slotRules
	slotEnabled
	slotScans
	slotUnfinished
	slotSuspended
	slotFailed
	slotScanned
	slotEstimated
	slotCommands
	slotDone
	lifecycleSums = slotDone + doneSlots
)

const (
	slotPhase = lifecycleSums + iota
	slotStarted
	slotEnded
	slotSaved
	slotErrorAt
	slotRulesBy
	slotScanBy
	slotAllSuspended
)

// The slots of lifecycleRuleTable.
const (
	slotInForce = iota
	slotIsEnabled
	slotRuleDone
)

const doneSlots = 9

// doneBy returns what a rule did, in the order of its slots.
func doneBy(r *schemapb.LifecycleRuleCounters) [doneSlots]uint64 {
	return [...]uint64{
		r.DeletedKeys, r.DeletedBytes, r.DeletedDirs, r.MovedKeys, r.MovedBytes, r.MovedDirs, r.AbortedUploads, r.AbortedBytes, r.Skipped,
	}
}

// lifecycles counts the rules of buckets, and what scans by them have done. What a
// scan did counts under the configuration that it is by: one that was replaced
// keeps its rows until the next scan begins.
func lifecycles(row *Row, sign int64, to *Sums) {
	one, all := to.one(tableLifecycle, uint64(row.Bucket)), to.one(tableLifecycle, uint64(schema.EveryBucket))
	add := func(slot int, n uint64) {
		one.plus(slot, sign*int64(n))
		if slot < lifecycleSums {
			all.plus(slot, sign*int64(n))
		}
	}
	switch {
	case row.Table == spaceSuspensions && row.Bucket == schema.EveryBucket:
		all.plus(slotAllSuspended, sign)
	case row.Table == spaceSuspensions:
		add(slotSuspended, 1)
	case row.Rules != nil:
		add(slotConfigured, 1)
		add(slotRules, uint64(len(row.Rules.Rules)))
		add(slotRulesBy, row.Rules.UpdateId)
		for i, r := range row.Rules.Rules {
			rule := to.rule(row.Bucket, row.Rules.UpdateId, uint64(i), r.Id)
			rule.plus(slotInForce, sign)
			if r.Enabled {
				rule.plus(slotIsEnabled, sign)
				add(slotEnabled, 1)
			}
		}
	case row.Scan != nil:
		scanned(row.Scan, add)
		for _, r := range row.Scan.Rules {
			rule := to.rule(row.Bucket, row.Scan.LifecycleConfigurationUpdateID, uint64(r.Rule), r.Id)
			for i, n := range doneBy(r) {
				rule.plus(slotRuleDone+i, sign*int64(n))
				add(slotDone+i, n)
			}
		}
	}
}

// scanned adds what a scan's row says of the scan as a whole.
func scanned(s *schemapb.LifecycleScanState, add func(slot int, n uint64)) {
	add(slotScans, 1)
	if s.Phase != schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE {
		add(slotUnfinished, 1)
	}
	if s.LastError != "" {
		add(slotFailed, 1)
	}
	add(slotScanned, s.ScannedRows)
	add(slotEstimated, s.EstimatedRows)
	add(slotCommands, s.Sequence)
	add(slotPhase, uint64(s.Phase))
	add(slotStarted, s.ScanStartTime)
	add(slotEnded, s.ScanEndTime)
	add(slotSaved, s.SavedTime)
	add(slotErrorAt, s.LastErrorTime)
	add(slotScanBy, s.LifecycleConfigurationUpdateID)
}

// rule returns the vector of a rule.
func (s *Sums) rule(bucket ns.ObjectID, configuration, number uint64, id string) *Counts {
	s.key = append(keys.Uint64(keys.Uint64(keys.Uint64(append(s.key[:0], tableRules), uint64(bucket)), configuration), number), id...)
	return s.at(s.key)
}

// Expired is what scans have done, counted when it was done.
type Expired struct {
	DeletedKeys, DeletedBytes, DeletedDirs int64
	MovedKeys, MovedBytes, MovedDirs       int64 // to trash
	AbortedUploads, AbortedBytes, Skipped  int64 // bytes of parts; what had changed or gone meanwhile, directories that were not empty
}

func expired(c Counts, from int) Expired {
	return Expired{
		c.At(from), c.At(from + 1), c.At(from + 2), c.At(from + 3), c.At(from + 4), c.At(from + 5), c.At(from + 6), c.At(from + 7), c.At(from + 8),
	}
}

// Lifecycle is what is known of the lifecycle of a bucket, or of all: then the
// numbers are sums, and those of one bucket are 0.
type Lifecycle struct {
	Configured, Rules, Enabled int64   // configurations; rules in them, and those that are enabled
	Scans, Unfinished, Failed  int64   // scans that there is something to tell of; those not at their end; those with an error
	Suspended                  int64   // buckets that are suspended by themselves
	Rows, Estimated, Commands  int64   // of those scans
	Done                       Expired // by those scans

	Phase                          schemapb.LifecyclePhase // of one bucket
	Started, Ended, Saved, ErrorAt int64                   // milliseconds; 0: not yet
	RulesBy, ScanBy                uint64                  // configurations of the rules and of the scan; 0: there is none
	AllSuspended                   bool                    // of all
}

func lifecycle(c Counts) Lifecycle {
	return Lifecycle{
		Configured: c.At(slotConfigured), Rules: c.At(slotRules), Enabled: c.At(slotEnabled),
		Scans: c.At(slotScans), Unfinished: c.At(slotUnfinished), Failed: c.At(slotFailed), Suspended: c.At(slotSuspended),
		Rows: c.At(slotScanned), Estimated: c.At(slotEstimated), Commands: c.At(slotCommands), Done: expired(c, slotDone),
		Phase:   schemapb.LifecyclePhase(c.At(slotPhase)),
		Started: c.At(slotStarted), Ended: c.At(slotEnded), Saved: c.At(slotSaved), ErrorAt: c.At(slotErrorAt),
		RulesBy: uint64(c.At(slotRulesBy)), ScanBy: uint64(c.At(slotScanBy)), AllSuspended: c.At(slotAllSuspended) > 0,
	}
}

// LifecycleOf returns what is known of a bucket, or, of schema.EveryBucket, the
// sums over all.
func LifecycleOf(r kv.Reader, bucket ns.ObjectID) (Lifecycle, error) {
	c, err := ReadCounts(r, key(tableLifecycle, uint64(bucket)))
	return lifecycle(c), err
}

// Lifecycles calls f with each bucket that has rules or is suspended, by the
// buckets' ids, which come after the one given, until f returns false.
func Lifecycles(r kv.Reader, after ns.ObjectID, f func(bucket ns.ObjectID, l Lifecycle) (bool, error)) error {
	return scan(r, []byte{tableLifecycle}, key(tableLifecycle, uint64(after)), func(k []byte, c Counts) (bool, error) {
		id, _, err := ids(k, 1)
		if err != nil {
			return false, err
		}
		return f(ns.ObjectID(id[0]), lifecycle(c))
	})
}

// RuleKey says which rule.
type RuleKey struct {
	Bucket        ns.ObjectID
	Configuration uint64
	Number        uint64 // its place in the configuration, from 0
	ID            string
}

// Rule is a rule of a bucket, and what the scan that is under way, or the last
// one, did by it.
type Rule struct {
	RuleKey
	InForce bool // false: it was replaced, and no scan by what replaced it has begun
	Enabled bool
	Done    Expired
}

// LifecycleRules calls f with the rules of a bucket, of schema.EveryBucket with
// those of all, that come after the one given, nil for none, until f returns
// false. They come by the ids of buckets and configurations, and in their order.
func LifecycleRules(r kv.Reader, bucket ns.ObjectID, after *RuleKey, f func(Rule) (bool, error)) error {
	prefix := []byte{tableRules}
	if bucket != schema.EveryBucket {
		prefix = key(tableRules, uint64(bucket))
	}
	var from []byte
	if after != nil {
		from = append(key(tableRules, uint64(after.Bucket), after.Configuration, after.Number), after.ID...)
	}
	return scan(r, prefix, from, func(k []byte, c Counts) (bool, error) {
		id, name, err := ids(k, 3)
		if err != nil {
			return false, err
		}
		return f(Rule{
			RuleKey{ns.ObjectID(id[0]), id[1], id[2], string(name)}, c.At(slotInForce) > 0, c.At(slotIsEnabled) > 0, expired(c, slotRuleDone),
		})
	})
}
