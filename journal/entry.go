package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// MaxEntry bounds an encoded entry, in bytes.
const MaxEntry = 16 << 10

const (
	maxText   = 64
	maxReason = 256
	maxTime   = 1 << 48 // Unix milliseconds, in the year 10889
)

// Op is what somebody wanted done: 1 to 16 of a-z and -. The set is open.
type Op string

// The operations of a thing (W3C WoT Thing Description 1.1), and changes of a
// tree.
const (
	Read    Op = "read"    // a property
	Write   Op = "write"   // a property
	Invoke  Op = "invoke"  // an action
	Observe Op = "observe" // a property or an event: a stream
	Connect Op = "connect" // anything, by a stranger
	Admit   Op = "admit"   // a member
	Remove  Op = "remove"  // a member
	Share   Op = "share"   // a right
	Unshare Op = "unshare" // a right
	Ask     Op = "ask"     // for a right
	Deny    Op = "deny"    // a right that was asked for
	Pause   Op = "pause"   // a right
	Resume  Op = "resume"  // a right
	Accept  Op = "accept"  // the terms of a right, by the service that it is for
	Approve Op = "approve" // a right, by another owner than who gave it

	SetApart Op = "set-apart" // what of a thing is never shown in clear on one owner's word

	Withdraw Op = "withdraw" // from an agreement with a service, with the demand that it deletes what it has
	Delete   Op = "delete"   // what was demanded, as the service says
	Copy     Op = "copy"     // in clear, to a service: Bytes of what Reason says
	Limit    Op = "limit"    // how fresh a proof a thing asks for

	Conceal  Op = "conceal"   // what one person does at a thing, from all others; or not any more
	Private  Op = "private"   // what is sealed to whom it concerns; see [Seal]
	MakeSeal Op = "make-seal" // with which entries from here on are sealed

	Hold Op = "hold" // what there is no room for of a member's journal, the Thing's; it stays there until there is

	Recognize   Op = "recognize"   // another tree, whose name is the reason
	Forget      Op = "forget"      // another tree, likewise
	Countersign Op = "countersign" // a receipt: the caller signed for what an entry before tells
)

// Outcome is how it went.
type Outcome uint8

// The outcomes. A stream has an entry when it begins (Served) and one when it
// ends (Ended). Whoever calls writes down that it asks before it does (Asked),
// and then what came of it.
const (
	Served  Outcome = 1 // allowed and done, or begun
	Refused Outcome = 2 // not allowed
	Ended   Outcome = 3 // a stream's end
	Failed  Outcome = 4 // allowed, and the thing could not do it
	Asked   Outcome = 5 // by the caller, who does not know yet
)

var outcomes = [...]string{Served: "served", Refused: "refused", Ended: "ended", Failed: "failed", Asked: "asked"}

