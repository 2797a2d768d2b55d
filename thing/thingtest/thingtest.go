// Package thingtest checks things against what the W3C publishes.
package thingtest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Valid checks that a Thing Description is valid against the W3C's JSON Schema for TD 1.1, which is found through the
// environment variable KINDRED_DATA. Without it the test is skipped and says so.
func Valid(t testing.TB, description any) {
	t.Helper()
	dir := os.Getenv("KINDRED_DATA")
	if dir == "" {
		t.Skip("KINDRED_DATA is not set: the W3C's schema for Thing Descriptions is not checked")
	}
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(dir, "wot", "spec", "td-json-schema-validation.json"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(description)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		t.Errorf("%v\n%s", err, raw)
	}
}
