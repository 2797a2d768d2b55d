package kindred

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// Who is at the far end of a tunnel is not at home, whatever addresses there are in it; who is on the same link is.
func TestTunnelIsNotHome(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a namespace with a tunnel is made by root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("no tunnels here: ", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocks: the thread ends with its namespace
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		out, err := exec.Command("sh", "-ec", `
			ip tuntap add dev tunnel mode tun
			ip link add home type veth peer name far
			for d in tunnel home far; do ip link set $d up; done
			ip addr add 10.9.0.1/24 dev tunnel
			ip addr add fe80::1/64 dev tunnel nodad
			ip addr add 10.8.0.1/24 dev home
			ip addr add fe80::2/64 dev home nodad`).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
			return
		}
		var here neighbours
		for at, want := range map[string]bool{
			"10.8.0.7": true, "fe80::7%home": true, "10.9.0.7": false, "fe80::7%tunnel": false, "fe80::7": false, "169.254.0.7": false,
		} {
			if got := here.has(netip.MustParseAddr(at)); got != want {
				t.Errorf("%s is at home: %v", at, got)
			}
		}
	}()
	<-done
}
