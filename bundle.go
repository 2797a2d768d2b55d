package kindred

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

// Excerpts says what goes into a bundle.
type Excerpts struct {
	Since, Until time.Time         // zero: no bound
	Who          identity.MemberID // zero: everybody
	Thing        identity.MemberID // zero: everywhere
	Own          bool              // the node's own journal alone; else, for owners, all that the gateway has
}

// ExportJournals makes a bundle of entries, with all that somebody needs to verify them who has no member of the tree
// and asks nobody: see VerifyBundle. It returns how many entries there are.
func (n *Node) ExportJournals(ctx context.Context, q Excerpts) (bundle []byte, entries int, err error) {
	b := journal.Bundle{Tree: n.self.ID.Tree, Made: n.cfg.Clock(), Charter: n.Charter().Raw, Maker: n.self.Raw}
	if q.Own || !n.self.Owner() {
		err = n.exportOwn(ctx, q, &b)
	} else {
		err = n.exportAll(ctx, q, &b)
	}
	if err == nil {
		b.Ends, err = n.endsOf(ctx, b.Excerpts)
	}
	for _, x := range b.Excerpts {
		entries += len(x.Entries)
	}
	if err == nil {
		bundle, err = b.Sign(n.key)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("kindred: exporting journals: %w", err)
	}
	return bundle, entries, nil
}

// exportAll takes what the gateway has.
func (n *Node) exportAll(ctx context.Context, q Excerpts, b *journal.Bundle) error {
	js, err := n.Gateway().Journals(ctx, control.JournalsQuery{})
	if err != nil {
		return err
	}
	for _, j := range js.Logs {
		ask := control.ExcerptQuery{Member: j.Member, Since: q.Since, Until: q.Until}
		if !q.Who.IsZero() {
			ask.Caller = q.Who.String()
		}
		if !q.Thing.IsZero() {
			ask.Thing = q.Thing.String()
		}
		for j.Size > 0 && ask.From >= 0 {
			got, err := n.Gateway().Excerpt(ctx, ask)
			if err != nil {
				return err
			}
			x, err := journal.ParseExcerpt(got.Excerpt)
			if err != nil {
				return err
			}
			if len(x.Entries) > 0 {
				b.Excerpts = append(b.Excerpts, x)
			}
			if got.Next >= 0 && got.Next <= ask.From {
				return errors.New("the gateway gives the same entries again")
			}
			ask.From = got.Next
		}
	}
	return nil
}

// exportOwn takes the node's own journal. That the tree recorded it is proved as far as the gateway says so.
func (n *Node) exportOwn(ctx context.Context, q Excerpts, b *journal.Bundle) error {
	checkpoint, err := n.journal.Checkpoint(ctx, n.cfg.Clock())
	if err != nil {
		return err
	}
	c, err := journal.ReadCheckpoint(checkpoint)
	if err != nil {
		return err
	}
	recorded, size := n.ownRecorded(ctx)
	consistency, err := n.journal.Consistency(ctx, min(size, c.Size), c.Size)
	if err != nil {
		return err
	}
	f := journal.Filter{Since: q.Since, Until: q.Until}
	if !q.Who.IsZero() {
		f.Who = journal.Party{Member: q.Who, ID: identity.ID{Tree: n.self.ID.Tree}}
	}
	if !q.Thing.IsZero() {
		f.Thing = journal.Party{Member: q.Thing, ID: identity.ID{Tree: n.self.ID.Tree}}
	}
	for from := int64(0); from >= 0; {
		x, next, err := n.journal.Excerpt(ctx, f, from, checkpoint)
		if err != nil {
			return err
		}
		x.Chain = n.self.Raw
		if recorded != nil && size <= c.Size {
			x.Recorded, x.Consistency = recorded, consistency
		}
		if len(x.Entries) > 0 {
			b.Excerpts = append(b.Excerpts, x)
		}
		from = next
	}
	return nil
}

