package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

// clearFlags are what is agreed on with a service, as flags.
type clearFlags struct {
	clear                    []string
	recipient, place, notice string
	yes                      bool
}

func (o *clearFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&o.clear, "clear", nil, "`fields` of the value that a service is shown in clear, or the affordance's own name for all of it")
	f.StringVar(&o.recipient, "recipient", "", "`who` runs the service (default what it is called)")
	f.StringVar(&o.place, "in", "", "the `country` where the service keeps it: DE")
	f.StringVar(&o.notice, "notice", "", "what the service says of itself: a `file`, or where it is on the web; its hash is agreed on")
	f.BoolVar(&o.yes, "yes", false, "do not ask once what would leave is shown")
}

// maxNotice is how much of a notice is read, in bytes; noticeFor how long one on the web is waited for.
const (
	maxNotice = 1 << 20
	noticeFor = 15 * time.Second
)

// An agreed is what an owner saw and said before something is shared with a service.
type agreed struct {
	kept     kindred.Kept
	preview  *agreement.Preview
	approval bool // another owner, or the root key, has to approve it
}

// agree fills in what is agreed on with a service, once the owner saw what would leave and said yes. With anybody else
// nothing is agreed on, since nothing is shown in clear.
func (s *session) agree(ctx context.Context, n *kindred.Node, r kindred.Roster, what kindred.RosterMember, o clearFlags, t *grant.Terms) (a agreed, err error) {
	i := slices.IndexFunc(r.Members, func(m kindred.RosterMember) bool {
		return m.Who.ID.Tree == t.Subject.Tree && m.Who.Member() == t.Subject.Member && m.Who.Kind() == identity.Service
	})
	if i < 0 {
		if len(o.clear) > 0 || o.recipient+o.place+o.notice != "" {
			return a, usage("only a service of this home is shown anything in clear")
		}
		return a, nil
	}
	who := r.Members[i]
	path := who.Who.ID.Path
	shows := t.Actions.Has(grant.Read) || t.Actions.Has(grant.Observe)
	switch {
	case shows && len(o.clear) == 0:
		return a, hinted(usage("%s is a service: which fields is it shown in clear?", path), `name them with --clear, or --allow invoke alone`)
	case len(o.clear) > 0 && (t.Thing.Affordance == "" || what.Who.Kind() != identity.Device):
		return a, usage("what leaves in clear is agreed on for one property, action or event of one device")
	case len(o.clear) > 0 && t.Purpose == "":
		return a, usage("what for? --purpose NAME, such as heating-advice")
	}
	t.Agreement = grant.Agreement{Clear: o.clear, Recipient: o.recipient, Place: o.place}
	if o.recipient == "" {
		t.Agreement.Recipient = string(path)
		if who.Label != "" {
			t.Agreement.Recipient = who.Label
		}
	}
	if o.notice != "" {
		if a.kept.Notice, err = readNotice(ctx, o.notice); err != nil {
			return a, err
		}
		a.kept.Notices, t.Agreement.Notice = o.notice, agreement.Digest(a.kept.Notice)
	}
	if len(o.clear) == 0 {
		return a, nil
	}
	if err := s.preview(ctx, n, what, t, &a); err != nil {
		return a, err
	}
	return a, s.agreeTo(ctx, o, *t, a)
}

// readNotice reads a notice from a file or the web.
func readNotice(ctx context.Context, from string) ([]byte, error) {
	in, err := openNotice(ctx, from)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxNotice+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the notice: %w", err)
	case len(text) > maxNotice:
		return nil, usage("--notice: %s has more than %d bytes", from, maxNotice)
	case len(text) == 0:
		return nil, usage("--notice: %s is empty", from)
	}
	return text, nil
}

func openNotice(ctx context.Context, from string) (io.ReadCloser, error) {
	if !strings.HasPrefix(from, "https://") {
		f, err := os.Open(from)
		if err != nil {
			return nil, usage("--notice: %s", err)
		}
		return f, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, usage("--notice: %s", err)
	}
	resp, err := (&http.Client{Timeout: noticeFor}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching the notice: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("fetching the notice: %s says %s", req.URL.Host, resp.Status)
	}
	return resp.Body, nil
}

