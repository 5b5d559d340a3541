package main

// wrapped has a function call another one, which has its text, and then yield.
func wrapped(signature, inner, call string) edit {
	return edit{signature + " {\n", signature + " {\n\t" + call + "\n}\n\n" + inner + " {\n"}
}

// files are what is changed. The runtime's own use of a lock or a channel is left
// alone by yield.
var files = []file{
	{path: "runtime/chan.go", edits: []edit{
		wrapped("func chansend1(c *hchan, elem unsafe.Pointer)", "func chansend0(c *hchan, elem unsafe.Pointer)",
			"chansend(c, elem, true, sys.GetCallerPC())\n\tdisturb()"),
		wrapped("func chanrecv1(c *hchan, elem unsafe.Pointer)", "func chanrecv0(c *hchan, elem unsafe.Pointer)",
			"chanrecv(c, elem, true)\n\tdisturb()"),
		wrapped("func closechan(c *hchan)", "func closechan0(c *hchan)",
			"closechan0(c)\n\tdisturb()"),
	}},
	{path: "runtime/select.go", edits: []edit{
		wrapped("func selectgo(cas0 *scase, order0 *uint16, pc0 *uintptr, nsends, nrecvs int, block bool) (int, bool)",
			"func selectgo0(cas0 *scase, order0 *uint16, pc0 *uintptr, nsends, nrecvs int, block bool) (int, bool)",
			"i, ok := selectgo0(cas0, order0, pc0, nsends, nrecvs, block)\n\tdisturb()\n\treturn i, ok"),
	}},
	{path: "internal/sync/mutex.go", edits: []edit{
		wrapped("func (m *Mutex) Unlock()", "func (m *Mutex) unlock0()", "m.unlock0()\n\tdisturb()"),
	}, tail: `
//go:linkname disturb
func disturb()
`},
	{path: "runtime/proc.go", edits: []edit{
		{"const randomizeScheduler = raceenabled", "const randomizeScheduler = true"},
		wrapped("func newproc(fn *funcval)", "func newproc0(fn *funcval, pc uintptr)", "newproc0(fn, sys.GetCallerPC())\n\tdisturb()"),
		{"	gp := getg()\n	pc := sys.GetCallerPC()\n	systemstack(func() {\n		newg := newproc1(", "	gp := getg()\n	systemstack(func() {\n		newg := newproc1("},
	}, tail: disturb},
}

// disturb is in the runtime what lets others go first.
const disturb = `
//go:linkname sync_disturb internal/sync.disturb
func sync_disturb() { disturb() }

func disturb() {
	gp := getg()
	mp := gp.m
	if !mainStarted || gp != mp.curg || mp.locks != 0 || mp.preemptoff != "" || mp.mallocing != 0 || mp.dying != 0 || mp.incgo || mp.p == 0 {
		return
	}
	switch r := cheaprand(); {
	case r&0x7fff == 1 && disturbedLong.Load() < 40:
		disturbedLong.Add(1)
		disturbFor(int64(50+cheaprandn(200)) * 1000000)
	case r&0x3ff == 2:
		disturbFor(int64(cheaprandn(5000)) * 1000)
	case r&7 == 3:
		for n := cheaprandn(20) + 1; n > 0; n-- {
			Gosched()
		}
	}
}

var disturbedLong atomic.Int32

func disturbFor(ns int64) {
	for until := nanotime() + ns; nanotime() < until; {
		Gosched()
	}
}
`
