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
	struck  []merkle.Hash // leaf hashes revoked by their signers, and not yet by a head
}

// proved is a head found in the ledger.
type proved struct {
	tree.Head
	digest signed.Digest
	raw    []byte
	list   tree.RevocationList
	rawOf  []byte // the list as it was read
	block  light.Block
}

// stored is Trusted at rest.
type stored struct {
	Tree    identity.TreeID `cbor:"1,keyasint"`
	Charter []byte          `cbor:"2,keyasint,omitempty"`
	Head    []byte          `cbor:"3,keyasint,omitempty"`
	Revoked []byte          `cbor:"4,keyasint,omitempty"`
	Height  uint64          `cbor:"5,keyasint,omitempty"`
	Time    int64           `cbor:"6,keyasint,omitempty"` // of the block, Unix time, milliseconds
	Struck  []merkle.Hash   `cbor:"7,keyasint,omitempty"`
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
	s := stored{Tree: t.Tree, Charter: t.charter.Raw, Head: t.newest.raw, Revoked: t.newest.rawOf, Height: t.newest.block.Height, Struck: t.struck}
	if t.newest.raw != nil {
		s.Time = t.newest.block.Time.UnixMilli()
	}
	return signed.Marshal(s)
}

// ParseTrusted reads what Marshal wrote. Signatures are checked again, so that a damaged disk cannot widen trust.
func ParseTrusted(data []byte) (Trusted, error) {
	var s stored
	fail := func(err error) (Trusted, error) {
		return Trusted{}, fmt.Errorf("credential: reading a trusted state: %w", err)
	}
	if err := signed.Unmarshal(data, &s); err != nil {
		return fail(err)
	}
	t, err := Trust(s.Tree, s.Charter)
	if err != nil {
		return fail(err)
	}
	t.struck = s.Struck
	if s.Head == nil {
		return t, nil
	}
	t.newest, err = openHead(s.Head, s.Revoked, t)
	if err != nil {
		return fail(err)
	}
	t.newest.block = light.Block{Height: s.Height, Time: time.UnixMilli(s.Time)}
	return t, nil
}

// Charter returns the tree's charter.
func (t Trusted) Charter() tree.Ruled { return t.charter }

// Sequence returns the sequence of the newest head proved, 0 if none was.
func (t Trusted) Sequence() uint64 { return t.newest.Sequence }

// Head returns the newest head proved, and its revocation list, as they were read; nil if none was.
func (t Trusted) Head() (head, revoked []byte) { return t.newest.raw, t.newest.rawOf }

// AsOf returns the time of the newest block that proved the newest head.
func (t Trusted) AsOf() time.Time { return t.newest.block.Time }

// Revoked reports whether an entry is known to have been taken away.
func (t Trusted) Revoked(leaf merkle.Hash) bool {
	return t.newest.list.Names(leaf) || slices.Contains(t.struck, leaf)
}

// Struck returns the leaf hashes of entries that their signers revoked and no head has confirmed.
func (t Trusted) Struck() []merkle.Hash { return slices.Clone(t.struck) }

// Strike returns t without an entry that p says was revoked.
func (t Trusted) Strike(p Pending) Trusted {
	if !t.Revoked(p.leaf) {
		t.struck = append(slices.Clip(t.struck), p.leaf)
	}
	return t
}

// Restore returns t with an entry that was struck and that the keeper did not confirm.
func (t Trusted) Restore(leaf merkle.Hash) Trusted {
	t.struck = slices.DeleteFunc(slices.Clone(t.struck), func(l merkle.Hash) bool { return l == leaf })
	return t
}

// VerifyProof checks which entries were live and as of when. It returns what is to be trusted from now on, which is
// at least what was trusted before. A zero now says that the clock was not set since boot: then any block of the
// ledger is accepted, and moves the clock (see Live.AsOf).
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
	live := Live{Tree: t.Tree, Sequence: head.Sequence, charter: charter, now: now, values: make(map[merkle.Hash][]byte, len(p.Entries))}
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
	t, live.AsOf, err = t.advance(head)
	if err != nil {
		return Live{}, t, err
	}
	for _, e := range entries {
		if t.Revoked(merkle.LeafHash(e.Key, e.Value)) {
			return Live{}, t, fmt.Errorf("an entry of head %d %w", head.Sequence, ErrRevoked)
		}
	}
	if now.IsZero() {
		live.now = live.AsOf
	}
	return live, t, nil
}

