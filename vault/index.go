package vault

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// IndexType is the type of a signed Index.
const IndexType signed.Type = "kindred/recordings"

// An Index lists recordings of one affordance of a thing that are sealed to the same recipients, as it is itself. The
// thing signs it, with its certificates in the statement.
type Index struct {
	Tree       identity.TreeID   `cbor:"1,keyasint"`
	Thing      identity.MemberID `cbor:"2,keyasint"`
	Name       Name              `cbor:"3,keyasint"` // under which it is stored
	Affordance string            `cbor:"4,keyasint"` // of the thing
	Entries    []Entry           `cbor:"5,keyasint"` // as they were recorded, 1 to MaxEntries
	Time       int64             `cbor:"6,keyasint"` // when it was signed, Unix time, seconds
}

// An Entry says what a recording is and where.
type Entry struct {
	Object Name          `cbor:"1,keyasint"` // under which it is stored
	Title  string        `cbor:"2,keyasint"` // the name of a file
	Type   string        `cbor:"3,keyasint"` // media type
	From   int64         `cbor:"4,keyasint"` // when it begins, Unix time, milliseconds
	Until  int64         `cbor:"5,keyasint"` // when it ends, likewise; not before From
	Size   int64         `cbor:"6,keyasint"` // bytes of the content
	Sum    signed.Digest `cbor:"7,keyasint"` // SHA-256 of the content
}

const (
	// MaxEntries is how many recordings an index lists, at most.
	MaxEntries = 64
	maxText    = 128            // bytes of a title, of a media type and of an affordance
	maxMillis  = 253402300799e3 // the last second of the year 9999
)

// openIndex reads an index of a thing that is stored under a name. Chains are checked by verify, as of the moment the
// index was signed.
func openIndex(raw []byte, name Name, thing identity.MemberID, verify Verify) (Index, error) {
	x, err := readIndex(raw, verify)
	switch {
	case err != nil:
	case x.Thing != thing:
		err = fmt.Errorf("it is of member %s", x.Thing)
	case x.Name != name:
		err = fmt.Errorf("it is the one that belongs under %s", x.Name)
	}
	if err != nil {
		return Index{}, fmt.Errorf("reading an index: %w", err)
	}
	return x, nil
}

// Verify checks a chain of certificates of the tree, DER, leaf first, without the root, as of a moment.
type Verify func(chain [][]byte, at time.Time) (identity.Chain, error)

func readIndex(raw []byte, verify Verify) (Index, error) {
	var x Index
	s, err := signed.Read(raw, IndexType, &x)
	if err != nil {
		return x, err
	}
	who, err := verify(s.Chain, time.Unix(x.Time, 0))
	if err != nil {
		return x, err
	}
	if err := s.Open(who.Key, IndexType, &x); err != nil {
		return x, err
	}
	if x.Tree != who.ID.Tree || x.Thing != who.Member() {
		return x, fmt.Errorf("signed by %s, member %s, and of member %s", who.ID.Path, who.Member(), x.Thing)
	}
	return x, x.check()
}

// check looks at what is for people and for whoever fetches.
func (x Index) check() error {
	if n := len(x.Entries); n == 0 || n > MaxEntries {
		return fmt.Errorf("%d entries, want 1 to %d", n, MaxEntries)
	}
	if !plain(x.Affordance) {
		return fmt.Errorf("%.40q is no affordance", x.Affordance)
	}
	for _, e := range x.Entries {
		if err := e.check(); err != nil {
			return err
		}
		if !e.Object.of(x.Thing, roleRecording) {
			return fmt.Errorf("%s is no recording of the thing", e.Object)
		}
	}
	return nil
}

func (e Entry) check() error {
	switch {
	case !plain(e.Title) || strings.ContainsAny(e.Title, `/\`) || strings.HasPrefix(e.Title, "."):
		return fmt.Errorf("%.40q is no name of a file", e.Title)
	case !plain(e.Type):
		return fmt.Errorf("%.40q is no media type", e.Type)
	case e.From < 0 || e.Until < e.From || e.Until > maxMillis:
		return fmt.Errorf("%s lasts from %d until %d", e.Title, e.From, e.Until)
	case e.Size < 0 || e.Size > MaxContent:
		return fmt.Errorf("%s has %d bytes, of at most %d", e.Title, e.Size, MaxContent)
	}
	return nil
}

// plain reports whether a text can be shown on one line as it is.
func plain(s string) bool {
	return s != "" && len(s) <= maxText && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// A page is an index that grows.
type page struct {
	index Index
	to    []string // the recipients, sorted
}

// takes reports whether a recording sealed to some recipients goes onto the page.
func (p *page) takes(to []string) bool {
	return p != nil && len(p.index.Entries) < MaxEntries && slices.Equal(p.to, to)
}

// with is the page with one more entry.
func (p *page) with(e Entry, at time.Time) *page {
	next := *p
	next.index.Entries = append(slices.Clone(p.index.Entries), e)
	next.index.Time = at.Unix()
	return &next
}

// seal signs the page and seals it to its recipients.
func (p *page) seal(key crypto.Signer, chain [][]byte, to []Recipient) ([]byte, error) {
	if err := p.index.check(); err != nil {
		return nil, err
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificates of the thing")
	}
	raw, err := signed.Sign(key, IndexType, p.index, chain...)
	if err != nil {
		return nil, err
	}
	return seal(raw, to)
}
