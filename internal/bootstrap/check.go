package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/schema"
	"o3/internal/transfer"
)

// Level says how a prerequisite stands.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // it will do, but somebody should know
	Fail Level = "fail"
)

// Row is a prerequisite.
type Row struct {
	Name  string `json:"name"`
	Level Level  `json:"level"`
	Text  string `json:"text"`

	err error // of Fail
}

// maxSkew is how far apart the clocks of both sides may be without a warning:
// requests are refused from a quarter of an hour on.
const maxSkew = 2 * time.Minute

// Check looks at the prerequisites of a bootstrap and changes nothing, here or at
// the sources. The error is that of the first row that fails, for which a Run
// would end too; a source that fails is none while another one will do.
func Check(ctx context.Context, o Options) ([]Row, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	c := newInspection(&o)
	look, err := c.o.place.look(o.DataDir)
	if err != nil {
		c.fail("server", err)
	} else {
		c.server(look)
	}
	c.all(ctx)
	return c.rows, c.verdict()
}

// inspection looks at prerequisites.
type inspection struct {
	o     *Options
	rows  []Row
	found []candidate // images that will do, the best first
	good  []int       // sources that answer and may be asked
	bad   []error     // of the others

	fetched bool // the image is here, whole and validated: neither space nor an image is needed
	alone   bool // nor a source
}

func newInspection(o *Options) *inspection { return &inspection{o: o} }

// all looks at everything but who holds the directory.
func (c *inspection) all(ctx context.Context) {
	c.enabled()
	c.dataDir()
	c.ask(ctx)
	c.blockDir()
	if !c.fetched {
		c.image()
		c.space()
	}
}

func (c *inspection) add(name string, l Level, format string, args ...any) {
	c.rows = append(c.rows, Row{Name: name, Level: l, Text: fmt.Sprintf(format, args...)})
}

func (c *inspection) fail(name string, err error) {
	c.rows = append(c.rows, Row{Name: name, Level: Fail, Text: text(err), err: err})
}

// text is what an operator reads of err.
func text(err error) string {
	e, ok := errors.AsType[*errs.Error](err)
	switch {
	case !ok:
		return err.Error()
	case e.Detail != "":
		return errs.Message(e)
	}
	return (&errs.Error{Kind: e.Kind, Subject: e.Subject, Err: e.Err}).Error()
}

// verdict is the error of the first row that fails.
func (c *inspection) verdict() error {
	for _, r := range c.rows {
		if r.Level == Fail && r.err != nil {
			return r.err
		}
	}
	return nil
}

func (c *inspection) enabled() {
	if c.o.Disabled {
		c.fail("enabled", because(ReasonDisabled, errs.New(errs.Denied, EnabledKey+" = false", "bootstraps are not allowed on this machine")))
		return
	}
	c.add("enabled", OK, "%s is true here", EnabledKey)
}

// server says whether the directory is free.
func (c *inspection) server(l looked) {
	switch {
	case l.running:
		c.fail("server", because(ReasonTarget, errs.New(errs.Unavailable, "directory "+c.o.DataDir, "a server or another command works on it")))
	case l.plan == planPending:
		c.add("server", Warn, "no server runs on %s; a switch to %s was cut off there and will be completed or rolled back first", c.o.DataDir, l.id)
	case l.plan == planApplied:
		c.fail("server", notServed(c.o.DataDir, l.id))
	default:
		c.add("server", OK, "no server runs on %s", c.o.DataDir)
	}
}

// notServed refuses a second switch while the first can still be undone.
func notServed(dir, id string) error {
	return because(ReasonTarget, errs.New(errs.Conflict, "directory "+dir,
		id+" was put in place there and has not served yet: start the node, or put the old state back with o3 admin om rollback --data "+dir))
}

