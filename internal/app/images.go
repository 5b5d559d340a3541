package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/audit"
	"o3/internal/config"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/rpc"
)

// images answers the part of the API that is about images of this node, for
// admins. What takes long runs in goroutines of run. It is safe for concurrent
// use.
type images struct {
	keeper  *image.Keeper
	shelf   *image.Shelf
	trail   *trail
	hold    func() (release func())         // holds frees of blocks back
	own     map[string]string               // directories of the node, and what they are
	blocks  string                          // directory of the block store
	reserve int64                           // bytes of a target's disk left free; less than 0 none
	ended   func(*export, o3v1.ExportState) // an export ended so
	unsaved func(error)                     // the history of exports cannot be written
	pruned  func(target string, out image.Pruned, err error)
	ready   func(context.Context) error // the node serves
	node    string                      // its name, which no other has
	exports config.Export
	getenv  func(string) string
	retry   time.Duration // before an export that the node makes by itself is tried again
	wait    time.Duration // before CreateImage gives a ticket

	tasks   chan func(context.Context)
	stopped chan struct{} // run has ended

	starting sync.Mutex // held by who begins an export, or a removal of old images
	pruning  bool       // with starting: old images are being removed at a target
	history  *history
	mu       sync.Mutex
	makings  []*making // the oldest first
}

// making is an image that somebody asked for.
type making struct {
	ticket string
	done   chan struct{}
	info   *o3v1.ImageInfo // when done
	err    error
}

// ticketWait is how long CreateImage waits before it gives a ticket; most
// images take less.
const ticketWait = 5 * time.Second

// shelfDir is the shelf, in the block directory: it needs hard links to what is
// there.
const shelfDir = "shelf"

// maxMakings bounds the requests for images that are under way, and those that
// are remembered.
const maxMakings = 64

func (n *node) openImages() error {
	c := n.cfg.Image
	rate, reserve := c.Rate, n.cfg.Block.Reserve
	if rate == 0 {
		rate = -1
	}
	if reserve == 0 {
		reserve = -1
	}
	keeper, err := image.Open(image.Options{
		Dir: n.dir("om", "images"), Store: n.store, Node: image.Node{ID: n.id.ID, Number: n.id.Number, Store: n.id.Store},
		FirstIndex: func() uint64 { return n.log.Status().First },
		Retain:     c.Retain, Interval: c.Interval, Rate: rate, Reserve: reserve, Listener: n.obs.Images(),
	})
	if err != nil {
		return err
	}
	history, err := openHistory(n.dir("om", "exports.json"))
	if err != nil {
		return err
	}
	n.obs.SampleImages(keeper.List, func() time.Time { return history.good("") })
	n.obs.SampleBootstrap(n.dir())
	shelf, err := image.OpenShelf(context.Background(), image.ShelfOptions{
		Dir: filepath.Join(n.cfg.Block.Dir, shelfDir), Blocks: n.cfg.Block.Dir, Reserve: reserve, Rate: rate,
		Removed: n.obs.ShelfRemoved, Failed: n.obs.ShelfFailed,
	})
	if err != nil {
		return err
	}
	n.obs.SampleShelf(shelf.List)
	n.images = &images{
		keeper: keeper, shelf: shelf, trail: &n.trail, hold: n.reads.begin, blocks: n.cfg.Block.Dir, reserve: reserve, wait: ticketWait,
		own:     map[string]string{n.cfg.Node.DataDir: "data directory", n.cfg.Block.Dir: "block directory"},
		history: history, node: n.id.ID + " of store " + n.id.Store, exports: n.cfg.Export, getenv: os.Getenv, retry: exportRetry,
		ready:   func(ctx context.Context) error { return n.om.Ready(ctx) },
		unsaved: func(err error) { n.obs.Log.Warn("images: what is known of exports cannot be kept", "error", err) },
		pruned:  n.obs.ImagePrune,
		ended:   n.exportEnded, tasks: make(chan func(context.Context)), stopped: make(chan struct{}),
	}
	return nil
}

