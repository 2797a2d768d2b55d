package agreement

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/piprate/json-gold/ld"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

var now = time.Date(2026, 11, 21, 14, 30, 0, 0, time.UTC)

// A deal is what sam, an owner, agrees on with a bank, step by step.
type deal struct {
	*identitytest.Tree
	t      testing.TB
	terms  grant.Terms
	papers Papers
}

func newDeal(t testing.TB) *deal {
	d := &deal{Tree: identitytest.NewTree(t, now), t: t}
	for _, m := range []struct {
		kind identity.Kind
		path identity.Path
	}{
		{identity.Owner, "sam"}, {identity.App, "sam/laptop"}, {identity.Person, "sam/anna"}, {identity.App, "sam/anna/phone"},
		{identity.Owner, "kim"}, {identity.App, "kim/phone"}, {identity.Service, "sam/bank"}, {identity.Service, "sam/broker"},
		{identity.Place, "home"}, {identity.Device, "home/meter"},
	} {
		d.Add(m.kind, m.path)
	}
	preview := NewPreview(d.At("home/meter").Member(), "home/meter", "power", []string{"power"},
		[]byte(`{"power":412,"tariff":1,"serial":"E0012"}`), []byte(`{"power":412}`), now)
	var err error
	if d.papers.Preview, err = preview.Marshal(); err != nil {
		t.Fatal(err)
	}
	d.terms = grant.Terms{
		Tree: d.ID, ID: tree.GrantID{7}, Giver: d.At("sam").Member(), Subject: grant.Subject{Tree: d.ID, Member: d.At("sam/bank").Member()},
		Thing: grant.Thing{Member: d.At("home/meter").Member(), Affordance: "power"}, Actions: grant.See, Time: now.Unix(),
		Until: now.AddDate(0, 1, 0).Unix(), Purpose: "heating-advice", Retention: 30 * 24 * 60 * 60,
		Agreement: grant.Agreement{
			Clear: []string{"power"}, Recipient: "First Bank", Place: "DE", Notice: signed.Sum([]byte("a notice")), Preview: signed.Sum(d.papers.Preview),
		},
	}
	d.papers.Root = d.Root.Raw
	d.papers.Grant = d.grant(d.terms)
	return d
}

func (d *deal) grant(t grant.Terms) []byte {
	d.t.Helper()
	raw, err := grant.Sign(d.At("sam/laptop").Signer, d.At("sam/laptop").Raw, t)
	if err != nil {
		d.t.Fatal(err)
	}
	return raw
}

func (d *deal) digest(raw []byte) signed.Digest {
	d.t.Helper()
	s, err := signed.Parse(raw)
	if err != nil {
		d.t.Fatal(err)
	}
	return s.Digest
}

func (d *deal) must(raw []byte, err error) []byte {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
	return raw
}

func (d *deal) consent(by identity.Path) []byte {
	m := d.At(by)
	c := grant.Consent{Tree: d.ID, Grant: d.terms.ID, Statement: d.digest(d.papers.Grant), By: m.Member(), Time: now.Add(time.Minute).Unix()}
	if m.Kind() == identity.App {
		c.By = m.ActsFor()
	}
	return d.must(grant.SignConsent(m.Signer, m.Raw, c))
}

func (d *deal) demand(by identity.Path) []byte {
	m := d.At(by)
	return d.must(Demand{
		Tree: d.ID, Grant: d.terms.ID, Statement: d.digest(d.papers.Grant), Service: d.terms.Subject.Member, Owner: m.ActsFor(), Time: now.Add(time.Hour).Unix(),
	}.Sign(m.Signer, m.Raw))
}

func (d *deal) answer(by identity.Path, to []byte, change func(*Deletion)) []byte {
	m := d.At(by)
	a := Deletion{
		Tree: d.ID, Demand: d.digest(to), Service: m.Member(), Time: now.Add(2 * time.Hour).Unix(), Done: true,
		Items: []Item{{"values of power", 12, 4096}},
	}
	if change != nil {
		change(&a)
	}
	return d.must(a.Sign(m.Signer, m.Raw))
}

