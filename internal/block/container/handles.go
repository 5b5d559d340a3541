package container

import (
	"container/list"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// handles keeps files open for reading: those in use, and at most limit that
// are not. A file that was removed stays readable through its handle.
type handles struct {
	open  func(name string) (vfs.File, error)
	limit int

	mu     sync.Mutex
	byName map[string]*handle
	idle   *list.List // of *handle, the one used last in front
	closed bool
}

type handle struct {
	vfs.File
	name string
	refs int
	gone bool          // not to be kept when its last user leaves
	at   *list.Element // in idle
}

func newHandles(limit int, open func(string) (vfs.File, error)) *handles {
	return &handles{open: open, limit: limit, byName: map[string]*handle{}, idle: list.New()}
}

// acquire opens the file or finds it open; release it once.
func (c *handles) acquire(name string) (*handle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.byName[name]; h != nil {
		if h.at != nil {
			c.idle.Remove(h.at)
			h.at = nil
		}
		h.refs++
		return h, nil
	}
	f, err := c.open(name)
	if err != nil {
		return nil, err
	}
	h := &handle{File: f, name: name, refs: 1, gone: c.closed}
	if !c.closed {
		c.byName[name] = h
	}
	return h, nil
}

func (c *handles) release(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.refs--
	if h.refs > 0 {
		return
	}
	if h.gone {
		h.Close() // opened for reading: nothing to lose
		return
	}
	h.at = c.idle.PushFront(h)
	for c.idle.Len() > c.limit {
		c.drop(c.idle.Back().Value.(*handle))
	}
}

// drop closes an idle handle; the caller holds mu.
func (c *handles) drop(h *handle) {
	c.idle.Remove(h.at)
	delete(c.byName, h.name)
	h.Close()
}

// forget closes the file's handle as soon as nobody uses it: the file is no more.
func (c *handles) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.byName[name]
	if h == nil {
		return
	}
	if h.at != nil {
		c.drop(h)
		return
	}
	h.gone = true
	delete(c.byName, name)
}

// close closes what is idle, and the rest as it is released.
func (c *handles) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for c.idle.Len() > 0 {
		c.drop(c.idle.Front().Value.(*handle))
	}
	for name, h := range c.byName {
		h.gone = true
		delete(c.byName, name)
	}
}
