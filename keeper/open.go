package keeper

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Open restores the roster from the store and checks that everything in it fits together: the charter names the key,
// the head is signed with it and commits to exactly the entries there are, every member has its certificates and every
// grant its statement, and the ledger has nothing else than what was handed to it. Members whose certificates have
// expired are restored like others. Without a roster the error is ErrNotMade.
//
// If the ledger has a newer head of this tree, Open succeeds, and changes and proofs fail with ErrBehind.
func Open(ctx context.Context, cfg Config) (*Keeper, error) {
	k, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("keeper: opening: %w", err)
	}
	return k, nil
}

func open(ctx context.Context, cfg Config) (*Keeper, error) {
	if cfg.Store == nil || cfg.Ledger == nil || cfg.Key == nil {
		return nil, errors.New("a store, a ledger and the keeper key are required")
	}
	k := &Keeper{
		store: cfg.Store, ledger: cfg.Ledger, gateway: cfg.Gateway, clock: cfg.Clock, log: cfg.Log, notify: cfg.Notify,
		more: make(chan struct{}, 1), turn: make(chan struct{}, 1), progress: make(chan struct{}),
		events:      mailbox{filled: make(chan struct{}, 1)},
		parties:     map[tree.GrantID]parties{},
		abroad:      map[tree.GrantID]parties{},
		gone:        map[merkle.Hash]bool{},
		letIn:       map[identity.MemberID]letIn{},
		owns:        map[string]own{},
		consents:    consents{},
		classes:     map[classKey]Class{},
		withdrawn:   map[tree.GrantID]agreement.Agreement{},
		taken:       map[maker]taken{},
		checkpoints: map[identity.MemberID]tree.Checkpoint{},
	}
	if k.clock == nil {
		k.clock = time.Now
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	charter, err := k.store.Load(ctx, charterKey)
	if err != nil {
		return nil, err
	}
	if charter == nil {
		return nil, ErrNotMade
	}
	id, err := treeOf(charter)
	if err != nil {
		return nil, err
	}
	if k.signer, err = newSigner(charter, id, cfg.Key); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{
		k.restoreHead, k.restoreRoster, k.restoreGone, k.restoreLetIn, k.restoreTaken, k.restoreOwns, k.restoreRendezvous, k.restoreConsents, k.restoreWithdrawn, k.restoreOutbox, k.compare,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// treeOf returns the tree that a charter says it is of.
func treeOf(charter []byte) (identity.TreeID, error) {
	s, err := signed.Parse(charter)
	if err != nil {
		return identity.TreeID{}, err
	}
	var c tree.Charter
	err = signed.Unmarshal(s.Payload, &c)
	return c.Tree, err
}

func (k *Keeper) restoreHead(ctx context.Context) error {
	m := &moment{}
	var err error
	if m.raw, err = k.store.Load(ctx, headKey); err != nil {
		return err
	}
	if m.list, err = k.store.Load(ctx, listKey); err != nil {
		return err
	}
	if m.head, m.digest, err = tree.OpenHead(m.raw, k.signer.tree, k.signer.charter.KeeperKey()); err != nil {
		return err
	}
	if m.revocations, err = tree.OpenRevocationList(m.list, m.head); err != nil {
		return err
	}
	k.newest, k.moments = m, []*moment{m}
	return nil
}

// restoreRoster restores the state, and checks that it is the one that the head commits to.
func (k *Keeper) restoreRoster(ctx context.Context) error {
	entries := map[merkle.Hash][]byte{}
	leaves := map[merkle.Hash]merkle.Hash{}
	err := k.store.Scan(ctx, entryPrefix, func(name string, value []byte) error {
		key, err := parseHash(strings.TrimPrefix(name, entryPrefix))
		entries[key], leaves[key] = value, merkle.LeafHash(key, value)
		return err
	})
	if err != nil {
		return err
	}
	chains, err := k.loadChains(ctx)
	if err != nil {
		return err
	}
	grants, err := k.loadGrants(ctx)
	if err != nil {
		return err
	}
	all := func(yield func(merkle.Entry) bool) {
		for key, value := range entries {
			if !yield(merkle.Entry{Key: key, Value: value}) {
				return
			}
		}
	}
	k.state = tree.NewState(k.signer.tree)
	if err := k.state.Restore(all, chains, grants); err != nil {
		return err
	}
	m := k.newest
	m.entries = merkle.Build(maps.All(leaves))
	if got := k.state.Root(); got != m.head.Root || m.entries.Root() != got {
		return fmt.Errorf("the entries have the root %s, head %d commits to %s", got, m.head.Sequence, m.head.Root)
	}
	return k.restoreGrants()
}

func parseHash(text string) (h merkle.Hash, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(h) {
		return h, fmt.Errorf("%.80q is no key of an entry", text)
	}
	return merkle.Hash(raw), nil
}

func (k *Keeper) loadChains(ctx context.Context) (chains []identity.Chain, err error) {
	root := k.signer.charter.RootCertificate()
	err = k.store.Scan(ctx, chainPrefix, func(name string, value []byte) error {
		var raw [][]byte
		if err := signed.Unmarshal(value, &raw); err != nil {
			return fmt.Errorf("record %q: %w", name, err)
		}
		at, err := identity.ValidFrom(raw)
		if err != nil {
			return fmt.Errorf("record %q: %w", name, err)
		}
		if at.Before(root.NotBefore) {
			at = root.NotBefore
		}
		chain, err := identity.Verify(raw, k.signer.tree, root, at)
		if err != nil {
			return fmt.Errorf("record %q: %w", name, err)
		}
		if name != chainPrefix+chain.Member().String() {
			return fmt.Errorf("record %q: the certificates are those of member %s", name, chain.Member())
		}
		chains = append(chains, chain)
		return nil
	})
	return chains, err
}

func (k *Keeper) loadGrants(ctx context.Context) (map[tree.GrantID][]byte, error) {
	grants := map[tree.GrantID][]byte{}
	err := k.store.Scan(ctx, grantPrefix, func(name string, value []byte) error {
		id, err := tree.ParseGrantID(strings.TrimPrefix(name, grantPrefix))
		grants[id] = value
		return err
	})
	return grants, err
}

// restoreGrants reads whom the grants concern.
func (k *Keeper) restoreGrants() error {
	for g := range k.state.Grants() {
		p, err := partiesOf(g)
		if err != nil {
			return fmt.Errorf("grant %s: %w", g.ID, err)
		}
		k.concerns(g.ID, p)
	}
	return nil
}

// concerns notes whom a live grant concerns. The caller holds mu, or is the only one.
func (k *Keeper) concerns(id tree.GrantID, p parties) {
	k.parties[id] = p
	if len(p.trees) > 0 {
		k.abroad[id] = p
	}
}

// partiesOf returns whom a grant concerns, and checks that its statement says what its entry does.
func partiesOf(g tree.Admitted) (parties, error) {
	t, _, err := grant.Parse(g.Raw)
	if err == nil && (t.ID != g.ID || t.Giver != g.Giver || t.GiverTree != g.GiverTree) {
		err = fmt.Errorf("the statement is of grant %s from %s", t.ID, t.Giver)
	}
	p := parties{thing: t.Thing.Member, parent: t.Parent}
	if t.GivenIn() == t.Tree {
		p.giver = t.Giver
	}
	if t.Subject.Tree == t.Tree {
		p.subject = t.Subject.Member
	}
	for _, of := range []identity.TreeID{t.Subject.Tree, t.GivenIn()} {
		if of != t.Tree && !slices.Contains(p.trees, of) {
			p.trees = append(p.trees, of)
		}
	}
	return p, err
}

func (k *Keeper) restoreGone(ctx context.Context) error {
	err := k.store.Scan(ctx, gonePrefix, func(name string, _ []byte) error {
		key, err := parseHash(strings.TrimPrefix(name, gonePrefix))
		k.gone[key] = true
		return err
	})
	if err != nil {
		return err
	}
	for key := range k.gone {
		if _, live := k.state.Value(key); live {
			return fmt.Errorf("entry %s is live, and recorded as taken away", key)
		}
	}
	seen, err := k.store.Load(ctx, seenKey)
	if err != nil || seen == nil {
		return err
	}
	head, digest, err := tree.OpenHead(seen, k.signer.tree, k.signer.charter.KeeperKey())
	if err != nil {
		return err
	}
	if k.foreign(head.Sequence, digest) {
		_ = k.fallBehind(head.Sequence, "somebody had") // Open succeeds all the same
	}
	return nil
}

// restoreOutbox checks that the transactions have no gap and end with the newest head.
func (k *Keeper) restoreOutbox(ctx context.Context) error {
	err := k.store.Scan(ctx, outboxPrefix, func(name string, value []byte) error {
		sequence, err := strconv.ParseUint(strings.TrimPrefix(name, outboxPrefix), 10, 64)
		if err == nil && len(k.outbox) > 0 && k.outbox[len(k.outbox)-1].sequence+1 != sequence {
			err = fmt.Errorf("it follows %d", k.outbox[len(k.outbox)-1].sequence)
		}
		if err != nil {
			return fmt.Errorf("record %q: %w", name, err)
		}
		k.outbox = append(k.outbox, item{sequence, value})
		return nil
	})
	if err != nil {
		return err
	}
	newest := k.newest.head.Sequence
	if n := len(k.outbox); n == 0 || k.outbox[n-1].sequence != newest {
		return fmt.Errorf("the transaction of head %d is missing", newest)
	}
	return nil
}

// compare takes out of the outbox what the ledger has, and falls behind if it has something else than the roster.
func (k *Keeper) compare(ctx context.Context) error {
	record, err := k.record(ctx)
	if err != nil {
		return err
	}
	switch {
	case record.Sequence > 0 && k.foreign(record.Sequence, record.Head):
		_ = k.fallBehind(record.Sequence, "the ledger has") // its callers go on without signing
		return nil
	case record.Sequence > 0 && record.Charter != k.signer.charter.Digest:
		return fmt.Errorf("the ledger has head %d under another charter", record.Sequence)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if first := k.outbox; len(first) > 0 && first[0].sequence > record.Sequence+1 {
		return fmt.Errorf("the ledger has heads up to %d, and those from there to %d are not here any more: is it the right ledger?",
			record.Sequence, first[0].sequence)
	}
	for len(k.outbox) > 0 && k.outbox[0].sequence <= record.Sequence {
		k.drop()
	}
	return nil
}

// record returns the ledger's record of the tree, the zero Record if there is none.
func (k *Keeper) record(ctx context.Context) (ledger.Record, error) {
	proof, _, err := k.ledger.Prove(ctx, k.signer.tree)
	if errors.Is(err, ledger.ErrUnknown) {
		return ledger.Record{}, nil
	}
	if err != nil {
		return ledger.Record{}, err
	}
	_, record, err := proof.AppHash(k.signer.tree)
	return record, err
}

// drop moves the first transaction of the outbox, which the ledger has, out of it. The caller holds mu.
func (k *Keeper) drop() {
	done := k.outbox[0]
	k.outbox = k.outbox[1:]
	k.sent = append(k.sent, outboxKey(done.sequence))
	k.recorded = done.sequence
	for len(k.moments) > 1 && k.moments[0].head.Sequence < done.sequence {
		k.moments = slices.Delete(k.moments, 0, 1)
	}
	k.moments[0].before = nil
	k.trouble = nil
	k.advanced()
}

// advanced wakes all who wait for the ledger. The caller holds mu.
func (k *Keeper) advanced() {
	close(k.progress)
	k.progress = make(chan struct{})
}
