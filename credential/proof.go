package credential

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Trusted is what a verifier remembers of one tree. It is a value: VerifyProof returns the next one, which its owner
// stores before anything is served on it.
type Trusted struct {
	Tree identity.TreeID

	charter tree.Ruled
	newest  proved
	struck  []strike // what was revoked by its signer, and not yet by a head
}

// A strike is an entry that was revoked by its signer. Whoever takes a member or a grant away means it, whatever the entry
// was before, and is again later: that goes by the key. Whoever pauses a grant, or forgets another tree, does not.
type strike struct {
	leaf merkle.Hash
	key  merkle.Hash       // zero: the leaf alone
	by   identity.MemberID // whose grant the signer said it is; zero: an owner's app signed
}

// takes reports whether an entry goes that is not the one the signer showed. What a giver showed nobody has proved, so of
// what others gave under the same ID nothing goes.
func (s strike) takes(key merkle.Hash, value []byte) bool {
	if s.key != key || key == (merkle.Hash{}) {
		return false
	}
	var g tree.Grant
	return s.by.IsZero() || signed.Unmarshal(value, &g) == nil && g.GiverTree.IsZero() && g.Giver == s.by
}

// proved is a head found in a ledger.
type proved struct {
	tree.Head
	digest  signed.Digest
	raw     []byte
	list    tree.RevocationList
	rawList []byte // nil if it did not come with the head
	chain   string // the ID of the ledger
	block   light.Block
}

// MaxWaiting is how many revocations wait for a head, at most, that one who is no owner signed: as many as the grants that
// they may have given, each paused and then taken back.
const MaxWaiting = 128

// maxStruck is how many of them wait in all.
const maxStruck = 1024

// stored is Trusted at rest. The sum finds damage; against somebody who can write to the disk nothing helps.
type stored struct {
	Body []byte        `cbor:"1,keyasint"` // a body, encoded
	Sum  signed.Digest `cbor:"2,keyasint"`
}

type body struct {
	Tree    identity.TreeID `cbor:"1,keyasint"`
	Charter []byte          `cbor:"2,keyasint,omitempty"`
	Head    []byte          `cbor:"3,keyasint,omitempty"`
	Revoked []byte          `cbor:"4,keyasint,omitempty"`
	Chain   string          `cbor:"5,keyasint,omitempty"`
	Height  uint64          `cbor:"6,keyasint,omitempty"`
	Time    int64           `cbor:"7,keyasint,omitempty"` // of the block, Unix time, nanoseconds
	Struck  []merkle.Hash   `cbor:"8,keyasint,omitempty"` // the leaves
	Keys    []merkle.Hash   `cbor:"9,keyasint,omitempty"` // as many; absent: all zero

	By []identity.MemberID `cbor:"10,keyasint,omitempty"` // as many
}

// Trust returns what is known of a tree whose charter came from where it can be believed: an invitation, or the
// machine that made the tree.
func Trust(id identity.TreeID, charter []byte) (Trusted, error) {
	ruled, err := tree.OpenCharter(charter, id)
	if err != nil {
		return Trusted{}, fmt.Errorf("credential: trusting a tree: %w", err)
	}
	return Trusted{Tree: id, charter: ruled}, nil
}

// Marshal encodes t for its owner's disk.
func (t Trusted) Marshal() ([]byte, error) {
	b := body{Tree: t.Tree, Charter: t.charter.Raw}
	for _, s := range t.struck {
		b.Struck, b.Keys, b.By = append(b.Struck, s.leaf), append(b.Keys, s.key), append(b.By, s.by)
	}
	if n := t.newest; n.raw != nil {
		b.Head, b.Revoked, b.Chain, b.Height, b.Time = n.raw, n.rawList, n.chain, n.block.Height, n.block.Time.UnixNano()
	}
	data, err := signed.Marshal(b)
	if err != nil {
		return nil, err
	}
	return signed.Marshal(stored{Body: data, Sum: signed.Sum(data)})
}

// ParseTrusted reads what Marshal wrote, all of it or an error: a damaged disk cannot widen trust.
func ParseTrusted(data []byte) (Trusted, error) {
	t, err := parseTrusted(data)
	if err != nil {
		return Trusted{}, fmt.Errorf("credential: reading a trusted state: %w", err)
	}
	return t, nil
}

