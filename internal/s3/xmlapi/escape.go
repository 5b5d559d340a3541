package xmlapi

import (
	"unicode/utf8"
)

// plain marks the bytes that are written as they are in XML text.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = true
	}
	for _, c := range `&<>"'` {
		t[c] = false
	}
	return t
}()

// AppendEscaped appends s as XML text. Bytes that are not UTF-8 become U+FFFD;
// characters outside XML 1.0 become references.
func AppendEscaped(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		if plain[s[i]] {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r >= 0x80 && !(r == utf8.RuneError && size == 1) && r != 0xFFFE && r != 0xFFFF {
			i += size
			continue
		}
		b = append(b, s[start:i]...)
		b = appendReference(b, r)
		i += size
		start = i
	}
	return append(b, s[start:]...)
}

// appendReference appends the escape of one character.
func appendReference(b []byte, r rune) []byte {
	switch r {
	case '&':
		return append(b, "&amp;"...)
	case '<':
		return append(b, "&lt;"...)
	case '>':
		return append(b, "&gt;"...)
	case '"':
		return append(b, "&#34;"...)
	case '\'':
		return append(b, "&#39;"...)
	case utf8.RuneError:
		return append(b, "\uFFFD"...)
	case 0xFFFE:
		return append(b, "&#xFFFE;"...)
	case 0xFFFF:
		return append(b, "&#xFFFF;"...)
	}
	b = append(b, "&#x"...)
	if r >= 0x10 {
		b = append(b, upperHex[r>>4])
	}
	return append(b, upperHex[r&15], ';')
}

const upperHex = "0123456789ABCDEF"

// AppendURLEncoded appends s as encoding-type=url spells it: a space is "+";
// letters, digits and "-_.*/" stand for themselves; all else is %XX.
func AppendURLEncoded(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '.', c == '*', c == '/':
			b = append(b, c)
		case c == ' ':
			b = append(b, '+')
		default:
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

// names writes key names in the encoding the client asked for.
type names struct{ url bool }

func encodedBy(encodingType string) names { return names{encodingType == EncodingURL} }

func (n names) text(b []byte, element, value string) []byte {
	b = open(b, element)
	if n.url {
		b = AppendURLEncoded(b, value)
	} else {
		b = AppendEscaped(b, value)
	}
	return shut(b, element)
}

func (n names) optional(b []byte, element, value string) []byte {
	if value == "" {
		return b
	}
	return n.text(b, element, value)
}

func (n names) prefixes(b []byte, prefixes []string) []byte {
	for _, p := range prefixes {
		b = append(b, "<CommonPrefixes>"...)
		b = n.text(b, "Prefix", p)
		b = append(b, "</CommonPrefixes>"...)
	}
	return b
}
