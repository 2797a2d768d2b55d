package gateway_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

// zones is a folder of time zones that tests make. The time package looks for zones there first, by a variable that it
// reads once.
var zones string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kindred-zones-")
	if err == nil {
		err = os.Setenv("ZONEINFO", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	zones = dir
	m.Run()
	os.RemoveAll(dir)
}

// clockAt makes a time zone whose clock on the wall comes to a time of day at a moment, and there jumps. It returns the
// zone's name and the day of the week on which it does.
func clockAt(t *testing.T, moment time.Time, reads, jumps time.Duration) (zone string, day time.Weekday) {
	t.Helper()
	offset := reads - time.Duration(moment.Unix()%(24*60*60))*time.Second
	name := fmt.Sprintf("Test/%s-%d", filepath.Base(t.Name()), moment.Unix())
	header := func(times, types, letters uint32) []byte { // RFC 8536, section 3.1
		b := append([]byte("TZif2"), make([]byte, 15+12)...)
		for _, n := range []uint32{times, types, letters} {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return b
	}
	b := append(header(0, 0, 0), header(1, 2, 8)...)
	b = binary.BigEndian.AppendUint64(b, uint64(moment.Unix()))
	b = append(b, 1) // from then on it is as in the second of the types
	for i, offset := range []time.Duration{offset, offset + jumps} {
		b = binary.BigEndian.AppendUint32(b, uint32(int32(offset/time.Second)))
		b = append(b, byte(i), byte(4*i))
	}
	b = append(b, "STD\x00DST\x00\n\n"...)
	path := filepath.Join(zones, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	made, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	before, after := moment.Add(-time.Second).In(made), moment.In(made)
	if got := clockOf(before) + time.Second; got != reads {
		t.Fatalf("before the moment the clock comes to %v, want %v", got, reads)
	}
	if got := clockOf(after); got != (reads+jumps)%(24*time.Hour) {
		t.Fatalf("at the moment it is at %v, want %v", got, reads+jumps)
	}
	return name, before.Weekday()
}

// clockOf returns a time of day.
func clockOf(at time.Time) time.Duration {
	hour, minute, second := at.Clock()
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
}

// At midnight, and when the clock is set forward and back, a real thing ends the stream of those whose hours are over,
// lets in those whose hours begin, and goes on for all others: at that moment, by the clock on the wall of the place.
func TestHoursAtTheThing(t *testing.T) {
	const hour = time.Hour
	for name, test := range map[string]struct {
		reads, jumps         time.Duration
		leaves, comes, stays string // hours; "next" are those of the day after
	}{
		"midnight": {24 * hour, 0, "22:00-24:00", "next 00:00-02:00", "22:00-02:00"},
		"forward":  {2 * hour, hour, "01:00-02:30", "03:00-04:00", "01:00-06:00"},
		"back":     {3 * hour, -hour, "02:30-03:00", "02:00-02:30", "02:00-03:00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := gatewaytest.New(t)
			laptop := h.Open("laptop")
			h.Serve(h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0"), lock.New().Thing())
			leaves := h.Invite(laptop, identity.Person, "sam/leaves", "phone")
			comes := h.Invite(laptop, identity.Person, "sam/comes", "phone")
			stays := h.Invite(laptop, identity.Person, "sam/stays", "phone")
			try := func(ahead time.Duration) bool {
				moment := time.Now().Add(ahead).Truncate(time.Second)
				zone, day := clockAt(t, moment, test.reads, test.jumps)
				var given []kindred.Target
				for who, hours := range map[identity.Path]string{"sam/leaves": test.leaves, "sam/comes": test.comes, "sam/stays": test.stays} {
					hours, next := strings.CutPrefix(hours, "next ")
					w := grant.Window{Days: grant.DayOf(day)}
					if next {
						w.Days = grant.DayOf((day + 1) % 7)
					}
					var err error
					if w.From, w.To, err = grant.ParseWindow(hours); err != nil {
						t.Fatal(err)
					}
					_, target := h.Share(laptop, who, "home/lock", grant.Terms{Actions: grant.See, Windows: []grant.Window{w}, Zone: zone})
					given = append(given, target)
				}
				ends, goes := lockStream(t, leaves), lockStream(t, stays)
				_, early := h.State(comes, "home/lock")
				if ends == nil || goes == nil || early == nil || !time.Now().Before(moment) {
					for _, target := range given {
						if _, err := laptop.Revoke(t.Context(), target); err != nil {
							t.Fatal(err)
						}
					}
					if time.Now().Before(moment) {
						t.Fatalf("before the moment: %v, %v, and who is to come: %v", ends, goes, early)
					}
					return false
				}
				if code(early) != "out-of-hours" {
					t.Errorf("before the moment, who is to come is answered %v", early)
				}
				if _, err := ends.Next(); code(err) != "out-of-hours" || time.Now().Before(moment) {
					t.Errorf("%v before the moment, the stream ended with %v", time.Until(moment), err)
				}
				if got, err := h.State(leaves, "home/lock"); code(err) != "out-of-hours" {
					t.Errorf("whose hours are over reads %s, %v", got, err)
				}
				if _, err := h.State(comes, "home/lock"); err != nil {
					t.Errorf("whose hours have begun is answered %v", err)
				}
				begun := lockStream(t, comes)
				if err := do(t.Context(), laptop, "home/lock", "unlock", ""); err != nil || begun == nil {
					t.Fatalf("the lock is not unlocked, or nobody comes to see it: %v, %v", err, begun)
				}
				for who, s := range map[string]*thing.Stream{"stays": goes, "comes": begun} {
					if e, err := s.Next(); err != nil || string(e.Data) != `"unlocked"` {
						t.Errorf("who %s sees %s, %v", who, e.Data, err)
					}
				}
				return true
			}
			// All has to be given, and streams to run, when the moment comes: on a busy machine that takes longer.
			for ahead := 2 * time.Second; !try(ahead); ahead *= 2 {
				if ahead > 20*time.Second {
					t.Fatal("nothing was ready in time")
				}
			}
		})
	}
}

// lockStream follows the lock until the test ends, or for a minute, if it may: else it returns nil.
func lockStream(t *testing.T, n *kindred.Node) *thing.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	client, err := n.Thing(ctx, "home/lock")
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.Observe(ctx, "state", "")
	if err != nil {
		return nil
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Next(); err != nil {
		return nil
	}
	return s
}