func parseTrusted(data []byte) (Trusted, error) {
	var s stored
	var b body
	if err := signed.Unmarshal(data, &s); err != nil {
		return Trusted{}, err
	}
	if signed.Sum(s.Body) != s.Sum {
		return Trusted{}, errors.New("it is damaged: its sum is another")
	}
	if err := signed.Unmarshal(s.Body, &b); err != nil {
		return Trusted{}, err
	}
	t := Trusted{Tree: b.Tree}
	if b.Keys == nil {
		b.Keys = make([]merkle.Hash, len(b.Struck))
	}
	if b.By == nil {
		b.By = make([]identity.MemberID, len(b.Struck))
	}
	if len(b.Keys) != len(b.Struck) || len(b.By) != len(b.Struck) {
		return Trusted{}, fmt.Errorf("%d leaves are struck, with %d keys, by %d", len(b.Struck), len(b.Keys), len(b.By))
	}
	for i, leaf := range b.Struck {
		t.struck = append(t.struck, strike{leaf, b.Keys[i], b.By[i]})
	}
	var err error
	if b.Charter != nil {
		if t.charter, err = tree.OpenCharter(b.Charter, b.Tree); err != nil {
			return Trusted{}, err
		}
	}
	if b.Head == nil {
		if b.Revoked != nil || b.Chain != "" || b.Height != 0 || b.Time != 0 {
			return Trusted{}, errors.New("what belongs to a head, without the head")
		}
		return t, nil
	}
	if b.Charter == nil || b.Revoked == nil {
		return Trusted{}, errors.New("a head without its charter or its revocation list")
	}
	if t.newest, err = openHead(b.Head, b.Revoked, t); err != nil {
		return Trusted{}, err
	}
	t.newest.chain = b.Chain
	t.newest.block = light.Block{Height: b.Height, Time: time.Unix(0, b.Time).UTC()}
	return t, nil
}

// Charter returns the tree's charter.
func (t Trusted) Charter() tree.Ruled { return t.charter }

// Sequence returns the sequence of the newest head proved, 0 if none was.
func (t Trusted) Sequence() uint64 { return t.newest.Sequence }

// Head returns the newest head proved, and its revocation list, as they were read; nil if none was.
func (t Trusted) Head() (head, revoked []byte) { return t.newest.raw, t.newest.rawList }

// AsOf returns the time of the newest block that proved the newest head.
func (t Trusted) AsOf() time.Time { return t.newest.block.Time }

// Revoked reports whether an entry is known to have been taken away.
func (t Trusted) Revoked(leaf merkle.Hash) bool {
	return t.newest.list.Names(leaf) || slices.ContainsFunc(t.struck, func(s strike) bool { return s.leaf == leaf })
}

// revoked reports whether an entry, as it was under the head with a sequence, is known to have been taken away since.
func (t Trusted) revoked(key merkle.Hash, value []byte, sequence uint64) bool {
	leaf := merkle.LeafHash(key, value)
	return t.newest.list.Ends(key, leaf, sequence) ||
		slices.ContainsFunc(t.struck, func(s strike) bool { return s.leaf == leaf || s.takes(key, value) })
}

// RevokedEntries returns the entries of a proof that are known to have been taken away since.
func (t Trusted) RevokedEntries(p Proof) (gone []Entry) {
	head, err := p.head()
	if err != nil {
		return nil
	}
	for _, e := range p.Entries {
		if t.revoked(e.Key(), e.Value, head.Sequence) {
			gone = append(gone, e)
		}
	}
	return gone
}

// Struck returns the leaf hashes of entries that their signers revoked and no head has confirmed.
func (t Trusted) Struck() []merkle.Hash {
	var leaves []merkle.Hash
	for _, s := range t.struck {
		leaves = append(leaves, s.leaf)
	}
	return leaves
}

// StruckBy returns whose revocation it is, Pending.Giver, that an entry was struck by; of nobody's the zero ID.
func (t Trusted) StruckBy(leaf merkle.Hash) identity.MemberID {
	for _, s := range t.struck {
		if s.leaf == leaf {
			return s.by
		}
	}
	return identity.MemberID{}
}

// Strike returns t without an entry that p says was revoked.
func (t Trusted) Strike(p Pending) Trusted {
	if t.Revoked(p.leaf) {
		return t
	}
	s := strike{leaf: p.leaf, by: p.Giver()}
	if !p.Pause && p.Other.IsZero() {
		s.key = p.Key()
	}
	t.struck = append(slices.Clip(t.struck), s)
	return t
}