// run runs what was begun until ctx ends, and ends it then.
func (i *images) run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	defer close(i.stopped)
	for {
		select {
		case f := <-i.tasks:
			running.Go(func() { f(ctx) })
		case <-ctx.Done():
			return nil
		}
	}
}

// begin hands a task to run.
func (i *images) begin(ctx context.Context, f func(context.Context)) error {
	select {
	case i.tasks <- f:
		return nil
	case <-i.stopped:
		return errs.New(errs.Unavailable, "this node", "it is stopping")
	case <-ctx.Done():
		return errs.Wrap(errs.Canceled, "", ctx.Err())
	}
}

// CreateImage makes an image.
func (i *images) CreateImage(ctx context.Context, q *o3v1.CreateImageRequest) (*o3v1.CreateImageResponse, error) {
	m, err := i.making(ctx, q)
	if err != nil {
		return nil, err
	}
	wait := time.NewTimer(i.wait)
	defer wait.Stop()
	select {
	case <-m.done:
		return &o3v1.CreateImageResponse{Image: m.info}, m.err
	case <-wait.C:
		return &o3v1.CreateImageResponse{Ticket: m.ticket}, nil
	case <-ctx.Done():
		return nil, errs.Wrap(errs.Canceled, "", ctx.Err())
	}
}

// making finds what a ticket stands for; "" begins an image.
func (i *images) making(ctx context.Context, q *o3v1.CreateImageRequest) (*making, error) {
	if q.Ticket != "" {
		if err := mustAdmin(ctx, "CreateImage"); err != nil {
			return nil, err
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		for _, m := range i.makings {
			if m.ticket == q.Ticket {
				return m, nil
			}
		}
		return nil, errs.New(errs.NoSuchJob, "ticket of an image", "the node was restarted since, or has made many others; o3 admin om snapshots lists the images")
	}
	var params map[string]string
	if q.WithBlocks {
		params = map[string]string{"withBlocks": "true"}
	}
	line, err := i.act(ctx, "CreateImage", "", params)
	if err != nil {
		return nil, err
	}
	m := &making{ticket: rand.Text(), done: make(chan struct{})}
	if err = i.remember(m); err == nil {
		err = i.begin(ctx, func(ctx context.Context) {
			defer close(m.done)
			if m.info, m.err = i.make(ctx, q.WithBlocks); m.err == nil {
				line.Params = maps.Clone(params)
				if line.Params == nil {
					line.Params = map[string]string{}
				}
				line.Params["image"] = m.info.Id
			}
			i.note(ctx, line, m.err)
		})
		if err != nil {
			i.forget(m)
		}
	}
	if err != nil {
		i.note(ctx, line, err)
		return nil, err
	}
	return m, nil
}

// make makes an image. With blocks it comes to the shelf, with the bytes of
// objects: none of them is freed meanwhile.
func (i *images) make(ctx context.Context, blocks bool) (*o3v1.ImageInfo, error) {
	if blocks {
		defer i.hold()()
	}
	img, err := i.keeper.Create(ctx)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	m := img.Manifest
	if blocks {
		if m, err = i.shelf.Bring(ctx, img, nil); err != nil {
			return nil, err
		}
	}
	return imageInfo(image.Info{Manifest: m}), nil
}

// remember keeps m for those who have its ticket; the oldest that is over goes.
func (i *images) remember(m *making) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.makings) >= maxMakings {
		over := -1
		for at, old := range i.makings {
			select {
			case <-old.done:
				over = at
			default:
				continue
			}
			break
		}
		if over < 0 {
			return errs.New(errs.SlowDown, "CreateImage", fmt.Sprintf("%d requests wait for an image", maxMakings))
		}
		i.makings = append(i.makings[:over], i.makings[over+1:]...)
	}
	i.makings = append(i.makings, m)
	return nil
}

