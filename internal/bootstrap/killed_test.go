package bootstrap

import (
	"context"
	"testing"

	"o3/internal/errs"
	"o3/internal/image"
)

// killing is a place where the process ends at a chosen point.
type killing struct {
	nodePlace
	at *string
}

type killedHeld struct {
	held
	at *string
}

type kill struct{}

func (k killing) die(at string) {
	if *k.at == at {
		panic(kill{})
	}
}

func (k killing) take(dir string) (held, error) {
	h, err := k.nodePlace.take(dir)
	return killedHeld{h, k.at}, err
}

func (k killing) adopt(ctx context.Context, a adoption) error {
	k.die("before adopt")
	err := k.nodePlace.adopt(ctx, a)
	k.die("after adopt")
	return err
}

func (h killedHeld) may(m *image.Manifest, blockDir string) error { return h.held.may(m, blockDir) }

func (h killedHeld) swap(blockDir, id, why string) error {
	killing{at: h.at}.die("before the switch")
	err := h.held.swap(blockDir, id, why)
	killing{at: h.at}.die("after the switch")
	return err
}

// TestKilled: a process that ends before or after the node is made, or before or
// after it is put in place, is gone on with: nothing is fetched again, and the record
// tells what happened.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 100)
	m := s.image()
	s.put(100, 20)
	for _, at := range []string{"before adopt", "after adopt", "before the switch", "after the switch"} {
		t.Run(at, func(t *testing.T) {
			o := options(t, s.asSource("om1", ""))
			point := at
			o.place = killing{at: &point}
			func() {
				defer func() {
					if _, ok := recover().(kill); !ok {
						t.Fatal("it was not killed")
					}
				}()
				_, _ = Run(t.Context(), o)
			}()
			rec, err := ReadRecord(o.DataDir)
			if err != nil || rec.Last().Result != Running {
				t.Fatalf("%+v, %v", rec.Last(), err)
			}
			point = ""
			h := new(heard)
			o.Listener = h.listener()
			got := must(t, o)
			for _, p := range h.phases {
				if p == Transfer || p == Validation {
					t.Errorf("it did %s again", p)
				}
			}
			if got.Image != m.ID || got.Source != "om1" || got.Sent == 0 || got.Index <= m.Index {
				t.Errorf("%+v", got)
			}
			s.same(o.DataDir)
			rec, err = ReadRecord(o.DataDir)
			if err != nil || rec.Last().Result != Succeeded || rec.Last().Image != m.ID {
				t.Errorf("%+v, %v", rec.Last(), err)
			}
			killed := at != "after the switch" // then it had done its work
			if n := len(rec.Attempts); killed != (n == 2) || killed && rec.Attempts[0].Reason != ReasonKilled {
				t.Errorf("%+v", rec.Attempts)
			}
			if _, err := Run(t.Context(), o); errs.KindOf(err) != errs.Conflict {
				t.Errorf("once more: %v", err)
			}
		})
	}
}

// TestOtherOptions: what was fetched is used also when the next run wants something
// else of it.
func TestOtherOptions(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 300)
	m := s.image()
	o := options(t, s.asSource("om1", ""))
	point := "after adopt"
	o.place = killing{at: &point}
	func() {
		defer func() { _ = recover() }()
		_, _ = Run(t.Context(), o)
	}()
	point, o.NodeID = "", "om7"
	got := must(t, o)
	if got.NodeID != "om7" || got.Reused < m.Bytes/2 || got.Sent > m.Bytes/2 {
		t.Errorf("%+v of %d bytes", got, m.Bytes)
	}
	if n, ok, err := o.place.nodeAt(o.DataDir); err != nil || !ok || n.ID != "om7" {
		t.Errorf("%+v, %v, %v", n, ok, err)
	}
}
