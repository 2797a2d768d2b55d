//go:build linux

package netlabtest_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/netlab"
	"github.com/kindred-iot/kindred/netlab/netlabtest"
)

// An echo answers datagrams on a host with the address they came from.
func echo(t *testing.T, at *netlabtest.Host) netip.AddrPort {
	t.Helper()
	c := socket(t, at)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			_, from, err := c.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				c.WriteToUDPAddrPort([]byte(from.String()), from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return netip.AddrPortFrom(at.Addr(), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
}

// socket opens a UDP socket on a host.
func socket(t *testing.T, at *netlabtest.Host) (c *net.UDPConn) {
	t.Helper()
	at.Do(func() (err error) {
		c, err = net.ListenUDP("udp", nil)
		return err
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// soon is how long a datagram takes at most, where nobody drops it; a network that was just made takes as long.
const soon = 5 * time.Second

// ask sends a datagram and returns the answer; false if there is none within some time.
func ask(t *testing.T, c *net.UDPConn, to netip.AddrPort, text string, within time.Duration) (string, bool) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort([]byte(text), to); err != nil {
		return "", false
	}
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2048)
	n, err := c.Read(b)
	return string(b[:n]), err == nil
}

// seen asks how a host's packets look to another.
func seen(t *testing.T, c *net.UDPConn, by netip.AddrPort) netip.AddrPort {
	t.Helper()
	var text string
	ok := false
	for began := time.Now(); !ok && time.Since(began) < soon; { // bridges bring up IPv6 in their own time
		text, ok = ask(t, c, by, "?", soon/10)
	}
	at, err := netip.ParseAddrPort(text)
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	if !ok || err != nil {
		t.Fatalf("%s answers %q, %v", by, text, err)
	}
	return at
}

func TestNAT(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	one, two := echo(t, lab.Public("one")), echo(t, lab.Public("two"))
	for _, tt := range []struct {
		nat  netlab.NAT
		same bool
	}{{netlab.Cone, true}, {netlab.Symmetric, false}} {
		home := lab.Home("birch", tt.nat)
		c := socket(t, home.Host("host"))
		first, second := seen(t, c, one), seen(t, c, two)
		if first.Addr() != home.PublicAddr() || second.Addr() != home.PublicAddr() {
			t.Errorf("NAT %d: seen at %s and %s, not at %s", tt.nat, first, second, home.PublicAddr())
		}
		if same := first == second; same != tt.same {
			t.Errorf("NAT %d: seen at %s and %s", tt.nat, first, second)
		}
		if again := seen(t, c, one); again != first {
			t.Errorf("NAT %d: seen at %s, and later at %s", tt.nat, first, again)
		}
		uninvited := socket(t, lab.Public("uninvited"))
		if text, ok := ask(t, uninvited, first, "let me in", 100*time.Millisecond); ok {
			t.Errorf("NAT %d: an uninvited datagram is let in and answered %q", tt.nat, text)
		}
		home.ChangePublicAddress()
		if home.PublicAddr() == first.Addr() {
			t.Errorf("NAT %d: its address is %s as before", tt.nat, first.Addr())
		}
		if moved := seen(t, c, one); moved.Addr() != home.PublicAddr() {
			t.Errorf("NAT %d: seen at %s after its address became %s", tt.nat, moved, home.PublicAddr())
		}
	}
}

// Two hosts behind cones that know where the other is seen reach each other, and those who do not, do not.
func TestHolePunching(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	public := echo(t, lab.Public("one"))
	a, b := socket(t, lab.Home("birch", netlab.Cone).Host("a")), socket(t, lab.Home("hotel", netlab.Cone).Host("b"))
	atA, atB := seen(t, a, public), seen(t, b, public)
	if text, ok := ask(t, a, atB, "one side alone", 100*time.Millisecond); ok {
		t.Errorf("%q was let in", text)
	}
	if text, ok := ask(t, b, atA, "both sides", 100*time.Millisecond); ok {
		t.Errorf("b was answered %q, and nobody answers at a", text)
	}
	if text, ok := ask(t, a, atB, "once more", soon); !ok || text != "both sides" {
		t.Errorf("a received %q, %v", text, ok)
	}
}

func TestRestrictions(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	server := lab.Public("server")
	public := echo(t, server)
	var listener net.Listener
	server.Do(func() (err error) {
		listener, err = net.Listen("tcp", ":443")
		return err
	})
	t.Cleanup(func() { listener.Close() })
	hotel := lab.Home("hotel", netlab.Cone)
	phone := hotel.Host("phone")
	c := socket(t, phone)
	connects := func(port string) bool {
		err := phone.Host.Do(func() error {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(server.Addr().String(), port), 200*time.Millisecond)
			if err == nil {
				c.Close()
			}
			return err
		})
		return err == nil || strings.Contains(err.Error(), "refused")
	}
	for _, tt := range []struct {
		name                string
		restrict            func()
		udp, tcp443, tcp444 bool
	}{
		{"no UDP", hotel.DropUDP, false, true, true},
		{"TCP port 443 alone", func() { hotel.OnlyTCP(443) }, false, true, false},
		{"none", hotel.Unrestrict, true, true, true},
	} {
		tt.restrict()
		if _, udp := ask(t, c, public, "?", 200*time.Millisecond); udp != tt.udp {
			t.Errorf("%s: UDP passes: %v", tt.name, udp)
		}
		if got := connects("443"); got != tt.tcp443 {
			t.Errorf("%s: TCP to port 443 passes: %v", tt.name, got)
		}
		if got := connects("444"); got != tt.tcp444 {
			t.Errorf("%s: TCP to port 444 passes: %v", tt.name, got)
		}
	}
}

func TestIPv6Only(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	server := lab.Public("server")
	public := echo(t, server)
	host := lab.Home("birch", netlab.IPv6Only).Host("host")
	c := socket(t, host)
	if text, ok := ask(t, c, public, "?", 100*time.Millisecond); ok {
		t.Errorf("IPv4 answers %q", text)
	}
	public = netip.AddrPortFrom(server.Addrs()[1], public.Port())
	if at := seen(t, c, public); at.Addr() != host.Addr() {
		t.Errorf("seen at %s, the host is %s", at, host.Addr())
	}
	if text, ok := ask(t, socket(t, server), netip.AddrPortFrom(host.Addr(), 7), "let me in", 100*time.Millisecond); ok {
		t.Errorf("uninvited, and answered %q", text)
	}
}

// Nothing leaves a lab, and hosts on a LAN that leads nowhere reach each other alone.
func TestSealed(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	outside, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4zero})
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	port := outside.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	den := lab.LAN("den")
	a, b := den.Host("a"), den.Host("b")
	public := echo(t, lab.Public("one"))
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []*netlabtest.Host{a, lab.Home("birch", netlab.Cone).Host("c")} {
		c := socket(t, from)
		for _, addr := range own {
			if n, ok := addr.(*net.IPNet); ok && n.IP.To4() != nil {
				ip, _ := netip.AddrFromSlice(n.IP.To4())
				c.WriteToUDPAddrPort([]byte("out"), netip.AddrPortFrom(ip, port))
			}
		}
	}
	if text, ok := ask(t, socket(t, a), public, "?", 100*time.Millisecond); ok {
		t.Errorf("a LAN that leads nowhere reaches the public segment, which answers %q", text)
	}
	if at := seen(t, socket(t, a), echo(t, b)); at.Addr() != a.Addr() {
		t.Errorf("a is seen at %s by its neighbour", at)
	}
	if err := outside.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, from, err := outside.ReadFromUDPAddrPort(make([]byte, 10)); err == nil {
		t.Errorf("%d bytes came out of the lab, from %s", n, from)
	}
}

