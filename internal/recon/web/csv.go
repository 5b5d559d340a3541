package web

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// writeCSV writes a list of structs: a line of names, then one for each. What is
// in a struct in a struct is named outer.inner; lists and maps are JSON.
func writeCSV(b *bytes.Buffer, list any) {
	w := csv.NewWriter(b)
	rows := reflect.ValueOf(list)
	cols := columns(rows.Type().Elem(), nil, "")
	var line []string
	for _, c := range cols {
		line = append(line, c.name)
	}
	_ = w.Write(line) // a buffer does not fail
	for i := range rows.Len() {
		line = line[:0]
		for _, c := range cols {
			line = append(line, cell(rows.Index(i).FieldByIndex(c.index)))
		}
		_ = w.Write(line)
	}
	w.Flush()
}

// column is a field of a struct, or of one in it.
type column struct {
	name  string
	index []int
}

func columns(t reflect.Type, index []int, prefix string) (out []column) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int(nil), index...), i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			out = append(out, columns(f.Type, at, prefix)...)
		case f.Type.Kind() == reflect.Struct:
			out = append(out, columns(f.Type, at, prefix+name+".")...)
		default:
			out = append(out, column{prefix + name, at})
		}
	}
	return out
}

// cell writes a value. A text that a spreadsheet would take for a formula gets a
// quote before it, which spreadsheets do not show.
func cell(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		s := v.String()
		if s != "" && strings.IndexByte("=+-@\t\r\n", s[0]) >= 0 {
			return "'" + s
		}
		return s
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return ""
		}
		return cell(v.Elem())
	case reflect.Slice, reflect.Map:
		j, err := json.Marshal(v.Interface())
		if err != nil {
			return ""
		}
		return string(j)
	}
	return fmt.Sprint(v.Interface())
}

// cursorOf returns what a body says of where the next page begins.
func cursorOf(body any) string {
	v := reflect.Indirect(reflect.ValueOf(body))
	if v.Kind() != reflect.Struct {
		return ""
	}
	for _, name := range []string{"LastKey", "Cursor"} {
		if f := v.FieldByName(name); f.IsValid() {
			return f.String()
		}
	}
	return ""
}
