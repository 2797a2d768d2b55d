package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

func newLogExport(s *session) *cobra.Command {
	var o logOptions
	c := &cobra.Command{
		Use:   "export FILE",
		Short: "Take what happened along, with its evidence",
		Long: `Write what happened to FILE, signed, with all that somebody needs who wants to verify it:
that each entry was written down and signed by the thing where it happened, and recorded by
the home, and what the other end signed for. "kindred log verify FILE" verifies it, anywhere.`,
		Example: "  kindred log export march.kindred --since 30d --thing home/lock",
		Args:    cobra.ExactArgs(1),
	}
	f := c.Flags()
	f.StringVar(&o.since, "since", "", "from this `time` on: "+clocksHint)
	f.StringVar(&o.who, "who", "", "only what was done by this `path`, an app")
	f.StringVar(&o.thing, "thing", "", "only what was done at this `path`")
	f.BoolVar(&o.own, "own", false, "what this machine itself wrote down")
	hide(c.RegisterFlagCompletionFunc("who", s.completeWho), c.RegisterFlagCompletionFunc("thing", s.completeWho))
	return s.does(c, func(ctx context.Context, args []string) error {
		return s.with(ctx, func(n *kindred.Node) error { return s.exportLog(ctx, n, args[0], o) })
	})
}

func (s *session) exportLog(ctx context.Context, n *kindred.Node, name string, o logOptions) error {
	q := kindred.Excerpts{Own: o.own}
	var err error
	if o.since != "" {
		if q.Since, err = parsePast(o.since, s.now()); err != nil {
			return usage("--since: %s", err)
		}
	}
	if o.who != "" || o.thing != "" {
		r, err := n.Roster(ctx)
		if err != nil {
			return err
		}
		for arg, to := range map[string]*identity.MemberID{o.who: &q.Who, o.thing: &q.Thing} {
			if arg == "" {
				continue
			}
			m, err := member(n, r, arg)
			if err != nil {
				return err
			}
			*to = m.Who.Member()
		}
	}
	data, entries, err := n.ExportJournals(ctx, q)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return hinted(conflict("there is a %s already", name), "name another file, or move that one away")
	}
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	s.say("%s, with what proves them. Whoever has the file can read them.", several(int64(entries), "entry", "entries"))
	if !s.json {
		return nil
	}
	return s.object(map[string]any{"file": name, "entries": entries, "bytes": len(data)})
}

// bundleLine is the result of "log verify BUNDLE --json".
type bundleLine struct {
	OK    bool        `json:"ok"`
	Tree  string      `json:"tree"`
	Maker string      `json:"maker"` // SPIFFE ID
	Made  time.Time   `json:"made"`
	Logs  []bundleLog `json:"logs"`
}

type bundleLog struct {
	ID            string    `json:"id"` // SPIFFE ID
	Signed        countAt   `json:"signed"`
	Recorded      *countAt  `json:"recorded,omitempty"`
	Countersigned int       `json:"countersigned"`
	Unknown       int       `json:"unknown,omitempty"` // countersignatures of those whose certificates are not there
	Entries       []logLine `json:"entries"`
}

// verifyBundle verifies a file by itself.
func (s *session) verifyBundle(name, tree string) error {
	file, err := os.Open(name)
	if err != nil {
		return notFound("%s cannot be read: %s", name, cause(err))
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, journal.MaxBundle+1))
	if err != nil {
		return err
	}
	now := s.now()
	v, err := kindred.VerifyBundle(data, now)
	if err != nil {
		return &failure{Code: "tampered", Message: own(err), exit: exitFailed, Hint: "what is in it is not to be relied on"}
	}
	if tree != "" && v.Tree.String() != tree {
		return &failure{Code: string(control.Conflict), Message: fmt.Sprintf("it is of another home: %s", v.Tree), exit: exitFailed}
	}
	return s.printBundle(v, now)
}

func (s *session) printBundle(v kindred.VerifiedBundle, now time.Time) error {
	t := teller{namesOf(kindred.Roster{Tree: v.Tree}), now}
	line := bundleLine{OK: true, Tree: v.Tree.String(), Maker: v.Maker.String(), Made: v.Made, Logs: []bundleLog{}}
	lines := []string{
		"Home " + v.Tree.String(),
		fmt.Sprintf("put together by %s at %s", v.Maker.Path, stamp(v.Made, now)),
	}
	for _, l := range v.Logs {
		b := bundleLog{
			ID: l.ID.String(), Signed: countAt{l.Signed.Size, l.Signed.Time}, Countersigned: l.Countersigned, Unknown: l.Unknown,
			Entries: []logLine{},
		}
		text := fmt.Sprintf("%s: %d of %s, as it signed at %s", l.ID.Path, len(l.Items), several(l.Signed.Size, "entry", "entries"), stamp(l.Signed.Time, now))
		if l.RecordedSize > 0 {
			b.Recorded = &countAt{l.RecordedSize, l.AsOf}
			text += fmt.Sprintf(", %d of them recorded by the home by %s", l.RecordedSize, stamp(l.AsOf, now))
		} else {
			text += ", not recorded by the home"
		}
		if l.Countersigned > 0 {
			text += fmt.Sprintf("; %s signed by both ends", several(int64(l.Countersigned), "receipt", "receipts"))
		}
		if l.Unknown > 0 {
			text += fmt.Sprintf("; %s by somebody whose certificates are not in it", several(int64(l.Unknown), "signature", "signatures"))
		}
		lines = append(lines, text)
		for _, i := range l.Items {
			e := i.Entry
			b.Entries = append(b.Entries, t.object(e))
			if e.Op != journal.Countersign {
				lines = append(lines, "  "+stamp(e.Time, now)+" "+t.sentence(e))
			}
		}
		line.Logs = append(line.Logs, b)
	}
	if s.json {
		return s.object(line)
	}
	return s.print(nil, strings.Join(lines, "\n"))
}
