package grant

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// The vectors of doc/grant-format.md, for whoever writes another implementation. Bytes are in base64 there, but for
// byte strings of terms, which are in hexadecimal, as are digests.
type vectors struct {
	Comment   string                  `json:"comment"`
	Tree      string                  `json:"tree"`
	Root      []byte                  `json:"root"`    // its certificate, DER
	Members   map[identity.Path]shown `json:"members"` // of all kinds; leaves with their certificates
	Grants    []grantVector           `json:"grants"`
	Decisions []decisionVector        `json:"decisions"`
}

type shown struct {
	ID    string   `json:"id"`
	Kind  string   `json:"kind"`
	Chain [][]byte `json:"chain,omitempty"` // DER, leaf first
}

// A grantVector is a signed grant: the map that its payload is, by its keys, the payload and the whole statement.
type grantVector struct {
	Name    string         `json:"name"`
	Terms   map[string]any `json:"terms"`
	Payload []byte         `json:"payload"`
	Signed  []byte         `json:"signed"`
	Digest  string         `json:"digest"`
}

// A decisionVector is a request of somebody, the grants that stand, as of when, and what the answer is.
type decisionVector struct {
	Name   string   `json:"name"`
	Grants []string `json:"grants"`
	Ask    struct {
		By         identity.Path `json:"by"`
		Thing      identity.Path `json:"thing"`
		Affordance string        `json:"affordance"`
		Action     string        `json:"action"`
		Purpose    string        `json:"purpose,omitempty"`
	} `json:"request"`
	Facts struct {
		Now      int64       `json:"now"`
		AsOf     int64       `json:"asOf"` // of the grants, and of the caller
		Fresh    int64       `json:"fresh"`
		Offline  int64       `json:"offline"`
		Isolated bool        `json:"isolated,omitempty"`
		Way      string      `json:"way"`
		Used     *usedVector `json:"used,omitempty"` // under each grant; absent: nobody counts
		Accepted bool        `json:"accepted,omitempty"`
	} `json:"facts"`
	Want answerVector `json:"decision"`
}

type usedVector struct {
	Uses    uint32 `json:"uses"`
	Seconds int64  `json:"seconds"`
	Recent  uint32 `json:"recent"`
}

type answerVector struct {
	Allowed bool     `json:"allowed"`
	Code    string   `json:"code"`
	Grant   string   `json:"grant,omitempty"` // what allowed it
	Offline bool     `json:"offline,omitempty"`
	Counts  bool     `json:"counts,omitempty"`
	Until   int64    `json:"until,omitempty"`
	Detail  string   `json:"detail,omitempty"`
	Clear   []string `json:"clear,omitempty"`
	Since   int64    `json:"since,omitempty"` // nothing from before is seen
	Sees    []int64  `json:"sees,omitempty"`
	Hides   []int64  `json:"hides,omitempty"`
}

const vectorsFile = "testdata/vectors.json"

// What doc/grant-format.md says, as bytes and answers. -update makes all of it anew.
func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	raw, err := os.ReadFile(filepath.FromSlash(vectorsFile))
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	id, err := identity.ParseTreeID(v.Tree)
	if err != nil {
		t.Fatal(err)
	}
	root, err := identity.ParseRoot(id, v.Root)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(chain [][]byte, at time.Time) (identity.Chain, error) {
		return identity.Verify(chain, id, root, at)
	}
	opened := map[string]Opened{}
	names := map[string]string{}
	for _, g := range v.Grants {
		o, err := Open(g.Signed, verify)
		if err != nil {
			t.Errorf("%s: %v", g.Name, err)
			continue
		}
		again, err := signed.Marshal(o.Terms())
		if err != nil || !bytes.Equal(again, g.Payload) || o.Digest().String() != g.Digest {
			t.Errorf("%s: payload %x, digest %s, %v, want %x, %s", g.Name, again, o.Digest(), err, g.Payload, g.Digest)
		}
		if got, want := asJSON(t, byKey(o.Terms())), asJSON(t, g.Terms); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", g.Name, got, want)
		}
		opened[g.Name], names[o.Terms().ID.String()] = o, g.Name
	}
	for _, test := range v.Decisions {
		if got := test.decide(t, v, verify, opened, names); asJSON(t, got) != asJSON(t, test.Want) {
			t.Errorf("%s:\n%s\nwant\n%s", test.Name, asJSON(t, got), asJSON(t, test.Want))
		}
	}
	if len(v.Grants) < 10 || len(v.Decisions) < 30 {
		t.Errorf("%d grants, %d decisions: vectors are missing", len(v.Grants), len(v.Decisions))
	}
}

