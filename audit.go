package kindred

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// Who says how a journal should be, in the findings of a [JournalCheck].
const (
	BySigner     = "signed"     // the member, in its last checkpoint
	ByHome       = "recorded"   // the home, in its roster, which the ledger has
	ByMemory     = "remembered" // this node, which verified it before
	ByReceipt    = "receipt"    // this node, which has a receipt for an entry
	ByContradict = "contradict" // the member, to the gateway, which did not take it
)

// A JournalCheck is what came of verifying one member's journal.
type JournalCheck struct {
	Member   identity.MemberID
	Path     identity.Path // when it handed in last; empty if not known
	Entries  int64
	Signed   journal.Checkpoint // what the member signed last; zero for nothing
	Recorded tree.Checkpoint    // what the home recorded of it last; zero for nothing
	AsOf     time.Time          // when it is known to have stood so
	Receipts int                // of this node, that were compared
	Waiting  int                // receipts of this node for entries that are still to come
	Findings []journal.Finding  // what is wrong
}

// VerifyJournals reads the copies that the gateway has of members' journals, and compares each with what its member
// signed, what the home recorded, what this node saw when it verified it last, and the receipts it has. Owners may. What
// is wrong stands in the findings; the error says that it could not be found out.
func (n *Node) VerifyJournals(ctx context.Context) ([]JournalCheck, error) {
	js, err := n.Gateway().Journals(ctx, control.JournalsQuery{})
	if err != nil {
		return nil, err
	}
	recorded, err := n.readProofs(ctx, js.Proofs)
	if err != nil {
		return nil, err
	}
	receipts, err := n.receiptsHere(ctx)
	if err != nil {
		return nil, err
	}
	var checks []JournalCheck
	for _, j := range js.Logs {
		if j.Size == 0 && j.Contradiction == nil {
			if _, ok := checkpointIn(recorded, j.Member); !ok {
				continue // whoever keeps it elsewhere
			}
		}
		c, err := n.verifyJournal(ctx, j, recorded, receipts, func(from int64) ([][]byte, error) {
			if from >= j.Size { // what came since is covered by no checkpoint that is here
				return nil, nil
			}
			got, err := n.Gateway().Entries(ctx, control.EntriesQuery{Member: j.Member, From: from})
			return got.Entries[:min(int64(len(got.Entries)), j.Size-from)], err
		})
		if err != nil {
			return nil, err
		}
		if c.Entries > 0 || len(c.Findings) > 0 {
			checks = append(checks, c)
		}
	}
	return checks, nil
}

// VerifyOwnJournal verifies the node's own journal likewise, if the gateway answers; else against what is here.
func (n *Node) VerifyOwnJournal(ctx context.Context) (JournalCheck, error) {
	j := control.Journal{Member: n.self.Member().String(), Chain: n.self.Raw}
	var recorded []credential.Live
	soon, cancel := context.WithTimeout(ctx, askGateway)
	defer cancel()
	js, err := n.Gateway().Journals(soon, control.JournalsQuery{Member: j.Member})
	if err == nil && len(js.Logs) == 1 {
		j.Contradiction = js.Logs[0].Contradiction
		j.Checkpoint = js.Logs[0].Checkpoint
		recorded, err = n.readProofs(ctx, js.Proofs)
	}
	if err != nil {
		n.log.Info("verifying without the gateway", "error", err)
	}
	_, kept, err := n.journal.Have(ctx)
	if err != nil {
		return JournalCheck{}, err
	}
	if j.Checkpoint == nil {
		j.Checkpoint = kept
	}
	c, err := n.verifyJournal(ctx, j, recorded, nil, func(from int64) ([][]byte, error) { return n.journal.Entries(ctx, from) })
	if err != nil {
		return c, err
	}
	var tampered *journal.TamperError
	if err := n.journal.Verify(ctx); errors.As(err, &tampered) {
		c.Findings = append(c.Findings, journal.Finding{Problem: journal.Rewritten, Index: tampered.Index, Detail: tampered.What})
	} else if err != nil {
		return c, err
	}
	if len(c.Findings) > 0 {
		return c, nil
	}
	return c, n.bindJournal(ctx)
}

