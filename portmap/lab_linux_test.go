package portmap

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/netlab"
	"github.com/kindred-iot/kindred/netlab/netlabtest"
)

// TestMain makes the test's own binary a host of a lab, where that is asked of it: what runs in a network namespace is a
// process.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "lab-host" {
		if err := labHost(os.Args[2], os.Args[3:]...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// A report is what a host of a lab prints.
type report struct {
	By       string
	UDP, TCP Mapping
	Again    Mapping // of UDP, once it was renewed
}

// labHost asks by a dialect, or by the first that is spoken, for both protocols, reports, and takes it back when a line
// comes. With an address of its own a host asks for that one of IPv6.
func labHost(by string, self ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), netlabtest.Patience)
	defer cancel()
	way, greetings, first := elsewhere, map[string]func(context.Context, gateway) (dialect, error){PCP: greetPCP, NATPMP: greetNATPMP, UPnP: greetUPnP}, Find
	if len(self) > 0 {
		way, greetings[UPnP], first = elsewhere6, greetPinholes, FindFirewall
	}
	r, err := first(ctx)
	if greet := greetings[by]; greet != nil {
		r, err = find(ctx, way, greeting{by, forUPnP, greet})
	}
	if err != nil {
		return err
	}
	ask := func(protocol string) (Mapping, error) {
		if len(self) > 0 {
			return r.Open(ctx, protocol, netip.AddrPortFrom(netip.MustParseAddr(self[0]), 4711), 10*time.Minute)
		}
		return r.Map(ctx, protocol, 4711, 10*time.Minute)
	}
	said := report{By: r.By()}
	for _, wanted := range []struct {
		protocol string
		into     *Mapping
	}{{UDP, &said.UDP}, {TCP, &said.TCP}, {UDP, &said.Again}} {
		if *wanted.into, err = ask(wanted.protocol); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		return err
	}
	bufio.NewScanner(os.Stdin).Scan()
	return r.Release(ctx)
}

// startAsker starts a host that asks.
func startAsker(t *testing.T, at *netlabtest.Host, by string, self ...string) *netlabtest.Process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return at.Start(program, append([]string{"lab-host", by}, self...)...)
}

// reported is what an asker says.
func reported(t *testing.T, asker *netlabtest.Process) (r report) {
	t.Helper()
	if err := json.Unmarshal([]byte(asker.Line()), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// A router as they are in the shops forwards by each dialect, and no more once it was asked to end it.
func TestLabDialects(t *testing.T) {
	t.Parallel()
	birch := netlabtest.New(t).Home("birch", netlab.Cone)
	router := birch.Forward("enable_natpmp=yes", "enable_upnp=yes")
	for _, by := range []string{PCP, NATPMP, UPnP} {
		asker := startAsker(t, birch.Host("asker"), by)
		r := reported(t, asker)
		for _, m := range []Mapping{r.UDP, r.TCP, r.Again} {
			if m.Outside.String() != "25.0.2.1:4711" || m.Lease <= 0 || m.Lease > 10*time.Minute {
				t.Errorf("%s: the router says %v for %v", by, m.Outside, m.Lease)
			}
		}
		if got := router.Forwarded(); len(got) != 2 {
			t.Errorf("%s: the router forwards %q", by, got)
		}
		asker.Say("that is all")
		if code := asker.End(); code != 0 {
			t.Errorf("%s: ended with %d: %s", by, code, asker.Said())
		}
		if left := router.Forwarded(); len(left) > 0 {
			t.Fatalf("%s: the router still forwards %q", by, left)
		}
	}
}

// The second who asks for a port gets another one, and does not take the first one's away.
func TestLabPortTaken(t *testing.T) {
	t.Parallel()
	for _, by := range []string{PCP, NATPMP, UPnP} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			birch := netlabtest.New(t).Home("birch", netlab.Cone)
			router := birch.Forward("enable_natpmp=yes", "enable_upnp=yes")
			one := startAsker(t, birch.Host("one"), by)
			first := reported(t, one)
			before := router.Forwarded()
			second := reported(t, startAsker(t, birch.Host("two"), by))
			if a, b := first.UDP.Outside, second.UDP.Outside; a == b || b.Port() == 0 {
				t.Errorf("the first has %v, the second %v", a, b)
			}
			if second.Again != second.UDP {
				t.Errorf("renewed, %v is %v", second.UDP, second.Again)
			}
			now := router.Forwarded()
			for _, rule := range before {
				if !slices.Contains(now, rule) {
					t.Errorf("of %q the router forwards %q", before, now)
				}
			}
			if len(now) != 4 {
				t.Errorf("the router forwards %q", now)
			}
		})
	}
}