// preview fetches from the thing what is to be shared, as it is now, and tells what of it would leave.
func (s *session) preview(ctx context.Context, n *kindred.Node, what kindred.RosterMember, t *grant.Terms, a *agreed) error {
	path, name := string(what.Who.ID.Path), t.Thing.Affordance
	c, err := n.ThingOf(what.Who.Member())
	if err != nil {
		return err
	}
	d, err := description(ctx, c)
	if err != nil {
		return s.unreached(err, path)
	}
	value, err := valueOf(ctx, c, d, name)
	if err != nil {
		return s.unreached(err, path)
	}
	var shown []byte
	if value != nil {
		if shown, err = (thing.View{Fields: t.Agreement.Clear}).Shown(name, value); err != nil {
			return usage("--clear: %s has no fields that can be told apart: --clear %s shows all of it", name, name)
		}
	}
	p := agreement.NewPreview(what.Who.Member(), path, name, t.Agreement.Clear, value, shown, s.now())
	if value != nil && len(p.Leaves) == 0 {
		return hinted(usage("--clear: %s of %s has no %s", name, path, strings.Join(t.Agreement.Clear, ", ")), "there is "+strings.Join(p.Stays, ", "))
	}
	if a.kept.Papers.Preview, err = p.Marshal(); err != nil {
		return err
	}
	t.Agreement.Preview, a.preview = agreement.Digest(a.kept.Papers.Preview), &p
	a.approval = what.Apart(name, d.Never(name))
	return nil
}

// eventWithin is how long something that is told only as it happens is waited for.
const eventWithin = 2 * time.Second

// valueOf returns a property's value, or an event as it happens; nil where there is none to be had now.
func valueOf(ctx context.Context, c *thing.Client, d thing.Description, name string) ([]byte, error) {
	if _, ok := d.Properties[name]; ok {
		v, err := c.Read(ctx, name)
		return v.Body, err
	}
	if _, ok := d.Events[name]; !ok {
		return nil, nil // what an action answers is known once it is done
	}
	soon, stop := context.WithTimeout(ctx, eventWithin)
	defer stop()
	events, err := c.Subscribe(soon, name, "")
	if err != nil {
		return nil, err
	}
	defer events.Close()
	unhook := context.AfterFunc(soon, func() { _ = events.Close() })
	defer unhook()
	e, err := events.Next()
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		return nil, nil
	}
	return e.Data, err
}

// agreeTo shows what would leave, and asks.
func (s *session) agreeTo(ctx context.Context, o clearFlags, t grant.Terms, a agreed) error {
	s.say("%s", leaving(t, *a.preview))
	if o.yes {
		return nil
	}
	if !s.asks {
		return hinted(usage("nobody is here to say whether that may leave"), "--yes says so")
	}
	answer, err := s.ask(ctx, fmt.Sprintf("Show this in clear to %s? [y/N]", t.Agreement.Recipient))
	if err != nil {
		return err
	}
	if !yes(answer) {
		return &failure{Code: "declined", Message: "nothing was shared", exit: exitFailed}
	}
	return nil
}

// leaving says what leaves and what stays.
func leaving(t grant.Terms, p agreement.Preview) string {
	var b strings.Builder
	fmt.Fprintf(&b, "This leaves in clear, to %s", t.Agreement.Recipient)
	if t.Agreement.Place != "" {
		fmt.Fprintf(&b, " in %s", t.Agreement.Place)
	}
	fmt.Fprintf(&b, ", for %s", t.Purpose)
	if t.Retention != 0 {
		fmt.Fprintf(&b, ", kept for %s", span(time.Duration(t.Retention)*time.Second))
	}
	b.WriteString(":\n")
	for _, f := range p.Leaves {
		value := f.Value
		if value == "" {
			value = "told when it happens"
		}
		fmt.Fprintf(&b, "  %s  %s\n", f.Name, value)
	}
	if len(p.Stays) > 0 {
		fmt.Fprintf(&b, "This stays: %s.", strings.Join(p.Stays, ", "))
		return b.String()
	}
	b.WriteString("Nothing of it stays.")
	return b.String()
}

// sharedWith is the result of "share".
type sharedWith struct {
	ID       string            `json:"id"`
	Sentence string            `json:"sentence"`
	Leaves   []agreement.Field `json:"leaves,omitempty"`
	Stays    []string          `json:"stays,omitempty"`
	Approval bool              `json:"approval,omitempty"` // another owner has to approve it
}

// settle keeps what was agreed on, and says what is missing before anything is shown.
func (s *session) settle(ctx context.Context, n *kindred.Node, id string, t grant.Terms, a agreed) error {
	if t.Agreement.IsZero() {
		return nil
	}
	if err := n.Keep(ctx, t.ID, a.kept); err != nil {
		return err
	}
	if a.approval {
		s.say(`This is never shown in clear on one owner's word: it waits until another owner says "kindred approve %s", or you with the root key ("--root").`, id)
	}
	return nil
}

// fields returns what a preview shows, for JSON.
func (a agreed) fields() (leaves []agreement.Field, stays []string) {
	if a.preview == nil {
		return nil, nil
	}
	return a.preview.Leaves, a.preview.Stays
}
