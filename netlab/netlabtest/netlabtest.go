//go:build linux

// Package netlabtest is package netlab for tests: what fails, fails the test, and what was started has ended with it.
//
//	lab := netlabtest.New(t)
//	birch, hotel := lab.Home("birch", netlab.Cone), lab.Home("hotel", netlab.Symmetric)
//	gateway := birch.Host("gateway").Start("kindred", "up")
//	hotel.Host("phone").Run("kindred", "get", "home/lock", "state")
//	hotel.DropUDP()
//
// Without root or the tools a test is skipped, saying what it lacks. Where KINDRED_LABS is "required", as in continuous
// integration, it fails.
package netlabtest

import (
	"os"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/netlab"
)

// A Lab is a netlab.Lab of a test.
type Lab struct {
	t   testing.TB
	lab *netlab.Lab
}

// Need skips a test that cannot have labs, or fails it where they are required.
func Need(t testing.TB) {
	t.Helper()
	err := netlab.Missing()
	switch {
	case err == nil:
	case os.Getenv("KINDRED_LABS") == "required":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// New makes a lab that is gone when the test is over.
func New(t testing.TB) *Lab {
	t.Helper()
	Need(t)
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{t, lab}
	t.Cleanup(func() { l.check(lab.Close()) })
	return l
}

func (l *Lab) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *Lab) host(h *netlab.Host, err error) *Host {
	l.t.Helper()
	l.check(err)
	return &Host{Host: h, lab: l}
}

// Public makes a host on the public segment.
func (l *Lab) Public(name string) *Host {
	l.t.Helper()
	h, err := l.lab.Public(name)
	return l.host(h, err)
}

// Internet is where the packets between homes and public hosts come by.
func (l *Lab) Internet() *Host {
	l.t.Helper()
	h, err := l.lab.Internet()
	return l.host(h, err)
}

// A LAN is a netlab.LAN of a test.
type LAN struct {
	lab *Lab
	lan *netlab.LAN
}

// LAN makes a network that leads nowhere.
func (l *Lab) LAN(name string) *LAN {
	l.t.Helper()
	lan, err := l.lab.LAN(name)
	l.check(err)
	return &LAN{l, lan}
}

// Host makes a host on the LAN.
func (lan *LAN) Host(name string) *Host {
	lan.lab.t.Helper()
	h, err := lan.lan.Host(name)
	return lan.lab.host(h, err)
}

// A Home is a netlab.Home of a test.
type Home struct {
	*LAN
	*netlab.Home
}

// Home makes a home with no hosts.
func (l *Lab) Home(name string, nat netlab.NAT) *Home {
	l.t.Helper()
	h, err := l.lab.Home(name, nat)
	l.check(err)
	return &Home{&LAN{l, h.LAN}, h}
}

// Host makes a host in the home.
func (h *Home) Host(name string) *Host { h.LAN.lab.t.Helper(); return h.LAN.Host(name) }

// ChangePublicAddress gives the router another address on the public segment.
func (h *Home) ChangePublicAddress() {
	h.LAN.lab.t.Helper()
	h.LAN.lab.check(h.Home.ChangePublicAddress())
}

// SetDelay makes every packet between the home and the public segment take some time, each way. It is said before
// anything talks.
func (h *Home) SetDelay(each time.Duration) {
	h.LAN.lab.t.Helper()
	h.LAN.lab.check(h.Home.SetDelay(each))
}

// DropUDP makes the router drop all UDP.
func (h *Home) DropUDP() { h.LAN.lab.t.Helper(); h.LAN.lab.check(h.Home.DropUDP()) }

// OnlyTCP makes the router drop all but one port of TCP.
func (h *Home) OnlyTCP(port int) { h.LAN.lab.t.Helper(); h.LAN.lab.check(h.Home.OnlyTCP(port)) }

// Unrestrict undoes DropUDP and OnlyTCP.
func (h *Home) Unrestrict() { h.LAN.lab.t.Helper(); h.LAN.lab.check(h.Home.Unrestrict()) }
