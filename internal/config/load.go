package config

import (
	"path/filepath"
	"slices"
	"strings"

	"o3/internal/image/s3target"
)

// Sources is what a configuration is made of, in rising order of precedence.
type Sources struct {
	File string   // path of a YAML file; "" = none
	Env  []string // "NAME=value" as os.Environ returns it
	Set  []string // "key=value" of each -D, in order; the last one of a key wins
	Data string   // --data: overrides ozone.metadata.dirs; "" = not given

	// DiskSize returns the size in bytes of the disk that holds path, or
	// will hold it when it exists. nil asks the operating system.
	DiskSize func(path string) (int64, error)
}

// Load reads the sources. Everything wrong with them is reported together, as
// Problems; the Config is nil then.
func Load(src Sources) (*Config, error) {
	l := &loader{config: &Config{sources: map[string]Source{}}, keys: Keys(), given: map[string]given{}}
	if l.diskSize = src.DiskSize; l.diskSize == nil {
		l.diskSize = diskSize
	}
	l.file(src.File)
	l.env(src.Env)
	l.options(src.Set)
	if src.Data != "" {
		l.give("ozone.metadata.dirs", src.Data, Source{FromOption, "--data"}, "")
	}
	l.fill()
	l.wrong = map[string]bool{}
	for _, p := range l.problems {
		l.wrong[p.Key] = true
	}
	for _, check := range conflicts() {
		check(l)
	}
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	return l.config, nil
}

// Default returns the configuration without any source.
func Default() *Config {
	c, err := Load(Sources{DiskSize: func(string) (int64, error) { return 1 << 62, nil }})
	if err != nil {
		panic("config: the defaults are wrong: " + err.Error()) // a test loads them
	}
	return c
}

// Source returns where the value of a key came from.
func (c *Config) Source(key string) Source { return c.sources[key] }

type given struct {
	text   string
	source Source
}

// loader gathers what is given and what is wrong.
type loader struct {
	config   *Config
	keys     []Key
	given    map[string]given // the winning value of each key
	problems Problems
	wrong    map[string]bool // keys whose values are wrong by themselves
	diskSize func(string) (int64, error)
}

func (l *loader) problem(p Problem) { l.problems = append(l.problems, p) }

func (l *loader) key(name string) (Key, bool) {
	i := slices.IndexFunc(l.keys, func(k Key) bool { return k.Name == name })
	if i < 0 {
		return Key{}, false
	}
	return l.keys[i], true
}

// give takes one value of one source. near overrides the suggestion for an
// unknown name.
func (l *loader) give(name, text string, from Source, near string) {
	k, known := l.key(name)
	if !known {
		l.unknown(name, text, from, near)
		return
	}
	text = strings.TrimSpace(text)
	var scratch Config
	if err := k.set(&scratch, text); err != nil {
		l.problem(Problem{Key: name, Value: mask(k, text), Source: from, Wrong: err.Error(), Allowed: k.Allowed()})
		return
	}
	if k.Secret() && from.Origin == FromOption {
		l.problem(Problem{Key: name, Value: mask(k, text), Source: from, Wrong: "a secret in the command line can be read by everybody on the machine",
			Allowed: "the variable " + k.Env() + " or the configuration file"})
		return
	}
	l.given[name] = given{text, from}
}

func mask(k Key, text string) string {
	if k.Secret() {
		return "***"
	}
	if s3target.IsURL(text) { // it is wrong, and may hold keys
		return s3target.Scheme + "***"
	}
	if i := strings.LastIndexByte(text, '@'); i >= 0 && k.Type == URL {
		return "***" + text[i:] // what stands there is a name and a password
	}
	return text
}

func (l *loader) unknown(name, text string, from Source, near string) {
	p := Problem{Key: name, Value: text, Source: from, Wrong: "unknown key", Near: near}
	for _, word := range []string{"secret", "password", "token"} {
		if strings.Contains(strings.ToLower(name), word) {
			p.Value = "***"
		}
	}
	if say, ok := elsewhere(name); ok {
		p.Wrong, p.Near = "O3 has no such key: "+say, ""
	} else if near == "" {
		names := make([]string, len(l.keys))
		for i, k := range l.keys {
			names[i] = k.Name
		}
		p.Near = nearest(strings.ToLower(name), names)
	}
	l.problem(p)
}

// env takes the variables that are meant for us.
func (l *loader) env(environ []string) {
	byEnv := map[string]string{}
	names := make([]string, 0, len(l.keys))
	for _, k := range l.keys {
		byEnv[k.Env()] = k.Name
		names = append(names, k.Env())
	}
	environ = slices.Clone(environ)
	slices.Sort(environ)
	kubernetes := slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, "KUBERNETES_SERVICE_HOST=") })
	for _, e := range environ {
		name, text, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "OZONE_") && !strings.HasPrefix(name, "O3_ROOT_") {
			continue
		}
		if key, ok := byEnv[name]; ok {
			l.give(key, text, Source{FromEnv, name}, "")
		} else if !kubernetes || !serviceLink(name, text) {
			l.unknown(name, text, Source{FromEnv, name}, nearest(name, names))
		}
	}
}

// serviceLink recognises the variables by which Kubernetes tells a pod of the
// services beside it: a service named ozone-… makes them look like ours.
func serviceLink(name, text string) bool {
	return strings.HasPrefix(text, "tcp://") || strings.HasPrefix(text, "udp://") ||
		strings.HasSuffix(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") ||
		strings.Contains(name, "_TCP_") || strings.Contains(name, "_UDP_")
}

func (l *loader) options(set []string) {
	for _, s := range set {
		name, text, ok := strings.Cut(s, "=")
		if !ok {
			l.problem(Problem{Key: "", Source: Source{FromOption, "-D " + s}, Wrong: "there is no = in it", Allowed: "-D key=value"})
			continue
		}
		if name = strings.TrimSpace(name); name == "" {
			l.problem(Problem{Source: Source{FromOption, "-D " + s}, Wrong: "there is no key before the =", Allowed: "-D key=value"})
			continue
		}
		l.give(name, text, Source{FromOption, "-D"}, "")
	}
}

// fill sets every field of the Config: what was given, else the default.
func (l *loader) fill() {
	for _, k := range l.keys {
		g, ok := l.given[k.Name]
		if !ok {
			g = given{l.expand(k.Default), Source{FromDefault, ""}}
		}
		if err := k.set(l.config, g.text); err != nil {
			l.problem(Problem{Key: k.Name, Value: mask(k, g.text), Source: g.source, Wrong: err.Error(), Allowed: k.Allowed()})
		}
		l.config.sources[k.Name] = g.source
	}
}

// expand replaces ${key}, which only defaults hold, by the value of a key that
// stands earlier in the registry.
func (l *loader) expand(text string) string {
	name, rest, ok := strings.Cut(strings.TrimPrefix(text, "${"), "}")
	if !ok || !strings.HasPrefix(text, "${") {
		return text
	}
	k, _ := l.key(name)
	return filepath.Join(k.format(l.config), rest)
}

// value returns the value of a key as it is written, and its source.
func (l *loader) value(name string) (string, Source) {
	k, _ := l.key(name)
	return k.format(l.config), l.config.sources[name]
}

// conflict reports that values which are right by themselves do not go
// together. It is silent when one of them is wrong by itself.
func (l *loader) conflict(name, wrong, allowed string, others ...string) {
	if l.wrong[name] || slices.ContainsFunc(others, func(n string) bool { return l.wrong[n] }) {
		return
	}
	text, from := l.value(name)
	l.problem(Problem{Key: name, Value: text, Source: from, Wrong: wrong, Allowed: allowed})
}
