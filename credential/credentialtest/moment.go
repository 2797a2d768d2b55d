package credentialtest

import (
	"testing"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A Moment is what a home can prove under one head and one block. It does not change when the home does.
type Moment struct {
	Charter  []byte
	Head     []byte
	Sequence uint64
	Digest   signed.Digest // of the head
	Revoked  []byte        // the head's revocation list
	Record   ledger.Proof
	Header   light.Proof

	t       testing.TB
	tree    identity.TreeID
	entries merkle.Map
	values  map[merkle.Hash][]byte
}

// Prove returns the proof of grants, and of members with all above them. Every one must have an entry; whether it is
// that of the certificates they have is not looked at.
func (m Moment) Prove(grants []tree.GrantID, members ...*identitytest.Member) credential.Proof {
	m.t.Helper()
	var lines []identity.Chain
	for _, member := range members {
		lines = append(lines, member.Chain)
	}
	return m.prove(grants, lines)
}

// ProveTo returns the proof that a visitor shows beside its own tree's: of grants, of members with all above them, and of
// the recognition of its tree.
func (m Moment) ProveTo(visitors identity.TreeID, grants []tree.GrantID, members ...*identitytest.Member) credential.Proof {
	m.t.Helper()
	return m.ProveAmong([]identity.TreeID{visitors}, grants, members...)
}

// ProveAmong is ProveTo where members of several other trees are involved.
func (m Moment) ProveAmong(trees []identity.TreeID, grants []tree.GrantID, members ...*identitytest.Member) credential.Proof {
	m.t.Helper()
	var lines []identity.Chain
	for _, member := range members {
		lines = append(lines, member.Chain)
	}
	return m.prove(grants, lines, trees...)
}

func (m Moment) prove(grants []tree.GrantID, lines []identity.Chain, others ...identity.TreeID) credential.Proof {
	m.t.Helper()
	p := credential.Proof{
		Charters: [][]byte{m.Charter}, Head: m.Head, Revoked: m.Revoked, Record: m.Record, Block: m.Header,
	}
	var keys []merkle.Hash
	seen := map[merkle.Hash]bool{}
	add := func(e credential.Entry) {
		key := e.Key()
		if seen[key] {
			return
		}
		seen[key] = true
		e.Value = m.Value(key)
		keys = append(keys, key)
		p.Entries = append(p.Entries, e)
	}
	for _, line := range lines {
		for _, link := range line.Line {
			add(credential.Entry{Member: link.Member})
		}
	}
	for _, id := range grants {
		add(credential.Entry{Grant: id})
	}
	for _, id := range others {
		add(credential.Entry{Other: id})
	}
	if len(keys) == 0 {
		return p
	}
	var err error
	if p.Map, err = m.entries.Prove(keys...); err != nil {
		m.t.Fatal(err)
	}
	return p
}

// Value returns the value of the entry with a key.
func (m Moment) Value(key merkle.Hash) []byte {
	m.t.Helper()
	value, ok := m.values[key]
	if !ok {
		m.t.Fatalf("credentialtest: head %d has no entry %s", m.Sequence, key)
	}
	return value
}

// NoticeOfGrant returns a grant's revocation, signed by a member and with the proof that it is live.
func (m Moment) NoticeOfGrant(signer *identitytest.Member, id tree.GrantID, at int64) credential.Notice {
	m.t.Helper()
	return m.Notice(signer, tree.Revocation{Tree: m.tree, Grant: id, Time: at}, nil)
}

// NoticeOfMember returns a member's revocation, signed by a member and with the proof that it is live.
func (m Moment) NoticeOfMember(signer, target *identitytest.Member, at int64) credential.Notice {
	m.t.Helper()
	return m.Notice(signer, tree.Revocation{Tree: m.tree, Member: target.Member(), Time: at}, target.Raw)
}

// Notice returns the notice of a revocation, whose Leaf, if zero, is that of the entry it names.
func (m Moment) Notice(signer *identitytest.Member, r tree.Revocation, chain [][]byte) credential.Notice {
	m.t.Helper()
	value := m.Value(r.Key())
	if r.Leaf == (merkle.Hash{}) {
		r.Leaf = merkle.LeafHash(r.Key(), value)
	}
	statement, err := signed.Sign(signer.Signer, tree.RevocationType, r, signer.Raw...)
	if err != nil {
		m.t.Fatal(err)
	}
	return credential.Notice{Statement: statement, Value: value, Chain: chain, Proof: m.Prove(nil, signer)}
}

// NoticeOfRecognition returns the revocation of a recognition, signed by a member and with the proof that it is live.
func (m Moment) NoticeOfRecognition(signer *identitytest.Member, other identity.TreeID, at int64) credential.Notice {
	m.t.Helper()
	return m.Notice(signer, tree.Revocation{Tree: m.tree, Other: other, Time: at}, nil)
}
