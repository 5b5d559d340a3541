package generation

import (
	"time"

	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/recon/sqltables"
)

// Withheld is the error, of kind Unavailable, of reading derived tables that are
// being built in place.
type Withheld struct {
	Why        string
	RetryAfter time.Duration // when to ask again
}

// Error implements error.
func (w *Withheld) Error() string { return w.Unwrap().Error() }

// Unwrap returns the error with its kind.
func (w *Withheld) Unwrap() error { return errs.New(errs.Unavailable, "derived tables", w.Why) }

// Withhold has views answer from the namespace alone: whoever reads a derived
// table through one is told w. It returns when nobody reads those tables any more.
// nil gives them again. The generation must not be brought forward meanwhile.
func (g *Generation) Withhold(w *Withheld) {
	g.mu.Lock()
	g.withheld = w
	g.mu.Unlock()
	if w != nil {
		g.tables.Wait()
	}
}

// Withheld returns why the derived tables are not shown, nil when they are.
func (g *Generation) Withheld() *Withheld {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.withheld
}

// noTables reads derived tables that are withheld.
type noTables struct{ why *Withheld }

// Get implements kv.Reader.
func (n noTables) Get([]byte) ([]byte, bool, error) { return nil, false, n.why }

// Iter implements kv.Reader.
func (n noTables) Iter([]byte, []byte) (kv.Iterator, error) { return nil, n.why }

// noSQL is noTables for those in SQLite.
type noSQL struct{ why *Withheld }

// Index implements SQLView.
func (n noSQL) Index() (uint64, error) { return 0, n.why }

// Stats implements SQLView.
func (n noSQL) Stats() (map[string]int64, error) { return nil, n.why }

// FileCounts implements SQLView.
func (n noSQL) FileCounts(sqltables.Counts, func(sqltables.FileCount) error) error { return n.why }

// Bucket implements SQLView.
func (n noSQL) Bucket(ns.ObjectID) (sqltables.BucketName, bool, error) {
	return sqltables.BucketName{}, false, n.why
}

// Buckets implements SQLView.
func (n noSQL) Buckets(ns.ObjectID, func(sqltables.BucketName) (bool, error)) error { return n.why }

// Close implements SQLView.
func (n noSQL) Close() error { return nil }

var (
	_ kv.Reader = noTables{}
	_ SQLView   = noSQL{}
)
