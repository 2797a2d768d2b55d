package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
)

func newAgreement(s *session) *cobra.Command {
	var receipt bool
	var file string
	c := &cobra.Command{
		Use:   "agreement [GRANT]",
		Short: "Show what is agreed with services, as consent records",
		Long: `Show what was agreed with a service in a grant: as a consent record of ISO/IEC TS 27560 in
JSON-LD, or with --receipt as the receipt for it, with all that was signed about it, so
that "kindred agreement verify" checks it offline. Without GRANT, list all agreements and
what has become of them.`,
		Example:           "  kindred agreement\n  kindred agreement g-7kqm --receipt -o receipt.json\n  kindred agreement verify receipt.json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: s.completeGrants,
	}
	c.Flags().BoolVar(&receipt, "receipt", false, "the receipt, in place of the record")
	c.Flags().StringVarP(&file, "output", "o", "", "write it to a `file`, as a whole or not at all")
	c.AddCommand(newAgreementVerify(s))
	return s.does(c, func(ctx context.Context, args []string) error {
		return s.with(ctx, func(n *kindred.Node) error {
			r, all, err := s.agreements(ctx, n)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return s.listAgreements(r, all)
			}
			a, err := oneOf(all, args[0])
			if err != nil {
				return err
			}
			write := agreement.Agreement.Record
			if receipt {
				write = agreement.Agreement.Receipt
			}
			document, err := write(a)
			if err != nil {
				return err
			}
			if file == "" && s.json {
				return s.object(json.RawMessage(document))
			}
			if file == "" {
				return s.print(nil, string(document))
			}
			return s.printValue(thing.Value{ContentType: "application/ld+json", Body: document}, file)
		})
	})
}

// agreements returns all that is known of agreements: those of the grants there are, and those that were withdrawn.
func (s *session) agreements(ctx context.Context, n *kindred.Node) (kindred.Roster, map[tree.GrantID]agreement.Agreement, error) {
	r, err := s.roster(ctx, n)
	if err != nil {
		return r, nil, err
	}
	if !n.Self().Owner() {
		return r, nil, onlyOwners("make agreements")
	}
	all, err := n.Agreements(ctx)
	if err != nil && all == nil {
		return r, nil, err
	}
	if err != nil {
		s.say("The gateway does not say what services have answered. This is what is known here.")
	}
	for _, g := range r.Grants {
		if g.Terms.Agreement.IsZero() || !g.Terms.Parent.IsZero() {
			continue
		}
		p, err := n.PapersOf(ctx, g)
		if err == nil {
			all[g.Terms.ID], err = p.Open()
		}
		if err != nil {
			return r, nil, err
		}
	}
	return r, all, nil
}

// oneOf finds the agreement whose grant has an ID that begins so.
func oneOf(all map[tree.GrantID]agreement.Agreement, prefix string) (found agreement.Agreement, err error) {
	if !begins(prefix, "g-") {
		return found, usage("%q is no grant such as g-7kqm", prefix)
	}
	matches := 0
	for id, a := range all {
		if strings.HasPrefix(id.String(), prefix) {
			found = a
			matches++
		}
	}
	switch matches {
	case 0:
		return found, hinted(notFound("there is no agreement %s", prefix), `"kindred agreement" lists them`)
	case 1:
		return found, nil
	}
	return found, hinted(conflict("%s could be %d agreements", prefix, matches), "write more of it")
}

// An agreedOn is an agreement in the list of them.
type agreedOn struct {
	ID       string           `json:"id"`
	Service  string           `json:"service"`
	Purpose  string           `json:"purpose,omitempty"`
	Clear    []string         `json:"clear,omitempty"`
	State    string           `json:"state"` // offered, agreed, ended, withdrawn, kept, deleted
	At       time.Time        `json:"at"`
	Deleted  []agreement.Item `json:"deleted,omitempty"`
	Reason   string           `json:"reason,omitempty"`
	Sentence string           `json:"sentence"`
}

func (s *session) listAgreements(r kindred.Roster, all map[tree.GrantID]agreement.Agreement) error {
	list := []agreedOn{}
	for _, a := range all {
		list = append(list, s.agreedOn(r, a))
	}
	slices.SortFunc(list, func(a, b agreedOn) int { return strings.Compare(a.Service+a.ID, b.Service+b.ID) })
	var lines []string
	for _, a := range list {
		lines = append(lines, a.Sentence)
	}
	if len(list) == 0 {
		s.say("Nothing is agreed with any service.")
	}
	return s.print(list, strings.Join(lines, "\n"))
}

