package web

import (
	"reflect"
	"strings"

	"o3/internal/recon/query"
)

// object is a JSON object.
type object = map[string]any

// schemas collects the schemas of types.
type schemas struct{ named object }

// of returns the schema of a type; that of a struct is a reference to one of its
// name.
func (s *schemas) of(t reflect.Type) object {
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return object{"type": "integer", "format": "int64"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return object{"type": "object"}
		}
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Pointer:
		of := s.of(t.Elem())
		if _, ok := of["$ref"]; ok {
			return object{"nullable": true, "allOf": []any{of}}
		}
		of["nullable"] = true
		return of
	case reflect.Interface:
		var any []any
		for _, v := range objectInfos {
			any = append(any, s.of(reflect.TypeOf(v)))
		}
		return object{"nullable": true, "anyOf": any}
	}
	name := t.Name()
	if s.named[name] == nil {
		s.named[name] = object{} // it may have itself in it
		props, required := object{}, []any{}
		s.fields(t, props, &required)
		s.named[name] = object{"type": "object", "properties": props, "required": required, "additionalProperties": false}
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// objectInfos are the types of query.ObjectInfo.
var objectInfos = []query.ObjectInfo{query.Object{}, query.Volume{}, query.Bucket{}, query.Key{}}

func (s *schemas) fields(t reflect.Type, props object, required *[]any) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			s.fields(f.Type, props, required)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		of := s.of(f.Type)
		if doc := f.Tag.Get("doc"); doc != "" {
			if ref, ok := of["$ref"]; ok {
				of = object{"allOf": []any{object{"$ref": ref}}}
			}
			of["description"] = doc
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			of["enum"] = anys(strings.Split(enum, ","))
		}
		props[name] = of
		if options != "omitempty" {
			*required = append(*required, name)
		}
	}
}

func anys[T any](list []T) (out []any) {
	for _, v := range list {
		out = append(out, v)
	}
	return out
}
