package main

// wrapped gives a function another text, and its own to inner, which that calls.
func wrapped(signature, inner, text string) edit {
	return edit{signature + " {\n", signature + " {\n\t" + text + "\n}\n\n" + inner + " {\n"}
}

// files are what is changed. The runtime's own use of a lock or a channel is left
// alone by disturb.
var files = []file{
	{path: "runtime/chan.go", edits: []edit{
		{"\tchansend(c, elem, true, sys.GetCallerPC())\n", "\tchansend(c, elem, true, sys.GetCallerPC())\n\tdisturb()\n"},
		{"\tchanrecv(c, elem, true)\n", "\tchanrecv(c, elem, true)\n\tdisturb()\n"},
		{"\t_, received = chanrecv(c, elem, true)\n", "\t_, received = chanrecv(c, elem, true)\n\tdisturb()\n"},
		{"\treturn chansend(c, elem, false, sys.GetCallerPC())\n", "\tselected = chansend(c, elem, false, sys.GetCallerPC())\n\tdisturb()\n\treturn\n"},
		{"\treturn chanrecv(c, elem, false)\n", "\tselected, received = chanrecv(c, elem, false)\n\tdisturb()\n\treturn\n"},
		wrapped("func closechan(c *hchan)", "func closechan0(c *hchan)", "closechan0(c)\n\tdisturb()"),
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