func (s *session) agreedOn(r kindred.Roster, a agreement.Agreement) agreedOn {
	t := a.Terms
	on := agreedOn{ID: t.ID.String(), Service: r.Name(t.Subject.TreeMember()), Purpose: t.Purpose, Clear: t.Agreement.Clear}
	if len(a.Service.Line) > 0 {
		on.Service = string(a.Service.ID.Path)
	}
	var text string
	on.State, on.At, text = becameOf(a, s.now())
	if a.Demand == nil && len(r.GrantsNamed(on.ID)) == 0 {
		on.State = "ended"
		text += fmt.Sprintf(`, and taken back: "kindred withdraw %s" demands that what it got is deleted`, r.ShortID(t.ID))
	}
	if orphaned(r, a) {
		text += fmt.Sprintf(`: %s, which demanded it, is no member any more, and "kindred withdraw %s" demands it anew`, a.DemandedBy().ID.Path, r.ShortID(t.ID))
	}
	if answer, ok := a.Answer(); ok {
		on.Deleted, on.Reason = answer.Items, answer.Reason
	}
	what := r.Name(t.ThingMember())
	if a.Preview != nil {
		what = a.Preview.Path
	}
	if t.Thing.Affordance != "" {
		what += " " + t.Thing.Affordance
	}
	on.Sentence = fmt.Sprintf("%s  %s, %s: %s", r.ShortID(t.ID), on.Service, what, text)
	return on
}

// orphaned reports whether a service will refuse to delete what is demanded, because who demanded it is no member any more.
func orphaned(r kindred.Roster, a agreement.Agreement) bool {
	return a.Demand != nil && len(a.Answers) == 0 && !r.Stands(a.DemandedBy())
}

// becameOf says what has become of an agreement: in a word, since when, and for people.
func becameOf(a agreement.Agreement, now time.Time) (word string, at time.Time, text string) {
	answer, answered := a.Answer()
	switch {
	case answered && answer.Done:
		at = time.Unix(answer.Time, 0)
		return "deleted", at, fmt.Sprintf("withdrawn, deletion confirmed %s (%s)", stamp(at, now), deletedItems(answer.Items))
	case answered:
		at = time.Unix(answer.Time, 0)
		text = "withdrawn, not deleted yet: " + answer.Reason
		if answer.Until != 0 {
			text += ", until " + stamp(time.Unix(answer.Until, 0), now)
		}
		return "kept", at, text
	case a.Demand != nil:
		at = time.Unix(a.Demand.Time, 0)
		return "withdrawn", at, fmt.Sprintf("withdrawn %s, not yet answered", stamp(at, now))
	case a.Accepted.IsZero():
		at = time.Unix(a.Terms.Time, 0)
		return "offered", at, fmt.Sprintf("offered %s, not accepted yet", stamp(at, now))
	}
	return "agreed", a.Accepted, "agreed " + stamp(a.Accepted, now)
}

func deletedItems(items []agreement.Item) string {
	if len(items) == 0 {
		return "there was nothing"
	}
	var texts []string
	for _, i := range items {
		texts = append(texts, fmt.Sprintf("%d %s, %s", i.Count, i.What, size(i.Bytes)))
	}
	return strings.Join(texts, "; ")
}

func newAgreementVerify(s *session) *cobra.Command {
	var notice string
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a consent record or receipt, offline",
		Long: `Check that a consent record or receipt has all the signatures that it tells of and says
what was signed and nothing else; with --notice also that this was the notice. It is
read from standard input where FILE is "-". No network and no directory is needed.`,
		Args: cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&notice, "notice", "", "the `file` that is to be the notice")
	return s.does(c, func(_ context.Context, args []string) error {
		in := io.Reader(s.in)
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return usage("%s", err)
			}
			defer f.Close()
			in = f
		}
		document, err := io.ReadAll(io.LimitReader(in, agreement.MaxDocument+1))
		if err != nil {
			return err
		}
		a, err := agreement.Verify(document)
		if err != nil {
			return &failure{Code: "forged", Message: strings.TrimPrefix(err.Error(), "agreement: "), exit: exitFailed, cause: err}
		}
		if notice != "" {
			text, err := os.ReadFile(notice)
			if err != nil {
				return usage("--notice: %s", err)
			}
			if agreement.Digest(text) != a.Terms.Agreement.Notice {
				return &failure{Code: "forged", Message: notice + " is not the notice that was agreed on", exit: exitFailed}
			}
		}
		return s.verified(a)
	})
}

