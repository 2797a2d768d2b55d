//go:build linux

package netlabtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A Forwarder is what makes a home's router forward ports for whoever asks from inside.
type Forwarder struct {
	*Process
	router *Host
}

// The tables that miniupnpd writes to: its rules are in chains of its own, and others jump there. What is translated to a
// host inside, the home's own rules let through.
const forwarding = `
table inet upnp {
	chain forward { type filter hook forward priority 10; policy accept; jump let_through; }
	chain let_through { }
	chain prerouting { type nat hook prerouting priority dstnat; policy accept; jump translate_in; }
	chain translate_in { }
	chain postrouting { type nat hook postrouting priority srcnat; policy accept; jump translate_out; }
	chain translate_out { }
}
`

const letForwarded = "add rule inet home forward ct status dnat accept\n"

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
	h.LAN.lab.check(os.WriteFile(rules, []byte(forwarding+letForwarded), 0o600))
	h.LAN.lab.check(os.WriteFile(conf, []byte(strings.Join(append([]string{
		"ext_ifname=wan", "listening_ip=lan", "http_port=5000", "secure_mode=yes", "system_uptime=no",
		"upnp_table_name=upnp", "upnp_nat_table_name=upnp", "upnp_forward_chain=let_through", "upnp_nat_chain=translate_in",
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
	f.t.Helper()
	r := f.router.Run("nft", "list", "chain", "inet", "upnp", "translate_in")
	if r.Code != 0 {
		f.t.Fatalf("asking the router what it forwards: %s", r.Err)
	}
	for line := range strings.Lines(r.Out) {
		if strings.Contains(line, "dnat") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

// Break has the router let nothing in any more, and go on saying that it forwards.
func (f *Forwarder) Break() {
	f.t.Helper()
	if r := f.router.Run("nft", "insert", "rule", "inet", "home", "forward", "iifname", "wan", "ct", "state", "new", "drop"); r.Code != 0 {
		f.t.Fatalf("breaking the router: %s", r.Err)
	}
}
