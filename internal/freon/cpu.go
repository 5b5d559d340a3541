package freon

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"o3/internal/errs"
)

// cpuSource tells the CPU time that a server has used since it started.
type cpuSource func(ctx context.Context) (time.Duration, error)

// serverCPU returns where to read the server's CPU time; nil if the user did
// not say.
func serverCPU(pid int, metrics string) cpuSource {
	switch {
	case pid != 0:
		return func(context.Context) (time.Duration, error) { return processCPU(pid) }
	case metrics != "":
		return func(ctx context.Context) (time.Duration, error) { return metricsCPU(ctx, metrics) }
	}
	return nil
}

// clockTick is the unit of /proc/<pid>/stat: 100 per second on every Linux
// that Go runs on.
const clockTick = 10 * time.Millisecond

// processCPU returns the user and system time of a process of this machine.
func processCPU(pid int) (time.Duration, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, errs.New(errs.Invalid, "--server-pid "+strconv.Itoa(pid), "cannot read "+path+": no such process on this machine, or no Linux")
	}
	return parseStat(string(raw))
}

// parseStat reads a line of /proc/<pid>/stat. The second field is a name in
// parentheses that may hold anything.
func parseStat(line string) (time.Duration, error) {
	_, rest, ok := cutLast(line, ")")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, errs.New(errs.Invalid, "/proc stat line", "it is not in the form of Linux")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64) // fields 14 and 15 of proc_pid_stat(5)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, errs.New(errs.Invalid, "/proc stat line", "its times are no numbers")
	}
	return time.Duration(user+system) * clockTick, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// maxMetrics bounds a metrics page, in bytes.
const maxMetrics = 16 << 20

// metricsCPU reads process_cpu_seconds_total of a Prometheus page.
func metricsCPU(ctx context.Context, url string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	bad := func(why string) (time.Duration, error) {
		return 0, errs.New(errs.Invalid, "--server-metrics "+url, why)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return bad(err.Error())
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return bad(err.Error())
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return bad("it answers " + resp.Status)
	}
	lines := bufio.NewScanner(io.LimitReader(resp.Body, maxMetrics))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		value, found := strings.CutPrefix(lines.Text(), "process_cpu_seconds_total ")
		if !found {
			continue
		}
		seconds, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return bad("its process_cpu_seconds_total is no number")
		}
		return time.Duration(seconds * float64(time.Second)), nil
	}
	if err := lines.Err(); err != nil {
		return bad(err.Error())
	}
	return bad("it shows no process_cpu_seconds_total")
}

// meter measures CPU time between begin and end.
type meter struct {
	ctx          context.Context // of the run
	server       cpuSource       // may be nil
	client0      time.Duration
	client       time.Duration
	server0      time.Duration
	serverUsed   time.Duration
	err          error // of reading the server's
	measuredServ bool
}

func (m *meter) begin() {
	m.client0 = ownCPU()
	if m.server != nil {
		m.server0, m.err = m.server(m.ctx)
	}
}

func (m *meter) end() {
	m.client = ownCPU() - m.client0
	if m.server == nil || m.err != nil {
		return
	}
	var now time.Duration
	if now, m.err = m.server(m.ctx); m.err == nil {
		m.serverUsed, m.measuredServ = now-m.server0, true
	}
}