// What is said in clear is found, and what is not said is not.
func TestCapture(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	watched := lab.Internet().Capture()
	c := socket(t, lab.Home("birch", netlab.Cone).Host("host"))
	public := echo(t, lab.Public("one"))
	if _, ok := ask(t, c, public, "before everybody: an open secret, told in full", soon); !ok {
		t.Fatal("no answer")
	}
	for deadline := time.Now().Add(soon); !watched.Holds([]byte("open secret")); {
		if time.Now().After(deadline) {
			t.Fatal("what was said in clear is not found")
		}
	}
	if !watched.Holds([]byte("not this, but an open secret, told in part")) {
		t.Error("a part of a longer secret is not found")
	}
	if watched.Holds([]byte("another secret")) || watched.Size() == 0 {
		t.Errorf("what was not said is found in %d bytes", watched.Size())
	}
}

// Processes on hosts are driven, and gone with the lab; so is what a dead process left.
func TestProcesses(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	h := lab.LAN("den").Host("a")
	if r := h.Run("sh", "-c", "echo out; echo err >&2; exit 3"); r.Code != 3 || r.Out != "out\n" || r.Err != "err\n" {
		t.Errorf("it ran as %+v", r)
	}
	cat := h.Start("cat")
	cat.Say("hello")
	if line := cat.Line(); line != "hello" {
		t.Errorf("it printed %q", line)
	}
	cat.Kill()
	if code := h.Start("sleep", "60").Stop(); code != -1 {
		t.Errorf("an interrupted process ended with %d", code)
	}
}

func TestSweep(t *testing.T) {
	const left = "netlab-1-1-1-0-left" // process 1 did not start at tick 1
	lab := netlabtest.New(t)
	h := lab.Public("h")
	if r := h.Run("ip", "netns", "add", left); r.Code != 0 {
		t.Fatal(r.Err)
	}
	other := netlabtest.New(t)
	if _, err := os.Stat(filepath.Join("/run/netns", left)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a dead process left is there still: %v", err)
	}
	if r := h.Run("true"); r.Code != 0 {
		t.Error("a lab of a living process was taken away")
	}
	if r := other.Public("h").Run("true"); r.Code != 0 {
		t.Error("a host cannot be made")
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	public := echo(t, lab.Public("one"))
	home := lab.Home("birch", netlab.Cone)
	const each = 40 * time.Millisecond
	home.SetDelay(each)
	c := socket(t, home.Host("host"))
	seen(t, c, public) // neighbours are found
	for tries := 1; ; tries++ {
		began := time.Now()
		if at := seen(t, c, public); at.Addr() != home.PublicAddr() {
			t.Errorf("seen at %s", at)
		}
		took := time.Since(began)
		if took > 10*each && tries < 10 { // a busy machine delays by itself
			continue
		}
		if took < 2*each || took > 10*each {
			t.Errorf("there and back took %v, with %v each way", took, each)
		}
		return
	}
}
