package kindred

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// What the node keeps of agreements: an owner's app of those that it made or withdrew, a service of those that it is to
// delete something by.
const (
	agreementPrefix = "agreement/"
	demandPrefix    = "demand/"
)

// A Kept agreement is what an owner's app remembers of one.
type Kept struct {
	Papers  agreement.Papers
	Handed  bool   `json:",omitzero"` // the gateway has the demand
	Notice  []byte `json:",omitzero"` // that was shown before it was given, as it was
	Notices string `json:",omitzero"` // where that was read
}

// Keep remembers what belongs to an agreement on this machine alone.
func (n *Node) Keep(ctx context.Context, id tree.GrantID, k Kept) error {
	data, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("kindred: keeping an agreement: %w", err)
	}
	return n.db.Save(ctx, map[string][]byte{agreementPrefix + id.String(): data})
}

// Kept returns what is remembered of an agreement; a zero Kept if that is nothing.
func (n *Node) Kept(ctx context.Context, id tree.GrantID) (k Kept, err error) {
	data, err := n.db.Load(ctx, agreementPrefix+id.String())
	if err == nil && data != nil {
		err = json.Unmarshal(data, &k)
	}
	return k, err
}

// AllKept returns all that is remembered of agreements.
func (n *Node) AllKept(ctx context.Context) (map[tree.GrantID]Kept, error) {
	all := map[tree.GrantID]Kept{}
	err := n.db.Scan(ctx, agreementPrefix, func(key string, value []byte) error {
		id, err := tree.ParseGrantID(key[len(agreementPrefix):])
		if err != nil {
			return err
		}
		var k Kept
		if err := json.Unmarshal(value, &k); err != nil {
			return fmt.Errorf("kindred: reading %s: %w", key, err)
		}
		all[id] = k
		return nil
	})
	return all, err
}

// PapersOf returns all that was signed about a grant to a service which stands, and keeps it.
func (n *Node) PapersOf(ctx context.Context, g RosterGrant) (agreement.Papers, error) {
	k, err := n.Kept(ctx, g.Terms.ID)
	if err != nil {
		return k.Papers, err
	}
	k.Papers.Root, k.Papers.Grant, k.Papers.Consents = n.Charter().RootCertificate().Raw, g.Raw, g.Consents
	return k.Papers, n.Keep(ctx, g.Terms.ID, k)
}

// Demand asks the service of an agreement, whose grant was taken back, to delete what it got by it. The demand is kept
// here before anybody hears of it, and handed to the gateway, which tells the service when that is there: at once, or
// with the next Deliver.
func (n *Node) Demand(ctx context.Context, p agreement.Papers) error {
	a, err := p.Open()
	if err != nil {
		return err
	}
	k, err := n.Kept(ctx, a.Terms.ID)
	if err != nil {
		return err
	}
	if a.Demand == nil {
		s, err := signed.Parse(p.Grant)
		if err != nil {
			return err
		}
		d := agreement.Demand{
			Tree: a.Terms.Tree, Grant: a.Terms.ID, Statement: s.Digest, Service: a.Terms.Subject.Member,
			Owner: n.self.ActsFor(), Time: n.cfg.Clock().Unix(),
		}
		if p.Demand, err = d.Sign(n.key, n.self.Raw); err != nil {
			return err
		}
	}
	k.Papers, k.Handed = p, false
	if err := n.Keep(ctx, a.Terms.ID, k); err != nil {
		return err
	}
	if n.isolated() { // it was tried a moment ago, and is handed the demand when it is back
		return fmt.Errorf("kindred: demanding that something is deleted: the gateway is out of reach: %w", peer.ErrUnreachable)
	}
	return n.deliverDemands(ctx)
}

// deliverDemands hands the gateway the demands that it does not have.
func (n *Node) deliverDemands(ctx context.Context) error {
	all, err := n.AllKept(ctx)
	if err != nil {
		return err
	}
	for id, k := range all {
		if k.Papers.Demand == nil || k.Handed {
			continue
		}
		err := n.Gateway().Withdraw(ctx, k.Papers)
		var answer *control.Error
		switch {
		case err == nil:
		case errors.As(err, &answer) && slices.Contains([]control.Code{control.Refused, control.Invalid}, answer.Code):
			n.log.Warn("the gateway does not take a demand for deletion", "grant", id, "error", err)
		case errors.As(err, &answer):
			n.log.Warn("the gateway does not take a demand for deletion yet", "grant", id, "error", err)
			continue
		default:
			return err
		}
		k.Handed = true
		if err := n.Keep(ctx, id, k); err != nil {
			return err
		}
	}
	return nil
}

