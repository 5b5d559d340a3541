package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"o3/internal/errs"
	"o3/internal/image"
)

// applyFile is written when the image is fetched and validated: from then on its
// files move, and a run that was cut off goes on with APPLICATION.
const applyFile = "apply.json"

// applied is that file.
type applied struct {
	Format   int    `json:"format"`
	Source   string `json:"source"`
	NodeID   string `json:"node_id"`
	BlockDir string `json:"block_dir"`
	Blocks   bool   `json:"blocks"`
	Strict   bool   `json:"strict"`
	Sent     int64  `json:"sent_bytes"`
	Reused   int64  `json:"reused_bytes"`
	Resumed  int64  `json:"resumed_bytes"`
	Manifest string `json:"manifest"`
}

// takeUp sees what an earlier run left.
func (r *run) takeUp() error {
	path := r.o.staged(applyFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return errs.Wrap(errs.Internal, path, err)
	}
	var a applied
	err = json.Unmarshal(raw, &a)
	if a.Format > 1 {
		return errs.New(errs.FormatTooNew, path, fmt.Sprintf("has format %d, this program knows formats up to 1", a.Format))
	}
	if err == nil {
		r.m, err = image.Decode([]byte(a.Manifest))
	}
	if err != nil {
		return &errs.Error{Kind: errs.Corrupt, Subject: path, Detail: "it cannot be read; remove " + r.o.staged() + " to begin anew", Err: err}
	}
	if a.Blocks != r.o.WithBlocks || a.NodeID != r.nodeID() || a.BlockDir != r.o.BlockDir || r.o.Strict && !a.Strict || r.o.Fresh {
		r.note("what an earlier run fetched was wanted otherwise: its files are used, the rest is made anew", nil)
		r.m = nil
		return r.putAside()
	}
	r.adopt = true
	r.want = image.FetchID(r.m)
	r.done = Result{Source: a.Source, Image: r.want, Index: r.m.Index, Term: r.m.Term, Digest: r.m.Digest, NodeID: a.NodeID, Blocks: r.m.Blocks,
		Files: len(r.m.Files), Bytes: r.m.Bytes, Sent: a.Sent, Reused: a.Reused, Resumed: a.Resumed}
	r.att.Source, r.att.Image, r.att.Index, r.att.Digest, r.att.Bytes = a.Source, r.want, r.m.Index, r.m.Digest, r.m.Bytes
	r.att.Sent, r.att.Reused, r.att.Resumed = a.Sent, a.Reused, a.Resumed
	r.note("going on with image "+r.want+", which is fetched and validated", nil)
	return nil
}

// apply makes the fetched files a node, beside what is in force.
func (r *run) apply(ctx context.Context) error {
	a := applied{Format: 1, Source: r.done.Source, NodeID: r.nodeID(), BlockDir: r.o.BlockDir, Blocks: r.m.Blocks, Strict: r.o.Strict,
		Sent: r.done.Sent, Reused: r.done.Reused, Resumed: r.done.Resumed}
	if err := r.held.may(r.m, r.o.BlockDir); err != nil { // better now than at the switch
		return err
	}
	manifest, err := r.m.Encode()
	if err != nil {
		return err
	}
	a.Manifest = string(manifest)
	raw, err := json.MarshalIndent(a, "", " ")
	if err != nil {
		return err
	}
	if err := replaceFile(r.o.staged(applyFile), raw); err != nil {
		return err
	}
	_, ok, err := r.o.place.nodeAt(r.o.staged(nodeDir))
	if err != nil {
		return err
	}
	if ok {
		r.say("it was done before")
		return nil
	}
	err = r.o.place.adopt(ctx, adoption{from: r.o.staged(fetchDir), to: r.o.staged(nodeDir), nodeID: r.nodeID()})
	if err != nil {
		return err
	}
	r.say(fmt.Sprintf("a node %s at index %d of term %d", r.nodeID(), r.m.Index, r.m.Term))
	return nil
}

// planID names the switch to an image.
func planID(img string) string { return "bootstrap-" + img }

// putInPlace makes the node that of the data directory.
func (r *run) putInPlace(context.Context) error {
	err := r.held.swap(r.o.BlockDir, planID(r.want), "bootstrap from source "+r.done.Source)
	if err != nil {
		return err
	}
	r.done.Previous = previous(r.o)
	r.say("the node is in place in " + r.o.DataDir)
	return nil
}

// previous returns where the old state is kept, or "" if there was none.
func previous(o *Options) string {
	if path := filepath.Join(o.DataDir, previousDir); exists(path) {
		return path
	}
	return ""
}
