package app

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the operating system's, whose syncs can be held up or fail.
type disk struct {
	vfs.FS
	mu struct {
		sync.Mutex
		fail error
		left int           // syncs that pass before fail counts
		held chan struct{} // nil: syncs pass
		all  chan struct{} // gets a token when a sync is held
	}
}

func newDisk() *disk {
	d := &disk{FS: vfs.Default}
	d.mu.all = make(chan struct{}, 1)
	return d
}

// fail makes every sync from now on fail with err.
func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.fail = err
}

// failAt makes the n-th sync from now on, and those after it, fail with err.
func (d *disk) failAt(n int, err error) {
	d.fail(err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.left = n - 1
}

// hold makes syncs wait until release is called; waiting gets a token when one does.
func (d *disk) hold() (waiting <-chan struct{}, release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	held := make(chan struct{})
	d.mu.held = held
	return d.mu.all, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.mu.held != nil {
			close(held)
			d.mu.held = nil
		}
	}
}

func (d *disk) sync(really func() error) error {
	d.mu.Lock()
	fail, held := d.mu.fail, d.mu.held
	if d.mu.left > 0 {
		d.mu.left--
		fail = nil
	}
	d.mu.Unlock()
	if fail != nil {
		return fail
	}
	if held != nil {
		select {
		case d.mu.all <- struct{}{}:
		default:
		}
		<-held
	}
	return really()
}

type diskFile struct {
	vfs.File
	d *disk
}

func (f diskFile) Sync() error     { return f.d.sync(f.File.Sync) }
func (f diskFile) SyncData() error { return f.d.sync(f.File.SyncData) }
func (f diskFile) SyncTo(n int64) (full bool, err error) {
	err = f.d.sync(func() error { full, err = f.File.SyncTo(n); return err })
	return full, err
}

func (d *disk) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return diskFile{f, d}, nil
}

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.wrap(d.FS.Create(name, c))
}

func (d *disk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.wrap(d.FS.ReuseForWrite(old, name, c))
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return d.wrap(d.FS.OpenReadWrite(name, c, o...))
}