// Agreements returns the agreements that were withdrawn and those kept here, by grant, with the newest that the gateway
// has heard of them. Whatever the gateway says is checked; of what it does not have this node's own is taken.
func (n *Node) Agreements(ctx context.Context) (map[tree.GrantID]agreement.Agreement, error) {
	found := map[tree.GrantID]agreement.Agreement{}
	kept, err := n.AllKept(ctx)
	if err != nil {
		return nil, err
	}
	for id, k := range kept {
		if k.Papers.Grant == nil {
			continue // it was never looked at since it was made
		}
		if found[id], err = k.Papers.Open(); err != nil {
			return nil, err
		}
	}
	if n.isolated() {
		return found, fmt.Errorf("kindred: asking what became of agreements: the gateway is out of reach: %w", peer.ErrUnreachable)
	}
	said, err := n.Gateway().Withdrawn(ctx)
	n.link.tried(n.cfg.Clock(), err)
	if err != nil {
		return found, err
	}
	for _, p := range said.Papers {
		p.Root = n.Charter().RootCertificate().Raw
		a, err := p.Open()
		if err != nil {
			n.log.Warn("what the gateway says of an agreement does not count", "error", err)
			continue
		}
		mine, ok := found[a.Terms.ID]
		if ok && mine.Demand != nil && !bytes.Equal(mine.Papers().Demand, p.Demand) {
			n.log.Info("another demand was made before", "grant", a.Terms.ID)
		}
		if ok && len(a.Answers) < len(mine.Answers) {
			continue
		}
		k := kept[a.Terms.ID]
		if p.Preview == nil {
			p.Preview = k.Papers.Preview
		}
		k.Papers, k.Handed = p, true
		if err := n.Keep(ctx, a.Terms.ID, k); err != nil {
			return found, err
		}
		if found[a.Terms.ID], err = p.Open(); err != nil {
			return found, err
		}
	}
	return found, nil
}

// A demanded deletion, as a service keeps it.
type demanded struct {
	Papers  agreement.Papers
	Answer  []byte `json:",omitzero"` // the newest
	Untold  bool   `json:",omitzero"` // the gateway does not have the answer
	Refused bool   `json:",omitzero"` // who demands it was no member any more
}

// takeDemands keeps what a service is to delete.
func (n *Node) takeDemands(ctx context.Context, demands []agreement.Papers) error {
	for _, p := range demands {
		p.Root = n.Charter().RootCertificate().Raw
		a, err := p.Open()
		if err == nil && (a.Demand == nil || a.Demand.Service != n.self.Member()) {
			err = errors.New("it is made to somebody else")
		}
		if err != nil {
			n.log.Warn("a demand for deletion does not count", "error", err)
			continue
		}
		old, err := n.demand(ctx, a.Terms.ID)
		if err != nil {
			return err
		}
		if bytes.Equal(old.Papers.Demand, p.Demand) {
			continue
		}
		if err := n.keepDemand(ctx, a.Terms.ID, demanded{Papers: p}); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) demand(ctx context.Context, id tree.GrantID) (d demanded, err error) {
	data, err := n.db.Load(ctx, demandPrefix+id.String())
	if err == nil && data != nil {
		err = json.Unmarshal(data, &d)
	}
	return d, err
}

func (n *Node) keepDemand(ctx context.Context, id tree.GrantID, d demanded) error {
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("kindred: keeping a demand: %w", err)
	}
	return n.db.Save(ctx, map[string][]byte{demandPrefix + id.String(): data})
}

// Demands returns, of a service, the agreements by which it is to delete something, and has not yet. It asks the home
// whether each of those who demand it is a member still: of one who is not, nothing is to be deleted. Where the service
// has answered that it will, it is by its own word, whatever becomes of who demanded it.
func (n *Node) Demands(ctx context.Context) ([]agreement.Agreement, error) {
	if err := n.tellAnswers(ctx); err != nil {
		return nil, err
	}
	all, err := n.keptDemands(ctx)
	if err != nil {
		return nil, err
	}
	standing := map[identity.MemberID]credential.Live{}
	due := all[:0]
	for _, a := range all {
		if _, answered := a.Answer(); answered {
			due = append(due, a)
			continue
		}
		by := a.DemandedBy()
		live, ok := standing[by.Member()]
		if !ok {
			if live, err = n.proveNow(ctx, a.Papers().Demand); err != nil {
				return nil, fmt.Errorf("kindred: asking whether %s, who demands a deletion, is a member still: %w", by.ID.Path, err)
			}
			standing[by.Member()] = live
		}
		if err := live.Check(by); err != nil {
			if err := n.refuseDemand(ctx, a, live.AsOf, err); err != nil {
				return nil, err
			}
			continue
		}
		due = append(due, a)
	}
	return due, nil
}

// How old the home's word that somebody is a member may be when something is deleted on theirs, and as how old it is asked
// for.
const (
	demandFresh = 5 * time.Minute
	demandAsked = time.Minute
)

// proveNow has the home prove whether who signed a demand is a member now. It is an error if that is not to be had.
func (n *Node) proveNow(ctx context.Context, demand []byte) (credential.Live, error) {
	e, err := n.home.Prove(ctx, control.ProofQuery{MaxAge: demandAsked, Signed: [][]byte{demand}})
	n.link.tried(n.cfg.Clock(), err)
	if err != nil {
		return credential.Live{}, err
	}
	p, err := credential.ParseProof(e.Proof)
	if err != nil {
		return credential.Live{}, err
	}
	live, err := n.verify(ctx, p)
	if err != nil {
		return live, err
	}
	if now := n.now(); now.IsZero() || now.Sub(live.AsOf) > demandFresh {
		return live, fmt.Errorf("the home says who is a member as of %s, more than %s ago", live.AsOf.UTC().Format(time.RFC3339), demandFresh)
	}
	return live, nil
}

