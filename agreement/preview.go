package agreement

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

const (
	maxPreview = 32 << 10 // bytes: with it, and with the answers to it, a demand for deletion is still to be filed
	maxShown   = 200      // bytes of a value in a preview
)

// A Preview is what an owner saw before the first copy left: the fields of the value, as it was then.
type Preview struct {
	Thing      identity.MemberID `cbor:"1,keyasint"`
	Path       string            `cbor:"2,keyasint"` // as the owner calls it
	Affordance string            `cbor:"3,keyasint"`
	Leaves     []Field           `cbor:"4,keyasint,omitempty"`
	Stays      []string          `cbor:"5,keyasint,omitempty"`
	Time       int64             `cbor:"6,keyasint"`
}

// A Field is something of a value that leaves.
type Field struct {
	Name  string `cbor:"1,keyasint" json:"name"`
	Value string `cbor:"2,keyasint,omitempty" json:"value,omitempty"` // JSON, or what is to be seen of something else; "": not known then
}

// NewPreview compares an affordance's value with what of it a service will be shown, both JSON. Fields named that are not
// in it now leave when they are, with a value not known: so do all of them where there is no value, since one is told only
// as it happens.
func NewPreview(thing identity.MemberID, path, affordance string, clear []string, value, shown []byte, at time.Time) Preview {
	p := Preview{Thing: thing, Path: path, Affordance: affordance, Time: at.Unix()}
	all, part := fieldsOf(affordance, value), fieldsOf(affordance, shown)
	if len(all) == 0 || len(part) > 0 && !slices.Contains(clear, affordance) {
		for _, name := range clear {
			if _, there := part[name]; !there {
				part[name] = ""
			}
		}
	}
	for name, text := range part {
		p.Leaves = append(p.Leaves, Field{name, text})
	}
	for name := range all {
		if _, leaves := part[name]; !leaves {
			p.Stays = append(p.Stays, name)
		}
	}
	slices.SortFunc(p.Leaves, func(a, b Field) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	slices.Sort(p.Stays)
	return p
}

// fieldsOf tells the fields of a value apart: of an object, or of a list of them, each as it is in the first that has it.
// Anything else is one field, of the affordance's name.
func fieldsOf(affordance string, value []byte) map[string]string {
	fields := map[string]string{}
	if value == nil {
		return fields
	}
	var list []json.RawMessage
	if json.Unmarshal(value, &list) != nil || list == nil {
		list = []json.RawMessage{value}
	}
	for _, one := range list {
		var object map[string]json.RawMessage
		if json.Unmarshal(one, &object) != nil || object == nil {
			return map[string]string{affordance: cut(value)}
		}
		for name, text := range object {
			if !printable(name) {
				name = fmt.Sprintf("%+.60q", name)
			}
			if _, there := fields[name]; !there {
				fields[name] = cut(text)
			}
		}
	}
	return fields
}

// cut makes a value short enough to be looked at.
func cut(value []byte) string {
	var compact bytes.Buffer
	if json.Compact(&compact, value) == nil {
		value = compact.Bytes()
	}
	if text := string(value); len(text) <= maxShown && printable(text) {
		return text
	}
	return fmt.Sprintf("%d bytes", len(value))
}

// Digest is how a grant names a notice, or an encoded preview.
func Digest(document []byte) signed.Digest { return signed.Sum(document) }

// Marshal encodes the preview. One that is too large is an error: nobody would look at all of it.
func (p Preview) Marshal() ([]byte, error) {
	raw, err := signed.Marshal(p)
	if err == nil && len(raw) > maxPreview {
		err = fmt.Errorf("%d bytes, of at most %d", len(raw), maxPreview)
	}
	if err != nil {
		return nil, fmt.Errorf("agreement: writing a preview: %w", err)
	}
	return raw, nil
}

// ParsePreview reads a preview, and returns its digest.
func ParsePreview(raw []byte) (Preview, signed.Digest, error) {
	var p Preview
	if len(raw) > maxPreview {
		return p, signed.Digest{}, fmt.Errorf("agreement: reading a preview: %d bytes, of at most %d", len(raw), maxPreview)
	}
	if err := signed.Unmarshal(raw, &p); err != nil {
		return Preview{}, signed.Digest{}, fmt.Errorf("agreement: reading a preview: %w", err)
	}
	for _, text := range append([]string{p.Path, p.Affordance}, p.Stays...) {
		if !printable(text) {
			return Preview{}, signed.Digest{}, fmt.Errorf("agreement: reading a preview: %.80q is no text to show", text)
		}
	}
	for _, f := range p.Leaves {
		if !printable(f.Name) || !printable(f.Value) {
			return Preview{}, signed.Digest{}, fmt.Errorf("agreement: reading a preview: %.80q is no text to show", f.Name)
		}
	}
	return p, signed.Sum(raw), nil
}
