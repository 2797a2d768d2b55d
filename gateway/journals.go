package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/tree"
)

// A signer is what the gateway keeps of a member's journal beside the copy itself, for as long as there is the copy: the
// certificates that its checkpoints are verified by, of a member that is removed too.
type signer struct {
	Chain         [][]byte               `json:"chain"`
	Checkpoint    []byte                 `json:"checkpoint,omitempty"` // of members that keep their journals to themselves
	Contradiction *control.Contradiction `json:"contradiction,omitempty"`
	Held          time.Time              `json:"held,omitzero"` // since when there was no room for all of it
}

// signers are all of them, by member, as they were read or written last.
type signers struct {
	mu    sync.Mutex
	known map[identity.MemberID]signer
}

const signerPrefix = "journal/"

// signerOf returns what is kept of a member's journal.
func (g *Gateway) signerOf(ctx context.Context, id identity.MemberID) (signer, error) {
	g.signers.mu.Lock()
	defer g.signers.mu.Unlock()
	return g.readSigner(ctx, id)
}

func (g *Gateway) readSigner(ctx context.Context, id identity.MemberID) (s signer, err error) {
	if s, ok := g.signers.known[id]; ok {
		return s, nil
	}
	data, err := g.db.Load(ctx, signerPrefix+id.String())
	if err != nil || data == nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

// changeSigner keeps what change makes of what is kept, if that is something else.
func (g *Gateway) changeSigner(ctx context.Context, id identity.MemberID, change func(signer) signer) error {
	g.signers.mu.Lock()
	defer g.signers.mu.Unlock()
	old, err := g.readSigner(ctx, id)
	if err != nil {
		return err
	}
	s := change(old)
	if slices.EqualFunc(s.Chain, old.Chain, bytes.Equal) && bytes.Equal(s.Checkpoint, old.Checkpoint) &&
		s.Contradiction == old.Contradiction && s.Held.Equal(old.Held) {
		return nil
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if g.signers.known == nil {
		g.signers.known = map[identity.MemberID]signer{}
	}
	g.signers.known[id] = s
	return g.db.Save(ctx, map[string][]byte{signerPrefix + id.String(): data})
}

// Record takes in a part of the caller's journal, or a checkpoint of it. What is taken in goes into the next head.
func (h *home) Record(ctx context.Context, who credential.Principal, b control.Batch) (control.Recorded, error) {
	node := who.Member()
	checkpoint := b.Checkpoint
	switch {
	case len(b.Batch) > 0 && who.Kind() == identity.App:
		return control.Recorded{}, refused("apps keep their journals to themselves")
	case len(b.Batch) > 0:
		batch, err := journal.ParseBatch(b.Batch)
		if err != nil {
			return control.Recorded{}, invalid(err)
		}
		if err := h.accept(ctx, who, batch); err != nil {
			return control.Recorded{}, err
		}
		checkpoint = batch.Checkpoint
	case checkpoint != nil:
		if err := h.bind(ctx, who, checkpoint); err != nil {
			return control.Recorded{}, err
		}
	}
	size, kept, err := h.replica.Have(ctx, node)
	if err != nil {
		return control.Recorded{}, err
	}
	if checkpoint == nil {
		checkpoint = kept // after a restart the next head is to have it all the same
	}
	h.commit(who.Chain, checkpoint)
	err = h.changeSigner(ctx, node, func(s signer) signer {
		s.Chain = who.Raw
		if b.Checkpoint != nil {
			s.Checkpoint = b.Checkpoint
		}
		if len(b.Batch) > 0 && h.quota.easy(node) && h.cfg.Clock().Sub(s.Held) >= heldFor {
			s.Held = time.Time{}
		}
		return s
	})
	return control.Recorded{Size: size}, err
}

// accept adds a batch to the copy of a journal. One that contradicts it is kept for the owners to see.
func (h *home) accept(ctx context.Context, who credential.Principal, batch journal.Batch) error {
	err := h.replica.Accept(ctx, who.Member(), batch, who.Key)
	var tampered *journal.TamperError
	var later *control.Error
	if errors.Is(err, store.ErrFull) {
		err = tooMuch("the gateway's disk is full")
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &later):
		return errors.Join(later, h.hold(ctx, who, later.Message))
	case !errors.As(err, &tampered):
		return invalid(err)
	}
	h.cfg.Log.Error("a journal contradicts itself", "who", who.ID.Path, "error", err)
	err = h.changeSigner(ctx, who.Member(), func(s signer) signer {
		if s.Contradiction == nil {
			s.Contradiction = &control.Contradiction{Index: tampered.Index, Time: h.cfg.Clock(), Shown: batch.Checkpoint}
		}
		return s
	})
	return errors.Join(&control.Error{Code: control.Conflict, Message: "the journal contradicts what was handed in before"}, err)
}

// heldFor is for how long at least a member counts as held back, so that an owner is not told again and again.
const heldFor = 24 * time.Hour

// hold keeps that a member has more journal than there is room for, and tells the owner once, until it goes by itself.
func (h *home) hold(ctx context.Context, who credential.Principal, why string) error {
	told := true
	now := h.cfg.Clock()
	err := h.changeSigner(ctx, who.Member(), func(s signer) signer {
		if told = !s.Held.IsZero(); !told {
			s.Chain, s.Held = who.Raw, now
		}
		return s
	})
	if err != nil || told {
		return err
	}
	h.cfg.Log.Warn("a member has more journal than there is room for", "who", who.ID.Path, "why", why)
	return h.started().Journal().Note(journal.Entry{
		Time: now, Thing: party(who.Chain), Op: journal.Hold, Outcome: journal.Refused, Reason: why,
	})
}

// heldBack returns the members that have more journal than there is room for. Those that were removed hand in nothing.
func (g *Gateway) heldBack(ctx context.Context) (all []control.Journal, err error) {
	err = g.db.Scan(ctx, signerPrefix, func(key string, value []byte) error {
		var s signer
		if err := json.Unmarshal(value, &s); err != nil || s.Held.IsZero() {
			return err
		}
		id, err := identity.ParseMemberID(strings.TrimPrefix(key, signerPrefix))
		if err != nil {
			return err
		}
		if _, live := g.member(id); live {
			all = append(all, control.Journal{Member: id.String(), Chain: s.Chain, Held: s.Held})
		}
		return nil
	})
	return all, err
}

// bind takes a checkpoint of a journal that is not here. A shorter one than before is not taken: which is the truth is
// for its maker to say.
func (h *home) bind(ctx context.Context, who credential.Principal, raw []byte) error {
	c, err := journal.OpenCheckpoint(raw, who.Key)
	if err != nil || c.Node != who.Member() || c.Tree != who.ID.Tree {
		return invalid(errors.Join(errors.New("this is no checkpoint of yours"), err))
	}
	s, err := h.signerOf(ctx, who.Member())
	if err != nil || s.Checkpoint == nil {
		return err
	}
	before, err := journal.ReadCheckpoint(s.Checkpoint)
	if err != nil {
		return err
	}
	if c.Size < before.Size || c.Size == before.Size && c.Root != before.Root {
		return &control.Error{Code: control.Conflict, Message: "the journal contradicts what was signed before"}
	}
	return nil
}

// commit has the next head say where a journal stands.
func (g *Gateway) commit(who identity.Chain, checkpoint []byte) {
	if checkpoint == nil {
		return
	}
	c, err := journal.OpenCheckpoint(checkpoint, who.Key)
	if err != nil {
		g.cfg.Log.Info("a checkpoint is of a key before", "who", who.ID.Path, "error", err)
		return
	}
	g.keeper.Checkpoint(who.Member(), tree.Checkpoint{Size: uint64(c.Size), Root: [32]byte(c.Root), Time: c.Time.Unix()})
}

// Record says that the gateway's own journal is where it belongs, and has the next head say where it stands.
func (o own) Record(ctx context.Context, b control.Batch) (control.Recorded, error) {
	n := o.started()
	if b.Batch != nil {
		if err := o.bindOwn(ctx); err != nil {
			return control.Recorded{}, err
		}
	}
	size, kept, err := o.replica.Have(ctx, n.Self().Member())
	if err != nil {
		return control.Recorded{}, err
	}
	o.commit(n.Self(), kept)
	return control.Recorded{Size: size}, nil
}

// bindOwn signs a checkpoint of the gateway's own journal, which the next head has.
func (g *Gateway) bindOwn(ctx context.Context) error {
	n := g.started()
	checkpoint, err := n.Journal().Checkpoint(ctx, g.cfg.Clock())
	if err != nil {
		return err
	}
	g.commit(n.Self(), checkpoint)
	return g.changeSigner(ctx, n.Self().Member(), func(s signer) signer { s.Chain = n.Self().Raw; return s })
}

// provedAtOnce is how many journals one proof is about.
const provedAtOnce = 8

// Journals tells owners of all journals, and others of their own.
func (h *home) Journals(ctx context.Context, who credential.Principal, q control.JournalsQuery) (control.Journals, error) {
	var out control.Journals
	if q.Held {
		if !who.Owner() {
			return out, refused("only owners are told whose journals are held back")
		}
		var err error
		out.Logs, err = h.heldBack(ctx)
		return out, err
	}
	ids, err := h.replica.Nodes(ctx)
	if err != nil {
		return out, err
	}
	if q.Member != "" || !who.Owner() {
		id := who.Member()
		if q.Member != "" {
			if id, err = identity.ParseMemberID(q.Member); err != nil {
				return out, invalid(err)
			}
		}
		if !who.Owner() && id != who.Member() {
			return out, refused("only owners read others' journals")
		}
		ids = []identity.MemberID{id}
	}
	for _, id := range ids {
		j := control.Journal{Member: id.String()}
		s, err := h.signerOf(ctx, id)
		if err != nil {
			return out, err
		}
		if j.Size, j.Checkpoint, err = h.replica.Have(ctx, id); err != nil {
			return out, err
		}
		if j.Chain, j.Contradiction = s.Chain, s.Contradiction; j.Checkpoint == nil {
			j.Checkpoint = s.Checkpoint
		}
		out.Logs = append(out.Logs, j)
	}
	for some := range slices.Chunk(ids, provedAtOnce) {
		p, err := h.keeper.ProveJournals(ctx, some)
		if err != nil {
			return out, answer(err)
		}
		raw, err := p.Marshal()
		if err != nil {
			return out, err
		}
		out.Proofs = append(out.Proofs, raw)
	}
	return out, nil
}

// Entries gives a part of a journal to whoever may read it.
func (h *home) Entries(ctx context.Context, who credential.Principal, q control.EntriesQuery) (control.Entries, error) {
	id, err := identity.ParseMemberID(q.Member)
	if err != nil {
		return control.Entries{}, invalid(err)
	}
	if !who.Owner() && id != who.Member() {
		return control.Entries{}, refused("only owners read others' journals")
	}
	entries, err := h.replica.Entries(ctx, id, q.From)
	if err != nil {
		return control.Entries{}, invalid(err)
	}
	return control.Entries{Entries: entries}, nil
}

// Excerpt gives entries of a journal with what proves them to somebody who was not there.
func (h *home) Excerpt(ctx context.Context, who credential.Principal, q control.ExcerptQuery) (control.Excerpt, error) {
	var out control.Excerpt
	id, err := identity.ParseMemberID(q.Member)
	if err != nil {
		return out, invalid(err)
	}
	if !who.Owner() && id != who.Member() {
		return out, refused("only owners read others' journals")
	}
	f := journal.Filter{Since: q.Since, Until: q.Until}
	for text, to := range map[string]*journal.Party{q.Caller: &f.Who, q.Thing: &f.Thing} {
		if text == "" {
			continue
		}
		member, err := identity.ParseMemberID(text)
		if err != nil {
			return out, invalid(err)
		}
		*to = journal.Party{Member: member, ID: identity.ID{Tree: who.ID.Tree}}
	}
	if id == h.started().Self().Member() {
		if err := h.bindOwn(ctx); err != nil {
			return out, err
		}
	}
	x, next, err := h.replica.Excerpt(ctx, id, f, q.From)
	if err != nil {
		return out, invalid(err)
	}
	s, err := h.signerOf(ctx, id)
	if err != nil {
		return out, err
	}
	x.Chain = s.Chain
	if err := h.proveRecorded(ctx, &x); err != nil {
		return out, err
	}
	out.Next = next
	out.Excerpt, err = x.Marshal()
	return out, err
}

// proveRecorded adds the proof that the tree recorded where the journal stood, if a head says so.
func (h *home) proveRecorded(ctx context.Context, x *journal.Excerpt) error {
	p, err := h.keeper.ProveJournals(ctx, []identity.MemberID{x.Node})
	if err != nil {
		return answer(err)
	}
	for _, e := range p.Entries {
		var recorded tree.Checkpoint
		if e.Journal != x.Node {
			continue
		}
		if err := signed.Unmarshal(e.Value, &recorded); err != nil {
			return err
		}
		c, err := journal.ReadCheckpoint(x.Checkpoint)
		if err != nil {
			return err
		}
		if x.Consistency, err = h.replica.Consistency(ctx, x.Node, int64(recorded.Size), c.Size); err != nil {
			return err
		}
		p.Charters = nil // the bundle has it
		x.Recorded, err = p.Marshal()
		return err
	}
	return nil
}

// mayTell reports whether an entry of a member's journal is of what is for that member to tell: of what was done at it,
// under no other's name. Changes of the home are for the gateway to tell. All journals are read together, and what one
// thing says would be taken for what another does. The journal itself is kept as it is: it shows who lied.
func (g *Gateway) mayTell(i journal.Item) bool {
	e, self := i.Entry, g.started().Self()
	if i.Node == self.Member() {
		return true
	}
	switch e.Op {
	case journal.Connect:
		if e.Thing.IsZero() { // strangers, for further reasons
			return true
		}
	case journal.Read, journal.Write, journal.Invoke, journal.Observe, journal.Countersign, journal.Copy, journal.Private, journal.MakeSeal:
	case journal.Withdraw: // a service tells that it does not delete what is demanded
		if e.Outcome != journal.Refused {
			return false
		}
	default:
		return false
	}
	if e.Thing.Member != i.Node || e.Thing.ID.Tree != self.ID.Tree {
		return false
	}
	another := false
	g.keeper.View(func(s *tree.State) {
		m, ok := s.At(e.Thing.ID.Path)
		another = ok && m.Chain.Member() != i.Node
	})
	return !another
}

// Certificates tells owners with what the signatures of members are verified that stand in journals.
func (h *home) Certificates(ctx context.Context, who credential.Principal, q control.CertificatesQuery) (control.Certificates, error) {
	var out control.Certificates
	if !who.Owner() {
		return out, refused("only owners are told of those who are members no more")
	}
	if len(q.Members) > control.MaxCertificates {
		return out, invalid(fmt.Errorf("of %d members at once, of at most %d", len(q.Members), control.MaxCertificates))
	}
	for _, text := range q.Members {
		id, err := identity.ParseMemberID(text)
		if err != nil {
			return out, invalid(err)
		}
		chains, err := h.keeper.Past(ctx, id)
		if err != nil {
			return out, err
		}
		h.keeper.View(func(s *tree.State) {
			if e, ok := s.Member(id); ok {
				chains = append(chains, e.Chain.Raw)
			}
		})
		out.Chains = append(out.Chains, chains[max(0, len(chains)-control.MaxChains):]...)
	}
	return out, nil
}
