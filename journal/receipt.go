package journal

import (
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// The types of the statements that two ends of a call give each other.
const (
	TypeReceipt          signed.Type = "kindred/receipt"
	TypeCountersignature signed.Type = "kindred/countersignature"
)

// MaxReceipt bounds a signed receipt, and a countersignature, in bytes.
const MaxReceipt = 1024

// A Receipt is what the node that was called says of a call, to whoever made it: what was asked, what came of it, and
// which entry of its log stands for it. So the node cannot tell somebody else another story, and the caller has
// something to show. For a stream, and for reads, it says how much there was so far.
type Receipt struct {
	Tree       identity.TreeID   // of the node
	Node       identity.MemberID // that was called, and signs
	Caller     identity.MemberID
	CallerTree identity.TreeID
	Grant      string // what allowed it; empty for an owner's implicit right
	Op         Op
	Affordance string // empty where it is about several
	Outcome    Outcome
	Time       time.Time     // when the entry was made, of several the first; to the millisecond
	Until      time.Time     // of several the last, of a stream how far it had come; zero for an action
	Index      int64         // of the entry in the node's log, of several the first
	Leaf       tlog.Hash     // RFC 6962 hash of the entry; of several the SHA-256 of their hashes, one after the other
	Call       uint64        // by which the caller knows the call; 0 for several
	Request    signed.Digest // of the body that came; zero for none
	Response   signed.Digest // of the body that was answered; zero for none
	Entries    uint32        // how many entries it is about; 0 for one
	Count      uint64        // how many reads, or events of a stream, so far
	Bytes      uint64        // of a stream, so far, both ways
	Part       uint32        // numbers what is said of one stream, from 1; 0 for what is no stream
}

type wireReceipt struct {
	Tree       [32]byte `cbor:"1,keyasint"`
	Node       [16]byte `cbor:"2,keyasint"`
	Caller     [16]byte `cbor:"3,keyasint"`
	CallerTree []byte   `cbor:"4,keyasint,omitempty"`
	Grant      string   `cbor:"5,keyasint,omitempty"`
	Op         string   `cbor:"6,keyasint"`
	Affordance string   `cbor:"7,keyasint,omitempty"`
	Outcome    uint8    `cbor:"8,keyasint"`
	Time       int64    `cbor:"9,keyasint"`
	Until      int64    `cbor:"10,keyasint,omitempty"`
	Index      int64    `cbor:"11,keyasint"`
	Leaf       [32]byte `cbor:"12,keyasint"`
	Call       uint64   `cbor:"13,keyasint,omitempty"`
	Request    []byte   `cbor:"14,keyasint,omitempty"`
	Response   []byte   `cbor:"15,keyasint,omitempty"`
	Entries    uint32   `cbor:"16,keyasint,omitempty"`
	Count      uint64   `cbor:"17,keyasint,omitempty"`
	Bytes      uint64   `cbor:"18,keyasint,omitempty"`
	Part       uint32   `cbor:"19,keyasint,omitempty"`
}

// Sign returns the receipt as signed by the node's key.
func (r Receipt) Sign(key crypto.Signer) ([]byte, error) {
	w := wireReceipt{
		Tree: r.Tree, Node: r.Node, Caller: r.Caller, Grant: printable(r.Grant, maxText), Op: string(r.Op),
		Affordance: printable(r.Affordance, maxText), Outcome: uint8(r.Outcome), Time: r.Time.UnixMilli(),
		Index: r.Index, Leaf: r.Leaf, Call: r.Call, Request: digest(r.Request), Response: digest(r.Response),
		Entries: r.Entries, Count: r.Count, Bytes: r.Bytes, Part: r.Part,
	}
	if r.CallerTree != r.Tree {
		w.CallerTree = r.CallerTree[:]
	}
	if !r.Until.IsZero() {
		w.Until = r.Until.UnixMilli()
	}
	if _, err := w.receipt(); err != nil {
		return nil, fmt.Errorf("journal: signing a receipt: %w", err)
	}
	return signed.Sign(key, TypeReceipt, w)
}

func digest(d signed.Digest) []byte {
	if d.IsZero() {
		return nil
	}
	return d[:]
}

// readDigest reads what digest wrote.
func readDigest(wire []byte) (d signed.Digest, err error) {
	if len(wire) != 0 && (len(wire) != len(d) || signed.Digest(wire).IsZero()) {
		return d, fmt.Errorf("%x is no SHA-256", wire)
	}
	copy(d[:], wire)
	return d, nil
}

// OpenReceipt verifies a signed receipt with the public key of the node that it is from, and returns its name too. It
// compares it with no log.
func OpenReceipt(raw []byte, pub crypto.PublicKey) (Receipt, signed.Digest, error) {
	return readReceipt(raw, func(s signed.Statement, w *wireReceipt) error { return s.Open(pub, TypeReceipt, w) })
}

// ReadReceipt reads a signed receipt without looking at its signature.
func ReadReceipt(raw []byte) (Receipt, signed.Digest, error) {
	return readReceipt(raw, func(s signed.Statement, w *wireReceipt) error {
		if s.Type != TypeReceipt {
			return fmt.Errorf("it is a %q", s.Type)
		}
		return signed.Unmarshal(s.Payload, w)
	})
}

func readReceipt(raw []byte, open func(signed.Statement, *wireReceipt) error) (Receipt, signed.Digest, error) {
	var w wireReceipt
	s, err := parseBounded(raw)
	if err == nil {
		err = open(s, &w)
	}
	var r Receipt
	if err == nil {
		r, err = w.receipt()
	}
	if err != nil {
		return Receipt{}, signed.Digest{}, fmt.Errorf("journal: reading a receipt: %w", err)
	}
	return r, s.Digest, nil
}

func parseBounded(raw []byte) (signed.Statement, error) {
	if len(raw) > MaxReceipt {
		return signed.Statement{}, fmt.Errorf("%d bytes, more than %d", len(raw), MaxReceipt)
	}
	return signed.Parse(raw)
}

// receipt checks w and returns what it stands for.
func (w wireReceipt) receipt() (Receipt, error) {
	r := Receipt{
		Tree: w.Tree, Node: w.Node, Caller: w.Caller, CallerTree: w.Tree, Grant: w.Grant, Op: Op(w.Op),
		Affordance: w.Affordance, Outcome: Outcome(w.Outcome), Index: w.Index, Leaf: w.Leaf, Call: w.Call,
		Entries: w.Entries, Count: w.Count, Bytes: w.Bytes, Part: w.Part,
	}
	switch {
	case r.Tree == (identity.TreeID{}) || r.Node.IsZero() || r.Caller.IsZero():
		return r, errors.New("it does not name a tree, a node and a caller")
	case w.CallerTree != nil && (len(w.CallerTree) != len(r.Tree) || identity.TreeID(w.CallerTree) == r.Tree):
		return r, fmt.Errorf("the caller's tree %x is not another tree's ID", w.CallerTree)
	case w.Time <= 0 || w.Time >= maxTime || w.Until < 0 || w.Until >= maxTime:
		return r, fmt.Errorf("time %d or %d out of range", w.Time, w.Until)
	case !validOp(w.Op) || !r.Outcome.valid():
		return r, fmt.Errorf("operation %.20q or outcome %d unknown", w.Op, w.Outcome)
	case printable(w.Affordance, maxText) != w.Affordance || printable(w.Grant, maxText) != w.Grant:
		return r, fmt.Errorf("affordance %.80q or grant %.80q is not at most %d bytes of printable characters", w.Affordance, w.Grant, maxText)
	case w.Index < 0:
		return r, fmt.Errorf("entry %d", w.Index)
	}
	var err error
	if r.Request, err = readDigest(w.Request); err != nil {
		return r, err
	}
	if r.Response, err = readDigest(w.Response); err != nil {
		return r, err
	}
	if w.CallerTree != nil {
		r.CallerTree = identity.TreeID(w.CallerTree)
	}
	r.Time = time.UnixMilli(w.Time).UTC()
	if w.Until != 0 {
		r.Until = time.UnixMilli(w.Until).UTC()
	}
	return r, nil
}

// LeafOf returns the hash that a receipt gives for entries, of which it is about one or several.
func LeafOf(entries ...[]byte) tlog.Hash {
	if len(entries) == 1 {
		return tlog.RecordHash(entries[0])
	}
	h := sha256.New()
	for _, data := range entries {
		leaf := tlog.RecordHash(data)
		h.Write(leaf[:])
	}
	return tlog.Hash(h.Sum(nil))
}

// A Countersignature is what the caller says of a receipt: that it was so.
type Countersignature struct {
	Receipt signed.Digest // its name
	Caller  identity.MemberID
	Tree    identity.TreeID // of the caller
	Time    time.Time       // to the millisecond
}

type wireCountersignature struct {
	Receipt [32]byte `cbor:"1,keyasint"`
	Caller  [16]byte `cbor:"2,keyasint"`
	Tree    [32]byte `cbor:"3,keyasint"`
	Time    int64    `cbor:"4,keyasint"`
}

// Sign returns the countersignature as signed by the caller's key.
func (c Countersignature) Sign(key crypto.Signer) ([]byte, error) {
	w := wireCountersignature{Receipt: c.Receipt, Caller: c.Caller, Tree: c.Tree, Time: c.Time.UnixMilli()}
	if _, err := w.countersignature(); err != nil {
		return nil, err
	}
	return signed.Sign(key, TypeCountersignature, w)
}

// OpenCountersignature verifies a countersignature with the caller's public key.
func OpenCountersignature(raw []byte, pub crypto.PublicKey) (Countersignature, error) {
	var w wireCountersignature
	s, err := parseBounded(raw)
	if err == nil {
		err = s.Open(pub, TypeCountersignature, &w)
	}
	if err != nil {
		return Countersignature{}, fmt.Errorf("journal: reading a countersignature: %w", err)
	}
	return w.countersignature()
}

// CountersignedReceipt returns which receipt a countersignature is of. Nothing is verified.
func CountersignedReceipt(raw []byte) (signed.Digest, error) {
	var w wireCountersignature
	s, err := parseBounded(raw)
	if err == nil && s.Type != TypeCountersignature {
		err = fmt.Errorf("it is a %q", s.Type)
	}
	if err == nil {
		err = signed.Unmarshal(s.Payload, &w)
	}
	if err != nil {
		return signed.Digest{}, fmt.Errorf("journal: reading a countersignature: %w", err)
	}
	return w.Receipt, nil
}

func (w wireCountersignature) countersignature() (Countersignature, error) {
	c := Countersignature{Receipt: w.Receipt, Caller: w.Caller, Tree: w.Tree}
	if w.Time <= 0 || w.Time >= maxTime || c.Receipt.IsZero() || c.Caller.IsZero() || c.Tree == (identity.TreeID{}) {
		return c, fmt.Errorf("journal: reading a countersignature: it names no receipt, no caller, or the time %d", w.Time)
	}
	c.Time = time.UnixMilli(w.Time).UTC()
	return c, nil
}

// An Exchange is what the two ends of a call signed about it.
type Exchange struct {
	Receipt          []byte `json:"receipt"`
	Countersignature []byte `json:"countersignature,omitempty"` // empty: none came, or its maker keeps it elsewhere
}

// check looks at the form and at nothing else.
func (x *Exchange) check() error {
	_, name, err := ReadReceipt(x.Receipt)
	if err != nil || len(x.Countersignature) == 0 {
		return err
	}
	of, err := CountersignedReceipt(x.Countersignature)
	if err == nil && of != name {
		err = errors.New("the countersignature is of another receipt")
	}
	return err
}

// Verify checks that both ends signed: the node that was called with the first key, whoever called with the second.
func (x *Exchange) Verify(node, caller crypto.PublicKey) (Receipt, error) {
	r, name, err := OpenReceipt(x.Receipt, node)
	if err != nil {
		return r, err
	}
	c, err := OpenCountersignature(x.Countersignature, caller)
	if err != nil {
		return r, err
	}
	if c.Receipt != name || c.Caller != r.Caller || c.Tree != r.CallerTree {
		return r, errors.New("journal: reading a countersignature: it is of another receipt, or of another caller's")
	}
	return r, nil
}

// KeysOf returns the public keys that a member has and had; none where they are not known.
type KeysOf func(tree identity.TreeID, member identity.MemberID) []crypto.PublicKey

// ErrUnknownEnd means that nobody tells with which keys an end of a call signs.
var ErrUnknownEnd = errors.New("journal: whose the signatures are is not known")

// VerifyBy is [Exchange.Verify] with one of the keys that each end has or had. The error is [ErrUnknownEnd] if those are not
// known.
func (x *Exchange) VerifyBy(keys KeysOf) (Receipt, error) {
	unchecked, _, err := ReadReceipt(x.Receipt)
	if err != nil {
		return unchecked, err
	}
	nodes, callers := keys(unchecked.Tree, unchecked.Node), keys(unchecked.CallerTree, unchecked.Caller)
	if len(nodes) == 0 || len(callers) == 0 {
		return unchecked, ErrUnknownEnd
	}
	node := nodes[0]
	for _, node = range nodes {
		if _, _, err = OpenReceipt(x.Receipt, node); err == nil {
			break
		}
	}
	var r Receipt
	for _, caller := range callers {
		if r, err = x.Verify(node, caller); err == nil {
			break
		}
	}
	return r, err
}
