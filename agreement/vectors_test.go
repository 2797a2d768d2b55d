package agreement

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorFile = "testdata/vectors.json"

// vectors are for any implementation to run. All bytes are in hexadecimal. The statements have no certificates, which
// those of members do.
type vectors struct {
	About      string   `json:"about"`
	Seed       string   `json:"seed"` // of the Ed25519 key that signs
	Statements []vector `json:"statements"`
	Preview    vector   `json:"preview"`
}

type vector struct {
	Type   signed.Type `json:"type,omitempty"`
	Value  string      `json:"value"`
	Digest string      `json:"digest"`
}

func currentVectors(t *testing.T) vectors {
	seed := make([]byte, ed25519.SeedSize)
	key := ed25519.NewKeyFromSeed(seed)
	home, member, other := identity.TreeID{1}, identity.MemberID{2}, identity.MemberID{3}
	id, digest := tree.GrantID{4}, signed.Digest{5}
	v := vectors{About: "statements about agreements with services, signed without certificates, and a preview", Seed: hex.EncodeToString(seed)}
	add := func(typ signed.Type, raw []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		s, err := signed.Parse(raw)
		if err != nil || s.Type != typ {
			t.Fatalf("%q, %v", s.Type, err)
		}
		v.Statements = append(v.Statements, vector{typ, hex.EncodeToString(raw), hex.EncodeToString(s.Digest[:])})
	}
	raw, err := grant.SignConsent(key, nil, grant.Consent{Tree: home, Grant: id, Statement: digest, By: member, Time: 1700000000})
	add(grant.ConsentType, raw, err)
	raw, err = grant.SignClass(key, nil, grant.Class{Tree: home, Owner: member, Thing: other, Affordance: "state", Never: true, Time: 1700000000})
	add(grant.ClassType, raw, err)
	raw, err = Demand{Tree: home, Grant: id, Statement: digest, Service: member, Owner: other, Time: 1700000000}.Sign(key, nil)
	add(DemandType, raw, err)
	raw, err = Deletion{Tree: home, Demand: digest, Service: member, Time: 1700000000, Done: true, Items: []Item{{"readings", 3, 1200}}}.Sign(key, nil)
	add(DeletionType, raw, err)
	raw, err = Deletion{Tree: home, Demand: digest, Service: member, Time: 1700000000, Reason: "the bill is due", Until: 1800000000}.Sign(key, nil)
	add(DeletionType, raw, err)
	raw, err = Preview{Thing: other, Path: "home/meter", Affordance: "power", Leaves: []Field{{"power", "412"}}, Stays: []string{"tariff"}, Time: 1700000000}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	name := Digest(raw)
	v.Preview = vector{Value: hex.EncodeToString(raw), Digest: hex.EncodeToString(name[:])}
	return v
}

func TestVectors(t *testing.T) {
	got, err := json.MarshalIndent(currentVectors(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorFile, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got)+"\n" {
		t.Errorf("%s is not what is written now: is the format another one?", vectorFile)
	}
}
