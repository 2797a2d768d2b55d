//go:build linux

package netlabtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Forwarder is what makes a home's router forward ports, or open its firewall, for whoever asks from inside.
type Forwarder struct {
	*Process
	router *Host
}

// The chains that miniupnpd writes to: its rules are in chains of its own, and others jump there. What goes to a host
// inside, the home's own rules let through if one of its does.
const forwarding = `
table inet home {
	chain let_through { }
	chain forward { jump let_through; }
}
table inet upnp {
	chain prerouting { type nat hook prerouting priority dstnat; policy accept; jump translate_in; }
	chain translate_in { }
	chain postrouting { type nat hook postrouting priority srcnat; policy accept; jump translate_out; }
	chain translate_out { }
}
`

// Forward starts miniupnpd on the home's router, as it is in many from the shop, with further settings
// (miniupnpd.conf(5)), and waits until it answers. It is of Debian's package miniupnpd-nftables; without it a test is
// skipped, or fails where labs are required.
func (h *Home) Forward(settings ...string) *Forwarder {
	t := h.LAN.lab.t
	t.Helper()
	program, err := exec.LookPath("miniupnpd")
	if err != nil {
		if os.Getenv("KINDRED_LABS") == "required" {
			t.Fatalf("a router that forwards ports takes miniupnpd: install Debian's package miniupnpd-nftables (%v)", err)
		}
		t.Skipf("a router that forwards ports takes miniupnpd, of Debian's package miniupnpd-nftables: %v", err)
	}
	f := &Forwarder{router: &Host{Host: h.Home.Router(), lab: h.LAN.lab}}
	dir := t.TempDir()
	rules, conf := filepath.Join(dir, "rules.nft"), filepath.Join(dir, "miniupnpd.conf")
	h.LAN.lab.check(os.WriteFile(rules, []byte(forwarding), 0o600))
	h.LAN.lab.check(os.WriteFile(conf, []byte(strings.Join(append([]string{
		"ext_ifname=wan", "listening_ip=lan", "http_port=5000", "secure_mode=yes", "system_uptime=no",
		"upnp_table_name=home", "upnp_nat_table_name=upnp", "upnp_forward_chain=let_through", "upnp_nat_chain=translate_in",
		"upnp_nat_postrouting_chain=translate_out", "uuid=2d8f4b5e-5f0d-4c61-8f3e-4f0c5b7c9a10",
	}, append(settings, "allow 1024-65535 0.0.0.0/0 1024-65535", "deny 0-65535 0.0.0.0/0 0-65535", "")...), "\n")), 0o600))
	if r := f.router.Run("nft", "-f", rules); r.Code != 0 {
		t.Fatalf("making the router's rules: %s", r.Err)
	}
	f.Process = f.router.Start(program, "-d", "-f", conf, "-P", filepath.Join(dir, "pid"))
	f.untilSaid(listens)
	return f
}

// listens is what miniupnpd says when it is ready for all that it was told to be.
var listens = regexp.MustCompile(`(?s)starting (NAT-PMP/PCP )?UPnP.*HTTP listening on port|starting NAT-PMP/PCP ext.*Listening for NAT-PMP/PCP`)

// untilSaid waits until what the process wrote to standard error matches.
func (f *Forwarder) untilSaid(re *regexp.Regexp) {
	f.t.Helper()
	for over := time.Now().Add(Patience); !re.MatchString(f.Said()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(over) {
			f.t.Fatalf("%s is not ready; it wrote:\n%s", f.name, f.Said())
		}
	}
}

// Forwarded returns what the router forwards now: its rules, as nft writes them.
func (f *Forwarder) Forwarded() (all []string) {
	return f.rules("upnp", "translate_in", "dnat")
}

// rules returns those of a chain that have a word in them.
func (f *Forwarder) rules(table, chain, word string) (all []string) {
	f.t.Helper()
	r := f.router.Run("nft", "list", "chain", "inet", table, chain)
	if r.Code != 0 {
		f.t.Fatalf("asking the router for its rules: %s", r.Err)
	}
	for line := range strings.Lines(r.Out) {
		if strings.Contains(line, word) {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

// Opened returns what the router's firewall lets in now of what it was asked for: its rules, as nft writes them.
func (f *Forwarder) Opened() (all []string) { return f.rules("home", "let_through", "accept") }

// Announce has a host know the router by a link-local address, as routers announce themselves (RFC 4861 §4.2).
func (f *Forwarder) Announce(to *Host) {
	f.t.Helper()
	for _, r := range []Result{
		f.router.Run("ip", "addr", "add", "fe80::1/64", "dev", "lan", "nodad"),
		to.Run("ip", "-6", "route", "replace", "default", "via", "fe80::1", "dev", "eth0"),
	} {
		if r.Code != 0 {
			f.t.Fatalf("announcing the router: %s", r.Err)
		}
	}
}

// Deafen has the router drop what comes to one of its own ports of UDP.
func (f *Forwarder) Deafen(port int) {
	f.t.Helper()
	if r := f.router.Run("nft", "insert", "rule", "inet", "home", "input", "udp", "dport", strconv.Itoa(port), "drop"); r.Code != 0 {
		f.t.Fatalf("deafening the router: %s", r.Err)
	}
}

// Break has the router let nothing in any more, and go on saying that it forwards.
func (f *Forwarder) Break() {
	f.t.Helper()
	if r := f.router.Run("nft", "insert", "rule", "inet", "home", "forward", "iifname", "wan", "ct", "state", "new", "drop"); r.Code != 0 {
		f.t.Fatalf("breaking the router: %s", r.Err)
	}
}
