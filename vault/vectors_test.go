package vault

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"strconv"
	"testing"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorFile = "testdata/vectors.json"

// vectors are for other implementations. What is sealed is sealed anew each time; of it they can check that it opens.
type vectors struct {
	About  string            `json:"about"`
	Padded map[string]int    `json:"padded"` // by the number of bytes
	Thing  string            `json:"thing"`  // member ID
	Names  map[string]string `json:"names"`  // by role, of the random bytes 00 01 … 0f
	Seed   string            `json:"seed"`   // of the Ed25519 key that signs
	Index  struct {
		Payload   string `json:"payload"`
		Statement string `json:"statement"`
		Digest    string `json:"digest"`
	} `json:"index"`
	Sealed struct {
		Key     string `json:"key"`
		Content string `json:"content"`
		Sealed  []byte `json:"sealed"` // base64
	} `json:"sealed"`
}

// fixedName is the name of an object with known random bytes.
func fixedName(thing identity.MemberID, of role, first byte) Name {
	var n Name
	for i := range 16 {
		n[i] = first + byte(i)
	}
	copy(n[16:], n.tag(thing, of))
	return n
}

func currentVectors(t *testing.T) vectors {
	t.Helper()
	v := vectors{About: "vault: sizes of padding, names, a signed index, and sealed content with the key that opens it."}
	v.Padded = map[string]int{}
	for _, n := range []int{0, 9, 1024, 1025, 9000, 100_000, 1_048_576, 1_048_577, 67_108_873} {
		v.Padded[strconv.Itoa(n)] = padded(n)
	}
	var thing identity.MemberID
	var tree identity.TreeID
	for i := range thing {
		thing[i] = 0x20 + byte(i)
	}
	for i := range tree {
		tree[i] = 0x40 + byte(i)
	}
	v.Thing = thing.String()
	v.Names = map[string]string{}
	for _, of := range []role{roleIndex, roleRecording} {
		v.Names[string(of)] = fixedName(thing, of, 0).String()
	}
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{0xc0}, ed25519.SeedSize))
	v.Seed = hex.EncodeToString(key.Seed())
	content := []byte("The cat came in at ten past two.")
	raw, err := signed.Sign(key, IndexType, Index{
		Tree: tree, Thing: thing, Name: fixedName(thing, roleIndex, 0), Affordance: "picture", Time: 1_795_271_460,
		Entries: []Entry{{
			Object: fixedName(thing, roleRecording, 0x10), Title: "2026-11-21T14-50-00Z.txt", Type: "text/plain",
			From: 1_795_271_400_000, Until: 1_795_271_460_000, Size: int64(len(content)), Sum: signed.Sum(content),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := signed.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	v.Index.Payload, v.Index.Statement, v.Index.Digest = hex.EncodeToString(s.Payload), hex.EncodeToString(raw), s.Digest.String()
	k := newKey(t)
	v.Sealed.Key, v.Sealed.Content = k.identity.String(), string(content)
	v.Sealed.Sealed = mustSeal(t, content, k.Recipient(), newKey(t).Recipient(), newKey(t).Recipient())
	return v
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
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&want); err != nil {
		t.Fatal(err)
	}
	key, err := parseKey([]byte(want.Sealed.Key))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := key.Open(want.Sealed.Sealed); err != nil || string(got) != want.Sealed.Content {
		t.Errorf("what is sealed is opened as %q, %v", got, err)
	}
	if n := bytes.Count(want.Sealed.Sealed, []byte("-> mlkem768x25519 ")); n != 4 || len(current.Sealed.Sealed) != len(want.Sealed.Sealed) {
		t.Errorf("for three there are %d keys, and %d bytes, now %d", n, len(want.Sealed.Sealed), len(current.Sealed.Sealed))
	}
	current.Sealed = want.Sealed
	got, err := json.MarshalIndent(current, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if got = append(got, '\n'); !bytes.Equal(got, data) {
		t.Errorf("now:\n%s\nin %s:\n%s", got, vectorFile, data)
	}
}
