package config

import (
	"fmt"
	"strings"
	"time"

	"o3/internal/obs"
)

// Type says how a key's value is written.
type Type uint8

// The types. The field a key fills is of the Go type in brackets.
const (
	String   Type = iota // [string] any text without control characters
	Text                 // [obs.Secret] text that is never shown
	List                 // [[]string] texts separated by commas; a list in YAML
	Address              // [string] host:port, :port
	URL                  // [string] http:// or https://
	Path                 // [string] a file or directory
	Enum                 // [string] one of Values
	Duration             // [time.Duration]
	Size                 // [int64] bytes
	Int                  // [int, int64]
	Float                // [float64]
	Bool                 // [bool]
)

var typeNames = [...]string{"text", "secret", "list", "address", "URL", "path", "choice", "duration", "size", "number", "fraction", "true or false"}

// String returns the type as the documentation names it.
func (t Type) String() string { return typeNames[t] }

// Key is one row of the registry.
type Key struct {
	Name    string
	Type    Type
	Default string   // as a user would write it; "${other.key}" stands for that key's value; "" = unset
	Min     string   // smallest value allowed, "" = the type's
	Max     string   // largest value allowed
	Values  []string // Enum: what is allowed
	Doc     string   // one sentence
	ShownBy string   // the Go test, as package.TestName, in which changing the key changes something observed

	check func(string) error // more than the type asks of a text or of each element of a list
	field func(*Config) any  // where the value goes
}

// Secret reports whether the value must never be shown.
func (k Key) Secret() bool { return k.Type == Text }

// Env returns the name of the environment variable that sets the key.
func (k Key) Env() string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' {
			return '_'
		}
		return r
	}, strings.ToUpper(k.Name))
}

// Unit returns what a number without a unit means in a Duration key: Ozone
// puts the unit last in the name. 0 means a unit must be written.
func (k Key) Unit() time.Duration {
	switch k.Name[strings.LastIndexByte(k.Name, '.')+1:] {
	case "ms", "milliseconds":
		return time.Millisecond
	case "seconds":
		return time.Second
	case "minutes":
		return time.Minute
	case "hours":
		return time.Hour
	case "days":
		return 24 * time.Hour
	}
	return 0
}

// Allowed says in words what the key accepts; "" where what is wrong says it all.
func (k Key) Allowed() string {
	switch k.Type {
	case Enum:
		return "one of " + strings.Join(k.Values, ", ")
	case Bool:
		return "true or false"
	case Address:
		return "host:port or :port, the port from 0 (any free one) to 65535"
	case URL:
		return "a URL such as http://collector:4318"
	case List:
		return "texts separated by commas"
	case Duration:
		if u := k.Unit(); u != 0 {
			return fmt.Sprintf("a duration such as 90s, 10m or 1d; a bare number counts %s", k.Name[strings.LastIndexByte(k.Name, '.')+1:]) + k.bounds()
		}
		return "a duration such as 500ms, 10m, 1h30m or 7d" + k.bounds()
	case Size:
		return "a size such as 4096, 64KB, 64MB or 1GB (powers of 1024)" + k.bounds()
	case Int:
		return "a whole number" + k.bounds()
	case Float:
		return "a number" + k.bounds()
	case Path:
		return "a path"
	}
	return ""
}

func (k Key) bounds() string {
	switch {
	case k.Min != "" && k.Max != "":
		return ", from " + k.Min + " to " + k.Max
	case k.Min != "":
		return ", at least " + k.Min
	case k.Max != "":
		return ", at most " + k.Max
	}
	return ""
}

// group returns the heading under which the documentation lists the key.
type group struct {
	title string
	intro string
	keys  []Key
}

// groups is the registry in the order of the documentation.
func groups() []group {
	return []group{nodeKeys(), s3Keys(), omKeys(), raftKeys(), dbKeys(), blockKeys(), serviceKeys(), snapshotKeys(), lifecycleKeys(), imageKeys(), exportKeys(), transferKeys(), bootstrapKeys(), reconKeys(), obsKeys()}
}

// Keys returns every key, in the order of the documentation.
func Keys() []Key {
	var out []Key
	for _, g := range groups() {
		out = append(out, g.keys...)
	}
	return out
}

// set puts text, in the form users write it, into the field of k in c.
func (k Key) set(c *Config, text string) error {
	v, err := k.parse(text)
	if err != nil {
		return err
	}
	switch f := k.field(c).(type) {
	case *string:
		*f = v.(string)
	case *obs.Secret:
		*f = obs.Secret(v.(string))
	case *[]string:
		*f = v.([]string)
	case *time.Duration:
		*f = v.(time.Duration)
	case *int64:
		*f = v.(int64)
	case *int:
		*f = int(v.(int64))
	case *float64:
		*f = v.(float64)
	case *bool:
		*f = v.(bool)
	default:
		return fmt.Errorf("the registry gives %s a field of type %T", k.Name, f)
	}
	return nil
}

// format writes the value of k in c as a user would.
func (k Key) format(c *Config) string {
	switch f := k.field(c).(type) {
	case *string:
		return *f
	case *obs.Secret:
		return f.String()
	case *[]string:
		return strings.Join(*f, ",")
	case *time.Duration:
		return FormatDuration(*f)
	case *int64:
		if k.Type == Size {
			return FormatSize(*f)
		}
		return fmt.Sprint(*f)
	case *int:
		return fmt.Sprint(*f)
	case *float64:
		return fmt.Sprint(*f)
	case *bool:
		return fmt.Sprint(*f)
	}
	return ""
}
