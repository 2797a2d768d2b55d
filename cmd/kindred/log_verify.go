package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

func newLogVerify(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "verify [BUNDLE]",
		Short: "Find out whether anything was left out or changed",
		Long: `Find out whether anything was left out of what is written down, or changed. Owners verify
what the home has of everybody: each entry is read again, and compared with what its member
signed, with what the home recorded, with what this machine saw when it verified last, and
with the receipts that it has. A device or a person's app verifies its own.

With BUNDLE, a file that "kindred log export" made: whether what is in it stands so in what
was written down then. That takes no membership, no directory and no network; which home it
is of is yours to compare, with --tree if you know it.`,
		Example: "  kindred log verify\n  kindred log verify march.kindred --tree p3xk…",
		Args:    cobra.MaximumNArgs(1),
	}
	var tree string
	c.Flags().StringVar(&tree, "tree", "", "the `ID` of the home that a bundle has to be of")
	return s.does(c, func(ctx context.Context, args []string) error {
		if len(args) == 1 {
			return s.verifyBundle(args[0], tree)
		}
		if tree != "" {
			return usage("--tree is about a bundle: name one")
		}
		return s.with(ctx, func(n *kindred.Node) error { return s.verifyLog(ctx, n) })
	})
}

func (s *session) verifyLog(ctx context.Context, n *kindred.Node) error {
	own, err := n.VerifyOwnJournal(ctx)
	if err != nil {
		return err
	}
	own.Path = n.Self().ID.Path
	var checks []kindred.JournalCheck
	if n.Self().Owner() {
		if checks, err = n.VerifyJournals(ctx); err != nil {
			return err
		}
	}
	if own.Entries > 0 || len(own.Findings) > 0 || len(checks) == 0 {
		checks = append(checks, own)
	}
	now, wrong := s.now(), 0
	for _, c := range checks {
		wrong += len(c.Findings)
		if err := s.printCheck(c, now); err != nil {
			return err
		}
	}
	if wrong > 0 {
		return tampered(wrong)
	}
	return nil
}

// tampered says that what is written down is not as it was.
func tampered(findings int) error {
	what := "1 thing is"
	if findings > 1 {
		what = fmt.Sprintf("%d things are", findings)
	}
	return &failure{Code: "tampered", Message: what + " not as it should be", exit: exitFailed,
		Hint: "who can write to that machine could have done it; keep what is there, and ask its owner"}
}

// checkLine is a line of "log verify --json".
type checkLine struct {
	Member   string        `json:"member"`
	Path     identity.Path `json:"path,omitempty"`
	Entries  int64         `json:"entries"`
	Signed   *countAt      `json:"signed,omitempty"`   // by the member
	Recorded *countAt      `json:"recorded,omitempty"` // by the home
	Receipts int           `json:"receipts"`           // of this machine, that were compared
	Waiting  int           `json:"waiting,omitempty"`  // receipts for what is still to be handed in
	OK       bool          `json:"ok"`
	Findings []findingLine `json:"findings"`
	Sentence string        `json:"sentence"`
}

type countAt struct {
	Entries int64     `json:"entries"`
	Time    time.Time `json:"time"`
}

type findingLine struct {
	journal.Finding
	Sentence string `json:"sentence"`
}

func (s *session) printCheck(c kindred.JournalCheck, now time.Time) error {
	lines := []string{checkSentence(c, now)}
	findings := []findingLine{}
	for _, f := range c.Findings {
		sentence := findingSentence(f, now)
		findings = append(findings, findingLine{f, sentence})
		lines = append(lines, "  "+s.paint(red, sentence))
	}
	l := checkLine{
		Member: c.Member.String(), Path: c.Path, Entries: c.Entries, Receipts: c.Receipts, Waiting: c.Waiting,
		OK: len(findings) == 0, Findings: findings, Sentence: lines[0],
	}
	if !c.Signed.Time.IsZero() {
		l.Signed = &countAt{c.Signed.Size, c.Signed.Time.UTC()}
	}
	if c.Recorded.Time != 0 {
		l.Recorded = &countAt{int64(c.Recorded.Size), time.Unix(c.Recorded.Time, 0).UTC()}
	}
	if s.json {
		return s.object(l)
	}
	return s.print(nil, strings.Join(lines, "\n"))
}

// checkSentence says what was compared: "home/lock: 12 entries, as it signed at 14:03, as the home recorded at 13:10".
func checkSentence(c kindred.JournalCheck, now time.Time) string {
	name := string(c.Path)
	if name == "" {
		name = c.Member.String()
	}
	text := fmt.Sprintf("%s: %s", name, several(c.Entries, "entry", "entries"))
	if len(c.Findings) > 0 {
		return text + ", not as it should be:"
	}
	if !c.Signed.Time.IsZero() {
		text += ", as it signed at " + stamp(c.Signed.Time, now)
	}
	if c.Recorded.Time != 0 {
		text += ", as the home recorded at " + stamp(time.Unix(c.Recorded.Time, 0), now)
	}
	if c.Receipts > 0 {
		text += ", as " + several(int64(c.Receipts), "receipt", "receipts") + " of yours say"
	}
	if c.Waiting > 0 {
		text += fmt.Sprintf("; %s of yours, newer than that", several(int64(c.Waiting), "receipt", "receipts"))
	}
	return text + "."
}

func several(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// findingSentence says what is wrong in plain words.
func findingSentence(f journal.Finding, now time.Time) string {
	who := map[string]string{
		kindred.BySigner:     "it signed itself",
		kindred.ByHome:       "the home recorded",
		kindred.ByMemory:     "this machine saw before",
		kindred.ByReceipt:    "you have a receipt for",
		kindred.ByContradict: "it told the home later",
	}
	by := who[f.By]
	if !f.At.IsZero() {
		by += " at " + stamp(f.At, now)
	}
	switch {
	case f.Problem == journal.Missing && f.By == kindred.ByReceipt:
		return fmt.Sprintf("entry %d, which %s, is missing: there are %d", f.Size-1, by, f.Index)
	case f.Problem == journal.Missing:
		return fmt.Sprintf("%s missing at the end: there are %d, and %s %d", areMissing(f.Size-f.Index), f.Index, by, f.Size)
	case f.Problem == journal.Rewritten && f.By == "":
		return fmt.Sprintf("entry %d was changed, or what is kept beside it: %s", f.Index, f.Detail)
	case f.Problem == journal.Rewritten:
		return fmt.Sprintf("some of the first %d entries were changed or left out: they are not what %s", f.Size, by)
	case f.Problem == journal.Forked && f.By == kindred.ByReceipt:
		return fmt.Sprintf("entry %d is another than %s: two were told different stories", f.Index, by)
	case f.Problem == journal.Forked && f.By == kindred.ByContradict:
		return fmt.Sprintf("from entry %d on it is another story than %s, over its own signature", f.Index, by)
	case f.Problem == journal.Forked:
		return fmt.Sprintf("two were told different stories of the first %d entries: %s, and %s, are not the same", f.Size, by, who[f.Also])
	case f.Problem == journal.Disputed:
		return fmt.Sprintf("at %s it gave you a receipt that is not so, which you did not sign: %s", stamp(f.At, now), f.Detail)
	case f.Problem == journal.Unreadable:
		return fmt.Sprintf("entry %d cannot be read: %s", f.Index, f.Detail)
	}
	return "what should bear its signature does not: " + f.Detail
}

func areMissing(n int64) string {
	if n == 1 {
		return "1 entry is"
	}
	return fmt.Sprintf("%d entries are", n)
}