// bindJournal signs a checkpoint of the own journal as it was found, remembers it, and hands it in if the gateway answers.
func (n *Node) bindJournal(ctx context.Context) error {
	raw, err := n.journal.Checkpoint(ctx, n.cfg.Clock())
	if err != nil {
		return err
	}
	if n.self.Kind() == identity.App && !n.isolated() {
		soon, cancel := context.WithTimeout(ctx, askGateway)
		defer cancel()
		if _, err := n.home.Record(soon, control.Batch{Checkpoint: raw}); err != nil {
			n.log.Info("the gateway does not take a checkpoint", "error", err)
		}
	}
	return n.db.Save(ctx, map[string][]byte{auditedPrefix + n.self.Member().String(): raw})
}

// readProofs verifies proofs of where journals stood.
func (n *Node) readProofs(ctx context.Context, proofs [][]byte) (all []credential.Live, err error) {
	for _, raw := range proofs {
		p, err := credential.ParseProof(raw)
		if err != nil {
			return nil, err
		}
		live, err := n.verify(ctx, p)
		if err != nil {
			return nil, err
		}
		all = append(all, live)
	}
	return all, nil
}

// recordedCheckpoint is what a home recorded of a journal.
type recordedCheckpoint struct {
	tree.Checkpoint
	asOf time.Time
}

func checkpointIn(recorded []credential.Live, member string) (recordedCheckpoint, bool) {
	id, err := identity.ParseMemberID(member)
	if err != nil {
		return recordedCheckpoint{}, false
	}
	for _, live := range recorded {
		if c, ok := live.Checkpoint(id); ok {
			return recordedCheckpoint{c, live.AsOf}, true
		}
	}
	return recordedCheckpoint{}, false
}

// receiptsOf are the receipts of one thing that the node has.
type receiptsOf struct {
	signed  []journal.Receipt
	refused []journal.Finding // those that it did not sign
}

// receiptsHere returns the receipts in the node's own journal that members of its tree gave, by who that was. What was
// given elsewhere says nothing of a member here, whatever ID it has there.
func (n *Node) receiptsHere(ctx context.Context) (map[identity.MemberID]receiptsOf, error) {
	found := map[identity.MemberID]receiptsOf{}
	for from := int64(0); ; {
		entries, err := n.journal.Entries(ctx, from)
		if err != nil || len(entries) == 0 {
			return found, err
		}
		for _, data := range entries {
			e, err := journal.ParseEntry(n.self.ID.Tree, data)
			if err != nil || e.Exchange == nil {
				continue // what is wrong with the own journal is found where that is verified
			}
			r, _, err := journal.ReadReceipt(e.Exchange.Receipt)
			if err != nil {
				continue
			}
			own := n.self.ID.Tree
			switch refused := e.Op == journal.Countersign && e.Outcome == journal.Refused; {
			case refused && e.Thing.ID.Tree == own: // whatever it says of who gave it, and to whom
				of := found[e.Thing.Member]
				of.refused = append(of.refused, journal.Finding{Problem: journal.Disputed, Index: r.Index, By: ByReceipt, At: e.Time, Detail: e.Reason})
				found[e.Thing.Member] = of
			case !refused && r.Tree == own && r.Entries == 0 && r.Caller == n.self.Member():
				of := found[r.Node]
				of.signed = append(of.signed, r)
				found[r.Node] = of
			}
		}
		from += int64(len(entries))
	}
}

// handInWithin is how much older than a checkpoint an entry is, both by the clock of who made them, that the checkpoint
// has to cover.
const handInWithin = time.Minute

const auditedPrefix = "audited/"

