package obs

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// newLogger writes text or JSON lines to w. Attributes whose names say that
// they are secrets are masked, whatever their type.
func newLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: maskAttr}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// secretWords mark names of attributes whose values are never logged.
var secretWords = [...]string{"secret", "password", "passphrase", "authorization", "signature", "credential", "security-token", "security_token", "private_key"}

func maskAttr(_ []string, a slog.Attr) slog.Attr {
	name := strings.ToLower(a.Key)
	for _, w := range secretWords {
		if strings.Contains(name, w) {
			return slog.String(a.Key, masked)
		}
	}
	return a
}

// ParseLevel reads debug, info, warn or error.
func ParseLevel(s string) (slog.Level, error) {
	switch s {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is not one of debug, info, warn, error", s)
}