// dataDir says what makes way.
func (c *inspection) dataDir() {
	held := ""
	for _, name := range []string{"node", "om"} {
		if occupied(filepath.Join(c.o.DataDir, name)) {
			held = name
		}
	}
	if held == "" && c.o.WithBlocks && occupied(filepath.Join(c.o.blockDir(), "node")) {
		held = "node in " + c.o.blockDir()
	}
	switch {
	case held != "" && !c.o.Replace:
		c.fail("data directory", because(ReasonTarget, errs.New(errs.NotEmpty, "directory "+c.o.DataDir,
			fmt.Sprintf("it holds a node's data (%s); with --replace the node makes way, and is kept until the new one has served", held))))
	case held != "":
		c.add("data directory", OK, "the node in %s makes way, and is kept until the new one has served", c.o.DataDir)
	case occupied(c.o.staged(fetchDir)) || occupied(c.o.staged(nodeDir)):
		c.add("data directory", OK, "a bootstrap was begun in %s: it goes on", c.o.DataDir)
	default:
		c.add("data directory", OK, "%s is free", c.o.DataDir)
	}
}

// occupied reports whether there is a file, or a directory that is not empty.
func occupied(path string) bool {
	st, err := os.Stat(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	if !st.IsDir() {
		return true
	}
	in, err := os.ReadDir(path)
	return err != nil || len(in) > 0
}

// ask asks every source what it is and what it has.
func (c *inspection) ask(ctx context.Context) {
	t := c.o.transferOptions()
	t.Choose = func(string, []transfer.Info, string) string { return "" }
	offers, err := transfer.Offers(ctx, t)
	if err != nil { // an address that cannot be, or that is not safe
		c.fail("sources", err)
		return
	}
	for i, offer := range offers {
		name := "source " + c.o.Sources[i].Name
		c.encryption(i)
		if offer.Err != nil {
			c.bad = append(c.bad, offer.Err)
			c.add(name, Warn, "%s", text(offer.Err))
			continue
		}
		st, err := c.o.Sources[i].Peer.Status(ctx, &o3v1.StatusRequest{})
		if err != nil {
			c.bad = append(c.bad, err)
			c.add(name, Warn, "%s", text(err))
			continue
		}
		c.good = append(c.good, i)
		c.add(name, OK, "it answers, and takes the credentials for an admin's: node %s, version %s, %s, log at %d, images: %d",
			st.NodeId, st.Version, st.Role, st.AppliedIndex, len(offer.Listed))
		c.version(name, st)
		c.clock(i, st)
		for _, info := range offer.Listed {
			c.found = append(c.found, newCandidate(i, info))
		}
	}
	c.found = suitable(c.o, c.found)
	c.sources()
}

// sources fails if none will do.
func (c *inspection) sources() {
	if len(c.good) > 0 || len(c.bad) == 0 || c.alone {
		return
	}
	for i := range c.rows { // none will do: the first one's error is the reason
		if r := &c.rows[i]; r.Level == Warn && len(c.bad) > 0 && r.Text == text(c.bad[0]) {
			r.Level, r.err = Fail, errors.Join(c.bad...)
			return
		}
	}
}

// encryption says whether others could read along.
func (c *inspection) encryption(i int) {
	s := c.o.Sources[i]
	u, err := url.Parse(s.URL)
	if err != nil {
		return // Offers says so
	}
	ip := net.ParseIP(u.Hostname())
	name := "encryption " + s.Name
	switch {
	case u.Scheme == "https":
		c.add(name, OK, "TLS")
	case u.Hostname() == "localhost" || ip != nil && ip.IsLoopback():
		c.add(name, OK, "none is needed on this machine")
	default:
		c.add(name, Warn, "none: others on the network can read the names, the users and their keys")
	}
}

// version refuses what a later version wrote.
func (c *inspection) version(name string, st *o3v1.StatusResponse) {
	if st.Format > schema.Format {
		c.fail(name+" format", errs.New(errs.FormatTooNew, name,
			fmt.Sprintf("its store has format %d, this program knows formats up to %d: use the version of the source, %s", st.Format, schema.Format, st.Version)))
	}
}

// clock compares the clocks.
func (c *inspection) clock(i int, st *o3v1.StatusResponse) {
	skew := time.UnixMilli(st.NowMs).Sub(c.o.now())
	name := "clock " + c.o.Sources[i].Name
	if skew.Abs() > maxSkew {
		c.add(name, Warn, "it differs from this machine's by %v; requests are refused from 15 minutes on", skew.Round(time.Second))
		return
	}
	c.add(name, OK, "it differs from this machine's by less than %v", (skew.Abs() + time.Second).Truncate(time.Second))
}

// image says which image would be fetched.
func (c *inspection) image() {
	if len(c.good) == 0 {
		return
	}
	switch {
	case c.o.Fresh:
		c.add("image", OK, "source %s makes a new one", c.o.Sources[c.good[0]].Name)
	case len(c.found) == 0:
		c.add("image", OK, "there is none that will do yet; source %s makes one", c.o.Sources[c.good[0]].Name)
	default:
		b := c.found[0]
		c.add("image", OK, "%s of source %s: %d files, %s, made %s", b.info.ID, c.o.Sources[b.source].Name, b.info.Files, size(b.info.Bytes),
			time.UnixMilli(b.info.Created).UTC().Format(time.RFC3339))
	}
}

// blockDir looks for the bytes that an image of names alone needs.
func (c *inspection) blockDir() {
	if c.o.WithBlocks {
		if c.o.BlockDir != "" && c.o.BlockDir != filepath.Join(c.o.DataDir, "blocks") {
			c.fail("block directory", because(ReasonTarget, errs.New(errs.PreconditionFailed, "directory "+c.o.BlockDir,
				"with --with-blocks the bytes are put in place together with the names, in blocks of the data directory: leave --block-dir and ozone.block.dir away")))
		}
		return
	}
	path := filepath.Join(c.o.blockDir(), "node")
	var id struct {
		Store string `json:"store"`
	}
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &id)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.add("block directory", Warn, "%s does not hold a node's blocks: before the node starts, the block directory of the source must be there; or take --with-blocks", c.o.blockDir())
	case err != nil:
		c.fail("block directory", errs.Wrap(errs.FormatUnknown, path, err))
	case len(c.found) > 0 && c.found[0].store != "" && id.Store != c.found[0].store:
		c.fail("block directory", because(ReasonTarget, errs.New(errs.PreconditionFailed, "directory "+c.o.blockDir(),
			fmt.Sprintf("it holds the blocks of another node (store %s, the image's is %s); give the right one with --block-dir, or take --with-blocks", id.Store, c.found[0].store))))
	default:
		c.add("block directory", OK, "%s holds the blocks that the image names", c.o.blockDir())
	}
}

// space compares what is free with the image. What is here already is not
// fetched, so this may need less.
func (c *inspection) space() {
	dir := c.o.DataDir
	for !exists(dir) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
	}
	free, err := c.o.Disk.Free(dir)
	if err != nil {
		c.fail("space", errs.Wrap(errs.Internal, "directory "+dir, err))
		return
	}
	if len(c.found) == 0 {
		c.add("space", OK, "%s free; the size of the image is not known yet", size(free))
		return
	}
	need, reserve := c.found[0].info.Bytes, max(c.o.Reserve, 0)
	least := max(need-c.o.reusable(), 0)
	switch {
	case free-reserve < least:
		c.fail("space", errs.New(errs.ReadOnly, "directory "+c.o.DataDir,
			fmt.Sprintf("%s free, the image needs at least %s, and %s must stay free", size(free), size(least), size(reserve))))
	case free-reserve < need:
		c.add("space", Warn, "%s free for an image of %s: it fits only if enough of what is here can be used", size(free), size(need))
	default:
		c.add("space", OK, "%s free, the image has %s", size(free), size(need))
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// size shows bytes.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}