// room checks that one more revocation may wait for a head.
func (t Trusted) room(p Pending) error {
	by := p.Giver()
	if by.IsZero() || t.Revoked(p.leaf) {
		return nil
	}
	mine, all := 0, 0
	for _, s := range t.struck {
		if s.by == by {
			mine++
		}
		if !s.by.IsZero() {
			all++
		}
	}
	switch {
	case mine >= MaxWaiting:
		return fmt.Errorf("%d revocations of %s wait for a head already", mine, p.Signer.ID.Path)
	case all >= maxStruck:
		return fmt.Errorf("%d revocations wait for a head already", all)
	}
	return nil
}

// Restore returns t with an entry that was struck and that the keeper did not confirm.
func (t Trusted) Restore(leaf merkle.Hash) Trusted {
	t.struck = slices.DeleteFunc(slices.Clone(t.struck), func(s strike) bool { return s.leaf == leaf })
	return t
}

// VerifyProof checks which entries were live and as of when. It returns what is to be trusted from now on, which is
// at least what was trusted before.
//
// A zero now says that the clock was not set since boot: then no time is too late, and that of the newest block
// proved is taken for now. A caller moves its clock there (Live.AsOf) if the tree is its own, and verifies the proofs
// of others once it has.
func VerifyProof(p Proof, trusted Trusted, now time.Time) (Live, Trusted, error) {
	live, next, err := verifyProof(p, trusted, now)
	if err != nil {
		return Live{}, trusted, fmt.Errorf("credential: verifying a proof of tree %s: %w", trusted.Tree, err)
	}
	return live, next, nil
}

func verifyProof(p Proof, t Trusted, now time.Time) (Live, Trusted, error) {
	if n := len(p.Entries); n > maxEntries {
		return Live{}, t, fmt.Errorf("%d entries, of at most %d", n, maxEntries)
	}
	charter, err := verifyCharter(p.Charters, t)
	if err != nil {
		return Live{}, t, err
	}
	t.charter = charter
	head, err := verifyHead(p, t, now)
	if err != nil {
		return Live{}, t, err
	}
	live := Live{
		Tree: t.Tree, Sequence: head.Sequence,
		charter: charter, head: head.digest, values: make(map[merkle.Hash][]byte, len(p.Entries)),
	}
	entries := make([]merkle.Entry, len(p.Entries))
	for i, e := range p.Entries {
		entries[i] = merkle.Entry{Key: e.Key(), Value: e.Value}
		live.values[entries[i].Key] = e.Value
	}
	if len(entries) > 0 {
		if err := merkle.Verify(head.Root, entries, p.Map); err != nil {
			return Live{}, t, err
		}
	}
	if t, err = t.advance(head); err != nil {
		return Live{}, t, err
	}
	live, err = t.judge(live, now)
	return live, t, err
}

// judge is the end of rule 4, for entries that were live under a head: whether by what t knows they still are, and as
// of when that is known.
func (t Trusted) judge(live Live, now time.Time) (Live, error) {
	switch newest := t.newest; {
	case live.Sequence < newest.list.From:
		return Live{}, fmt.Errorf("head %d %w: revocations are known from head %d on", live.Sequence, ErrTooOld, newest.list.From)
	case live.Sequence == newest.Sequence && live.head != newest.digest:
		return Live{}, fmt.Errorf("two heads have the sequence %d: the keeper forked its history", live.Sequence)
	case live.Sequence <= newest.Sequence && newest.block.Time.After(live.AsOf):
		live.AsOf = newest.block.Time
	}
	for key, value := range live.values {
		if t.revoked(key, value, live.Sequence) {
			return Live{}, fmt.Errorf("an entry of head %d %w", live.Sequence, ErrRevoked)
		}
	}
	live.now = now
	if now.IsZero() {
		live.now = live.AsOf
	}
	if live.AsOf.After(live.now.Add(MaxSkew)) {
		return Live{}, fmt.Errorf("the ledger was at %s already: the clock is behind", live.AsOf.Format(time.RFC3339))
	}
	return live, nil
}

// verifyCharter is rule 1: the charter leads back to the TreeID and is not older than the one trusted. A tree has one
// charter an epoch.
func verifyCharter(charters [][]byte, t Trusted) (tree.Ruled, error) {
	known := t.charter.Raw != nil
	switch n := len(charters); {
	case n == 0 && !known:
		return tree.Ruled{}, fmt.Errorf("no charter, and the tree %w", ErrStranger)
	case n > 1:
		return tree.Ruled{}, fmt.Errorf("%d charters: %w", n, tree.ErrLaterEpoch)
	case n == 0 || bytes.Equal(charters[0], t.charter.Raw):
		return t.charter, nil
	}
	charter, err := tree.OpenCharter(charters[0], t.Tree)
	if err != nil {
		return tree.Ruled{}, err
	}
	if known && charter.Digest != t.charter.Digest {
		return tree.Ruled{}, fmt.Errorf("another charter of epoch %d than the one trusted", charter.Epoch)
	}
	return charter, nil
}

