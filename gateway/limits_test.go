package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/device/p1meter"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

// do has a member do an action of the thing at a path.
func do(ctx context.Context, n *kindred.Node, path identity.Path, action, purpose string) error {
	return n.Use(ctx, path, func(c *thing.Client) error {
		c.Purpose = purpose
		_, err := c.Invoke(ctx, action, nil)
		return err
	})
}

// Two who ask at once do not both get the last use, and a thing that starts again gives none back.
func TestUses(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(device, lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Actions(grant.Invoke), Uses: 5})
	var done, refused atomic.Int32
	var wait sync.WaitGroup
	for range 9 {
		wait.Go(func() {
			switch err := do(ctx, anna, "home/lock", "unlock", ""); {
			case err == nil:
				done.Add(1)
			case code(err) == "used-up":
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if done.Load() != 5 || refused.Load() != 4 {
		t.Errorf("%d of 9 were done, %d refused, want 5 and 4", done.Load(), refused.Load())
	}
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	device = h.Open("lock", "127.0.0.1:0")
	h.Serve(device, lock.New().Thing())
	if err := device.InTouch(ctx); err != nil {
		t.Fatal(err)
	}
	if err := do(ctx, anna, "home/lock", "unlock", ""); code(err) != "used-up" {
		t.Errorf("after the thing started again: %v", err)
	}
}

// An answer tells whether it was counted. Who reads one that was does not ask for it again on a better way.
func TestCountedIsTold(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	h.Serve(h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0"), lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Actions(grant.Observe), Uses: 1})
	for who, tt := range map[*kindred.Node]struct{ name, want string }{laptop: {"sam", ""}, anna: {"anna", "1"}} {
		c, err := who.Thing(t.Context(), "home/lock")
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.HTTP.Get(c.Base.JoinPath("properties", "state", "observe").String())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Kindred-Counts"); resp.StatusCode != http.StatusOK || got != tt.want {
			t.Errorf("%s is answered %s, counted %q, want %q", tt.name, resp.Status, got, tt.want)
		}
	}
}

func TestRateAndPurpose(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	laptop := h.Open("laptop")
	h.Serve(h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0"), lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	h.Share(laptop, "sam/anna", "home/lock", grant.Terms{
		Actions: grant.Actions(grant.Invoke), Purpose: "parcels", Home: true, Route: grant.DirectRoute, Rate: grant.Rate{Uses: 2, Seconds: 3600},
	})
	for _, tt := range []struct{ purpose, want string }{
		{"", "purpose"}, {"curiosity", "purpose"}, {strings.Repeat("parcels", 100), "purpose"},
		{"parcels", ""}, {"parcels", ""}, {"parcels", "too-often"},
	} {
		if err := do(ctx, anna, "home/lock", "unlock", tt.purpose); code(err) != tt.want || (err == nil) != (tt.want == "") {
			t.Errorf("for %.20q: %v, want %q", tt.purpose, err, tt.want)
		}
	}
}

// Streams end when the time for them is used up, however many there are at once, and what one did not use is there for
// the next.
func TestBudgetOfStreams(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(device, lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	g, _ := h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.See, Budget: 6})
	client, err := anna.Thing(ctx, "home/lock")
	if err != nil {
		t.Fatal(err)
	}
	watch := func() *thing.Stream {
		t.Helper()
		s, err := client.Observe(ctx, "state", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	watch().Close() // which costs a second
	waitFor(t, func() bool { return paid(t, device, g) <= 2*time.Second })
	began := time.Now()
	var wait sync.WaitGroup
	for range 2 {
		s := watch()
		wait.Go(func() {
			defer s.Close()
			if _, err := s.Next(); code(err) != "used-up" {
				t.Errorf("a stream ended with %v", err)
			}
		})
	}
	wait.Wait()
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("two streams had five seconds, and were ended after %v", took)
	}
	if _, err := client.Read(ctx, "state"); code(err) != "used-up" {
		t.Errorf("a read after that: %v", err)
	}
}

// paid is the time of streams that a thing has on disk under a grant.
func paid(t *testing.T, n *kindred.Node, g grant.Terms) time.Duration {
	t.Helper()
	data, err := n.Store().Load(t.Context(), "usage/"+g.ID.String())
	if err != nil {
		t.Fatal(err)
	}
	var tally struct {
		Time time.Duration `json:"time"`
	}
	if err := json.Unmarshal(data, &tally); err != nil {
		t.Fatal(err)
	}
	return tally.Time
}

// yesterday fills a meter's book: 240 Wh in each quarter of the hours of the day before, in Berlin.
func yesterday(t *testing.T, zone *time.Location) book {
	t.Helper()
	b := book{}
	now := time.Now().In(zone)
	start := time.Date(now.Year(), now.Month(), now.Day()-1, 0, 0, 0, 0, zone)
	end := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, zone)
	days := map[string][][4]int64{}
	for at := start; at.Before(end); at = at.Add(15 * time.Minute) {
		key := "history/" + at.UTC().Format("2006-01-02")
		days[key] = append(days[key], [4]int64{at.Unix(), at.Unix() + 900, 240, 0})
	}
	for key, day := range days {
		data, err := json.Marshal(day)
		if err != nil {
			t.Fatal(err)
		}
		b[key] = data
	}
	return b
}

type book map[string][]byte

func (b book) Save(context.Context, map[string][]byte) error { return nil }

func (b book) Scan(_ context.Context, prefix string, each func(string, []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(b)) {
		if err := each(key, b[key]); err != nil || !strings.HasPrefix(key, prefix) {
			return err
		}
	}
	return nil
}

// An adviser sees days of the meter, a neighbour nothing of before, and the owner all of it.
func TestMomentsAndSteps(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	laptop := h.Open("laptop")
	meter := p1meter.New(p1meter.Config{})
	if err := meter.Remember(ctx, yesterday(t, berlin)); err != nil {
		t.Fatal(err)
	}
	h.Serve(h.Invite(laptop, identity.Device, "home/meter", "", "127.0.0.1:0"), meter.Thing())
	eva := h.Invite(laptop, identity.Person, "sam/eva", "phone")
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	h.Share(laptop, "sam/eva", "home/meter", grant.Terms{
		Actions: grant.See, Detail: grant.Detail{Step: grant.Day}, Moments: grant.Moments{From: 1}, Zone: "Europe/Berlin",
	})
	h.Share(laptop, "sam/anna", "home/meter", grant.Terms{Actions: grant.See})
	history := func(n *kindred.Node, q thing.Query) (spans []thing.Span[p1meter.Used]) {
		t.Helper()
		err := n.Use(ctx, "home/meter", func(c *thing.Client) error {
			v, err := c.History(ctx, "history", q)
			if err != nil {
				return err
			}
			return v.Decode(&spans)
		})
		if err != nil {
			t.Error(err)
		}
		return spans
	}
	all := history(laptop, thing.Query{})
	if len(all) < 92 {
		t.Errorf("the owner sees %d quarters", len(all))
	}
	if got := history(anna, thing.Query{}); len(got) != 0 {
		t.Errorf("the neighbour sees %+v", got)
	}
	day := history(eva, thing.Query{From: all[40].From, Until: all[44].Until, Step: thing.QuarterHour, Zone: time.UTC})
	if len(day) != 0 {
		t.Errorf("a part of a day tells %+v", day)
	}
	if day = history(eva, thing.Query{}); len(day) != 1 || int(day[0].Value.In) != 240*len(all) || !day[0].From.Equal(all[0].From) {
		t.Errorf("the adviser sees %+v of %d quarters", day, len(all))
	}
	err = eva.Use(ctx, "home/meter", func(c *thing.Client) error {
		v, err := c.Read(ctx, "power")
		if err == nil && string(v.Body) != "960" {
			t.Errorf("the adviser sees a power of %s", v.Body)
		}
		if _, err := c.Read(ctx, "reading"); code(err) != thing.CodeDetail {
			t.Errorf("the adviser reads the last telegram: %v", err)
		}
		if _, err := c.Subscribe(ctx, "telegram", ""); code(err) != thing.CodeDetail {
			t.Errorf("the adviser follows the telegrams: %v", err)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A neighbour who looks after the home from now on sees no recording that may be of before.
func TestRecordingsOfBefore(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	laptop := h.Open("laptop")
	dir := t.TempDir()
	record := func(name string, at time.Time) {
		t.Helper()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600), os.Chtimes(filepath.Join(dir, name), at, at)); err != nil {
			t.Fatal(err)
		}
	}
	camera := thing.New("Camera")
	thing.Files(camera, "recordings", "What was recorded", os.DirFS(dir)).Longest(time.Minute)
	record("before.mp4", time.Now().Add(-time.Hour))
	h.Serve(h.Invite(laptop, identity.Device, "home/camera", "", "127.0.0.1:0"), camera)
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	h.Share(laptop, "sam/anna", "home/camera", grant.Terms{Actions: grant.See})
	record("across.mp4", time.Now().Add(30*time.Second))
	record("after.mp4", time.Now().Add(2*time.Minute))
	see := func(n *kindred.Node) (names []string) {
		t.Helper()
		err := n.Use(ctx, "home/camera", func(c *thing.Client) error {
			v, err := c.Read(ctx, "recordings")
			if err != nil {
				return err
			}
			var files []thing.File
			if err := v.Decode(&files); err != nil {
				return err
			}
			for _, name := range []string{"before.mp4", "across.mp4", "after.mp4"} {
				d, err := c.Fetch(ctx, "recordings", name, thing.FileState{}, 0)
				listed := slices.ContainsFunc(files, func(f thing.File) bool { return f.Name == name })
				if listed != (err == nil) {
					t.Errorf("%s is listed: %t, and fetched with %v", name, listed, err)
				}
				if err == nil {
					d.Close()
					names = append(names, name)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return names
	}
	if got := see(laptop); len(got) != 3 {
		t.Errorf("the owner sees %q", got)
	}
	if got := see(anna); len(got) != 1 || got[0] != "after.mp4" {
		t.Errorf("the neighbour sees %q", got)
	}
}
