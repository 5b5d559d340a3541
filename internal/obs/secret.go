package obs

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is text that is never shown: printing, logging and encoding it give
// ***. string(s) is the text itself.
type Secret string

const masked = "***"

// String returns ***, or nothing for the empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Format writes String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String; JSON and YAML encoders use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