// verifyJournal reads a journal from its beginning, and compares it with all that is known of it.
func (n *Node) verifyJournal(ctx context.Context, j control.Journal, recorded []credential.Live,
	receipts map[identity.MemberID]receiptsOf, read func(from int64) ([][]byte, error)) (JournalCheck, error) {
	var c JournalCheck
	fail := func(err error) (JournalCheck, error) {
		return c, fmt.Errorf("kindred: verifying the journal of %s: %w", j.Member, err)
	}
	var err error
	if c.Member, err = identity.ParseMemberID(j.Member); err != nil {
		return fail(err)
	}
	a := journal.NewAudit(n.self.ID.Tree, c.Member)
	if err := n.expectSigned(a, &c, j); err != nil {
		return fail(err)
	}
	if r, ok := checkpointIn(recorded, j.Member); ok {
		c.Recorded, c.AsOf = r.Checkpoint, r.asOf
		a.Expect(journal.Expected{Size: int64(r.Size), Root: [32]byte(r.Root), By: ByHome, At: time.Unix(r.Time, 0)})
	}
	key := auditedPrefix + j.Member
	if raw, err := n.db.Load(ctx, key); err != nil {
		return fail(err)
	} else if raw != nil {
		before, err := journal.ReadCheckpoint(raw)
		if err != nil {
			return fail(err)
		}
		a.Expect(journal.Expected{Size: before.Size, Root: before.Root, By: ByMemory, At: before.Time})
	}
	for _, f := range receipts[c.Member].refused {
		a.Find(f)
	}
	calls := map[int64]uint64{} // by the entry
	for _, r := range receipts[c.Member].signed {
		if call, ok := calls[r.Index]; ok && call != r.Call { // one entry, for two things that were done
			a.Find(journal.Finding{Problem: journal.Forked, Index: r.Index, By: ByReceipt, At: r.Time})
		}
		calls[r.Index] = r.Call
		if r.Index >= c.Signed.Size && c.Signed.Time.Sub(r.Time) < handInWithin {
			c.Waiting++
			continue
		}
		c.Receipts++
		a.ExpectLeaf(journal.ExpectedLeaf{Index: r.Index, Leaf: r.Leaf, By: ByReceipt, At: r.Time})
	}
	for {
		entries, err := read(a.Size())
		if err != nil {
			return fail(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, data := range entries {
			if err := a.Add(data); err != nil {
				return fail(err)
			}
		}
	}
	c.Entries, c.Findings = a.Size(), a.Findings()
	if len(c.Findings) > 0 || j.Checkpoint == nil {
		return c, nil
	}
	return c, n.db.Save(ctx, map[string][]byte{key: j.Checkpoint})
}

// expectSigned has a journal be compared with what its member signed.
func (n *Node) expectSigned(a *journal.Audit, c *JournalCheck, j control.Journal) error {
	if len(j.Chain) == 0 {
		a.Find(journal.Finding{Problem: journal.Unsigned, Detail: "whose it is cannot be told: no certificates came with it"})
		return nil
	}
	at, err := identity.ValidFrom(j.Chain)
	if err != nil {
		return err
	}
	chain, err := identity.Verify(j.Chain, n.self.ID.Tree, n.Charter().RootCertificate(), at)
	if err != nil {
		return err
	}
	if chain.Member() != c.Member {
		a.Find(journal.Finding{Problem: journal.Unsigned, Detail: "the certificates are of " + string(chain.ID.Path)})
		return nil
	}
	c.Path = chain.ID.Path
	if x := j.Contradiction; x != nil {
		if _, err := journal.OpenCheckpoint(x.Shown, chain.Key); err == nil {
			a.Find(journal.Finding{Problem: journal.Forked, Index: x.Index, By: ByContradict, At: x.Time})
		}
	}
	if j.Checkpoint == nil {
		return nil
	}
	signed, err := journal.OpenCheckpoint(j.Checkpoint, chain.Key)
	if err == nil && (signed.Node != c.Member || signed.Tree != n.self.ID.Tree) {
		err = errors.New("it is of another journal")
	}
	if err != nil {
		a.Find(journal.Finding{Problem: journal.Unsigned, Detail: err.Error()})
		return nil
	}
	c.Signed = signed
	a.Expect(journal.Expected{Size: signed.Size, Root: signed.Root, By: BySigner, At: signed.Time})
	return nil
}