// ownRecorded asks the gateway what the tree recorded of the node's own journal.
func (n *Node) ownRecorded(ctx context.Context) (proof []byte, size int64) {
	soon, cancel := context.WithTimeout(ctx, askGateway)
	defer cancel()
	js, err := n.Gateway().Journals(soon, control.JournalsQuery{Member: n.self.Member().String()})
	if err != nil {
		n.log.Info("nobody proves what was recorded", "error", err)
		return nil, 0
	}
	for _, raw := range js.Proofs {
		p, err := credential.ParseProof(raw)
		if err != nil {
			continue
		}
		live, err := n.verify(ctx, p)
		if err != nil {
			n.log.Warn("what was recorded does not verify", "error", err)
			continue
		}
		if c, ok := live.Checkpoint(n.self.Member()); ok {
			p.Charters = nil
			if raw, err = p.Marshal(); err == nil {
				return raw, int64(c.Size)
			}
		}
	}
	return nil, 0
}

// endsOf returns the certificates of both ends of what was countersigned, those of members that are removed too, as far as
// the node may know them.
func (n *Node) endsOf(ctx context.Context, excerpts []journal.Excerpt) ([][][]byte, error) {
	var wanted []string
	for _, x := range excerpts {
		for _, e := range x.Entries {
			entry, err := journal.ParseEntry(n.self.ID.Tree, e.Data)
			if err != nil {
				return nil, err
			}
			if entry.Exchange == nil {
				continue
			}
			for _, end := range []journal.Party{entry.Caller, entry.Thing} {
				if id := end.Member.String(); end.ID.Tree == n.self.ID.Tree && !slices.Contains(wanted, id) {
					wanted = append(wanted, id)
				}
			}
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	found, err := n.certificatesOf(ctx, wanted)
	if err != nil {
		n.log.Info("whose the countersignatures are cannot be told", "error", err)
		return nil, nil
	}
	root := n.Charter().RootCertificate()
	return slices.DeleteFunc(found, func(raw [][]byte) bool { // of a root before, which the bundle does not prove
		at, err := identity.ValidFrom(raw)
		if err == nil {
			_, err = identity.Verify(raw, n.self.ID.Tree, root, at)
		}
		return err != nil
	}), nil
}

// certificatesOf returns the certificates that members have and, as owners are told, had. Where the gateway is out of
// reach, that is what is known of it.
func (n *Node) certificatesOf(ctx context.Context, members []string) (found [][][]byte, err error) {
	if n.self.Owner() {
		if found, err = n.certificatesEver(ctx, members); err == nil {
			return found, nil
		}
		n.log.Info("nobody tells with what removed members signed", "error", err)
	}
	r, err := n.Roster(ctx)
	for _, m := range r.Members {
		if slices.Contains(members, m.Who.Member().String()) {
			found = append(found, m.Chain)
		}
	}
	return found, err
}

func (n *Node) certificatesEver(ctx context.Context, members []string) (found [][][]byte, err error) {
	for some := range slices.Chunk(members, control.MaxCertificates) {
		got, err := n.Gateway().Certificates(ctx, control.CertificatesQuery{Members: some})
		if err != nil {
			return nil, err
		}
		found = append(found, got.Chains...)
	}
	return found, nil
}

// A VerifiedBundle is what a bundle says, once it was found to be in order.
type VerifiedBundle struct {
	Tree  identity.TreeID // which home it is of: for the reader to compare with the one it means
	Maker identity.ID     // who put it together
	Made  time.Time
	Logs  []VerifiedLog
}

// A VerifiedLog is some entries of one member's journal.
type VerifiedLog struct {
	ID            identity.ID
	Member        identity.MemberID
	Signed        journal.Checkpoint
	RecordedSize  int64     // how much of it the tree recorded; 0: nothing proves that
	AsOf          time.Time // when it is known to have been recorded; zero likewise
	Items         []journal.Item
	Countersigned int // entries that carry both signatures, verified
	Unknown       int // entries whose countersignature is of somebody whose certificates are not there
}

// VerifyBundle verifies a bundle by itself: it asks nobody, and reads nothing else. Each entry was in its member's
// journal when that signed it, the member's certificates lead to the home's root, and what the home recorded of that
// journal, in its ledger, is the same one.
func VerifyBundle(data []byte, now time.Time) (VerifiedBundle, error) {
	v, err := verifyBundle(data, now)
	if err != nil {
		return VerifiedBundle{}, fmt.Errorf("kindred: verifying a bundle: %w", err)
	}
	return v, nil
}

func verifyBundle(data []byte, now time.Time) (VerifiedBundle, error) {
	var v VerifiedBundle
	b, err := journal.ParseBundle(data)
	if err != nil {
		return v, err
	}
	trusted, err := credential.Trust(b.Tree, b.Charter)
	if err != nil {
		return v, err
	}
	if b.Made.After(now.Add(credential.MaxSkew)) {
		return v, fmt.Errorf("it was made at %s, which is still to come", b.Made.Format(time.RFC3339))
	}
	root := trusted.Charter().RootCertificate()
	maker, err := identity.Verify(b.Maker, b.Tree, root, b.Made)
	if err != nil {
		return v, err
	}
	if err := b.VerifyMaker(maker.Key); err != nil {
		return v, err
	}
	v.Tree, v.Maker, v.Made = b.Tree, maker.ID, b.Made
	ends := map[identity.MemberID][]identity.Chain{}
	for _, raw := range b.Ends {
		at, err := identity.ValidFrom(raw)
		if err != nil {
			return v, err
		}
		c, err := identity.Verify(raw, b.Tree, root, at)
		if err != nil {
			return v, err
		}
		if ends[c.Member()] = append(ends[c.Member()], c); len(ends[c.Member()]) > control.MaxChains {
			return v, fmt.Errorf("more than %d keys of %s", control.MaxChains, c.ID.Path)
		}
	}
	for _, x := range b.Excerpts {
		l, err := verifyExcerpt(x, trusted, ends, now)
		if err != nil {
			return v, err
		}
		if i := len(v.Logs) - 1; i >= 0 && v.Logs[i].Member == l.Member && v.Logs[i].Signed == l.Signed {
			last := &v.Logs[i]
			last.Items = append(last.Items, l.Items...)
			last.Countersigned, last.Unknown = last.Countersigned+l.Countersigned, last.Unknown+l.Unknown
			continue
		}
		v.Logs = append(v.Logs, l)
	}
	return v, nil
}

func verifyExcerpt(x journal.Excerpt, trusted credential.Trusted, ends map[identity.MemberID][]identity.Chain, now time.Time) (VerifiedLog, error) {
	var l VerifiedLog
	unchecked, err := journal.ReadCheckpoint(x.Checkpoint)
	if err != nil {
		return l, err
	}
	signer, err := identity.Verify(x.Chain, trusted.Tree, trusted.Charter().RootCertificate(), unchecked.Time)
	if err != nil {
		return l, err
	}
	if signer.Member() != x.Node {
		return l, fmt.Errorf("the journal of %s comes with the certificates of %s", x.Node, signer.ID.Path)
	}
	l.ID, l.Member = signer.ID, x.Node
	if l.Signed, l.Items, err = x.Verify(trusted.Tree, signer.Key); err != nil {
		return l, err
	}
	if x.Recorded != nil {
		p, err := credential.ParseProof(x.Recorded)
		if err != nil {
			return l, err
		}
		live, _, err := credential.VerifyProof(p, trusted, now)
		if err != nil {
			return l, err
		}
		c, ok := live.Checkpoint(x.Node)
		if !ok {
			return l, fmt.Errorf("what is said to prove the journal of %s is about something else", signer.ID.Path)
		}
		if err := x.VerifyRecorded(l.Signed, int64(c.Size), [32]byte(c.Root)); err != nil {
			return l, err
		}
		l.RecordedSize, l.AsOf = int64(c.Size), live.AsOf
	}
	return l, l.verifyExchanges(signer, ends)
}

// verifyExchanges verifies what both ends signed.
func (l *VerifiedLog) verifyExchanges(signer identity.Chain, ends map[identity.MemberID][]identity.Chain) error {
	keys := func(tree identity.TreeID, member identity.MemberID) (keys []crypto.PublicKey) {
		if tree != l.ID.Tree {
			return nil // whose certificates prove themselves by nothing that is here
		}
		if member == l.Member {
			keys = append(keys, signer.Key)
		}
		for _, c := range ends[member] {
			keys = append(keys, c.Key)
		}
		return keys
	}
	for _, i := range l.Items {
		x := i.Entry.Exchange
		if x == nil || len(x.Countersignature) == 0 {
			continue
		}
		_, err := x.VerifyBy(keys)
		switch {
		case errors.Is(err, journal.ErrUnknownEnd):
			l.Unknown++
		case err != nil:
			return fmt.Errorf("entry %d of %s: %w", i.Index, l.ID.Path, err)
		default:
			l.Countersigned++
		}
	}
	return nil
}
