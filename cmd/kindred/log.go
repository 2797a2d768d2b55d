package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

func newLog(s *session) *cobra.Command {
	var o logOptions
	c := &cobra.Command{
		Use:   "log",
		Short: "Tell what happened, in plain words",
		Long: `Tell what happened: who used what, who was refused and why, and what was changed. Owners
are told by the gateway of the whole home. A device tells its own part, and with --own
every app tells what it did itself, by what it has written down. With --sealed the gateway
tells what is sealed to you alone (see "kindred private").`,
		Example: "  kindred log --since 2h\n  kindred log --who sam/anna/phone --thing home/lock -n 20\n  kindred log verify",
		Args:    cobra.NoArgs,
	}
	f := c.Flags()
	f.StringVar(&o.since, "since", "", "from this `time` on: "+clocksHint)
	f.StringVar(&o.who, "who", "", "only what was done by this `path`, an app, or all apps of a person")
	f.StringVar(&o.thing, "thing", "", "only what was done at this `path`")
	f.BoolVar(&o.own, "own", false, "what this machine itself wrote down")
	f.BoolVar(&o.sealed, "sealed", false, "what is sealed to you, at things where what you do is private")
	f.BoolVar(&o.csv, "csv", false, "print it as a table for spreadsheets (RFC 4180)")
	f.IntVarP(&o.count, "number", "n", 100, "the newest so `many`")
	hide(c.RegisterFlagCompletionFunc("who", s.completeWho), c.RegisterFlagCompletionFunc("thing", s.completeWho))
	c.AddCommand(newLogVerify(s), newLogExport(s))
	return s.does(c, func(ctx context.Context, _ []string) error {
		if o.own && o.sealed {
			return usage("--own or --sealed? What you wrote down yourself is sealed to nobody")
		}
		if o.csv && s.json {
			return usage("either --csv or --json")
		}
		if o.count < 1 || o.count > control.MaxHistory {
			return usage("-n %d: want 1 to %d", o.count, control.MaxHistory)
		}
		return s.with(ctx, func(n *kindred.Node) error { return s.history(ctx, n, o) })
	})
}

type logOptions struct {
	since, who, thing string
	own, csv, sealed  bool
	count             int
}

func (s *session) history(ctx context.Context, n *kindred.Node, o logOptions) error {
	now := s.now()
	q := control.HistoryQuery{Limit: min(2*o.count, control.MaxHistory)} // of what failed there are two
	var err error
	if o.since != "" {
		if q.Since, err = parsePast(o.since, now); err != nil {
			return usage("--since: %s", err)
		}
	}
	var entries []journal.Entry
	var r kindred.Roster
	q.Sealed = o.sealed
	if o.own || !n.Self().Owner() && !o.sealed {
		entries, r, err = ownEntries(ctx, n, o, q)
	} else if r, err = n.Roster(ctx); err == nil {
		entries, err = homeEntries(ctx, n, r, o, q)
	}
	if err != nil {
		return err
	}
	entries = withOutcomes(entries)
	if entries = entries[max(0, len(entries)-o.count):]; o.csv {
		return s.printCSV(entries, r, now)
	}
	return s.printLog(entries, r, now)
}

// homeEntries asks the gateway. For a person it asks about each of their apps.
func homeEntries(ctx context.Context, n *kindred.Node, r kindred.Roster, o logOptions, q control.HistoryQuery) ([]journal.Entry, error) {
	if o.thing != "" {
		m, err := member(n, r, o.thing)
		if err != nil {
			return nil, err
		}
		q.Thing = m.Who.Member().String()
	}
	callers := []string{""}
	if o.who != "" {
		m, err := member(n, r, o.who)
		if err != nil {
			return nil, err
		}
		callers = callersOf(r, m)
	}
	history := n.History
	if q.Sealed {
		history = n.WholeHistory // whatever the newest so many are, they may all be sealed to others
	}
	var entries []journal.Entry
	for _, q.Caller = range callers {
		part, err := history(ctx, q)
		if err != nil {
			return nil, err
		}
		entries = append(entries, part...)
		if q.Sealed {
			continue
		}
		faults, err := n.Faults(ctx, q) // which the home does not know of
		if err != nil {
			return nil, err
		}
		entries = append(entries, faults...)
	}
	if q.Sealed {
		entries = slices.DeleteFunc(entries, func(e journal.Entry) bool { return e.Op == journal.Private })
	}
	slices.SortStableFunc(entries, func(a, b journal.Entry) int { return a.Time.Compare(b.Time) })
	return entries, nil
}

// callersOf returns the member IDs of the leaves that a member stands for: its apps, or itself.
func callersOf(r kindred.Roster, m kindred.RosterMember) []string {
	ids := []string{m.Who.Member().String()}
	for _, other := range r.Members {
		if other.Who.ActsFor() == m.Who.Member() {
			ids = append(ids, other.Who.Member().String())
		}
	}
	return ids
}

// namesFor is how long a device waits for the gateway to tell it names.
const namesFor = time.Second