// verifyHead is rules 2 and 3: the keeper signed the head, the ledger recorded exactly this head with this charter
// under a block that the anchored validators signed, and nothing of it lies in the future.
func verifyHead(p Proof, t Trusted, now time.Time) (proved, error) {
	head := t.newest
	if !head.same(p) {
		var err error
		if head, err = openHead(p.Head, p.Revoked, t); err != nil {
			return proved{}, err
		}
	}
	state, record, err := p.Record.AppHash(t.Tree)
	if err != nil {
		return proved{}, err
	}
	switch {
	case record.Charter != t.charter.Digest || record.Epoch != t.charter.Epoch:
		err = fmt.Errorf("the ledger has it under another charter, of epoch %d", record.Epoch)
	case record.Sequence != head.Sequence || record.Head != head.digest:
		err = fmt.Errorf("the ledger has head %d %s, shown was head %d %s", record.Sequence, record.Head, head.Sequence, head.digest)
	}
	if err != nil {
		return proved{}, err
	}
	if head.block, head.chain, err = verifyBlock(p.Block, state, head.Sequence, t.charter.Anchors); err != nil {
		return proved{}, err
	}
	for _, at := range []time.Time{head.block.Time, time.Unix(head.Time, 0)} {
		if !now.IsZero() && at.After(now.Add(MaxSkew)) {
			return proved{}, fmt.Errorf("head %d is dated %s, in the future", head.Sequence, at.UTC().Format(time.RFC3339))
		}
	}
	return head, nil
}

// verifyBlock checks the block against each anchor of the charter. It returns the ledger whose block it is.
func verifyBlock(p light.Proof, state merkle.Hash, sequence uint64, anchors []tree.Anchor) (light.Block, string, error) {
	errs := []error{}
	for _, anchor := range anchors {
		block, err := light.Verify(anchor, p, state)
		if err == nil && sequence < anchor.Sequence {
			err = fmt.Errorf("the ledger %s counts from head %d, this is head %d", anchor.Chain, anchor.Sequence, sequence)
		}
		if err == nil {
			return block, anchor.Chain, nil
		}
		errs = append(errs, err)
	}
	return light.Block{}, "", errors.Join(errs...)
}

// same reports whether a proof is under this very head, whose signature so need not be checked again.
func (p proved) same(shown Proof) bool {
	return p.raw != nil && bytes.Equal(shown.Head, p.raw) && (shown.Revoked == nil || bytes.Equal(shown.Revoked, p.rawList))
}

// openHead reads a head and its list, if there is one.
func openHead(raw, list []byte, t Trusted) (proved, error) {
	var h proved
	var err error
	if h.Head, h.digest, err = tree.OpenHead(raw, t.Tree, t.charter.KeeperKey()); err != nil {
		return proved{}, err
	}
	h.raw = raw
	if list == nil {
		return h, nil
	}
	h.rawList = list
	h.list, err = tree.OpenRevocationList(list, h.Head)
	return h, err
}

// advance is the beginning of rule 4: what is trusted after seeing head. Of two heads the newer is in the later block
// of a ledger, or the ledger forked.
func (t Trusted) advance(head proved) (Trusted, error) {
	newest := t.newest
	switch {
	case newest.raw == nil || head.Sequence > newest.Sequence:
		if head.rawList == nil {
			return t, fmt.Errorf("head %d is news, and comes without its revocation list", head.Sequence)
		}
		if !newest.before(head) {
			return t, forked(newest, head)
		}
		t.newest = head
		t.struck = slices.DeleteFunc(slices.Clone(t.struck), func(s strike) bool { return head.list.Names(s.leaf) })

	case head.Sequence < newest.Sequence:
		if !head.before(newest) {
			return t, forked(head, newest)
		}

	case head.digest == newest.digest && head.block.Time.After(newest.block.Time):
		t.newest.chain, t.newest.block = head.chain, head.block
	}
	return t, nil
}

// before reports whether p was in an earlier block than next. Blocks of different ledgers have no order.
func (p proved) before(next proved) bool {
	return p.raw == nil || p.chain != next.chain || p.block.Height < next.block.Height
}

func forked(older, newer proved) error {
	return fmt.Errorf("the ledger %s forked: it had head %d at block %d, and head %d at block %d",
		newer.chain, older.Sequence, older.block.Height, newer.Sequence, newer.block.Height)
}
