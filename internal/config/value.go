package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ParseDuration reads a duration as Ozone writes it: numbers with the units
// ns, us, ms, s, m, h and d, one after the other ("1d12h", "1.5h"). A number
// without a unit counts bare; with bare 0 only "0" is accepted.
func ParseDuration(s string, bare time.Duration) (time.Duration, error) {
	rest, neg := strings.CutPrefix(s, "-")
	if rest == "" {
		return 0, errors.New("not a duration")
	}
	var total float64
	for rest != "" {
		n := strings.IndexFunc(rest, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		if n < 0 {
			n = len(rest)
		}
		v, err := strconv.ParseFloat(rest[:n], 64)
		if err != nil {
			return 0, errors.New("not a duration")
		}
		rest = rest[n:]
		u := strings.IndexFunc(rest, func(r rune) bool { return r == '.' || r >= '0' && r <= '9' })
		if u < 0 {
			u = len(rest)
		}
		unit, ok := durationUnits[rest[:u]]
		if rest[:u] == "" {
			if len(s) != n && !(neg && len(s) == n+1) {
				return 0, errors.New("a number in it has no unit")
			}
			if unit, ok = bare, true; bare == 0 && v != 0 {
				return 0, errors.New("it has no unit")
			}
		}
		if !ok {
			return 0, fmt.Errorf("unknown unit %q", rest[:u])
		}
		total += v * float64(unit)
		rest = rest[u:]
	}
	if total > math.MaxInt64/2 {
		return 0, errors.New("too long")
	}
	if neg {
		total = -total
	}
	return time.Duration(math.Round(total)), nil
}

var durationUnits = map[string]time.Duration{
	"ns": time.Nanosecond, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second,
	"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
}

// FormatDuration writes d so that ParseDuration reads it back.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	if d < 0 {
		b.WriteByte('-')
		d = -d
	}
	for _, u := range []struct {
		name string
		d    time.Duration
	}{
		{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second},
		{"ms", time.Millisecond}, {"us", time.Microsecond}, {"ns", 1},
	} {
		if n := d / u.d; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.d
		}
	}
	return b.String()
}

// ParseSize reads a number of bytes: "4096", "64KB", "1.5GB". As in Ozone the
// units are powers of 1024; K, KB and KiB are the same, in either case.
func ParseSize(s string) (int64, error) {
	n := strings.IndexFunc(s, func(r rune) bool { return r != '.' && r != '-' && (r < '0' || r > '9') })
	if n < 0 {
		n = len(s)
	}
	number, unit := s[:n], strings.ToUpper(strings.TrimSpace(s[n:]))
	shift := 0
	if unit != "" && unit != "B" {
		prefix := strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "I")
		if shift = strings.Index("-KMGTPE", prefix); shift < 1 || len(prefix) != 1 {
			return 0, fmt.Errorf("unknown unit %q", s[n:])
		}
	}
	if v, err := strconv.ParseInt(number, 10, 64); err == nil {
		if v > math.MaxInt64>>(10*shift) || v < 0 && -v > math.MaxInt64>>(10*shift) {
			return 0, errors.New("too large")
		}
		return v << (10 * shift), nil
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, errors.New("not a size")
	}
	v *= float64(int64(1) << (10 * shift))
	if math.Abs(v) >= math.MaxInt64 {
		return 0, errors.New("too large")
	}
	if v != math.Trunc(v) {
		return 0, errors.New("not a whole number of bytes")
	}
	return int64(v), nil
}

// FormatSize writes n with the largest unit that divides it.
func FormatSize(n int64) string {
	const units = "KMGTPE"
	i := -1
	for v := n; v != 0 && v%1024 == 0 && i+1 < len(units); v /= 1024 {
		n, i = v/1024, i+1
	}
	if i < 0 {
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%d%cB", n, units[i])
}

// parse reads text as a value of k: string, []string, time.Duration, int64,
// float64 or bool.
func (k Key) parse(text string) (any, error) {
	if text == "" && k.Default != "" {
		return nil, errors.New("it may not be empty")
	}
	switch k.Type {
	case Duration:
		return ordered(k, text, func(s string) (time.Duration, error) { return ParseDuration(s, k.Unit()) })
	case Size:
		return ordered(k, text, ParseSize)
	case Int:
		return ordered(k, text, func(s string) (int64, error) {
			v, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return 0, errors.New("not a whole number")
			}
			return v, nil
		})
	case Float:
		return ordered(k, text, func(s string) (float64, error) {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
				return 0, errors.New("not a number")
			}
			return v, nil
		})
	case Bool:
		if text != "true" && text != "false" {
			return nil, errors.New("neither true nor false")
		}
		return text == "true", nil
	case Enum:
		if !slices.Contains(k.Values, text) {
			return nil, errors.New("not one of the choices")
		}
		return text, nil
	case List:
		return k.list(text)
	}
	return text, k.text(text)
}

func ordered[T int64 | float64 | time.Duration](k Key, text string, parse func(string) (T, error)) (any, error) {
	v, err := parse(text)
	if err != nil {
		return nil, err
	}
	if k.Min != "" {
		if least, err := parse(k.Min); err != nil || v < least {
			return nil, errors.Join(errors.New("too small"), err)
		}
	}
	if k.Max != "" {
		if most, err := parse(k.Max); err != nil || v > most {
			return nil, errors.Join(errors.New("too large"), err)
		}
	}
	return v, nil
}

func (k Key) list(text string) (any, error) {
	var out []string
	for p := range strings.SplitSeq(text, ",") {
		if p = strings.TrimSpace(p); p == "" {
			if strings.TrimSpace(text) == "" {
				return out, nil
			}
			return nil, errors.New("one of its elements is empty")
		}
		if err := k.text(p); err != nil {
			return nil, fmt.Errorf("%q: %w", p, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// text checks a single text of k.
func (k Key) text(s string) error {
	if s == "" {
		return nil
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("control characters or bytes that are not UTF-8 in it")
	}
	switch k.Type {
	case Address:
		return checkAddress(s)
	case URL:
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("not an http or https URL")
		}
		if u.User != nil {
			return errors.New("it holds a password, which would be shown")
		}
	}
	if k.check != nil {
		return k.check(s)
	}
	return nil
}

func checkAddress(s string) error {
	if strings.Contains(s, "://") {
		return errors.New("a URL, not an address")
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return errors.New("not host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return fmt.Errorf("%q is not a port", port)
	}
	if strings.ContainsAny(host, "/ @?#") {
		return fmt.Errorf("%q is not a host", host)
	}
	return nil
}
