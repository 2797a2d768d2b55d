package ledger_test

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/ledgertest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

const chain = "kindred-aaaaaaaabbbbbbbbccccccccdddddddd"

// anchor counts from head 2 on.
var anchor = ledger.Anchor{Chain: chain, Validators: []ledger.Validator{{Key: make([]byte, 32), Power: 1}}, Height: 1, Sequence: 2}

func apply(t testing.TB, s ledger.State, tx []byte) ledger.State {
	t.Helper()
	next, _, err := s.Apply(tx)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// resign signs a payload that has the transaction's fields.
func resign(t *testing.T, key crypto.Signer, typ signed.Type, payload any, chain ...[]byte) []byte {
	t.Helper()
	tx, err := signed.Sign(key, typ, payload, chain...)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// payload has the fields of either transaction.
type payload struct {
	Chain    string        `cbor:"1,keyasint"`
	Tree     ledger.TreeID `cbor:"2,keyasint"`
	Third    any           `cbor:"3,keyasint"`
	Sequence uint64        `cbor:"4,keyasint"`
	Head     signed.Digest `cbor:"5,keyasint"`
}

func TestApply(t *testing.T) {
	home, other := ledgertest.NewTree(t, "home", anchor), ledgertest.NewTree(t, "other", anchor)
	elsewhere := ledgertest.NewTree(t, "elsewhere", ledger.Anchor{Chain: "kindred-elsewhere", Validators: anchor.Validators})
	charters := [][]byte{home.Charter.Raw}
	head := signed.Sum([]byte("head"))
	empty := ledger.NewState(chain)
	at5 := apply(t, apply(t, empty, home.Register(4)), home.Advance(5))
	register := func(p payload) []byte { return resign(t, home.Root, ledger.RegisterType, p) }
	advance := func(p payload) []byte { return resign(t, home.Keeper, ledger.AdvanceType, p) }
	damaged := home.Advance(6)
	damaged[len(damaged)-1] ^= 1

	for _, test := range []struct {
		name  string
		state ledger.State
		tx    []byte
		want  string // of the error, "" if it is applied
		is    error
	}{
		{name: "register", state: empty, tx: home.Register(2)},
		{name: "register a second tree", state: at5, tx: other.Register(9)},
		{name: "advance", state: at5, tx: home.Advance(6)},

		{"register again, the same", apply(t, empty, home.Register(4)), home.Register(4), "head 4 is recorded already", ledger.ErrAlready},
		{"register again, after advances", at5, home.Register(4), "the ledger has gone past it, it is at head 5", ledger.ErrPassed},
		{"register again, another charter", at5, ledgertest.NewTree(t, "home", anchor).Register(5), "it is registered under " + home.Charter.Digest.String(), ledger.ErrPassed},
		{"register again, at the latest head", at5, home.Register(5), "recorded already", ledger.ErrAlready},
		{"advance again, the same", at5, home.Advance(5), "head 5 is recorded already", ledger.ErrAlready},
		{"advance to another head of the sequence", at5, home.AdvanceTo(5, head), "the ledger has gone past it", ledger.ErrPassed},
		{"advance to an older head", at5, home.Advance(4), "the ledger has gone past it", ledger.ErrPassed},
		{"advance over a gap", at5, home.Advance(7), "head 7 does not follow head 5", nil},
		{"advance a stranger", at5, other.Advance(6), "not registered on this ledger", ledger.ErrUnknown},
		{"advance damaged", at5, damaged, "opening a kindred/advance", nil},

		{"register below the anchor", empty, home.Register(1), "head 1, where its anchor counts from head 2", nil},
		{"register without an anchor here", empty, elsewhereHere(t, elsewhere), "has no anchor on", nil},
		{"register on another chain", ledger.NewState("kindred-other"), home.Register(4), `for the chain "` + chain + `", this is "kindred-other"`, nil},
		{"advance on another chain", at5, advance(payload{"kindred-other", home.ID, home.Charter.Digest, 6, head}), `for the chain "kindred-other"`, nil},
		{"register by the keeper", empty, resign(t, home.Keeper, ledger.RegisterType, payload{chain, home.ID, charters, 4, head}), "opening a kindred/register", nil},
		{"advance by the root", at5, resign(t, home.Root, ledger.AdvanceType, payload{chain, home.ID, home.Charter.Digest, 6, head}), "opening a kindred/advance", nil},
		{"advance by another keeper", at5, resign(t, other.Keeper, ledger.AdvanceType, payload{chain, home.ID, home.Charter.Digest, 6, head}), "opening a kindred/advance", nil},
		{"advance under another charter", at5, advance(payload{chain, home.ID, head, 6, head}), "the recorded one is " + home.Charter.Digest.String(), nil},
		{"register another tree's charter", empty, register(payload{chain, other.ID, charters, 4, head}), "it is of tree " + home.ID.String(), nil},
		{"register no charter", empty, register(payload{chain, home.ID, [][]byte{}, 4, head}), "0 charters", tree.ErrLaterEpoch},
		{"register two charters", empty, register(payload{chain, home.ID, [][]byte{charters[0], charters[0]}, 4, head}), "2 charters", tree.ErrLaterEpoch},
		{"register a damaged charter", empty, register(payload{chain, home.ID, [][]byte{charters[0][1:]}, 4, head}), "tree: reading the charter", nil},
		{"register head 0", empty, ledgertest.NewTree(t, "zero", ledger.Anchor{Chain: chain, Validators: anchor.Validators}).Register(0), "heads are numbered from 1", nil},
		{"register no head", empty, register(payload{chain, home.ID, charters, 4, signed.Digest{}}), "it names no head", nil},
		{"advance to no head", at5, home.AdvanceTo(6, signed.Digest{}), "it names no head", nil},

		{"a later charter", at5, resign(t, home.Root, ledger.RecharterType, payload{chain, home.ID, charters, 4, head}), `"kindred/recharter": transactions of this type`, ledger.ErrUnsupported},
		{"other validators", at5, resign(t, home.Root, ledger.ValidatorsType, payload{chain, home.ID, charters, 4, head}), `"kindred/validators": transactions of this type`, ledger.ErrUnsupported},
		{"a charter alone", at5, home.Charter.Raw, `a "kindred/charter" is no transaction`, nil},
		{"certificates", at5, resign(t, home.Keeper, ledger.AdvanceType, payload{chain, home.ID, home.Charter.Digest, 6, head}, []byte("cert")), "carries 1 certificates", nil},
		{"another payload", at5, resign(t, home.Keeper, ledger.AdvanceType, "hello"), "ledger: reading a transaction", nil},
		{"nothing", at5, nil, "ledger: reading a transaction", nil},
		{"too long", at5, make([]byte, ledger.MaxTransaction+1), "65537 bytes, of at most 65536", nil},
		{"something after it", at5, append(home.Advance(6), 0), "ledger: reading a transaction", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := test.state.Root()
			next, writes, err := test.state.Apply(test.tx)
			if checked := test.state.Check(test.tx); fmt.Sprint(checked) != fmt.Sprint(err) {
				t.Errorf("Check: %v, Apply: %v", checked, err)
			}
			if test.state.Root() != before {
				t.Error("the state changed")
			}
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if next.Root() == before || len(writes) == 0 {
					t.Error("nothing changed")
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), "ledger: ") || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			for _, kind := range []error{ledger.ErrAlready, ledger.ErrPassed, ledger.ErrUnknown, ledger.ErrUnsupported, tree.ErrLaterEpoch} {
				if errors.Is(err, kind) != (kind == test.is) {
					t.Errorf("%v: errors.Is(%v) is %v", err, kind, errors.Is(err, kind))
				}
			}
			if next.Root() != before || writes != nil {
				t.Error("something changed")
			}
		})
	}
}

