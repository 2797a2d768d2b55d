package thing

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Schema is a data schema of a Thing Description (TD 1.1, §5.3.2), a subset of
// JSON Schema.
type Schema struct {
	Type            string             `json:"type,omitempty"` // boolean integer number string array object; empty: any
	Description     string             `json:"description,omitempty"`
	Unit            string             `json:"unit,omitempty"`
	Enum            []string           `json:"enum,omitempty"`
	Format          string             `json:"format,omitempty"`
	ContentEncoding string             `json:"contentEncoding,omitempty"`
	Items           *Schema            `json:"items,omitempty"`
	Properties      map[string]*Schema `json:"properties,omitempty"`
	Required        []string           `json:"required,omitempty"`
}

// Enumerated is a type whose values are known; its schema lists them.
type Enumerated interface{ Values() []string }

// SchemaOf gives the schema of what [encoding/json] makes of a T. Members of a
// struct are described by the tags doc:"…" and unit:"…", and required unless
// they may be left out (omitempty, omitzero). It panics on what has no JSON
// form and on types that contain themselves.
func SchemaOf[T any]() Schema { return *schemaOf(reflect.TypeFor[T](), 0) }

func schemaUnlessNone[T any]() *Schema {
	if reflect.TypeFor[T]() == reflect.TypeFor[None]() {
		return nil
	}
	return new(SchemaOf[T]())
}

func schemaOf(t reflect.Type, depth int) *Schema {
	if depth > 16 {
		panic(fmt.Sprintf("thing: schema of %s: nested too deeply", t))
	}
	zero := reflect.New(t).Interface()
	switch v := zero.(type) {
	case Enumerated:
		return &Schema{Type: "string", Enum: v.Values()}
	case *time.Time:
		return &Schema{Type: "string", Format: "date-time"}
	case json.Marshaler:
		return &Schema{}
	case encoding.TextMarshaler:
		return &Schema{Type: "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return &Schema{Type: "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &Schema{Type: "integer"}
	case reflect.Float32, reflect.Float64:
		return &Schema{Type: "number"}
	case reflect.String:
		return &Schema{Type: "string"}
	case reflect.Interface:
		return &Schema{}
	case reflect.Pointer:
		return schemaOf(t.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
			return &Schema{Type: "string", ContentEncoding: "base64"}
		}
		return &Schema{Type: "array", Items: schemaOf(t.Elem(), depth+1)}
	case reflect.Map:
		return &Schema{Type: "object"}
	case reflect.Struct:
		s := &Schema{Type: "object", Properties: map[string]*Schema{}}
		addMembers(s, t, depth)
		return s
	}
	panic(fmt.Sprintf("thing: schema of %s: no JSON form", t))
}

func addMembers(s *Schema, t reflect.Type, depth int) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			addMembers(s, f.Type, depth+1)
			continue
		}
		if !f.IsExported() || name == "-" && options == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		member := schemaOf(f.Type, depth+1)
		member.Description, member.Unit = f.Tag.Get("doc"), f.Tag.Get("unit")
		s.Properties[name] = member
		if !strings.Contains(options, "omit") {
			s.Required = append(s.Required, name)
		}
	}
}
