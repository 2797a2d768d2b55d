package agreement

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// What the forms of a document conform to.
const (
	recordForm  = "https://w3id.org/dpv/schema/dpv-27560#record"
	receiptForm = "https://w3id.org/dpv/schema/dpv-27560#receipt"
)

// MaxDocument is the size of a record or a receipt in bytes, at most.
const MaxDocument = 1 << 20

// A node is a JSON-LD node. Package json writes its keys in order, so that a document has one form.
type node map[string]any

// context says what the prefixes are and which values are names or times. It stands in every document, so that nothing
// has to be fetched to read one.
func context() node {
	name, moment := node{"@type": "@id"}, node{"@type": "xsd:dateTime"}
	c := node{
		"dpv": "https://w3id.org/dpv#", "loc": "https://w3id.org/dpv/loc#", "dct": "http://purl.org/dc/terms/",
		"schema": "https://schema.org/", "skos": "http://www.w3.org/2004/02/skos/core#",
		"rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "xsd": "http://www.w3.org/2001/XMLSchema#",
		"kindred": "https://github.com/kindred-iot/kindred/ns#",
		// All of what was signed is one JSON value: nobody is to read names into it.
		"kindred:evidence": node{"@type": "@json"},
	}
	for _, term := range []string{
		"dct:conformsTo", "dct:publisher", "schema:recipient", "skos:broader", "dpv:hasLocation", "dpv:hasProcessing", "dpv:hasLegalBasis",
		"dpv:hasRecipient", "dpv:isIndicatedBy",
	} {
		c[term] = name
	}
	for _, term := range []string{"dct:created", "dpv:isIndicatedAtTime"} {
		c[term] = moment
	}
	return c
}

func moment(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// named is the name of a statement or a document by its hash (RFC 6920).
func named(d signed.Digest) string {
	return "ni:///sha-256;" + base64.RawURLEncoding.EncodeToString(d[:])
}

// ofMember is the name of a member of whom no certificates are here.
func ofMember(t identity.TreeID, m identity.MemberID) string {
	return "kindred://" + m.String() + "." + t.String()
}

// Record returns the agreement as a consent record.
func (a Agreement) Record() ([]byte, error) {
	r := a.record()
	r["@context"] = context()
	return encode(r)
}

// Receipt returns the agreement as a consent receipt: what the owner is given of the record.
func (a Agreement) Receipt() ([]byte, error) {
	return encode(node{
		"@context":                context(),
		"@id":                     a.name() + "-receipt",
		"@type":                   "dpv:ConsentReceipt",
		"dct:identifier":          a.Terms.ID.String() + "-receipt",
		"dct:conformsTo":          receiptForm,
		"dct:created":             moment(a.last()),
		"dct:publisher":           a.service(),
		"schema:recipient":        a.owner(),
		"dpv:hasRecordOfActivity": a.record(),
	})
}

func encode(n node) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(n); err != nil {
		return nil, fmt.Errorf("agreement: writing: %w", err)
	}
	return b.Bytes(), nil
}

// name of the record: the tree and the grant.
func (a Agreement) name() string {
	return identity.ID{Tree: a.Terms.Tree}.String() + "#" + a.Terms.ID.String()
}

// owner is the data subject: who gave it, by the certificate above the app's.
func (a Agreement) owner() string {
	return identity.ID{Tree: a.Giver.ID.Tree, Path: a.Giver.ID.Path.Parent()}.String()
}

// service is the data controller.
func (a Agreement) service() string {
	if len(a.Service.Line) == 0 {
		return ofMember(a.Terms.Subject.Tree, a.Terms.Subject.Member)
	}
	return a.Service.ID.String()
}

// last is when something about the agreement was signed last.
func (a Agreement) last() int64 {
	at := max(a.Terms.Time, a.acceptedAt())
	if a.Demand != nil {
		at = max(at, a.Demand.Time)
	}
	if answer, ok := a.Answer(); ok {
		at = max(at, answer.Time)
	}
	return at
}

func (a Agreement) acceptedAt() int64 {
	if a.Accepted.IsZero() {
		return 0
	}
	return a.Accepted.Unix()
}

