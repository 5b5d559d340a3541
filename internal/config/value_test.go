package config

import (
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	const bad = time.Duration(-1 << 62)
	for _, c := range []struct {
		in   string
		bare time.Duration
		want time.Duration
	}{
		{"10m", 0, 10 * time.Minute}, {"500ms", 0, 500 * time.Millisecond}, {"1d", 0, 24 * time.Hour},
		{"1d12h30m", 0, 36*time.Hour + 30*time.Minute}, {"1.5h", 0, 90 * time.Minute}, {"60000ms", 0, time.Minute},
		{"0", 0, 0}, {"-5s", 0, -5 * time.Second}, {"7us", 0, 7 * time.Microsecond}, {"3ns", 0, 3},
		{"120", time.Minute, 2 * time.Hour}, {"24", time.Hour, 24 * time.Hour}, {"90s", time.Minute, 90 * time.Second},
		{"30", 0, bad}, {"", 0, bad}, {"-", 0, bad}, {"m", 0, bad}, {"1M", 0, bad}, {"1 m", 0, bad}, {"1h30", time.Second, bad},
		{"1h-3m", 0, bad}, {"1e3s", 0, bad}, {"1..5s", 0, bad}, {"300000d", 0, bad}, {"ten minutes", 0, bad}, {"+1s", 0, bad},
	} {
		got, err := ParseDuration(c.in, c.bare)
		if (err != nil) != (c.want == bad) || err == nil && got != c.want {
			t.Errorf("%q: %v, %v", c.in, got, err)
		}
	}
}

func TestSizes(t *testing.T) {
	const bad = -1
	for in, want := range map[string]int64{
		"0": 0, "4096": 4096, "4096B": 4096, "64KB": 64 << 10, "64k": 64 << 10, "64KiB": 64 << 10, "64Ki": 64 << 10, "64MB": 64 << 20,
		"1GB": 1 << 30, "1.5GB": 3 << 29, "2TB": 2 << 40, "1PB": 1 << 50, "7EB": 7 << 60, "0.5KB": 512, "8 MB": 8 << 20,
		"8EB": bad, "0.1KB": bad, "MB": bad, "": bad, "64KM": bad, "64BB": bad, "1IB": bad, "1KBB": bad, "ten": bad, "1.2.3MB": bad, "1e3": bad,
	} {
		got, err := ParseSize(in)
		if (err != nil) != (want == bad) || err == nil && got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
}

func FuzzDuration(f *testing.F) {
	f.Add(int64(90 * time.Second))
	f.Add(int64(-1))
	f.Fuzz(func(t *testing.T, n int64) {
		d := time.Duration(n % (1 << 53)) // what a float64 holds exactly
		if got, err := ParseDuration(FormatDuration(d), 0); err != nil || got != d {
			t.Errorf("%s: %v, %v", FormatDuration(d), got, err)
		}
	})
}

func FuzzSize(f *testing.F) {
	f.Add(int64(0))
	f.Add(int64(5 << 20))
	f.Fuzz(func(t *testing.T, n int64) {
		if n < 0 {
			n = ^n
		}
		if got, err := ParseSize(FormatSize(n)); err != nil || got != n {
			t.Errorf("%s: %d, %v", FormatSize(n), got, err)
		}
	})
}

func TestNearest(t *testing.T) {
	names := make([]string, 0)
	for _, k := range Keys() {
		names = append(names, k.Name)
	}
	for typo, want := range map[string]string{
		"ozone.om.adress": "ozone.om.address", "ozone.s3g.http.address": "ozone.s3g.http-address", "ozone.s3g.regoin": "ozone.s3g.region",
		"ozone.metadata.dir": "ozone.metadata.dirs", "something.else": "", "": "",
	} {
		if got := nearest(typo, names); got != want {
			t.Errorf("%s: %q, want %q", typo, got, want)
		}
	}
}
