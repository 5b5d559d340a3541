package config

import (
	"fmt"
	"strings"
)

//go:generate go test -run TestReference -update .

// Reference returns docs/configuration.md.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, g := range groups() {
		fmt.Fprintf(&b, "\n## %s\n\n", g.title)
		if g.intro != "" {
			fmt.Fprintf(&b, "%s\n\n", g.intro)
		}
		b.WriteString("| Key | Default | Value | Meaning |\n|---|---|---|---|\n")
		for _, k := range g.keys {
			def := "unset"
			if k.Default != "" {
				def = "`" + k.Default + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, def, k.Type.String()+k.limits(), strings.ReplaceAll(k.Doc, "|", `\|`))
		}
	}
	b.WriteString("\n## Keys of Ozone that O3 does not have\n\nThey are refused with this advice.\n\n| Key | Instead |\n|---|---|\n")
	for _, m := range moved() {
		name := m.name
		if strings.HasSuffix(name, ".") {
			name += "*"
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, m.say)
	}
	return b.String()
}

func (k Key) limits() string {
	if k.Type == Enum {
		return ": `" + strings.Join(k.Values, "`, `") + "`"
	}
	return k.bounds()
}

const referenceHead = `<!-- Generated from internal/config by go generate; do not edit. -->
# Configuration

A value comes from, in rising order of precedence:

1. the default below;
2. the file named by ` + "`--config FILE`" + `, YAML, in which names may be dotted, nested or both;
3. the environment: the key in upper case with ` + "`_`" + ` for dots and dashes, so ` + "`OZONE_S3G_HTTP_ADDRESS`" + ` for ` + "`ozone.s3g.http-address`" + `;
4. ` + "`-D key=value`" + ` on the command line (the last one of a key wins), and ` + "`--data DIR`" + `.

` + "`o3 server --print-config`" + ` prints what results, with the source of each value, as a file that ` + "`--config`" + ` reads; secrets are masked.
Everything that is wrong (unknown keys and ` + "`OZONE_*`" + ` or ` + "`O3_ROOT_*`" + ` variables, bad values, values that do not go together) is reported at start, together, and the server does not start.
An empty value is accepted only where the default is unset, and means unset.

| Written as | Means |
|---|---|
| duration | numbers with units one after the other: ns, us, ms, s, m, h, d (` + "`500ms`, `1h30m`, `7d`" + `); a bare number only where the key's name ends in its unit |
| size | bytes; K, M, G, T, P, E with or without B or iB are powers of 1024 (` + "`64KB`, `1.5GB`" + `) |
| address | ` + "`host:port` or `:port`" + ` for every address of the machine; port 0 takes any free one |
| list | texts separated by commas; in YAML also a list |
| path | relative paths start at the working directory |
`