func (a Agreement) record() node {
	r := node{
		"@id":                   a.name(),
		"@type":                 "dpv:ConsentRecord",
		"dct:identifier":        a.Terms.ID.String(),
		"dct:conformsTo":        recordForm,
		"dct:created":           moment(a.Terms.Time),
		"dpv:hasDataSubject":    node{"@id": a.owner(), "@type": "dpv:DataSubject"},
		"dpv:hasDataController": a.controller(),
		"dpv:hasProcess":        a.process(),
		"dpv:hasConsentStatus":  a.status(),
		"kindred:evidence":      a.papers.encoded(),
	}
	if n := a.Terms.Agreement.Notice; !n.IsZero() {
		r["dpv:hasNotice"] = node{"@id": named(n), "@type": "dpv:ConsentNotice"}
	}
	return r
}

func (a Agreement) controller() node {
	n := node{"@id": a.service(), "@type": "dpv:DataController"}
	if name := a.Terms.Agreement.Recipient; name != "" {
		n["dpv:hasName"] = name
	}
	return n
}

// process is what the service does, with what, for how long and where.
func (a Agreement) process() node {
	t := a.Terms
	p := node{
		"@type":            "dpv:Process",
		"dpv:hasPurpose":   node{"@type": "dpv:Purpose", "skos:broader": "dpv:ServiceProvision", "dct:identifier": t.Purpose},
		"dpv:hasRecipient": a.service(),
		"dpv:hasLegalBasis": []string{
			"dpv:ExplicitlyExpressedConsent",
		},
		"dpv:hasConsentControl": node{"@type": "dpv:WithdrawConsent", "dct:description": "kindred withdraw " + t.ID.String()},
	}
	var data []node
	for _, field := range t.Agreement.Clear {
		data = append(data, node{"@type": "dpv:PersonalData", "dct:identifier": field, "dct:description": field + " of " + a.about()})
	}
	if len(data) > 0 {
		p["dpv:hasPersonalData"] = data
		p["dpv:hasProcessing"] = []string{"dpv:Collect", "dpv:Use"}
	}
	var storage []node
	if t.Retention != 0 {
		p["dpv:hasProcessing"] = []string{"dpv:Collect", "dpv:Store", "dpv:Use"}
		storage = append(storage, node{"@type": "dpv:StorageDuration", "dpv:hasDuration": duration(t.Retention)})
	}
	if t.Agreement.Place != "" {
		storage = append(storage, node{"@type": "dpv:StorageLocation", "dpv:hasLocation": "loc:" + t.Agreement.Place})
	}
	if len(storage) > 0 {
		p["dpv:hasStorageCondition"] = storage
	}
	return p
}

// about names what the data are of: as the owner called it in the preview, else by its ID.
func (a Agreement) about() string {
	what := ofMember(a.Terms.Tree, a.Terms.Thing.Member)
	if a.Preview != nil {
		what = a.Preview.Path
	}
	if name := a.Terms.Thing.Affordance; name != "" {
		what += " " + name
	}
	return what
}

// duration writes seconds as XSD and ISO 8601 do, in days where that is whole.
func duration(seconds int64) string {
	const day = 24 * 60 * 60
	if seconds%day == 0 {
		return fmt.Sprintf("P%dD", seconds/day)
	}
	return fmt.Sprintf("PT%dS", seconds)
}

