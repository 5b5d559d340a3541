package config

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Dump writes the effective configuration as YAML that --config reads back:
// every key with its value and, as a comment, where it came from. Secrets are
// masked and stand in a comment.
func (c *Config) Dump(w io.Writer) error {
	var b strings.Builder
	for i, g := range groups() {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "# %s\n", g.title)
		for _, k := range g.keys {
			text, from := k.format(c), c.sources[k.Name]
			if k.Secret() {
				if text != "" {
					fmt.Fprintf(&b, "# %s: %s # %s\n", k.Name, text, from)
				}
				continue
			}
			fmt.Fprintf(&b, "%s: %s # %s\n", k.Name, quote(k, text), from)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// quote writes a value so that YAML reads the same text.
func quote(k Key, text string) string {
	switch k.Type {
	case Int, Float, Bool, Duration, Size, Enum:
		return text
	}
	return strconv.Quote(text)
}
