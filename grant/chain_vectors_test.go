package grant

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// The vectors of doc/grant-format.md for chains: grants as in vectors.json, and which of them passes on which.
type chainVectors struct {
	Comment string        `json:"comment"`
	Tree    string        `json:"tree"`
	Root    []byte        `json:"root"`
	Others  []rootVector  `json:"others"` // other trees, whose members pass on
	Grants  []grantVector `json:"grants"`
	Steps   []stepVector  `json:"steps"`
}

// A rootVector is the root of a tree.
type rootVector struct {
	Tree string `json:"tree"`
	Root []byte `json:"root"`
}

// A stepVector says whether one grant passes on another as that allows.
type stepVector struct {
	Below string `json:"below"`
	Above string `json:"above"`
	OK    bool   `json:"ok"`
	Why   string `json:"why,omitempty"` // not, for people
}

const chainsFile = "testdata/chains.json"

func TestChainVectors(t *testing.T) {
	if *update {
		writeChainVectors(t)
	}
	raw, err := os.ReadFile(filepath.FromSlash(chainsFile))
	if err != nil {
		t.Fatal(err)
	}
	var v chainVectors
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	roots := map[identity.TreeID]*x509.Certificate{}
	for _, r := range append(v.Others, rootVector{v.Tree, v.Root}) {
		id, err := identity.ParseTreeID(r.Tree)
		if err != nil {
			t.Fatal(err)
		}
		if roots[id], err = identity.ParseRoot(id, r.Root); err != nil {
			t.Fatal(err)
		}
	}
	opened := map[string]Opened{}
	for _, g := range v.Grants {
		o, err := OpenAny(g.Signed, func(of identity.TreeID, chain [][]byte, at time.Time) (identity.Chain, error) {
			return identity.Verify(chain, of, roots[of], at)
		})
		if err != nil {
			t.Fatalf("%s: %v", g.Name, err)
		}
		payload, err := signed.Marshal(o.Terms())
		if err != nil || !bytes.Equal(payload, g.Payload) || o.Digest().String() != g.Digest {
			t.Errorf("%s: digest %s, want %s; the payload is the same: %t, %v", g.Name, o.Digest(), g.Digest, bytes.Equal(payload, g.Payload), err)
		}
		opened[g.Name] = o
	}
	passed := 0
	for _, s := range v.Steps {
		if err := opened[s.Below].Under(opened[s.Above]); (err == nil) != s.OK {
			t.Errorf("%s under %s: %v, want ok %t", s.Below, s.Above, err, s.OK)
		}
		if s.OK {
			passed++
		}
	}
	if passed < 5 || len(v.Steps) < 14 {
		t.Errorf("%d steps, %d of them in order", len(v.Steps), passed)
	}
}

// writeChainVectors makes the file anew, with new keys: sam gives the lock to anna, who gives it on to carl, who gives it
// on to the gateway; and to anna of another tree, who gives it on to carl of a third, and back to the first tree's carl; and
// what is not in order.
func writeChainVectors(t *testing.T) {
	h, birch, elm := newHousehold(t), newHousehold(t), newHousehold(t)
	v := chainVectors{
		Comment: "Made by go test ./grant -run TestChainVectors -update, for doc/grant-format.md.",
		Tree:    h.ID.String(), Root: h.Root.Raw,
		Others: []rootVector{{birch.ID.String(), birch.Root.Raw}, {elm.ID.String(), elm.Root.Raw}},
	}
	opened := map[string]Opened{}
	signedIn, givenIn := h, identity.TreeID{}
	give := func(name string, by, giver, who identity.Path, above string, change func(*Terms)) {
		terms := h.terms(who, "home/lock")
		terms.Giver, terms.GiverTree, terms.Actions = signedIn.At(giver).Member(), givenIn, See
		if above != "" {
			terms.Parent = opened[above].Digest()
		}
		change(&terms)
		raw := signedIn.sign(t, by, terms)
		o, err := Open(raw, signedIn.verify)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := signed.Marshal(o.Terms())
		if err != nil {
			t.Fatal(err)
		}
		opened[name] = o
		v.Grants = append(v.Grants, grantVector{name, byKey(o.Terms()), payload, raw, o.Digest().String()})
	}
	step := func(below, above string) {
		s := stepVector{Below: below, Above: above, OK: true}
		if err := opened[below].Under(opened[above]); err != nil {
			s.OK, s.Why = false, err.Error()
		}
		v.Steps = append(v.Steps, s)
	}
	soon := now.Add(time.Hour).Unix()
	top := func(t *Terms) { t.Depth, t.HandOn, t.Until, t.Offline = 2, Actions(Invoke), soon, 60 }
	middle := func(t *Terms) { t.Depth, t.Actions, t.Until = 1, Actions(Read|Invoke), soon }
	give("1", "sam/laptop", "sam", "sam/anna", "", top)
	give("2", "sam/anna/phone", "sam/anna", "carl", "1", middle)
	give("3", "carl/phone", "carl", "home/gateway", "2", func(t *Terms) { t.Actions, t.Until = Actions(Read), soon })
	give("leaf", "sam/laptop", "sam", "carl/phone", "", func(t *Terms) { t.Depth = 1 })
	give("by the leaf itself", "carl/phone", "carl/phone", "sam/anna", "leaf", func(*Terms) {})
	give("by whom the leaf acts for", "carl/phone", "carl", "sam/anna", "leaf", func(*Terms) {})
	for name, change := range map[string]func(*Terms){
		"as deep": func(t *Terms) { t.Depth = 2 }, "more actions": func(t *Terms) { t.Actions = Use },
		"for longer": func(t *Terms) { t.Until = 0 }, "for longer offline": func(t *Terms) { t.Offline = 61 },
		"back": func(t *Terms) { t.Subject.Member = h.At("sam/anna").Member() },
	} {
		give(name, "sam/anna/phone", "sam/anna", "carl", "1", func(t *Terms) { middle(t); change(t) })
	}
	give("by another", "carl/phone", "carl", "home/gateway", "1", middle)
	out := func(of household, who identity.Path, depth uint8) func(*Terms) {
		return func(t *Terms) {
			t.Subject, t.Depth = Subject{Tree: of.ID, Member: of.At(who).Member(), Path: who}, depth
		}
	}
	give("abroad", "sam/laptop", "sam", "carl", "", out(birch, "sam/anna", 2))
	signedIn, givenIn = birch, birch.ID
	give("to a third tree", "sam/anna/phone", "sam/anna", "carl", "abroad", out(elm, "carl", 1))
	give("back into the first", "sam/anna/phone", "sam/anna", "carl", "abroad", func(*Terms) {})
	give("abroad, by another", "carl/phone", "carl", "carl", "abroad", out(elm, "carl", 1))
	for _, s := range [][2]string{
		{"2", "1"}, {"3", "2"}, {"by the leaf itself", "leaf"}, {"3", "1"}, {"1", "2"}, {"by whom the leaf acts for", "leaf"}, {"as deep", "1"},
		{"more actions", "1"}, {"for longer", "1"}, {"for longer offline", "1"}, {"back", "1"}, {"by another", "1"},
		{"to a third tree", "abroad"}, {"back into the first", "abroad"}, {"abroad, by another", "abroad"}, {"to a third tree", "1"},
	} {
		step(s[0], s[1])
	}
	data, err := json.MarshalIndent(v, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.FromSlash(chainsFile), append(data, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
