package kindred_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/thing"
)

// A door is a home with a lock, and an owner who uses it.
type door struct {
	*gatewaytest.Home
	t      *testing.T
	laptop *kindred.Node
	lock   *kindred.Node
	serve  *thing.Thing
	bell   thing.Source[int]
	slow   chan struct{} // a value lets the action "wait" go on
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{Home: gatewaytest.New(t), t: t, slow: make(chan struct{}, 1)}
	d.laptop = d.Open("laptop")
	d.lock = d.Invite(d.laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	d.serve = lock.New().Thing()
	d.bell = thing.Event[int](d.serve, "bell", "Somebody rings")
	thing.Action(d.serve, "wait", "Do it when it is time", func(context.Context, thing.None) (thing.None, error) {
		select {
		case <-d.slow:
		case <-t.Context().Done(): // the test is over
		}
		return thing.None{}, nil
	})
	d.Serve(d.lock, d.serve)
	return d
}

// do invokes an action of the lock.
func (d *door) do(n *kindred.Node, action string) error {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 10*time.Second)
	defer cancel()
	return n.Use(ctx, "home/lock", func(c *thing.Client) error {
		_, err := c.Invoke(ctx, action, nil)
		return err
	})
}

// until waits, for a while, until something is so.
func (d *door) until(what string, ok func() bool) {
	d.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// entries returns what a node's own journal has of an operation, the oldest first.
func (d *door) entries(n *kindred.Node, op journal.Op) (found []journal.Item) {
	d.t.Helper()
	if err := n.Journal().Sync(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	items, err := n.Journal().Query(d.t.Context(), journal.Filter{Oldest: true, Accounts: true, Limit: journal.MaxLimit})
	if err != nil {
		d.t.Fatal(err)
	}
	for _, i := range items {
		if i.Entry.Op == op && i.Node == n.Self().Member() {
			found = append(found, i)
		}
	}
	return found
}

// countersigned returns the receipts of the lock that its callers have signed.
func (d *door) countersigned(by *kindred.Node) (found []journal.Receipt) {
	d.t.Helper()
	for _, i := range d.entries(d.lock, journal.Countersign) {
		if i.Entry.Caller.Member != by.Self().Member() {
			continue
		}
		r, err := i.Entry.Exchange.Verify(d.lock.Self().Key, by.Self().Key)
		if err != nil {
			d.t.Fatal(err)
		}
		found = append(found, r)
	}
	return found
}

// bare makes a request as somebody who has a node's key, and signs nothing.
func (d *door) bare(n *kindred.Node, method, path, body string, header ...string) (status int, problem thing.Problem, h http.Header) {
	d.t.Helper()
	c, err := n.Thing(d.t.Context(), "home/lock")
	if err != nil {
		d.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(d.t.Context(), method, c.Base.JoinPath(path).String(), strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	bare, err := n.Bare(d.t.Context(), d.lock.Self().Member())
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := bare.RoundTrip(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	if data, err := io.ReadAll(resp.Body); err == nil && resp.StatusCode >= 300 {
		_ = json.Unmarshal(data, &problem) // where it is none the test sees that
	}
	return resp.StatusCode, problem, resp.Header
}

func TestActionsAreSignedForAtBothEnds(t *testing.T) {
	d := newDoor(t)
	for _, action := range []string{"unlock", "lock", "unlock"} {
		if err := d.do(d.laptop, action); err != nil {
			t.Fatal(err)
		}
	}
	d.laptop.HandBack(t.Context())
	signed := d.countersigned(d.laptop)
	if len(signed) != 3 {
		t.Fatalf("%d receipts are countersigned, want 3", len(signed))
	}
	if got := len(d.entries(d.laptop, journal.Invoke)); got != 6 {
		t.Errorf("the laptop's journal has %d entries of what it did, want 3 times asked and served", got)
	}
	for i, r := range signed {
		at := d.entries(d.lock, journal.Invoke)[i]
		own := d.entries(d.laptop, journal.Invoke)[2*i : 2*i+2]
		if r.Index != at.Index || r.Leaf != journal.LeafOf(at.Raw) || r.Outcome != journal.Served || r.Affordance != at.Entry.Affordance {
			t.Errorf("the receipt %+v is not of entry %+v", r, at)
		}
		if own[0].Entry.Outcome != journal.Asked || own[1].Entry.Outcome != journal.Served || own[1].Entry.Exchange == nil ||
			own[0].Entry.Call != at.Entry.Call || own[1].Entry.Call != at.Entry.Call || r.Response.IsZero() {
			t.Errorf("the laptop tells of %+v, the lock of %+v", own, at.Entry)
		}
	}
	items, err := d.lock.Journal().Query(t.Context(), journal.Filter{})
	if err != nil || len(items) != 3 {
		t.Errorf("who asks what happened at the lock is told %+v, %v", items, err)
	}
}

func TestWhoDoesNotSignGetsNothingMoreDone(t *testing.T) {
	d := newDoor(t)
	if status, _, h := d.bare(d.laptop, "POST", "actions/unlock", ""); status != 200 || h.Get(kindred.ReceiptHeader) == "" {
		t.Fatalf("the first action was answered %d, %v", status, h)
	}
	check := func(when string) {
		t.Helper()
		for range 2 {
			if status, p, _ := d.bare(d.laptop, "POST", "actions/lock", ""); status != 403 || p.Code != "owes-receipt" {
				t.Fatalf("%s, a further action was answered %d, %+v", when, status, p)
			}
		}
		if status, _, _ := d.bare(d.laptop, "GET", "properties/state", ""); status != 200 {
			t.Errorf("%s, a read was answered %d", when, status)
		}
	}
	check("at first")
	refused := d.entries(d.lock, journal.Invoke)
	if e := refused[len(refused)-1].Entry; e.Outcome != journal.Refused || e.Reason != "did not sign the receipt for what it did before" {
		t.Errorf("the owner reads %+v", e)
	}
	d.lock = d.reopen()
	check("once the lock was started anew")

	// The owner of the key does not know of it, signs nothing, and so hears that somebody else has the key.
	var p *thing.Problem
	if err := d.do(d.laptop, "lock"); !errors.As(err, &p) || p.Code != "owes-receipt" || !strings.Contains(p.Detail, "invoke unlock") {
		t.Errorf("the owner was answered %v", err)
	}
	if got := d.countersigned(d.laptop); len(got) != 0 {
		t.Errorf("it signed for %+v", got)
	}
}

// reopen stops the lock and starts it again.
func (d *door) reopen() *kindred.Node {
	d.t.Helper()
	at, _, _ := strings.Cut(d.lock.Addresses()[0], "/p2p/")
	if err := d.lock.Close(); err != nil {
		d.t.Fatal(err)
	}
	n := d.Open("lock", at)
	d.Serve(n, d.serve)
	return n
}

func TestALostResponseLocksNobodyOut(t *testing.T) {
	d := newDoor(t)
	ctx, cancel := context.WithCancel(t.Context())
	lost := make(chan error, 1)
	go func() {
		lost <- d.laptop.Use(ctx, "home/lock", func(c *thing.Client) error {
			_, err := c.Invoke(ctx, "wait", nil)
			return err
		})
	}()
	d.until("the lock has begun", func() bool { return len(d.entries(d.lock, journal.Invoke)) > 0 })
	cancel()
	if err := <-lost; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	d.slow <- struct{}{}
	d.until("it is done", func() bool { return d.lock.Owes() > 0 })
	if err := d.do(d.laptop, "unlock"); err != nil {
		t.Fatal(err)
	}
	d.laptop.HandBack(t.Context())
	if got := d.countersigned(d.laptop); len(got) != 2 || got[0].Affordance != "wait" {
		t.Errorf("it signed for %+v", got)
	}
}

func TestSignaturesThatAreNotTaken(t *testing.T) {
	d := newDoor(t)
	_, _, h := d.bare(d.laptop, "POST", "actions/unlock", "")
	raw, err := base64.RawURLEncoding.DecodeString(h.Get(kindred.ReceiptHeader))
	if err != nil {
		t.Fatal(err)
	}
	r, name, err := journal.OpenReceipt(raw, d.lock.Self().Key)
	if err != nil {
		t.Fatal(err)
	}
	anna := d.Invite(d.laptop, identity.Person, "sam/anna", "phone")
	sign := func(n *kindred.Node, c journal.Countersignature) string {
		t.Helper()
		raw, err := n.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	mine := journal.Countersignature{Receipt: name, Caller: r.Caller, Tree: r.CallerTree, Time: time.Now()}
	another, before, ahead := mine, mine, mine
	another.Receipt[0]++
	before.Time, ahead.Time = r.Time.Add(-48*time.Hour), time.Now().Add(48*time.Hour)
	for what, header := range map[string]string{
		"another's key":    sign(anna, mine),
		"another receipt":  sign(d.laptop, another),
		"an hour before":   sign(d.laptop, before),
		"an hour from now": sign(d.laptop, ahead),
		"another's name":   sign(d.laptop, journal.Countersignature{Receipt: name, Caller: anna.Self().Member(), Tree: r.CallerTree, Time: time.Now()}),
		"no signature":     "AAAA",
		"the receipt":      h.Get(kindred.ReceiptHeader),
		"no base64 at all": "%%%",
	} {
		if status, p, _ := d.bare(d.laptop, "POST", "actions/lock", "", kindred.CountersignedHeader, header); status != 403 || p.Code != "owes-receipt" {
			t.Errorf("with %s, it was answered %d, %+v", what, status, p)
		}
	}
	if status, p, _ := d.bare(d.laptop, "POST", "actions/lock", "", kindred.CountersignedHeader, sign(d.laptop, mine)); status != 200 {
		t.Fatalf("with the right one it was answered %d, %+v", status, p)
	}
	// A countersignature is good once, and for nothing that comes later.
	if status, _, _ := d.bare(d.laptop, "POST", "actions/unlock", "", kindred.CountersignedHeader, sign(d.laptop, mine)); status != 403 {
		t.Errorf("with one that was used, it was answered %d", status)
	}
	if got := d.countersigned(d.laptop); len(got) != 1 {
		t.Errorf("countersigned is %+v", got)
	}
}

func TestStreamsAreSignedForAsTheyGo(t *testing.T) {
	d := newDoor(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, err := d.laptop.Thing(ctx, "home/lock")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Subscribe(ctx, "bell", "")
	if err != nil {
		t.Fatal(err)
	}
	for part := 1; part <= 3; part++ {
		for i := range 5 {
			if err := d.bell.Emit(i); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Next(); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.lock.Journal().Sync(ctx); err != nil {
			t.Fatal(err)
		}
		d.lock.TellStreams()
		d.lock.TellStreams() // nothing has come since
		d.laptop.AskForReceipts(ctx)
		got := slices.DeleteFunc(d.countersigned(d.laptop), func(r journal.Receipt) bool { return r.Part == 0 })
		if len(got) == 0 {
			t.Fatal("nothing was signed for")
		}
		if r := got[len(got)-1]; r.Part != uint32(part) || r.Count != uint64(5*part) || r.Bytes != uint64(5*part) || r.Op != journal.Observe {
			t.Errorf("part %d: it signed for %+v", part, r)
		}
	}
	s.Close()
	for done := false; !done; { // until the lock knows
		got := d.countersigned(d.laptop)
		done = got[len(got)-1].Outcome == journal.Ended
		d.laptop.AskForReceipts(ctx)
	}
	ends := d.entries(d.lock, journal.Observe)
	if e := ends[len(ends)-1].Entry; e.Outcome != journal.Ended || e.Bytes != 15 {
		t.Errorf("the stream ended as %+v", e)
	}
}

func TestReadsAreSignedForTogether(t *testing.T) {
	d := newDoor(t)
	for range 50 {
		if _, err := d.State(d.laptop, "home/lock"); err != nil {
			t.Fatal(err)
		}
	}
	d.laptop.AskForReceipts(t.Context())
	got := d.countersigned(d.laptop)
	if len(got) != 1 || got[0].Count != 50 || got[0].Op != journal.Read {
		t.Fatalf("it signed for %+v", got)
	}
	var entries [][]byte
	for _, i := range d.entries(d.lock, journal.Read) {
		entries = append(entries, i.Raw)
	}
	if got[0].Leaf != journal.LeafOf(entries...) || int(got[0].Entries) != len(entries) {
		t.Errorf("the receipt %+v is not of the %d entries there are", got[0], len(entries))
	}
	d.laptop.AskForReceipts(t.Context()) // for nothing new
	if got := d.countersigned(d.laptop); len(got) != 1 {
		t.Errorf("it signed for %+v", got)
	}
	if _, err := d.State(d.laptop, "home/lock"); err != nil {
		t.Fatal(err)
	}
	d.laptop.AskForReceipts(t.Context())
	if got := d.countersigned(d.laptop); len(got) != 2 || got[1].Count != 1 {
		t.Errorf("it signed for %+v", got)
	}
}

// TestWhoAsksWithoutEndFillsNoJournal has a guest, to whom nothing is shared, ask for what it may not and for what there is
// not: of few times a line is written each, and of the others how many they were.
func TestWhoAsksWithoutEndFillsNoJournal(t *testing.T) {
	d := newDoor(t)
	anna := d.Invite(d.laptop, identity.Person, "sam/anna", "phone")
	c, err := d.laptop.Resolve(t.Context(), "home/lock")
	if err != nil {
		t.Fatal(err)
	}
	if err := anna.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	anna.Find(c, c.Addresses...)
	bare, err := anna.Bare(t.Context(), c.Member())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	const asked = 300
	for i := range asked {
		req, err := http.NewRequestWithContext(t.Context(), "GET", fmt.Sprintf("kindred://%s.%s/properties/p%d", c.Member(), c.ID.Tree, i), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := bare.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Fatalf("it was answered %d", resp.StatusCode)
		}
	}
	minutes := int(time.Since(began)/time.Minute) + 2
	d.lock.NoteRefusals()
	lines, times := 0, 0
	for _, i := range d.entries(d.lock, journal.Read) {
		if i.Entry.Caller.Member == anna.Self().Member() && i.Entry.Outcome == journal.Refused {
			lines, times = lines+1, times+int(max(1, i.Entry.Count))
		}
	}
	if times != asked || lines > 61*minutes {
		t.Errorf("%d lines tell of %d times, it was %d", lines, times, asked)
	}
}

// Another home sends a new member for each thing that it does, of whom none signs: it gets no further than that.
func TestAnotherHomeThatDoesNotSign(t *testing.T) {
	d, birch := newDoor(t), gatewaytest.New(t)
	sam := birch.Open("laptop")
	gatewaytest.Recognize(t, d.laptop, sam, "birch")
	gatewaytest.Recognize(t, sam, d.laptop, "oak")
	birches := sam.Self().ID.Tree
	d.ShareAbroad(d.laptop, identity.ID{Tree: birches, Path: "sam"}, "home/lock", grant.Terms{Actions: grant.Use})
	unlock := func() string {
		t.Helper()
		err := sam.UseID(t.Context(), d.lock.Self().ID, func(c *thing.Client) error {
			_, err := c.Invoke(t.Context(), "unlock", nil)
			return err
		})
		var p *thing.Problem
		if err != nil && !errors.As(err, &p) {
			t.Fatal(err)
		}
		if p == nil {
			return ""
		}
		return p.Code
	}
	owe := func(many int, at time.Time) {
		t.Helper()
		for range many {
			id, err := identity.NewMemberID(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.lock.Owe(t.Context(), journal.Receipt{
				Tree: d.lock.Self().ID.Tree, Node: d.lock.Self().Member(), Caller: id, CallerTree: birches,
				Op: journal.Invoke, Affordance: "unlock", Outcome: journal.Served, Time: at,
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	now := time.Now()
	owe(2, now.Add(-8*24*time.Hour)) // for whom nobody waits any more
	owe(63, now)
	if code := unlock(); code != "" {
		t.Fatalf("with 63 others who owe, it is answered %q", code)
	}
	owe(1, now)
	if code := unlock(); code != "owes-receipt" {
		t.Errorf("with 64 others who owe, it is answered %q", code)
	}
	if err := d.do(d.laptop, "unlock"); err != nil {
		t.Errorf("at home: %v", err)
	}
}

// A phone that was killed has not counted all that it read, and does not sign for that. What it reads from then on it
// signs for again, once the receipt before cannot be right any more.
func TestWhoWasKilledSignsForLaterReads(t *testing.T) {
	for ago, signs := range map[time.Duration]int{time.Hour: 0, 80 * time.Hour: 1} {
		t.Run(ago.String(), func(t *testing.T) {
			d := newDoor(t)
			lock, laptop, at := d.lock.Self(), d.laptop.Self(), time.Now().Add(-ago)
			if _, err := d.lock.Owe(t.Context(), journal.Receipt{
				Tree: lock.ID.Tree, Node: lock.Member(), Caller: laptop.Member(), CallerTree: laptop.ID.Tree,
				Op: journal.Read, Outcome: journal.Served, Time: at, Until: at, Entries: 1, Count: 100,
			}); err != nil {
				t.Fatal(err)
			}
			if _, err := d.State(d.laptop, "home/lock"); err != nil {
				t.Fatal(err)
			}
			d.laptop.AskForReceipts(t.Context())
			if got := d.countersigned(d.laptop); len(got) != signs {
				t.Errorf("it signs for %+v, want %d receipts", got, signs)
			}
		})
	}
}