// all is a deal that was accepted, seconded, withdrawn, and answered, first with a no.
func all(t testing.TB) *deal {
	d := newDeal(t)
	d.papers.Consents = [][]byte{d.consent("sam/bank"), d.consent("kim/phone")}
	d.papers.Demand = d.demand("kim/phone")
	d.papers.Answers = [][]byte{
		d.answer("sam/bank", d.papers.Demand, func(a *Deletion) {
			*a = Deletion{Tree: a.Tree, Demand: a.Demand, Service: a.Service, Time: a.Time - 60, Reason: "the law has invoices kept", Until: now.AddDate(10, 0, 0).Unix()}
		}),
		d.answer("sam/bank", d.papers.Demand, nil),
	}
	return d
}

func TestDocuments(t *testing.T) {
	d := all(t)
	a, err := d.papers.Open()
	if err != nil {
		t.Fatal(err)
	}
	if answer, ok := a.Answer(); !ok || !answer.Done || answer.Bytes() != 4096 || a.Service.ID.Path != "sam/bank" || len(a.Seconds) != 1 {
		t.Errorf("read was %+v", a)
	}
	for name, write := range map[string]func(Agreement) ([]byte, error){"record": Agreement.Record, "receipt": Agreement.Receipt} {
		document := d.must(write(a))
		again, err := Verify(document)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if again.Terms.ID != d.terms.ID || again.Terms.Agreement.Recipient != "First Bank" || again.Preview.Path != "home/meter" {
			t.Errorf("%s: verified was %+v", name, again.Terms)
		}
		for what, change := range map[string][2]string{
			"a field":      {`"dct:identifier": "power"`, `"dct:identifier": "serial"`},
			"the time":     {`"dpv:hasDuration": "P30D"`, `"dpv:hasDuration": "P3000D"`},
			"the place":    {`loc:DE`, `loc:US`},
			"twice":        {`"dct:identifier": "power"`, `"dct:identifier": "serial", "dct:identifier": "power"`},
			"the deletion": {`"kindred:bytes": 4096`, `"kindred:bytes": 1`},
			"more":         {`"@type": "dpv:Process"`, `"@type": "dpv:Process", "dpv:hasRecipient2": "x"`},
		} {
			forged := strings.Replace(string(document), change[0], change[1], 1)
			if forged == string(document) {
				t.Fatalf("%s has no %s", name, change[0])
			}
			if _, err := Verify([]byte(forged)); err == nil {
				t.Errorf("%s: %s was changed, and it verifies", name, what)
			}
		}
	}
}

