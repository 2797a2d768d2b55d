package ledger

import (
	"crypto"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A State is what a ledger has recorded after some transaction. It never changes: Apply returns another, which
// shares with it all that stayed the same. All methods are safe for concurrent use.
type State struct {
	chain   string
	entries table[entry]
	records merkle.Map
}

// entry is what a state has of a tree.
type entry struct {
	record  Record
	raw     []byte // the record, encoded
	charter charter
}

// charter is the charter that a record names.
type charter struct {
	raw    []byte
	keeper crypto.PublicKey // nil when loaded and not used since
}

// A Write is a change to be kept: from then on Key has Value.
type Write struct{ Key, Value []byte }

// The first byte of a Write's key: what follows, and what its value is.
const (
	charterWrite = 'c' // digest: the signed charter
	recordWrite  = 'r' // TreeID: the encoded record
)

// NewState returns the state of a chain before its first transaction.
func NewState(chain string) State { return State{chain: chain} }

// Load returns the state of a chain that all its writes lead to: the last one for every key, in any order. It trusts
// them: whoever kept them compares the root.
func Load(chain string, kept iter.Seq2[[]byte, []byte]) (State, error) {
	charters := make(map[signed.Digest][]byte)
	var records []Write
	for key, value := range kept {
		switch {
		case len(key) == 33 && key[0] == charterWrite:
			charters[signed.Digest(key[1:])] = value
		case len(key) == 33 && key[0] == recordWrite:
			records = append(records, Write{key, value})
		default:
			return State{}, fmt.Errorf("ledger: loading the state: unknown key %.40x", key)
		}
	}
	s := NewState(chain)
	leaves := make([]leaf, len(records))
	for i, w := range records {
		id := TreeID(w.Key[1:])
		record, err := parseRecord(w.Value)
		if err != nil {
			return State{}, fmt.Errorf("ledger: loading the record of tree %s: %w", id, err)
		}
		raw, ok := charters[record.Charter]
		if !ok {
			return State{}, fmt.Errorf("ledger: loading the record of tree %s: charter %s is missing", id, record.Charter)
		}
		s.entries = s.entries.set(id, entry{record: record, raw: w.Value, charter: charter{raw: raw}})
		leaves[i].key = Key(id)
		leaves[i].hash = merkle.LeafHash(leaves[i].key, w.Value)
	}
	s.records = merkle.Build(func(yield func(key, hash merkle.Hash) bool) {
		for _, l := range leaves {
			if !yield(l.key, l.hash) {
				return
			}
		}
	})
	return s, nil
}

// leaf is a key in the map of records, and its leaf hash.
type leaf struct{ key, hash merkle.Hash }

// Len returns how many trees are registered.
func (s State) Len() int { return s.entries.len }

// Root returns the application hash.
func (s State) Root() merkle.Hash { return s.records.Root() }

// Record returns a tree's record, if it is registered.
func (s State) Record(tree TreeID) (Record, bool) {
	e, ok := s.entries.get(tree)
	return e.record, ok
}

// Prove returns the proof of a tree's record. The error wraps ErrUnknown if there is none.
func (s State) Prove(tree TreeID) (Proof, error) {
	fail := func(err error) (Proof, error) {
		return Proof{}, fmt.Errorf("ledger: proving tree %s: %w", tree, err)
	}
	e, ok := s.entries.get(tree)
	if !ok {
		return fail(ErrUnknown)
	}
	p, err := s.records.Prove(Key(tree))
	if err != nil {
		return fail(err)
	}
	return Proof{Record: slices.Clone(e.raw), Map: p}, nil
}

// Check reports whether a transaction can be applied: nil, or the error that Apply would return.
func (s State) Check(tx []byte) error {
	_, _, _, err := s.next(tx)
	return err
}

// Apply returns the state after a transaction, and what to keep of it. Where it returns an error, nothing changed;
// the error wraps ErrAlready, ErrPassed, ErrUnknown, ErrUnsupported or tree.ErrLaterEpoch, or else says what is
// wrong with the transaction in itself.
func (s State) Apply(tx []byte) (State, []Write, error) {
	id, e, isNew, err := s.next(tx)
	if err != nil {
		return s, nil, err
	}
	key := Key(id)
	s.entries = s.entries.set(id, e)
	s.records = s.records.Set(key, e.raw)
	writes := []Write{{Key: append([]byte{recordWrite}, id[:]...), Value: e.raw}}
	if isNew {
		writes = append(writes, Write{Key: append([]byte{charterWrite}, e.record.Charter[:]...), Value: e.charter.raw})
	}
	return s, writes, nil
}

// next returns the tree that a transaction is about, what the state has of it afterwards, and whether the charter
// is a new one.
func (s State) next(tx []byte) (id TreeID, e entry, isNew bool, err error) {
	statement, body, err := parse(tx)
	if err != nil {
		return id, e, false, fmt.Errorf("ledger: reading a transaction: %w", err)
	}
	switch t := body.(type) {
	case *register:
		id, isNew = t.Tree, true
		e, err = s.register(statement, *t)
	case *advance:
		id = t.Tree
		e, err = s.advance(statement, *t)
	}
	if err == nil {
		e.raw, err = signed.Marshal(e.record)
	}
	if err != nil {
		return id, e, false, fmt.Errorf("ledger: applying a %s of tree %s: %w", statement.Type, id, err)
	}
	return id, e, isNew, nil
}

func (s State) register(statement signed.Statement, t register) (entry, error) {
	if err := s.checkChain(t.Chain); err != nil {
		return entry{}, err
	}
	if n := len(t.Charters); n != 1 {
		return entry{}, fmt.Errorf("%d charters: %w", n, tree.ErrLaterEpoch)
	}
	ruled, err := tree.OpenCharter(t.Charters[0], t.Tree)
	if err != nil {
		return entry{}, err
	}
	if err := statement.Open(ruled.RootCertificate().PublicKey, RegisterType, new(register)); err != nil {
		return entry{}, err
	}
	at := slices.IndexFunc(ruled.Anchors, func(a Anchor) bool { return a.Chain == s.chain })
	if at < 0 {
		return entry{}, fmt.Errorf("its charter has no anchor on %q", s.chain)
	}
	if from := ruled.Anchors[at].Sequence; t.Sequence < from {
		return entry{}, fmt.Errorf("head %d, where its anchor counts from head %d", t.Sequence, from)
	}
	record := Record{Charter: ruled.Digest, Epoch: ruled.Epoch, Sequence: t.Sequence, Head: t.Head}
	if err := checkHead(record); err != nil {
		return entry{}, err
	}
	if had, ok := s.entries.get(t.Tree); ok {
		return entry{}, compare(had.record, record)
	}
	return entry{record: record, charter: charter{raw: ruled.Raw, keeper: ruled.KeeperKey()}}, nil
}

func (s State) advance(statement signed.Statement, t advance) (entry, error) {
	if err := s.checkChain(t.Chain); err != nil {
		return entry{}, err
	}
	e, ok := s.entries.get(t.Tree)
	if !ok {
		return entry{}, ErrUnknown
	}
	if t.Charter != e.record.Charter {
		return entry{}, fmt.Errorf("under charter %s, the recorded one is %s", t.Charter, e.record.Charter)
	}
	if err := e.charter.open(t.Tree, t.Charter); err != nil {
		return entry{}, err
	}
	if err := statement.Open(e.charter.keeper, AdvanceType, new(advance)); err != nil {
		return entry{}, err
	}
	next := e.record
	next.Sequence, next.Head = t.Sequence, t.Head
	if err := checkHead(next); err != nil {
		return entry{}, err
	}
	switch {
	case next.Sequence <= e.record.Sequence:
		return entry{}, compare(e.record, next)
	case next.Sequence != e.record.Sequence+1:
		return entry{}, fmt.Errorf("head %d does not follow head %d", next.Sequence, e.record.Sequence)
	}
	e.record = next
	return e, nil
}

func (s State) checkChain(chain string) error {
	if chain != s.chain {
		return fmt.Errorf("it is for the chain %.60q, this is %q", chain, s.chain)
	}
	return nil
}

func checkHead(r Record) error {
	if r.Sequence == 0 {
		return errors.New("head 0: heads are numbered from 1")
	}
	if r.Head.IsZero() {
		return errors.New("it names no head")
	}
	return nil
}

// compare says why want cannot follow had: it is the same, or too late.
func compare(had, want Record) error {
	if had == want {
		return fmt.Errorf("head %d %w", had.Sequence, ErrAlready)
	}
	if had.Charter != want.Charter {
		return fmt.Errorf("under charter %s: %w, it is registered under %s", want.Charter, ErrPassed, had.Charter)
	}
	return fmt.Errorf("head %d %s: %w, it is at head %d %s", want.Sequence, want.Head, ErrPassed, had.Sequence, had.Head)
}

// open reads the keeper's key from a charter that was loaded.
func (c *charter) open(id TreeID, digest signed.Digest) error {
	if c.keeper != nil {
		return nil
	}
	ruled, err := tree.OpenCharter(c.raw, id)
	if err != nil {
		return err
	}
	if ruled.Digest != digest {
		return fmt.Errorf("the charter kept as %s is %s", digest, ruled.Digest)
	}
	c.keeper = ruled.KeeperKey()
	return nil
}