// verifyCharter is rule 1: the charter leads back to the TreeID and is not older than the one trusted. A tree has one
// charter an epoch.
func verifyCharter(charters [][]byte, t Trusted) (tree.Ruled, error) {
	if len(charters) != 1 {
		return tree.Ruled{}, fmt.Errorf("%d charters: %w", len(charters), tree.ErrLaterEpoch)
	}
	if bytes.Equal(charters[0], t.charter.Raw) {
		return t.charter, nil
	}
	charter, err := tree.OpenCharter(charters[0], t.Tree)
	if err != nil {
		return tree.Ruled{}, err
	}
	if t.charter.Raw != nil && charter.Digest != t.charter.Digest {
		return tree.Ruled{}, fmt.Errorf("another charter of epoch %d than the one trusted", charter.Epoch)
	}
	return charter, nil
}

// verifyHead is rules 2 and 3: the keeper signed the head, the ledger recorded exactly this head with this charter
// under a block that the anchored validators signed, and nothing of it lies in the future.
func verifyHead(p Proof, t Trusted, now time.Time) (proved, error) {
	head, err := openHead(p.Head, p.Revoked, t)
	if err != nil {
		return proved{}, err
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
	head.block, err = verifyBlock(p.Block, state, head.Sequence, t.charter.Anchors)
	if err != nil {
		return proved{}, err
	}
	for _, at := range []time.Time{head.block.Time, time.Unix(head.Time, 0)} {
		if !now.IsZero() && at.After(now.Add(MaxSkew)) {
			return proved{}, fmt.Errorf("head %d is dated %s, in the future", head.Sequence, at.UTC().Format(time.RFC3339))
		}
	}
	return head, nil
}

func verifyBlock(p light.Proof, state merkle.Hash, sequence uint64, anchors []tree.Anchor) (light.Block, error) {
	errs := []error{}
	for _, anchor := range anchors {
		block, err := light.Verify(anchor, p, state)
		if err == nil && sequence < anchor.Sequence {
			err = fmt.Errorf("anchor %s counts from head %d", anchor.Chain, anchor.Sequence)
		}
		if err == nil {
			return block, nil
		}
		errs = append(errs, err)
	}
	return light.Block{}, errors.Join(errs...)
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
	h.rawOf = list
	h.list, err = tree.OpenRevocationList(list, h.Head)
	return h, err
}

// advance is rule 4. It returns what is trusted after seeing head, and the time as of which head's roster is known to
// have stood, apart from what the trusted list names.
func (t Trusted) advance(head proved) (Trusted, time.Time, error) {
	newest := t.newest
	switch {
	case newest.raw == nil || head.Sequence > newest.Sequence:
		if head.rawOf == nil {
			return t, time.Time{}, fmt.Errorf("head %d is news, and comes without its revocation list", head.Sequence)
		}
		if newest.raw != nil && head.block.Height < newest.block.Height {
			return t, time.Time{}, fmt.Errorf("the ledger had head %d at block %d and an older one at block %d", head.Sequence, head.block.Height, newest.block.Height)
		}
		t.newest = head
		t.struck = slices.DeleteFunc(slices.Clone(t.struck), head.list.Names)
		return t, head.block.Time, nil

	case head.Sequence == newest.Sequence:
		if head.digest != newest.digest {
			return t, time.Time{}, fmt.Errorf("two heads have the sequence %d: the keeper forked its history", head.Sequence)
		}
		if head.block.Time.After(newest.block.Time) {
			t.newest.block = head.block
		}
		return t, t.newest.block.Time, nil

	case head.block.Height > newest.block.Height:
		return t, time.Time{}, fmt.Errorf("the ledger had head %d at block %d and an older one at block %d", newest.Sequence, newest.block.Height, head.block.Height)

	case newest.list.From > head.Sequence:
		return t, time.Time{}, fmt.Errorf("head %d %w: revocations are known from head %d on", head.Sequence, ErrTooOld, newest.list.From)
	}
	return t, newest.block.Time, nil
}
