package tree_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorFile = "testdata/vectors.json"

// vectors are for any implementation to run. All bytes are in hexadecimal.
type vectors struct {
	About      string            `json:"about"`
	Keys       map[string]string `json:"keys"`   // of the entries with the ID 000102…0f, or the tree 404142…5f
	Values     map[string]string `json:"values"` // of entries
	Leaf       string            `json:"leaf"`   // of the member
	List       string            `json:"list"`   // a revocation list, of the head 7
	Ended      string            `json:"ended"`  // that of the head 8, which takes the replaced member away by leaf and key
	Seed       string            `json:"seed"`   // of the Ed25519 key that signs
	Statements []vector          `json:"statements"`
	Charter    vector            `json:"charter"` // by a key of its own
}

type vector struct {
	Type      signed.Type `json:"type,omitempty"`
	Tree      string      `json:"tree,omitempty"`
	Payload   string      `json:"payload,omitempty"`
	Statement string      `json:"statement"`
	Digest    string      `json:"digest"`
}

// numbered returns 0, 1, 2, … from a start.
func numbered(b []byte, start byte) []byte {
	for i := range b {
		b[i] = start + byte(i)
	}
	return b
}

// currentVectors returns the vectors as this implementation makes them. Root certificates have random serial
// numbers, so the charter is a new one each time.
func currentVectors(t *testing.T) vectors {
	var id identity.MemberID
	var by identity.MemberID
	var grant tree.GrantID
	var treeID identity.TreeID
	var digest signed.Digest
	numbered(id[:], 0)
	numbered(by[:], 0x10)
	numbered(grant[:], 0)
	numbered(treeID[:], 0x40)
	numbered(digest[:], 0x80)
	key := ed25519.NewKeyFromSeed(numbered(make([]byte, ed25519.SeedSize), 0xc0))
	encode := func(v any) []byte {
		data, err := signed.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	member := encode(tree.Member{
		Certificate: digest, By: by, Since: 1_795_271_400, Label: "Küche",
		Limits: []tree.Limit{{Fresh: 3600}, {Affordance: "open", Fresh: 5, Offline: 86_400}},
	})
	list := encode(tree.RevocationList{}.Next(7, now, []merkle.Hash{merkle.LeafHash(tree.MemberKey(id), member)}))
	replaced := encode(tree.Member{Certificate: digest, By: by, Since: 1_795_271_400, Changed: by, Turns: 2})
	v := vectors{
		About: "tree: keys and values of roster entries, a revocation list, and statements. Times are Unix seconds.",
		Keys: map[string]string{
			"member": tree.MemberKey(id).String(), "grant": tree.GrantKey(grant).String(), "checkpoint": tree.CheckpointKey(id).String(),
			"recognition": tree.RecognitionKey(treeID).String(),
		},
		Values: map[string]string{
			"member":   hex.EncodeToString(member),
			"plain":    hex.EncodeToString(encode(tree.Member{Certificate: digest, By: by, Since: 1_795_271_400})),
			"grant":    hex.EncodeToString(encode(tree.Grant{Statement: digest, Giver: id, By: by, Since: 1_795_271_400})),
			"paused":   hex.EncodeToString(encode(tree.Grant{Statement: digest, Giver: id, By: by, Since: 1_795_271_400, Paused: true, Turns: 1})),
			"held":     hex.EncodeToString(encode(tree.Grant{Statement: digest, Giver: id, By: by, Since: 1_795_271_400, Paused: true, Turns: 1, Held: true})),
			"replaced": hex.EncodeToString(replaced),
			"seconded": hex.EncodeToString(encode(tree.Grant{
				Statement: digest, Giver: id, By: by, Since: 1_795_271_400, Turns: 2,
				Seconds: []tree.Second{{Consent: digest, By: by, Since: 1_795_271_401}, {Consent: signed.Digest(treeID), Since: 1_795_271_402}},
			})),
			"checkpoint":  hex.EncodeToString(encode(tree.Checkpoint{Size: 1000, Root: digest, Time: 1_795_271_400})),
			"recognition": hex.EncodeToString(encode(tree.Known{Statement: []byte("statement"), By: by, Since: 1_795_271_400})),
		},
		Leaf: merkle.LeafHash(tree.MemberKey(id), member).String(),
		List: hex.EncodeToString(list),
		Ended: hex.EncodeToString(encode(tree.RevocationList{}.Next(8, now, []merkle.Hash{
			merkle.LeafHash(tree.MemberKey(id), replaced), tree.MemberKey(id),
		}))),
		Seed: hex.EncodeToString(key.Seed()),
	}
	for _, s := range []struct {
		typ     signed.Type
		payload any
	}{
		{tree.HeadType, tree.Head{Tree: treeID, Sequence: 7, Previous: digest, Root: merkle.Hash(digest), Time: 1_795_271_400, Revoked: signed.Sum(list)}},
		{tree.RevocationType, tree.Revocation{Tree: treeID, Leaf: merkle.Hash(digest), Grant: grant, Time: 1_795_271_400}},
		{tree.RevocationType, tree.Revocation{Tree: treeID, Leaf: merkle.Hash(digest), Member: id, Time: 1_795_271_400}},
		{tree.AddressType, tree.Address{Tree: treeID, Member: id, Key: spki(t, key.Public()), Addresses: []string{"/ip4/10.0.0.7/udp/4001/quic-v1"}, Time: 1_795_271_400}},
		{tree.RecipientType, tree.Recipient{Tree: treeID, Member: id, Key: spki(t, key.Public()), Sealed: "age1pq1…", Time: 1_795_271_400}},
		{tree.RevocationType, tree.Revocation{Tree: treeID, Leaf: merkle.Hash(digest), Other: identity.TreeID(digest), Time: 1_795_271_400}},
		{tree.RecognitionType, tree.Recognition{
			Tree: treeID, Other: identity.TreeID(digest), Epoch: 0, Time: 1_795_271_400, Name: "birch", Charter: []byte("charter"),
			Gateway: tree.Door{Member: id, Key: spki(t, key.Public()), Addresses: []string{"/ip4/10.0.0.7/udp/4001/quic-v1"}},
		}},
	} {
		raw, err := signed.Sign(key, s.typ, s.payload)
		if err != nil {
			t.Fatal(err)
		}
		v.Statements = append(v.Statements, newVector(t, raw))
	}
	tr := identitytest.NewTree(t, now)
	raw, err := signed.Sign(tr.RootKey, tree.CharterType, charter(t, tr, key.Public()))
	if err != nil {
		t.Fatal(err)
	}
	v.Charter = newVector(t, raw)
	v.Charter.Tree = tr.ID.String()
	return v
}

func newVector(t *testing.T, raw []byte) vector {
	s, err := signed.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return vector{Type: s.Type, Payload: hex.EncodeToString(s.Payload), Statement: hex.EncodeToString(raw), Digest: s.Digest.String()}
}

// The formats are what they were.
func TestVectors(t *testing.T) {
	current := currentVectors(t)
	if *update {
		data, err := json.MarshalIndent(current, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorFile, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var want vectors
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&want); err != nil {
		t.Fatal(err)
	}
	id, err := identity.ParseTreeID(want.Charter.Tree)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(want.Charter.Statement)
	if err != nil {
		t.Fatal(err)
	}
	r, err := tree.OpenCharter(raw, id)
	if err != nil {
		t.Fatal(err)
	}
	if got := newVector(t, raw); r.Digest.String() != want.Charter.Digest || got.Payload != want.Charter.Payload {
		t.Errorf("the charter is read as %+v", got)
	}
	if payload, err := signed.Marshal(r.Charter); err != nil || hex.EncodeToString(payload) != want.Charter.Payload {
		t.Errorf("the charter is written as %x (%v), want %s", payload, err, want.Charter.Payload)
	}
	current.Charter = want.Charter
	got, err := json.MarshalIndent(current, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if got = append(got, '\n'); !bytes.Equal(got, data) {
		t.Errorf("now:\n%s\nin %s:\n%s", got, vectorFile, data)
	}
}