// What anybody forges among the papers is found.
func TestForgedPapers(t *testing.T) {
	d, other := all(t), all(t)
	second := d.terms
	second.ID, second.Purpose = tree.GrantID{8}, "marketing"
	for _, c := range []struct {
		name   string
		change func(*Papers)
		want   string
	}{
		{"another tree's root", func(p *Papers) { p.Root = other.Root.Raw }, ""},
		{"another purpose", func(p *Papers) { p.Grant = d.grant(second) }, "a consent is to"},
		{"another service's acceptance", func(p *Papers) { p.Consents = [][]byte{d.consent("sam/broker")} }, "whom the grant does not concern"},
		{"a person behind it", func(p *Papers) { p.Consents = append(p.Consents, d.consent("sam/laptop")) }, "whom the grant does not concern"},
		{"a person's demand", func(p *Papers) { p.Demand = d.demand("sam/anna/phone") }, "does not act for the owner"},
		{"another service's answer", func(p *Papers) {
			p.Answers = [][]byte{d.answer("sam/broker", d.papers.Demand, nil)}
		}, "the demand was to the service"},
		{"another service's answer in its name", func(p *Papers) {
			p.Answers = [][]byte{d.answer("sam/broker", d.papers.Demand, func(a *Deletion) { a.Service = d.At("sam/bank").Member() })}
		}, "the demand was to the service"},
		{"an answer by the owner", func(p *Papers) {
			p.Answers = [][]byte{d.answer("sam/laptop", d.papers.Demand, func(a *Deletion) { a.Service = d.At("sam/bank").Member() })}
		}, "the demand was to the service"},
		{"an answer to an earlier demand", func(p *Papers) { p.Answers = [][]byte{d.answer("sam/bank", d.demand("sam/laptop"), nil)} }, "it answers"},
		{"answers to nothing", func(p *Papers) { p.Demand = nil }, "no demand"},
		{"another preview", func(p *Papers) {
			p.Preview = d.must(Preview{Thing: d.terms.Thing.Member, Path: "home/meter", Affordance: "power", Time: 1}.Marshal())
		}, "the terms name"},
		{"no agreement", func(p *Papers) {
			plain := d.terms
			plain.Agreement = grant.Agreement{}
			*p = Papers{Root: p.Root, Grant: d.grant(plain)}
		}, "is no agreement"},
	} {
		p := d.papers
		c.change(&p)
		if _, err := p.Open(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestDeletionSaysWhy(t *testing.T) {
	d := all(t)
	m := d.At("sam/bank")
	for name, a := range map[string]Deletion{
		"kept, for no reason": {},
		"done, and kept":      {Done: true, Reason: "why not"},
		"unprintable":         {Reason: "\x1b[31m"},
		"too long":            {Reason: strings.Repeat("x", maxText+1)},
		"an item of nothing":  {Done: true, Items: []Item{{}}},
	} {
		a.Tree, a.Demand, a.Service, a.Time = d.ID, d.digest(d.papers.Demand), m.Member(), now.Unix()
		if _, err := a.Sign(m.Signer, m.Raw); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

func TestPreview(t *testing.T) {
	for _, c := range []struct {
		name, value, shown string
		clear              []string
		want               Preview
	}{
		{"an object", `{"b":2,"a":1,"c":{"d":[3]}}`, `{"a":1,"c":{"d":[3]}}`, nil, Preview{Leaves: []Field{{"a", "1"}, {"c", `{"d":[3]}`}}, Stays: []string{"b"}}},
		{"a list of them", `[{"a":1,"b":2},{"a":3,"b":4}]`, `[{"a":1},{"a":3}]`, nil, Preview{Leaves: []Field{{"a", "1"}}, Stays: []string{"b"}}},
		{"a list of unlike ones", `[{"a":1},{"a":2,"b":3},{"c":4}]`, `[{"a":1},{"a":2,"b":3},{}]`, []string{"a", "b"}, Preview{Leaves: []Field{{"a", "1"}, {"b", "3"}}, Stays: []string{"c"}}},
		{"all of a list", `[{"a":1},{"b":3}]`, `[{"a":1},{"b":3}]`, []string{"power"}, Preview{Leaves: []Field{{"a", "1"}, {"b", "3"}}}},
		{"a list of numbers", `[1,2,3]`, `[1,2,3]`, []string{"power"}, Preview{Leaves: []Field{{"power", "[1,2,3]"}}}},
		{"an empty list", `[]`, `[]`, []string{"a"}, Preview{Leaves: []Field{{"a", ""}}}},
		{"what may come", `{"a":1,"c":2}`, `{"a":1}`, []string{"a", "b"}, Preview{Leaves: []Field{{"a", "1"}, {"b", ""}}, Stays: []string{"c"}}},
		{"what is not there", `{"a":1}`, `{}`, []string{"b"}, Preview{Stays: []string{"a"}}},
		{"a number", `412`, `412`, nil, Preview{Leaves: []Field{{"power", "412"}}}},
		{"nothing of it", `{"a":1}`, `{}`, nil, Preview{Stays: []string{"a"}}},
		{"a picture", "\xff\xd8\xff", "\xff\xd8\xff", nil, Preview{Leaves: []Field{{"power", "3 bytes"}}}},
		{"what is not there yet", "", "", []string{"a"}, Preview{Leaves: []Field{{"a", ""}}}},
		{"long", `"` + strings.Repeat("x", 300) + `"`, `"` + strings.Repeat("x", 300) + `"`, nil, Preview{Leaves: []Field{{"power", "302 bytes"}}}},
	} {
		bytesOf := func(s string) []byte {
			if s == "" {
				return nil
			}
			return []byte(s)
		}
		got := NewPreview(identity.MemberID{1}, "home/meter", "power", c.clear, bytesOf(c.value), bytesOf(c.shown), now)
		c.want.Thing, c.want.Path, c.want.Affordance, c.want.Time = identity.MemberID{1}, "home/meter", "power", now.Unix()
		raw, err := got.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		want, err := c.want.Marshal()
		if err != nil || !bytes.Equal(raw, want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if again, digest, err := ParsePreview(raw); err != nil || digest != signed.Sum(raw) || len(again.Leaves) != len(got.Leaves) {
			t.Errorf("%s: read again: %+v, %v", c.name, again, err)
		}
	}
}

// No field leaves unseen: what has too many to look at is not to be agreed on.
func TestPreviewOfALot(t *testing.T) {
	fields := map[string]int{}
	for i := range 300 {
		fields[fmt.Sprintf("field-%d", i)] = i
	}
	value, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if p := NewPreview(identity.MemberID{1}, "home/meter", "power", []string{"power"}, value, value, now); len(p.Leaves) != len(fields) {
		t.Errorf("of %d fields that leave %d are shown", len(fields), len(p.Leaves))
	}
	for i := range 4000 {
		fields[fmt.Sprintf("field-%d", i)] = i
	}
	if value, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	if raw, err := NewPreview(identity.MemberID{1}, "home/meter", "power", []string{"power"}, value, value, now).Marshal(); err == nil {
		t.Errorf("%d bytes are shown", len(raw))
	}
}

// expand reads a document as any JSON-LD processor does. Its context is within, so nothing is fetched.
func expand(t *testing.T, document []byte) []any {
	t.Helper()
	v, err := ld.DocumentFromReader(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	options := ld.NewJsonLdOptions("")
	options.DocumentLoader = nowhere{}
	out, err := ld.NewJsonLdProcessor().Expand(v, options)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// nowhere has no document.
type nowhere struct{}

func (nowhere) LoadDocument(url string) (*ld.RemoteDocument, error) {
	return nil, ld.NewJsonLdError(ld.LoadingDocumentFailed, url)
}

// names returns all terms and types of an expanded document.
func names(v any, into map[string]bool) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			names(one, into)
		}
	case map[string]any:
		for key, value := range v {
			if key == "@type" {
				if types, ok := value.([]any); ok {
					for _, one := range types {
						into[one.(string)] = true
					}
				}
				continue
			}
			if !strings.HasPrefix(key, "@") {
				into[key] = true
			}
			if key != "https://github.com/kindred-iot/kindred/ns#evidence" { // a JSON value
				names(value, into)
			}
		}
	}
}

func TestJSONLD(t *testing.T) {
	a, err := all(t).papers.Open()
	if err != nil {
		t.Fatal(err)
	}
	record := expand(t, a.must(t, Agreement.Record))
	if len(record) != 1 {
		t.Fatalf("%d nodes, want 1", len(record))
	}
	top := record[0].(map[string]any)
	if top["@id"] != a.name() || top["@type"].([]any)[0] != "https://w3id.org/dpv#ConsentRecord" {
		t.Errorf("the record is %v of type %v", top["@id"], top["@type"])
	}
	for _, must := range []string{"hasDataSubject", "hasDataController", "hasNotice", "hasProcess", "hasConsentStatus"} {
		if top["https://w3id.org/dpv#"+must] == nil {
			t.Errorf("the record has no %s", must)
		}
	}
	where := top["https://w3id.org/dpv#hasProcess"].([]any)[0].(map[string]any)["https://w3id.org/dpv#hasStorageCondition"].([]any)[1].(map[string]any)
	if text, _ := json.Marshal(where); !strings.Contains(string(text), `"@id":"https://w3id.org/dpv/loc#DE"`) {
		t.Errorf("it is kept at %s", text)
	}
	conforms, _ := json.Marshal(top["http://purl.org/dc/terms/conformsTo"])
	if string(conforms) != `[{"@id":"`+recordForm+`"}]` {
		t.Errorf("the record conforms to %s", conforms)
	}
	receipt := expand(t, a.must(t, Agreement.Receipt))[0].(map[string]any)
	inside := receipt["https://w3id.org/dpv#hasRecordOfActivity"].([]any)[0]
	x, _ := json.Marshal(inside)
	y, _ := json.Marshal(top)
	if !bytes.Equal(x, y) {
		t.Error("the receipt is of another record")
	}
}

func (a Agreement) must(t *testing.T, write func(Agreement) ([]byte, error)) []byte {
	t.Helper()
	raw, err := write(a)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The W3C's guide to ISO/IEC TS 27560 with its vocabulary has an example for each field: whatever of that vocabulary is
// in a document is in one of them, and the forms that it says it conforms to are those of the guide.
func TestGuide(t *testing.T) {
	data := os.Getenv("KINDRED_DATA")
	if data == "" {
		t.Skip("no conformance with the W3C's guide to ISO/IEC TS 27560 is checked: KINDRED_DATA is not set")
	}
	files, err := filepath.Glob(filepath.Join(data, "consent", "dpv-27560-guide", "*.json"))
	if err != nil || len(files) < 50 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	known := map[string]bool{}
	term := regexp.MustCompile(`"((?:dpv|dct|schema|skos|rdf):[A-Za-z-]+)"`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range term.FindAllSubmatch(text, -1) {
			known[string(m[1])] = true
		}
	}
	forms, err := os.ReadFile(filepath.Join(data, "consent", "dpv-27560.ttl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{recordForm, receiptForm} {
		if _, name, _ := strings.Cut(form, "#"); !bytes.Contains(forms, []byte("dpv-27560:"+name+" a ")) {
			t.Errorf("%s is no form of the guide", form)
		}
	}
	a, err := all(t).papers.Open()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	names(expand(t, a.must(t, Agreement.Receipt)), used)
	if len(used) < 20 {
		t.Errorf("only %d names are in a receipt", len(used))
	}
	for name := range used {
		short := name
		for prefix, of := range context() {
			if of, ok := of.(string); ok && strings.HasPrefix(name, of) {
				short = prefix + ":" + strings.TrimPrefix(name, of)
			}
		}
		if !strings.HasPrefix(short, "kindred:") && !known[short] {
			t.Errorf("%s is in no example of the guide", short)
		}
	}
}

func FuzzVerify(f *testing.F) {
	a, err := all(f).papers.Open()
	if err != nil {
		f.Fatal(err)
	}
	for _, write := range []func(Agreement) ([]byte, error){Agreement.Record, Agreement.Receipt} {
		document, err := write(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(document)
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		got, err := Verify(document) // whoever made it: a fuzzing process has a tree of its own
		if err == nil && (got.Terms.Validate() != nil || got.Terms.Giver.IsZero()) {
			t.Error("something of nobody's verifies")
		}
	})
}

func FuzzStatements(f *testing.F) {
	d := all(f)
	f.Add(d.papers.Demand)
	f.Add(d.papers.Answers[0])
	f.Add(d.papers.Preview)
	verify := func(chain [][]byte, at time.Time) (identity.Chain, error) {
		return identity.Verify(chain, d.ID, d.Root, at)
	}
	bank := d.At("sam/bank").Member()
	f.Fuzz(func(t *testing.T, raw []byte) {
		demand, _, name, err := OpenDemand(raw, verify)
		if err == nil && (demand.Tree != d.ID || name.IsZero()) {
			t.Error("somebody else's demand verifies")
		}
		if _, err := OpenDeletion(raw, Demand{Tree: d.ID, Service: bank}, signed.Digest{1}, verify); err == nil {
			t.Error("an answer to nothing verifies")
		}
		if p, _, err := ParsePreview(raw); err == nil {
			if again, err := p.Marshal(); err != nil || !bytes.Equal(again, raw) {
				t.Errorf("a preview has two forms: %v", err)
			}
		}
	})
}