// status is what became of the consent, in order.
func (a Agreement) status() []node {
	given := node{
		"@type": "dpv:ConsentGiven", "dpv:isIndicatedBy": a.owner(), "dpv:isIndicatedAtTime": moment(a.Terms.Time),
		"dpv:hasIndicationMethod": "signed by " + a.Giver.ID.String(),
	}
	if a.Terms.Until != 0 {
		given["dpv:hasDuration"] = node{"@type": "dpv:UntilTimeDuration", "rdf:value": moment(a.Terms.Until)}
	}
	all := []node{given}
	for _, c := range a.Seconds {
		by, method := identity.ID{Tree: a.Terms.Tree}.String(), "signed with the root key"
		if s := c.Signer(); len(s.Line) > 0 {
			by, method = identity.ID{Tree: s.ID.Tree, Path: s.ID.Path.Parent()}.String(), "signed by "+s.ID.String()
		}
		all = append(all, node{
			"@type": "dpv:ConsentGiven", "dpv:isIndicatedBy": by, "dpv:isIndicatedAtTime": moment(c.Consent().Time),
			"dpv:hasIndicationMethod": method,
		})
	}
	if !a.Accepted.IsZero() {
		all = append(all, node{
			"@type": "kindred:TermsAccepted", "dpv:isIndicatedBy": a.service(), "dpv:isIndicatedAtTime": moment(a.acceptedAt()),
			"dpv:hasIndicationMethod": "signed by " + a.service(),
		})
	}
	if a.Demand == nil {
		return all
	}
	all = append(all, node{
		"@type": "dpv:ConsentWithdrawn", "dpv:isIndicatedAtTime": moment(a.Demand.Time),
		"dpv:isIndicatedBy":       identity.ID{Tree: a.withdrawn.ID.Tree, Path: a.withdrawn.ID.Path.Parent()}.String(),
		"dpv:hasIndicationMethod": "signed by " + a.withdrawn.ID.String(),
	})
	for _, d := range a.Answers {
		n := node{"@type": "kindred:Deletion", "dpv:isIndicatedBy": a.service(), "dpv:isIndicatedAtTime": moment(d.Time), "kindred:bytes": d.Bytes()}
		if !d.Done {
			n["@type"], n["dct:description"] = "kindred:DeletionRefused", d.Reason
		}
		all = append(all, n)
	}
	return all
}

// encoded is how papers stand in a document.
func (p Papers) encoded() map[string]any {
	text := base64.RawURLEncoding.EncodeToString
	list := func(all [][]byte) []string {
		out := []string{}
		for _, raw := range all {
			out = append(out, text(raw))
		}
		return out
	}
	return map[string]any{
		"root": text(p.Root), "grant": text(p.Grant), "consents": list(p.Consents), "preview": text(p.Preview),
		"demand": text(p.Demand), "answers": list(p.Answers),
	}
}

// evidence is what encoded writes.
type evidence struct {
	Root, Grant, Preview, Demand string
	Consents, Answers            []string
}

func (e evidence) papers() (p Papers, err error) {
	for _, one := range []struct {
		text string
		into *[]byte
	}{{e.Root, &p.Root}, {e.Grant, &p.Grant}, {e.Preview, &p.Preview}, {e.Demand, &p.Demand}} {
		if one.text == "" {
			continue
		}
		if *one.into, err = base64.RawURLEncoding.Strict().DecodeString(one.text); err != nil {
			return p, err
		}
	}
	for _, all := range []struct {
		text []string
		into *[][]byte
	}{{e.Consents, &p.Consents}, {e.Answers, &p.Answers}} {
		for _, text := range all.text {
			raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
			if err != nil {
				return p, err
			}
			*all.into = append(*all.into, raw)
		}
	}
	return p, nil
}

// Verify checks a record or a receipt: that it has all the signatures that it tells of, and says what they say and
// nothing else.
func Verify(document []byte) (Agreement, error) {
	a, err := verify(document)
	if err != nil {
		return Agreement{}, fmt.Errorf("agreement: verifying: %w", err)
	}
	return a, nil
}

func verify(document []byte) (a Agreement, err error) {
	if len(document) > MaxDocument {
		return a, fmt.Errorf("%d bytes, of at most %d", len(document), MaxDocument)
	}
	type record struct {
		Type     string   `json:"@type"`
		Evidence evidence `json:"kindred:evidence"`
	}
	var d struct {
		record
		Record record `json:"dpv:hasRecordOfActivity"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return a, errors.New("it is no JSON of a record or a receipt")
	}
	write, from := Agreement.Record, d.Evidence
	switch d.Type {
	case "dpv:ConsentRecord":
	case "dpv:ConsentReceipt":
		write, from = Agreement.Receipt, d.Record.Evidence
	default:
		return a, fmt.Errorf("it is a %.80q, no record and no receipt of a consent", d.Type)
	}
	papers, err := from.papers()
	if err == nil {
		a, err = papers.Open()
	}
	if err != nil {
		return a, err
	}
	again, err := write(a)
	if err != nil {
		return a, err
	}
	var shown, signed bytes.Buffer
	if json.Compact(&shown, document) != nil || json.Compact(&signed, again) != nil || !bytes.Equal(shown.Bytes(), signed.Bytes()) {
		return a, errors.New("it says something else than what was signed")
	}
	return a, nil
}