// Find takes what there is.
func TestLabFind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, pmp, upnp, by string }{
		{"all", "yes", "yes", PCP},
		{"UPnP alone", "no", "yes", UPnP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			birch := netlabtest.New(t).Home("birch", netlab.Cone)
			birch.Forward("enable_natpmp="+tt.pmp, "enable_upnp="+tt.upnp)
			if r := reported(t, startAsker(t, birch.Host("asker"), "any")); r.By != tt.by {
				t.Errorf("asked by %s", r.By)
			}
		})
	}
}

// A router that forwards nothing, and a network without one.
func TestLabNoRouter(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	for _, tt := range []struct {
		name string
		at   *netlabtest.Host
		want string
	}{
		{"a router that does not", lab.Home("birch", netlab.Cone).Host("asker"), "the router at 192.168.1.1 does not"},
		{"no router", lab.LAN("den").Host("asker"), "finding the default gateway"},
	} {
		asker := startAsker(t, tt.at, "any")
		if code := asker.End(); code != 1 {
			t.Errorf("%s: ended with %d", tt.name, code)
		}
		if said := asker.Said(); !strings.Contains(said, tt.want) {
			t.Errorf("%s: %s", tt.name, said)
		}
	}
}

// A router's firewall for IPv6 is opened by each dialect that can, and shut again.
func TestLabFirewall(t *testing.T) {
	t.Parallel()
	birch := netlabtest.New(t).Home("birch", netlab.IPv6Only)
	router := birch.Forward("enable_natpmp=yes", "enable_upnp=yes")
	for _, by := range []string{UPnP, PCP} {
		host := birch.Host("asker")
		asker := startAsker(t, host, by, host.Addr().String())
		r := reported(t, asker)
		for _, m := range []Mapping{r.UDP, r.TCP, r.Again} {
			if m.Outside != netip.AddrPortFrom(host.Addr(), 4711) || m.Lease <= 0 || m.Lease > 10*time.Minute {
				t.Errorf("%s: the router says %v for %v", by, m.Outside, m.Lease)
			}
		}
		if got := router.Opened(); len(got) != 2 {
			t.Errorf("%s: the router lets in %q", by, got)
		}
		asker.Say("that is all")
		code, left := asker.End(), router.Opened()
		if by == PCP && code == 1 && len(left) == 1 && strings.Contains(asker.Said(), "it is not allowed (PCP 2)") {
			continue // the one that was renewed, see pcp.cancel
		}
		if code != 0 || len(left) > 0 {
			t.Fatalf("%s: ended with %d: %s; the router still lets in %q", by, code, asker.Said(), left)
		}
	}
}

// FindFirewall takes what there is.
func TestLabFindFirewall(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		local bool // the router is known by a link-local address
		deaf  bool // to PCP, which miniupnpd speaks by IPv6 whatever it is told
		by    string
	}{
		{"all", false, false, PCP},
		{"UPnP alone", false, true, UPnP},
		{"all, link-local", true, false, PCP},
		{"UPnP alone, link-local", true, true, UPnP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			birch := netlabtest.New(t).Home("birch", netlab.IPv6Only)
			router := birch.Forward("enable_natpmp=yes", "enable_upnp=yes")
			if tt.deaf {
				router.Deafen(pcpPort)
			}
			host := birch.Host("asker")
			if tt.local {
				router.Announce(host)
			}
			if r := reported(t, startAsker(t, host, "any", host.Addr().String())); r.By != tt.by {
				t.Errorf("asked by %s", r.By)
			}
		})
	}
}
