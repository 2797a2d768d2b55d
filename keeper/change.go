package keeper

import (
	"bytes"
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// The keys of the store.
const (
	charterKey      = "charter"
	headKey         = "head"
	listKey         = "list"
	seenKey         = "seen"
	entryPrefix     = "entry/"
	chainPrefix     = "chain/"
	pastPrefix      = "past/"
	letInPrefix     = "letin/"
	grantPrefix     = "grant/"
	gonePrefix      = "gone/"
	outboxPrefix    = "outbox/"
	addressPrefix   = "address/"
	recipientPrefix = "recipient/"
	rendezvousKey   = "rendezvous"
	consentPrefix   = "consent/"
	classPrefix     = "class/"
	waitingPrefix   = "waiting/"
	withdrawnPrefix = "withdrawn/"
	takenPrefix     = "taken/"
)

func outboxKey(sequence uint64) string { return fmt.Sprintf("%s%020d", outboxPrefix, sequence) }

// A moment is what is needed to prove from one head.
type moment struct {
	head        tree.Head
	digest      signed.Digest
	raw         []byte // the signed head
	list        []byte // encoded
	revocations tree.RevocationList
	entries     merkle.Map
	// before holds, for the keys that the head's change set or deleted, the values they had before; nil: none.
	before map[merkle.Hash][]byte
}

// An item is a transaction on its way to the ledger.
type item struct {
	sequence uint64
	tx       []byte
}

// A step leads from one head to the next: a change that is planned and signed.
type step struct {
	change  tree.Change
	moment  *moment
	item    item
	event   Event
	records map[string][]byte // for Save

	parties     map[tree.GrantID]parties    // of the grants added
	gone        []merkle.Hash               // keys of the members and grants taken away
	unreachable []identity.MemberID         // whose address records and recipients go
	past        []identity.Chain            // certificates of those, as they were
	letIn       map[identity.MemberID]letIn // of the members taken away
	rendezvous  []byte                      // the secret from now on; nil: as before
	checkpoints map[identity.MemberID]tree.Checkpoint
	classes     []classKey      // of things taken away
	seconds     []seconded      // in their order
	taken       map[maker]taken // all of Keeper.taken from now on; nil: as before
	sent        int             // how many of Keeper.sent go with the records
}

// A signer signs heads.
type signer struct {
	charter tree.Ruled
	tree    identity.TreeID
	key     crypto.Signer
}

// next signs the head over change, which follows previous, and its transaction.
func (s signer) next(previous *moment, change tree.Change, at time.Time) (*moment, error) {
	m := &moment{entries: previous.entries}
	sequence := previous.head.Sequence + 1
	m.revocations = previous.revocations.Next(sequence, at, change.Revoked)
	for _, key := range change.Deleted {
		m.entries = m.entries.Delete(key)
	}
	for _, e := range change.Set {
		m.entries = m.entries.Set(e.Key, e.Value)
	}
	if m.entries.Root() != change.Root {
		return nil, errors.New("a planned change sets and deletes other entries than its root has")
	}
	var err error
	if m.list, err = signed.Marshal(m.revocations); err != nil {
		return nil, err
	}
	m.head = tree.Head{
		Tree: s.tree, Sequence: sequence, Previous: previous.digest, Root: change.Root, Time: at.Unix(), Revoked: signed.Sum(m.list),
	}
	if m.raw, err = signed.Sign(s.key, tree.HeadType, m.head); err != nil {
		return nil, err
	}
	_, m.digest, err = tree.OpenHead(m.raw, s.tree, s.charter.KeeperKey())
	return m, err
}

// chain returns the ledger that the tree's heads are recorded on.
func (s signer) chain() string { return s.charter.Anchors[0].Chain }

// apply makes the change that u asks for. The caller holds the turn. A nil error says that it is on disk.
func (k *Keeper) apply(ctx context.Context, u tree.Update, event Event) error {
	s, err := k.plan(u, event)
	if err != nil {
		return err
	}
	err = save(ctx, k.store, s.records)
	switch {
	case err == nil:
		k.commit(s)
		return nil
	case errors.Is(err, errDoubt):
		k.doubt = s
	}
	return err
}

// plan works an update into a step.
func (k *Keeper) plan(u tree.Update, event Event) (*step, error) {
	u.Time = k.now()
	s := &step{event: event, parties: map[tree.GrantID]parties{}}
	k.mu.RLock()
	s.checkpoints = maps.Clone(k.checkpoints)
	s.sent = len(k.sent)
	sent := k.sent
	k.mu.RUnlock()
	for member, c := range s.checkpoints {
		u.Checkpoints = append(u.Checkpoints, tree.JournalCheckpoint{Member: member, Checkpoint: c})
	}
	var err error
	if s.change, err = k.state.Plan(u); err != nil {
		return nil, err
	}
	if s.moment, err = k.signer.next(k.newest, s.change, u.Time); err != nil {
		return nil, err
	}
	head := &s.moment.head
	s.item.sequence = head.Sequence
	s.item.tx, err = ledger.NewAdvance(k.signer.key, k.signer.chain(), head.Tree, k.signer.charter.Digest, head.Sequence, s.moment.digest)
	if err != nil {
		return nil, err
	}
	s.event.Sequence, s.event.Revoked = head.Sequence, s.change.Revoked
	s.moment.before = k.before(s.change)
	for _, a := range u.Members {
		if old, ok := k.state.Member(a.Chain.Member()); ok && !identity.SameKey(old.Chain.Key, a.Chain.Key) {
			s.unreachable = append(s.unreachable, a.Chain.Member()) // what it said of itself is signed with the old key
			s.past = append(s.past, old.Chain)
		}
	}
	if err := s.fill(u); err != nil {
		return nil, err
	}
	if err := k.second(s, u); err != nil {
		return nil, err
	}
	k.forget(s)
	if err := k.noteLetIn(s); err != nil {
		return nil, err
	}
	if err := k.account(s, u); err != nil {
		return nil, err
	}
	for _, key := range sent {
		s.records[key] = nil
	}
	return s, nil
}

// before returns the values that a change replaces or deletes.
func (k *Keeper) before(c tree.Change) map[merkle.Hash][]byte {
	before := make(map[merkle.Hash][]byte, len(c.Set)+len(c.Deleted))
	note := func(key merkle.Hash) { before[key], _ = k.state.Value(key) }
	for _, key := range c.Deleted {
		note(key)
	}
	for _, e := range c.Set {
		note(e.Key)
	}
	return before
}

// fill puts into s what is to be stored and remembered of an update.
func (s *step) fill(u tree.Update) error {
	s.records = map[string][]byte{headKey: s.moment.raw, listKey: s.moment.list, outboxKey(s.item.sequence): s.item.tx}
	for _, key := range s.change.Deleted {
		s.records[entryPrefix+hex.EncodeToString(key[:])] = nil
	}
	for _, e := range s.change.Set {
		s.records[entryPrefix+hex.EncodeToString(e.Key[:])] = e.Value
	}
	for _, c := range s.event.Members {
		s.records[chainPrefix+c.Member().String()] = nil
		s.unreachable, s.past = append(s.unreachable, c.Member()), append(s.past, c)
		s.gone = append(s.gone, tree.MemberKey(c.Member()))
	}
	for _, g := range s.event.Grants {
		s.records[grantPrefix+g.ID.String()] = nil
		s.gone = append(s.gone, tree.GrantKey(g.ID))
	}
	for _, member := range s.unreachable {
		for _, t := range topics {
			s.records[t.key(member)] = nil
		}
	}
	if len(s.unreachable) > 0 { // whoever held these keys finds the others no more
		s.rendezvous = newRendezvous()
		s.records[rendezvousKey] = s.rendezvous
	}
	for _, key := range s.gone {
		s.records[gonePrefix+hex.EncodeToString(key[:])] = strconv.AppendUint(nil, s.item.sequence, 10)
	}
	for _, c := range s.past {
		if err := s.record(pastKey(c.Member(), s.item.sequence), c); err != nil {
			return err
		}
	}
	for _, a := range u.Members {
		if err := s.record(chainPrefix+a.Chain.Member().String(), a.Chain); err != nil {
			return err
		}
	}
	for _, g := range u.Grants {
		p, err := partiesOf(g)
		if err != nil {
			return err
		}
		s.parties[g.ID] = p
		s.records[grantPrefix+g.ID.String()] = g.Raw
	}
	return nil
}

// record has certificates be stored.
func (s *step) record(key string, c identity.Chain) error {
	raw, err := signed.Marshal(c.Raw)
	s.records[key] = raw
	return err
}

// commit makes a step that is on disk.
func (k *Keeper) commit(s *step) {
	k.mu.Lock()
	k.state.Commit(s.change)
	k.newest = s.moment
	k.moments = append(k.moments, s.moment)
	k.outbox = append(k.outbox, s.item)
	k.sent = slices.Delete(k.sent, 0, s.sent)
	for member, c := range s.checkpoints {
		if k.checkpoints[member] == c {
			delete(k.checkpoints, member)
		}
	}
	for _, member := range s.unreachable {
		for _, t := range topics {
			delete(k.owns, t.key(member))
		}
	}
	if s.rendezvous != nil {
		k.rendezvous = s.rendezvous
	}
	for _, c := range s.event.Members {
		delete(k.checkpoints, c.Member())
	}
	maps.Copy(k.letIn, s.letIn)
	for _, c := range s.seconds {
		if c.raw == nil {
			delete(k.consents[c.grant], c.by)
			continue
		}
		k.consents.add(c.grant, c.by, c.raw)
	}
	for _, g := range s.event.Grants {
		delete(k.parties, g.ID)
		delete(k.abroad, g.ID)
		delete(k.consents, g.ID)
	}
	for _, key := range s.classes {
		delete(k.classes, key)
	}
	for _, key := range s.gone {
		k.gone[key] = true
	}
	for id, p := range s.parties {
		k.concerns(id, p)
	}
	if s.taken != nil {
		k.taken = s.taken
	}
	k.mu.Unlock()

	if len(s.event.Revoked) > 0 {
		k.tell(s.event)
	}
	select {
	case k.more <- struct{}{}:
	default:
	}
}

// settle finds out what became of a change that was left in doubt. The caller holds the turn.
func (k *Keeper) settle(ctx context.Context) error {
	s := k.doubt
	if s == nil {
		return nil
	}
	err := confirm(ctx, k.store, s.records)
	switch {
	case errors.Is(err, errDoubt):
		return err
	case err == nil:
		k.commit(s)
	}
	k.doubt = nil
	return nil
}

var (
	errDoubt    = errors.New("it is not known whether the change is on disk")
	errNotSaved = errors.New("the change is not on disk")
)

// save saves a change, which has a head among its records. Unless the error is errDoubt, the change is not on disk.
func save(ctx context.Context, store Store, records map[string][]byte) error {
	err := store.Save(ctx, records)
	if err == nil {
		return nil
	}
	if confirmErr := confirm(context.WithoutCancel(ctx), store, records); confirmErr != nil {
		return errors.Join(confirmErr, err)
	}
	return nil
}

// confirm returns nil if a change whose Save failed is on disk all the same, errNotSaved if it is not, errDoubt if
// that cannot be told. That it can be read does not say that it was synced, so it is saved again.
func confirm(ctx context.Context, store Store, records map[string][]byte) error {
	head, err := store.Load(ctx, headKey)
	if err == nil && !bytes.Equal(head, records[headKey]) {
		return errNotSaved
	}
	if err == nil {
		err = store.Save(ctx, records)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDoubt, err)
	}
	return nil
}