func (i *images) forget(m *making) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for at, old := range i.makings {
		if old == m {
			i.makings = append(i.makings[:at], i.makings[at+1:]...)
			return
		}
	}
}

// ListImages lists the images, the newest first.
func (i *images) ListImages(ctx context.Context, _ *o3v1.ListImagesRequest) (*o3v1.ListImagesResponse, error) {
	if err := mustAdmin(ctx, "ListImages"); err != nil {
		return nil, err
	}
	r := new(o3v1.ListImagesResponse)
	for _, info := range i.list() {
		r.Images = append(r.Images, imageInfo(info))
	}
	return r, nil
}

// list returns the images, and those on the shelf: the newest first, of one
// moment the one without bytes first.
func (i *images) list() []image.Info {
	all := append(i.keeper.List(), i.shelf.List()...)
	slices.SortStableFunc(all, func(a, b image.Info) int {
		return cmp.Or(cmp.Compare(b.Manifest.Index, a.Manifest.Index), cmp.Compare(b.Manifest.Term, a.Manifest.Term))
	})
	return all
}

// DeleteImage removes an image.
func (i *images) DeleteImage(ctx context.Context, q *o3v1.DeleteImageRequest) (*o3v1.DeleteImageResponse, error) {
	line, err := i.act(ctx, "DeleteImage", q.Id, nil)
	if err != nil {
		return nil, err
	}
	r := new(o3v1.DeleteImageResponse)
	for _, info := range i.list() {
		if image.FetchID(info.Manifest) == q.Id {
			r.Image = imageInfo(info)
		}
	}
	switch id, blocks := image.CutFetchID(q.Id); {
	case id == "":
		err = errs.New(errs.Invalid, "DeleteImage", "the id of an image is needed")
	case blocks:
		err = i.shelf.Delete(ctx, id)
	default:
		err = i.keeper.Delete(ctx, id)
	}
	i.note(ctx, line, err)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func imageInfo(i image.Info) *o3v1.ImageInfo {
	m := i.Manifest
	return &o3v1.ImageInfo{
		Id: image.FetchID(m), Blocks: m.Blocks, Index: m.Index, Term: m.Term, Op: m.Op, CreatedMs: m.CreatedMs, Digest: m.Digest,
		Bytes: uint64(m.Bytes), Files: uint32(len(m.Files)), Readers: uint32(i.Readers),
	}
}

func mustAdmin(ctx context.Context, act string) error {
	p := access.FromContext(ctx)
	if p.Admin() {
		return nil
	}
	who := "anonymous"
	if !p.Anonymous() {
		who = "user " + p.User
	}
	return errs.New(errs.Denied, act, who+": needs the role admin")
}

// act begins an admin act: it returns the audit record to complete when the act
// is done. One that is refused is recorded here.
func (i *images) act(ctx context.Context, name, resource string, params map[string]string) (audit.Record, error) {
	p := access.FromContext(ctx)
	from, _ := ctx.Value(remoteKey{}).(remotePeer)
	line := audit.Record{
		RequestID: rpc.RequestID(ctx), Principal: p.User, AccessKey: p.AccessKey, From: from.addr,
		Action: "om:" + name, Resource: resource, Params: params,
	}
	if err := mustAdmin(ctx, name); err != nil {
		i.note(ctx, line, err)
		return line, err
	}
	return line, i.trail.guard(ctx)
}

// note records how an act ended.
func (i *images) note(ctx context.Context, line audit.Record, err error) {
	line.Result, line.Detail = errs.KindOf(err).String(), errorDetail(err)
	i.trail.record(ctx, line)
}

type remoteKey struct{}

// remotePeer is where a call came from.
type remotePeer struct {
	addr string
	tls  bool
}

// withRemote lets the audit log know where a call came from.
func withRemote(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), remoteKey{}, remotePeer{r.RemoteAddr, r.TLS != nil})))
	})
}
