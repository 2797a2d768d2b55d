package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

func newDeleted(s *session) *cobra.Command {
	var o deletedOptions
	c := &cobra.Command{
		Use:   "deleted [GRANT]",
		Short: "Say, as a service, that what was demanded is deleted, or why not yet",
		Long: `Say that all is deleted that this directory's member, a service, got by GRANT, which was
withdrawn: how much that was; or with --not-yet why something is kept, and with --until
for how long. Without GRANT, list what is demanded. The answer is signed, and reaches the
owner by the gateway.`,
		Example: "  kindred deleted\n  kindred deleted g-7kqm --what readings --count 288 --bytes 40960\n  kindred deleted g-7kqm --not-yet \"invoices are kept for the tax office\" --until 2036-12-31",
		Args:    cobra.MaximumNArgs(1),
	}
	f := c.Flags()
	f.StringVar(&o.item.What, "what", "", "`what` was deleted: readings")
	f.Uint64Var(&o.item.Count, "count", 0, "how `many` that were")
	f.Uint64Var(&o.item.Bytes, "bytes", 0, "how many `bytes`")
	f.StringVar(&o.reason, "not-yet", "", "`why` something is kept")
	f.StringVar(&o.until, "until", "", "until `when` it is kept")
	return s.does(c, func(ctx context.Context, args []string) error {
		return s.with(ctx, func(n *kindred.Node) error { return s.deleted(ctx, n, args, o) })
	})
}

type deletedOptions struct {
	item          agreement.Item
	reason, until string
}

func (s *session) deleted(ctx context.Context, n *kindred.Node, args []string, o deletedOptions) error {
	if self := n.Self(); self.Kind() != identity.Service {
		return usage("this directory is %s, which is of kind %s: services delete what is demanded", self.ID.Path, self.Kind())
	}
	if err := n.Refresh(ctx); err != nil { // which brings what is demanded
		return err
	}
	demands, err := n.Demands(ctx)
	if err != nil {
		return err
	}
	all := map[tree.GrantID]agreement.Agreement{}
	list, lines := []map[string]any{}, []string{}
	for _, a := range demands {
		all[a.Terms.ID] = a
		list = append(list, map[string]any{"id": a.Terms.ID.String(), "purpose": a.Terms.Purpose, "clear": a.Terms.Agreement.Clear})
		lines = append(lines, fmt.Sprintf("%s  %s, for %s", a.Terms.ID, strings.Join(a.Terms.Agreement.Clear, ", "), a.Terms.Purpose))
	}
	if len(args) == 0 {
		if len(list) == 0 {
			s.say("Nothing is to be deleted.")
		}
		return s.print(list, strings.Join(lines, "\n"))
	}
	a, err := oneOf(all, args[0])
	if err != nil {
		return err
	}
	d := agreement.Deletion{Done: o.reason == "", Reason: o.reason}
	if o.item.What != "" {
		d.Items = []agreement.Item{o.item}
	}
	if o.until != "" {
		until, err := parseMoment(o.until, s.now(), true)
		if err != nil || o.reason == "" {
			return usage("--until: say with --not-yet why it is kept until %q", o.until)
		}
		d.Until = until.Unix()
	}
	if err := n.Answer(ctx, a, d); err != nil {
		return err
	}
	s.say("Told whoever withdrew it.")
	if !s.json {
		return nil
	}
	return s.object(map[string]any{"id": a.Terms.ID.String(), "done": d.Done})
}