// refuseDemand has the journal tell that nothing is deleted on the word of somebody who is no member any more. The demand
// is kept, or it would be new when it is heard of again.
func (n *Node) refuseDemand(ctx context.Context, a agreement.Agreement, asOf time.Time, why error) error {
	n.log.Warn("a demand for deletion does not count", "grant", a.Terms.ID, "error", why)
	n.note(journal.Entry{
		Time: n.cfg.Clock(), Thing: n.party(n.self), Caller: n.party(a.DemandedBy()), Op: journal.Withdraw, Outcome: journal.Refused,
		Grant: a.Terms.ID.String(), Reason: "who demands that it deletes something must be a member still", AsOf: asOf,
	})
	return n.keepDemand(ctx, a.Terms.ID, demanded{Papers: a.Papers(), Refused: true})
}

// keptDemands returns what is demanded and not done, as it was when it came.
func (n *Node) keptDemands(ctx context.Context) (all []agreement.Agreement, err error) {
	err = n.eachDemand(ctx, func(d demanded) error {
		if d.Refused {
			return nil
		}
		if d.Answer != nil {
			d.Papers.Answers = [][]byte{d.Answer}
		}
		a, err := d.Papers.Open()
		if err != nil {
			return err
		}
		if answer, _ := a.Answer(); !answer.Done {
			all = append(all, a)
		}
		return nil
	})
	return all, err
}

// eachDemand reads what was ever demanded of the service.
func (n *Node) eachDemand(ctx context.Context, each func(demanded) error) error {
	return n.db.Scan(ctx, demandPrefix, func(key string, value []byte) error {
		var d demanded
		if err := json.Unmarshal(value, &d); err != nil {
			return fmt.Errorf("kindred: reading %s: %w", key, err)
		}
		return each(d)
	})
}

// tellAnswers hands the gateway the answers that it was not reached with: what was deleted once cannot be counted again.
func (n *Node) tellAnswers(ctx context.Context) error {
	var untold []demanded
	err := n.eachDemand(ctx, func(d demanded) error {
		if d.Untold {
			untold = append(untold, d)
		}
		return nil
	})
	for _, d := range untold {
		if err == nil {
			err = n.tellAnswer(ctx, d)
		}
	}
	return err
}

// tellAnswer hands the gateway an answer. One that it will not have is handed in no more.
func (n *Node) tellAnswer(ctx context.Context, d demanded) error {
	about, err := agreement.GrantOf(d.Papers.Demand)
	if err != nil {
		return err
	}
	told := n.Gateway().Deleted(ctx, d.Answer)
	var answer *control.Error
	if told != nil && !(errors.As(told, &answer) && slices.Contains([]control.Code{control.Refused, control.Invalid, control.NotFound}, answer.Code)) {
		return told
	}
	d.Untold = false
	return errors.Join(told, n.keepDemand(ctx, about.Grant, d))
}

// Answer signs a service's answer to the demand of an agreement, and hands it to the gateway: now, or before the next
// Demands. What it says besides whether all is done, what was deleted, and why something is kept, is filled in. The same
// answer is not given twice.
func (n *Node) Answer(ctx context.Context, a agreement.Agreement, d agreement.Deletion) error {
	before, answered := a.Answer()
	if answered && !before.Done && !d.Done && before.Reason == d.Reason && before.Until == d.Until {
		return nil
	}
	s, err := signed.Parse(a.Papers().Demand)
	if err != nil {
		return err
	}
	d.Tree, d.Demand, d.Service, d.Time = a.Terms.Tree, s.Digest, n.self.Member(), n.cfg.Clock().Unix()
	raw, err := d.Sign(n.key, n.self.Raw)
	if err != nil {
		return err
	}
	answer := demanded{Papers: a.Papers(), Answer: raw, Untold: true}
	if err := n.keepDemand(ctx, a.Terms.ID, answer); err != nil {
		return err
	}
	return n.tellAnswer(ctx, answer)
}

// obeyDemands deletes what is demanded, and says so. What cannot be deleted yet is tried again with the next news.
func (n *Node) obeyDemands(ctx context.Context) error {
	if n.cfg.Delete == nil {
		return nil
	}
	all, err := n.Demands(ctx)
	if err != nil {
		return err
	}
	for _, a := range all {
		d, err := n.cfg.Delete(ctx, a)
		if err != nil {
			n.log.Error("what was demanded is not deleted", "grant", a.Terms.ID, "error", err)
			d = agreement.Deletion{Reason: "it could not be deleted: it is tried again"}
		}
		if err := n.Answer(ctx, a, d); err != nil {
			return err
		}
	}
	return nil
}