// String returns "served", "refused", "ended", "failed" or "asked".
func (o Outcome) String() string {
	if o.valid() {
		return outcomes[o]
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

func (o Outcome) valid() bool { return o >= Served && o <= Asked }

// Party is somebody in an entry: the member, and what it was called then. The
// zero Party is nobody.
type Party struct {
	Member identity.MemberID
	ID     identity.ID
}

// IsZero reports whether p is nobody.
func (p Party) IsZero() bool { return p == Party{} }

// same reports whether p and q are one member, whatever it was called.
func (p Party) same(q Party) bool { return p.Member == q.Member && p.ID.Tree == q.ID.Tree }

// tag is what a store searches a party by; 0 is nobody. Two parties may share
// one, so what is found is compared in full.
func (p Party) tag() int64 {
	if p.IsZero() {
		return 0
	}
	sum := sha256.Sum256(append(p.ID.Tree[:], p.Member[:]...))
	return max(1, int64(binary.BigEndian.Uint64(sum[:])>>1))
}

// Entry is one line of a journal. Time, Op and Outcome are always there, and
// Countersigned is not in the log: a query for the newest with keys finds it out. In JSON,
// what is empty is absent and a party is {"member":…,"id":…}, its SPIFFE ID.
type Entry struct {
	Time          time.Time `json:"time"`            // when, to the millisecond
	Thing         Party     `json:"thing,omitzero"`  // where
	Caller        Party     `json:"caller,omitzero"` // by whom; zero for strangers
	Op            Op        `json:"op"`
	Affordance    string    `json:"affordance,omitempty"` // the property, action or event
	Outcome       Outcome   `json:"outcome"`
	Grant         string    `json:"grant,omitempty"`         // the grant it rested on; empty for an owner's implicit right and for strangers
	Reason        string    `json:"reason,omitempty"`        // a short plain sentence for the owner: why it was refused, ended or failed
	AsOf          time.Time `json:"asOf,omitzero"`           // how fresh the caller's proof was; zero for none
	Offline       bool      `json:"offline,omitempty"`       // served by an offline term, on an old proof
	Count         uint32    `json:"count,omitempty"`         // how many calls the entry stands for; 0 for one
	Stream        uint64    `json:"stream,omitempty"`        // the same for the beginning and the end of a stream; 0 for none
	With          Party     `json:"with,omitzero"`           // who got or lost a right; zero elsewhere
	Call          uint64    `json:"call,omitempty"`          // by which the caller knows the call; the same at both ends
	Bytes         uint64    `json:"bytes,omitempty"`         // that a stream carried, at its end; that left in clear
	OneSided      bool      `json:"oneSided,omitempty"`      // the caller has no way to sign for it
	Countersigned bool      `json:"countersigned,omitempty"` // both ends signed for it, which was verified
	Exchange      *Exchange `json:"exchange,omitempty"`      // what was signed about the call; nil for nothing

	// Body names, in a node's account of what it did elsewhere, the body that it asked with (Asked), or that it was
	// answered with; zero for none. That is nobody's business but the node's.
	Body signed.Digest `json:"-"`

	Sealed *Sealed `json:"sealed,omitempty"` // of an entry that was sealed: what only those open whom it concerns

	// Seal has an entry sealed when it is written: then Time, Thing and whether an
	// entry before tells of the same are all that others see of it. Never set in
	// what is read.
	Seal *Seal `json:"-"`
}

// The forms on the wire. The package doc is their specification.
type (
	wireEntry struct {
		Time       int64       `cbor:"1,keyasint"`
		Thing      *wireParty  `cbor:"2,keyasint,omitempty"`
		Caller     *wireParty  `cbor:"3,keyasint,omitempty"`
		Op         string      `cbor:"4,keyasint"`
		Affordance string      `cbor:"5,keyasint,omitempty"`
		Outcome    uint8       `cbor:"6,keyasint"`
		Grant      string      `cbor:"7,keyasint,omitempty"`
		Reason     string      `cbor:"8,keyasint,omitempty"`
		AsOf       int64       `cbor:"9,keyasint,omitempty"`
		Offline    bool        `cbor:"10,keyasint,omitempty"`
		Count      uint32      `cbor:"11,keyasint,omitempty"`
		Stream     uint64      `cbor:"12,keyasint,omitempty"`
		With       *wireParty  `cbor:"13,keyasint,omitempty"`
		Call       uint64      `cbor:"14,keyasint,omitempty"`
		Bytes      uint64      `cbor:"15,keyasint,omitempty"`
		OneSided   bool        `cbor:"16,keyasint,omitempty"`
		Receipt    []byte      `cbor:"17,keyasint,omitempty"`
		Signature  []byte      `cbor:"18,keyasint,omitempty"`
		Sealed     *wireSealed `cbor:"19,keyasint,omitempty"`
		Body       []byte      `cbor:"20,keyasint,omitempty"`
	}
	wireParty struct {
		Member [16]byte `cbor:"1,keyasint"`
		Tree   []byte   `cbor:"2,keyasint,omitempty"`
		Path   string   `cbor:"3,keyasint"`
	}
)

// encode returns the entry's bytes in a log of the tree. Texts are made
// printable and cut to their limits: what others wrote must not keep an entry
// out of the journal. All else that is wrong is an error.
func (e Entry) encode(tree identity.TreeID) ([]byte, error) {
	if e.Seal != nil {
		shell, err := e.sealed(tree)
		if err != nil {
			return nil, err
		}
		return shell.encode(tree)
	}
	w := wireEntry{
		Time: e.Time.UnixMilli(), Op: string(e.Op), Outcome: uint8(e.Outcome),
		Affordance: printable(e.Affordance, maxText), Grant: printable(e.Grant, maxText), Reason: printable(e.Reason, maxReason),
		Offline: e.Offline, Count: e.Count, Stream: e.Stream,
		Thing: e.Thing.wire(tree), Caller: e.Caller.wire(tree), With: e.With.wire(tree),
		Call: e.Call, Bytes: e.Bytes, OneSided: e.OneSided, Sealed: e.Sealed.wire(), Body: digest(e.Body),
	}
	if e.Exchange != nil {
		w.Receipt, w.Signature = e.Exchange.Receipt, e.Exchange.Countersignature
	}
	if !e.AsOf.IsZero() {
		w.AsOf = e.AsOf.UnixMilli()
	}
	if _, err := w.entry(tree); err != nil {
		return nil, fmt.Errorf("journal: encoding an entry: %w", err)
	}
	return signed.Marshal(w)
}

// ParseEntry reads an entry of a log of the tree. It accepts exactly what a
// [Log] writes.
func ParseEntry(tree identity.TreeID, data []byte) (Entry, error) {
	if len(data) > MaxEntry {
		return Entry{}, fmt.Errorf("journal: reading an entry: %d bytes, more than %d", len(data), MaxEntry)
	}
	var w wireEntry
	if err := signed.Unmarshal(data, &w); err != nil {
		return Entry{}, fmt.Errorf("journal: reading an entry: %w", err)
	}
	e, err := w.entry(tree)
	if err != nil {
		return Entry{}, fmt.Errorf("journal: reading an entry: %w", err)
	}
	return e, nil
}

// entry checks w and returns what it stands for.
func (w wireEntry) entry(tree identity.TreeID) (Entry, error) {
	e := Entry{
		Op: Op(w.Op), Outcome: Outcome(w.Outcome),
		Affordance: w.Affordance, Grant: w.Grant, Reason: w.Reason,
		Offline: w.Offline, Count: w.Count, Stream: w.Stream, Call: w.Call, Bytes: w.Bytes, OneSided: w.OneSided,
		Sealed: w.Sealed.sealed(),
	}
	if w.Time <= 0 || w.Time >= maxTime || w.AsOf < 0 || w.AsOf >= maxTime {
		return e, fmt.Errorf("time %d or proof time %d out of range", w.Time, w.AsOf)
	}
	e.Time = time.UnixMilli(w.Time).UTC()
	if w.AsOf != 0 {
		e.AsOf = time.UnixMilli(w.AsOf).UTC()
	}
	if !validOp(w.Op) {
		return e, fmt.Errorf("operation %.20q is not 1 to 16 of a-z and -", w.Op)
	}
	if !e.Outcome.valid() {
		return e, fmt.Errorf("unknown outcome %d", w.Outcome)
	}
	for _, text := range []struct {
		s   string
		max int
	}{{w.Affordance, maxText}, {w.Grant, maxText}, {w.Reason, maxReason}} {
		if printable(text.s, text.max) != text.s {
			return e, fmt.Errorf("text %.80q is not at most %d bytes of printable characters", text.s, text.max)
		}
	}
	var err error
	for _, p := range []struct {
		wire  *wireParty
		party *Party
	}{{w.Thing, &e.Thing}, {w.Caller, &e.Caller}, {w.With, &e.With}} {
		if *p.party, err = p.wire.party(tree); err != nil {
			return e, err
		}
	}
	if len(w.Receipt) != 0 || len(w.Signature) != 0 {
		e.Exchange = &Exchange{Receipt: w.Receipt, Countersignature: w.Signature}
		if err := e.Exchange.check(); err != nil {
			return e, err
		}
	}
	if e.Body, err = readDigest(w.Body); err != nil {
		return e, err
	}
	return e, e.checkSealed()
}

func (p Party) wire(tree identity.TreeID) *wireParty {
	if p.IsZero() {
		return nil
	}
	w := &wireParty{Member: p.Member, Path: string(p.ID.Path)}
	if p.ID.Tree != tree {
		w.Tree = p.ID.Tree[:]
	}
	return w
}

func (w *wireParty) party(tree identity.TreeID) (Party, error) {
	if w == nil {
		return Party{}, nil
	}
	p := Party{Member: w.Member, ID: identity.ID{Tree: tree}}
	if p.Member == (identity.MemberID{}) {
		return p, errors.New("a party without a member ID")
	}
	if len(w.Tree) != 0 {
		if len(w.Tree) != len(tree) || identity.TreeID(w.Tree) == tree || identity.TreeID(w.Tree) == (identity.TreeID{}) {
			return p, fmt.Errorf("a party's tree %x is not another tree's ID", w.Tree)
		}
		p.ID.Tree = identity.TreeID(w.Tree)
	}
	if w.Path == "" { // the root
		return p, nil
	}
	var err error
	p.ID.Path, err = identity.ParsePath(w.Path)
	return p, err
}

func validOp(s string) bool {
	return len(s) >= 1 && len(s) <= 16 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz-") == ""
}

// printable returns s without invalid UTF-8 and unprintable characters, which
// could drive a terminal, and cut to at most limit bytes.
func printable(s string, limit int) string {
	if len(s) > 4*limit { // bound the work; a character has at most four bytes
		s = s[:4*limit]
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
	for len(s) > limit {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// row returns the row of an encoded entry, its hashes still missing. A sealed one is found by nobody's name.
func (e Entry) row(data []byte) Row {
	if e.Seal != nil {
		e = e.shell()
	}
	return Row{Time: e.Time.UnixMilli(), Caller: e.Caller.tag(), Thing: e.Thing.tag(), Data: data}
}