// ownEntries reads the node's own journal. The gateway is asked for names, and not needed.
func ownEntries(ctx context.Context, n *kindred.Node, o logOptions, q control.HistoryQuery) ([]journal.Entry, kindred.Roster, error) {
	soon, cancel := context.WithTimeout(ctx, namesFor)
	defer cancel()
	r, err := n.Roster(soon)
	if err != nil {
		r = kindred.Roster{Tree: n.Self().ID.Tree}
	}
	keys := n.MemberKeys(soon)
	f := journal.Filter{Since: q.Since, Limit: q.Limit, Accounts: n.Self().Kind() != identity.Device || o.own, Keys: keys}
	for arg, to := range map[string]*journal.Party{o.who: &f.Who, o.thing: &f.Thing} {
		if arg == "" {
			continue
		}
		m, err := member(n, r, arg)
		if err != nil {
			return nil, r, err
		}
		*to = journal.Party{Member: m.Who.Member(), ID: m.Who.ID}
	}
	items, err := n.Journal().Query(ctx, f)
	if err != nil {
		return nil, r, err
	}
	var entries []journal.Entry
	answered, later := map[uint64]bool{}, map[uint64]*journal.Exchange{} // by the call; later: what was signed about it
	for _, item := range items {                                         // the newest first: what came of a call before what was asked
		e := item.Entry
		switch {
		case e.Op == journal.Countersign && e.Outcome == journal.Refused: // of a receipt, whatever came of the call
		case e.Op == journal.Countersign:
			later[e.Call] = e.Exchange
			continue
		case e.Outcome == journal.Asked && answered[e.Call] || soFar(e):
			continue
		default:
			answered[e.Call] = true
			if x := cmp.Or(e.Exchange, later[e.Call]); x != nil && e.Call != 0 && e.Caller.Member == n.Self().Member() {
				receipt, err := x.VerifyBy(keys)
				e.Countersigned = err == nil && receipt.Call == e.Call
			}
		}
		entries = append(entries, e)
	}
	slices.Reverse(entries)
	return entries, r, nil
}

// soFar reports whether an entry tells how much a stream has carried that goes on.
func soFar(e journal.Entry) bool {
	return e.Outcome == journal.Served && e.Bytes > 0 && (e.Op == journal.Observe || e.Op == journal.Invoke)
}

// logLine is a line of "log --json".
type logLine struct {
	Time       time.Time     `json:"time"`
	Who        string        `json:"who,omitempty"` // SPIFFE ID
	Op         journal.Op    `json:"op"`
	Path       identity.Path `json:"path,omitempty"`
	Affordance string        `json:"affordance,omitempty"`
	Outcome    string        `json:"outcome"`
	Grant      string        `json:"grant,omitempty"`
	Reason     string        `json:"reason,omitempty"`
	AsOf       *time.Time    `json:"as_of,omitempty"`
	Offline    bool          `json:"offline,omitempty"`
	Count      uint32        `json:"count,omitempty"`
	With       string        `json:"with,omitempty"`          // SPIFFE ID
	Bytes      uint64        `json:"bytes,omitempty"`         // that a stream carried
	OneSided   bool          `json:"one_sided,omitempty"`     // done by a tool, which cannot sign for it
	Signed     bool          `json:"countersigned,omitempty"` // both ends signed for it, which was verified with the keys that are known
	Sealed     bool          `json:"sealed,omitempty"`        // to whom it concerns: to you, unless its operation is "private"
	Sentence   string        `json:"sentence"`
}

// printLog writes entries, a line each. For people, what happened several times in a minute is told once.
func (s *session) printLog(entries []journal.Entry, r kindred.Roster, now time.Time) error {
	t := teller{namesOf(r), now}
	if s.json {
		for _, e := range entries {
			if err := s.object(t.object(e)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(entries) == 0 {
		s.say("Nothing happened.")
	}
	var lines []string
	last, times := "", 0
	flush := func() {
		if times > 1 {
			lines[len(lines)-1] = fmt.Sprintf("%s, %d times", last, times)
		}
	}
	for _, e := range entries {
		line := stamp(e.Time, now) + " " + t.sentence(e)
		if line == last {
			times += count(e)
			continue
		}
		flush()
		lines, last, times = append(lines, line), line, count(e)
	}
	flush()
	return s.print(nil, strings.Join(lines, "\n"))
}

// withOutcomes leaves out that something was begun where an entry after it tells that it failed: that one stands for both,
// and for what the caller signed. A caller chooses the number of its call, and may choose one twice: each failure stands
// for one beginning, the last.
func withOutcomes(entries []journal.Entry) []journal.Entry {
	type call struct {
		thing, caller identity.MemberID
		number        uint64
	}
	begun, failed := map[call]int{}, map[int]bool{}
	came := slices.Clone(entries)
	for i, e := range entries {
		if e.Call == 0 {
			continue
		}
		of := call{e.Thing.Member, e.Caller.Member, e.Call}
		switch at, ok := begun[of]; {
		case e.Outcome == journal.Served:
			begun[of] = i
		case e.Outcome == journal.Failed && ok:
			came[i].Countersigned = e.Countersigned || entries[at].Countersigned
			failed[at] = true
			delete(begun, of)
		}
	}
	left := came[:0]
	for i, e := range came {
		if !failed[i] {
			left = append(left, e)
		}
	}
	return left
}

// count is how often what an entry tells of happened. Of strangers its sentence says so.
func count(e journal.Entry) int {
	if e.Op == journal.Connect {
		return 1
	}
	return int(max(1, e.Count))
}