// elsewhereHere registers here a tree that is anchored elsewhere.
func elsewhereHere(t *testing.T, tr *ledgertest.Tree) []byte {
	return resign(t, tr.Root, ledger.RegisterType, payload{chain, tr.ID, [][]byte{tr.Charter.Raw}, 4, tr.Head(4)})
}

func TestNewRegister(t *testing.T) {
	home := ledgertest.NewTree(t, "home", anchor)
	for _, charters := range [][][]byte{nil, {nil}, {home.Advance(1)}} {
		if _, err := ledger.NewRegister(home.Root, chain, charters, 1, home.Head(1)); err == nil || !strings.HasPrefix(err.Error(), "ledger: making a registration: ") {
			t.Errorf("%d charters: %v", len(charters), err)
		}
	}
}

// TestModel applies random transactions to a state and to a plain map, and keeps the writes as a database would.
func TestModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var trees []*ledgertest.Tree
	for i := range 40 {
		trees = append(trees, ledgertest.NewTree(t, fmt.Sprint("tree ", i), anchor))
	}
	state := ledger.NewState(chain)
	model := make(map[ledger.TreeID]ledger.Record)
	kept := make(map[string][]byte)
	type snapshot struct {
		state ledger.State
		model map[ledger.TreeID]ledger.Record
	}
	var snapshots []snapshot
	for step := range 600 {
		if step%50 == 0 {
			snapshots = append(snapshots, snapshot{state, maps.Clone(model)})
		}
		tr := trees[random.IntN(len(trees))]
		had, registered := model[tr.ID]
		sequence := had.Sequence + uint64(random.IntN(3))
		tx, ok := tr.Advance(max(1, sequence)), registered && sequence == had.Sequence+1
		if random.IntN(4) == 0 || !registered && random.IntN(2) == 0 {
			sequence += 2
			tx, ok = tr.Register(sequence), !registered
		}
		next, writes, err := state.Apply(tx)
		if (err == nil) != ok {
			t.Fatalf("step %d: %v, the model says %v", step, err, ok)
		}
		if ok {
			model[tr.ID] = ledger.Record{Charter: tr.Charter.Digest, Sequence: sequence, Head: tr.Head(sequence)}
		}
		for _, w := range writes {
			kept[string(w.Key)] = w.Value
		}
		state = next
	}
	if len(model) < len(trees)/2 {
		t.Fatalf("only %d trees", len(model))
	}
	for _, s := range append(snapshots, snapshot{state, model}) {
		same(t, s.state, s.model, trees)
	}
	loaded, err := ledger.Load(chain, func(yield func(key, value []byte) bool) {
		for _, key := range slices.Sorted(maps.Keys(kept)) {
			if !yield([]byte(key), kept[key]) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, loaded, model, trees)
	for _, tr := range trees { // the loaded state goes on
		if record, ok := loaded.Record(tr.ID); ok {
			loaded = apply(t, loaded, tr.Advance(record.Sequence+1))
		}
	}
}

// same checks a state against the model, and every proof against the root.
func same(t *testing.T, s ledger.State, model map[ledger.TreeID]ledger.Record, trees []*ledgertest.Tree) {
	t.Helper()
	var all merkle.Map
	for _, tr := range trees {
		want, registered := model[tr.ID]
		got, ok := s.Record(tr.ID)
		if ok != registered || got != want {
			t.Fatalf("tree %s: %+v %v, want %+v %v", tr.ID, got, ok, want, registered)
		}
		p, err := s.Prove(tr.ID)
		if !registered {
			if !errors.Is(err, ledger.ErrUnknown) {
				t.Fatalf("tree %s: proof of nothing: %v", tr.ID, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		root, record, err := p.AppHash(tr.ID)
		if err != nil || root != s.Root() || record != want {
			t.Fatalf("tree %s: proof of %+v in %s, %v", tr.ID, record, root, err)
		}
		raw, err := signed.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		all = all.Set(ledger.Key(tr.ID), raw)
	}
	if s.Root() != all.Root() || s.Len() != len(model) {
		t.Fatalf("root %s of %d trees, want %s of %d", s.Root(), s.Len(), all.Root(), len(model))
	}
}

func TestProofRefused(t *testing.T) {
	home, other := ledgertest.NewTree(t, "home", anchor), ledgertest.NewTree(t, "other", anchor)
	s := apply(t, apply(t, ledger.NewState(chain), home.Register(2)), other.Register(2))
	p, err := s.Prove(home.ID)
	if err != nil {
		t.Fatal(err)
	}
	if root, _, err := p.AppHash(other.ID); err == nil && root == s.Root() {
		t.Error("the record of one tree proved another's")
	}
	pending := struct {
		Charter  signed.Digest `cbor:"1,keyasint"`
		Sequence uint64        `cbor:"3,keyasint"`
		Head     signed.Digest `cbor:"4,keyasint"`
		Pending  signed.Digest `cbor:"5,keyasint"`
	}{Sequence: 2}
	raw, err := signed.Marshal(pending)
	if err != nil {
		t.Fatal(err)
	}
	for name, record := range map[string][]byte{
		"no record":             nil,
		"a pending charter":     raw,
		"a long record":         make([]byte, 1000),
		"something after it":    append(bytes.Clone(p.Record), 0),
		"a record with an edge": p.Record[:len(p.Record)-1],
	} {
		if _, _, err := (ledger.Proof{Record: record, Map: p.Map}).AppHash(home.ID); err == nil || !strings.HasPrefix(err.Error(), "ledger: reading the proof of tree "+home.ID.String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range len(p.Record) * 8 {
		altered := ledger.Proof{Record: bytes.Clone(p.Record), Map: p.Map}
		altered.Record[i/8] ^= 1 << (i % 8)
		if root, _, err := altered.AppHash(home.ID); err == nil && root == s.Root() {
			t.Fatalf("bit %d of the record can be altered", i)
		}
	}
}

func TestLoadRefused(t *testing.T) {
	home := ledgertest.NewTree(t, "home", anchor)
	_, writes, err := ledger.NewState(chain).Apply(home.Register(2))
	if err != nil {
		t.Fatal(err)
	}
	load := func(writes ...ledger.Write) (ledger.State, error) {
		return ledger.Load(chain, func(yield func(key, value []byte) bool) {
			for _, w := range writes {
				if !yield(w.Key, w.Value) {
					return
				}
			}
		})
	}
	record, charter := writes[0], writes[1]
	if _, err := load(charter, record); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		writes []ledger.Write
		want   string
	}{
		"no charter":    {[]ledger.Write{record}, "charter " + home.Charter.Digest.String() + " is missing"},
		"no record":     {[]ledger.Write{{Key: record.Key}, charter}, "loading the record of tree " + home.ID.String()},
		"a strange key": {[]ledger.Write{{Key: []byte("x")}}, "unknown key 78"},
	} {
		if _, err := load(test.writes...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A charter that is not the one the record names is found out when it is needed.
	other := ledgertest.NewTree(t, "home", ledger.Anchor{Chain: chain, Validators: anchor.Validators, Height: 9})
	s, err := load(record, ledger.Write{Key: charter.Key, Value: other.Charter.Raw})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(home.Advance(3)); err == nil || !strings.Contains(err.Error(), "the charter kept as "+home.Charter.Digest.String()) {
		t.Error(err)
	}
}

// update has TestVectors write testdata/vectors.json anew.
var update = flag.Bool("update", false, "write testdata/vectors.json from new transactions")

// vectors is testdata/vectors.json: transactions applied one after the other to a new state.
type vectors struct {
	About string   `json:"about"`
	Chain string   `json:"chain"`
	Steps []vector `json:"steps"`
}

type vector struct {
	Transaction string `json:"transaction"`
	Tree        string `json:"tree"`
	Because     string `json:"because,omitempty"` // part of this package's reason to refuse it
	Root        string `json:"root"`              // application hash afterwards
	Record      string `json:"record,omitempty"`  // of the tree
	Map         string `json:"map,omitempty"`     // the proof that the record is in the state
}

// TestVectors applies the transactions in testdata, for any implementation to do the same.
func TestVectors(t *testing.T) {
	const file = "testdata/vectors.json"
	if *update {
		data, err := json.MarshalIndent(makeVectors(t), "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Steps) == 0 {
		t.Fatal("no vectors")
	}
	state := ledger.NewState(v.Chain)
	for i, want := range v.Steps {
		var got vector
		state, got = step(t, state, want.Transaction, want.Tree)
		if want.Because != "" && strings.Contains(got.Because, want.Because) {
			got.Because = want.Because
		}
		if got != want {
			t.Errorf("step %d: %+v, want %+v", i, got, want)
		}
	}
}

// step applies a transaction.
func step(t *testing.T, s ledger.State, transaction, tree string) (ledger.State, vector) {
	t.Helper()
	tx, err := hex.DecodeString(transaction)
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.ParseTreeID(tree)
	if err != nil {
		t.Fatal(err)
	}
	out := vector{Transaction: transaction, Tree: tree}
	s, _, err = s.Apply(tx)
	if err != nil {
		out.Because = err.Error()
	}
	out.Root = s.Root().String()
	if p, err := s.Prove(id); err == nil {
		out.Record, out.Map = hex.EncodeToString(p.Record), hex.EncodeToString(p.Map)
	}
	return s, out
}

func makeVectors(t *testing.T) vectors {
	v := vectors{
		About: "Transactions applied in order to the empty state of a chain. All bytes hexadecimal; those with a reason must be refused.",
		Chain: chain,
	}
	home, other := ledgertest.NewTree(t, "home", anchor), ledgertest.NewTree(t, "other", anchor)
	state := ledger.NewState(chain)
	for _, s := range []struct {
		tree    *ledgertest.Tree
		tx      []byte
		because string
	}{
		{home, home.Advance(2), "not registered"},
		{home, home.Register(2), ""},
		{home, home.Register(2), "recorded already"},
		{other, other.Register(7), ""},
		{home, home.Advance(3), ""},
		{home, home.Advance(3), "recorded already"},
		{home, home.AdvanceTo(3, home.Head(9)), "gone past it"},
		{home, home.Advance(5), "does not follow"},
		{other, other.Advance(8), ""},
	} {
		var out vector
		state, out = step(t, state, hex.EncodeToString(s.tx), s.tree.ID.String())
		if !strings.Contains(out.Because, s.because) || (out.Because == "") != (s.because == "") {
			t.Fatalf("%q, want %q", out.Because, s.because)
		}
		out.Because = s.because
		v.Steps = append(v.Steps, out)
	}
	return v
}

// FuzzTransaction: whatever it is fed, a state refuses it or has a new root and everything it had before.
func FuzzTransaction(f *testing.F) {
	home := ledgertest.NewTree(f, "home", anchor)
	s := apply(f, ledger.NewState(chain), home.Register(2))
	for _, tx := range [][]byte{home.Advance(3), home.Advance(2), home.Register(2), home.Charter.Raw, nil} {
		f.Add(tx)
	}
	root := s.Root()
	f.Fuzz(func(t *testing.T, tx []byte) {
		next, writes, err := s.Apply(tx)
		if s.Root() != root {
			t.Fatal("the state changed")
		}
		if err != nil {
			if writes != nil || next.Root() != root {
				t.Fatal("refused, and something changed")
			}
			return
		}
		record, ok := next.Record(home.ID)
		if !ok || next.Root() == root || len(writes) == 0 {
			t.Fatal("applied, and nothing changed")
		}
		if record.Sequence > 3 {
			t.Fatalf("the tree went to head %d", record.Sequence)
		}
		if err := next.Check(tx); !errors.Is(err, ledger.ErrAlready) && !errors.Is(err, ledger.ErrPassed) {
			t.Fatalf("applied, and then: %v", err)
		}
	})
}