// The page names every key of terms, and every code that denies.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile(filepath.FromSlash("../doc/grant-format.md"))
	if err != nil {
		t.Fatal(err)
	}
	for f := range reflect.TypeFor[Terms]().Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("cbor"), ",")
		if !bytes.Contains(page, []byte("\n| "+key+" | ")) {
			t.Errorf("%s, key %s, is not on the page", f.Name, key)
		}
	}
	for code := NoGrant; code < Failed; code++ {
		if !bytes.Contains(page, []byte("`"+code.String()+"`")) {
			t.Errorf("code %s is not on the page", code)
		}
	}
}

// decide gives the answer that a vector asks for.
func (test decisionVector) decide(t *testing.T, v vectors, verify func([][]byte, time.Time) (identity.Chain, error), opened map[string]Opened, names map[string]string) answerVector {
	now, asOf := time.Unix(test.Facts.Now, 0), time.Unix(test.Facts.AsOf, 0)
	chain := func(path identity.Path) identity.Chain {
		c, err := verify(v.Members[path].Chain, asOf)
		if err != nil {
			t.Fatalf("%s: %s: %v", test.Name, path, err)
		}
		return c
	}
	var grants []Grant
	for _, name := range test.Grants {
		o, ok := opened[name]
		if !ok {
			t.Fatalf("%s: there is no grant %q", test.Name, name)
		}
		grants = append(grants, Grant{rules: o.rules, asOf: asOf, accepted: test.Facts.Accepted})
	}
	i := slices.IndexFunc(actions[:], func(a Action) bool { return a.String() == test.Ask.Action })
	way := slices.IndexFunc(ways, func(w Way) bool { return w.String() == test.Facts.Way })
	if i < 0 || way < 0 {
		t.Fatalf("%s: action %q, way %q", test.Name, test.Ask.Action, test.Facts.Way)
	}
	facts := Facts{
		Now: now, Limit: Limit{time.Duration(test.Facts.Fresh) * time.Second, time.Duration(test.Facts.Offline) * time.Second},
		Isolated: test.Facts.Isolated, Way: Way(way),
	}
	if u := test.Facts.Used; u != nil {
		facts.Usage = func(*Terms) Usage {
			return Usage{Uses: u.Uses, Time: time.Duration(u.Seconds) * time.Second, Recent: u.Recent}
		}
	}
	req := Request{Thing: chain(test.Ask.Thing), Affordance: test.Ask.Affordance, Action: actions[i], Purpose: test.Ask.Purpose}
	d := mustDecide(t, req, credential.Principal{Chain: chain(test.Ask.By), AsOf: asOf}, grants, facts)
	got := answerVector{Allowed: d.Allowed, Code: d.Reason.Code.String(), Offline: d.Offline, Counts: d.Counts, Detail: d.View.Detail.String(), Clear: d.View.Clear}
	if d.Allowed {
		got.Grant, got.Until = names[d.Grant.String()], d.Until.Unix()
		if since := d.View.Since(); !since.IsZero() {
			got.Since = since.Unix()
		}
	}
	for _, moment := range append(slices.Clone(test.Want.Sees), test.Want.Hides...) {
		if d.View.Sees(time.Unix(moment, 0)) {
			got.Sees = append(got.Sees, moment)
		} else {
			got.Hides = append(got.Hides, moment)
		}
	}
	return got
}

var ways = []Way{Relayed, ByGateway, Direct, AtHome}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// byKey returns the map that a value is in CBOR, without what is left out, byte strings in hexadecimal.
func byKey(value any) map[string]any {
	v := reflect.ValueOf(value)
	all := map[string]any{}
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("cbor")
		if field := v.Field(i); !field.IsZero() || !strings.Contains(tag, ",omit") {
			all[tag[:strings.IndexByte(tag, ',')]] = byKeyOf(field)
		}
	}
	return all
}

func byKeyOf(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Array:
		bytes := make([]byte, v.Len())
		for i := range bytes {
			bytes[i] = byte(v.Index(i).Uint())
		}
		return hex.EncodeToString(bytes)
	case reflect.Struct:
		return byKey(v.Interface())
	case reflect.Slice:
		var list []any
		for i := range v.Len() {
			list = append(list, byKeyOf(v.Index(i)))
		}
		return list
	}
	return v.Interface()
}