// verified tells what a document proves.
func (s *session) verified(a agreement.Agreement) error {
	word, at, text := becameOf(a, s.now())
	lines := []string{
		fmt.Sprintf("It is in order: %s of home %s.", a.Terms.ID, a.Terms.Tree),
		fmt.Sprintf("Given by %s for %s, %s.", a.Giver.ID.Path, a.Terms.Agreement.Recipient, text),
	}
	return s.print(map[string]any{
		"id": a.Terms.ID.String(), "tree": a.Terms.Tree.String(), "giver": a.Giver.ID.String(), "recipient": a.Terms.Agreement.Recipient,
		"state": word, "at": at,
	}, strings.Join(lines, "\n"))
}

func newWithdraw(s *session) *cobra.Command {
	return s.following(s.onGrants(&cobra.Command{
		Use:   "withdraw GRANT | PATH --with SERVICE",
		Short: "Take back what was agreed with a service, and have it delete what it got",
		Long: `Take back what was agreed with a service, as "kindred unshare" does, and demand that it
deletes what it got. The demand is signed, and so is the answer: what was deleted, or why
not yet. While the service is out of reach the demand waits for it at the gateway, and
while that is out of reach here; "kindred agreement" tells how it stands. The service obeys
only members: if the app that made the demand was removed before, this makes it anew. What
was taken back otherwise, as with a stolen phone that shared it, is demanded by GRANT too.`,
		Example: "  kindred withdraw g-7kqm",
	}, "the `service` from which it is taken", s.withdraw))
}

func (s *session) withdraw(ctx context.Context, n *kindred.Node, r kindred.Roster, grants []kindred.RosterGrant) error {
	for _, g := range grants {
		if g.Terms.Agreement.IsZero() {
			return hinted(conflict("%s is no agreement with a service", r.ShortID(g.Terms.ID)), `"kindred unshare" takes it back`)
		}
	}
	if err := s.takeBack(ctx, n, r, grants, false); err != nil {
		return err
	}
	return s.tellStates(ctx, n, r, grants)
}

// demandAgain makes the demand about a grant that is not there any more: anew where a service refuses it, because who made
// it before is no member; or for the first time, where it was taken back without one, as with a phone that was stolen, or
// by a command that was broken off. Of any other grant it is the error given.
func (s *session) demandAgain(ctx context.Context, n *kindred.Node, arg string, missing error) error {
	if !n.Self().Owner() || !begins(arg, "g-") {
		return missing
	}
	r, all, err := s.agreements(ctx, n)
	if err != nil {
		return err
	}
	a, err := oneOf(all, arg)
	if err != nil || a.Demand != nil && !orphaned(r, a) {
		return missing
	}
	p := a.Papers()
	p.Demand = nil
	if err := s.demand(ctx, n, p); err != nil {
		return err
	}
	return s.tellStates(ctx, n, r, []kindred.RosterGrant{{Terms: a.Terms}})
}

// papers returns what was signed about a grant that is taken back for good, if it is an agreement of this home's owners
// with a service: with taking it back goes the demand for deletion.
func (s *session) papers(ctx context.Context, n *kindred.Node, g kindred.RosterGrant, pause bool) (agreement.Papers, error) {
	if pause || g.Terms.Agreement.IsZero() || !g.Terms.Parent.IsZero() || !n.Self().Owner() {
		return agreement.Papers{}, nil
	}
	return n.PapersOf(ctx, g)
}

// demand makes the demand for deletion that goes with taking back an agreement.
func (s *session) demand(ctx context.Context, n *kindred.Node, p agreement.Papers) error {
	err := n.Demand(ctx, p)
	if err != nil && explain(s.unreached(err, "the gateway")).exit == exitUnreachable {
		s.say("The demand for deletion is kept here, and goes out with the next command that reaches the gateway.")
		return nil
	}
	return err
}

// askAgain is how long a service that has not answered is left before it is looked again.
const askAgain = 100 * time.Millisecond

// tellStates says how the deletion stands, once the services have answered or the user has waited for them long enough.
func (s *session) tellStates(ctx context.Context, n *kindred.Node, r kindred.Roster, grants []kindred.RosterGrant) error {
	deadline := time.Now().Add(s.wait)
	for {
		all, err := n.Agreements(ctx)
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		waiting := slices.ContainsFunc(grants, func(g kindred.RosterGrant) bool { return len(all[g.Terms.ID].Answers) == 0 })
		if waiting && err == nil && time.Now().Before(deadline) {
			select {
			case <-time.After(askAgain):
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		for _, g := range grants {
			a, ok := all[g.Terms.ID]
			if !ok {
				return errors.New("the agreement is not kept here")
			}
			_, _, text := becameOf(a, s.now())
			s.say("%s: %s.", r.ShortID(g.Terms.ID), text)
		}
		return nil
	}
}
