// Package netlab makes networks on one Linux machine, for tests and for the demo: hosts on LANs, routers that translate
// addresses, and a public segment in between. Each host is a network namespace; what runs on it is a real process, and
// what its kernel does is what a kernel does.
//
//	                    the public segment
//	  ┌──────────┬───────────────┬────────────────┬───────────┐
//	  │          │               │                │           │
//	relay     another      birch, a router   hotel, a router  the router that all of them
//	25.0.1.1  25.0.1.2     25.0.2.1          25.0.2.2         have as their default: 25.0.0.1
//	                         │   192.168.1.1    │   192.168.1.1
//	                      ┌──┴────┐             │
//	                   gateway  meter         phone
//	              192.168.1.2  192.168.1.3  192.168.1.2
//
// Every home numbers its hosts alike, as routers from the shop do. A home that has IPv6 alone has 2a10:25:0:N::/64 to
// itself instead, and no translation.
//
// Nothing of the machine's own network is in a lab, so that no packet leaves one, whatever its address. Those of the
// public segment are somebody's in the real world: libp2p punches holes between addresses that look public only, and
// those kept for documentation (RFC 5737) do not.
//
// It takes root and the commands ip (iproute2) and nft (nftables); [Missing] says what is not there. What a lab made
// [Lab.Close] takes away. What a process left that was killed before, the next New takes away: the names of namespaces
// say whose they are. Labs do not know of each other, and there can be many at a time.
package netlab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Missing says what a lab takes that is not here; nil if nothing.
func Missing() error {
	if runtime.GOOS != "linux" {
		return errors.New("networks of namespaces are there on Linux only")
	}
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root's rights")
	}
	for _, tool := range []struct{ name, of string }{{"ip", "iproute2"}, {"nft", "nftables"}} {
		if _, err := exec.LookPath(tool.name); err != nil {
			missing = append(missing, fmt.Sprintf("the command %s (Debian's package %s)", tool.name, tool.of))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("networks of namespaces take %s", strings.Join(missing, ", and "))
	}
	return nil
}

// A Lab is networks that nothing leaves. It is safe for concurrent use.
type Lab struct {
	owner string // the beginning of its namespaces' names

	mu       sync.Mutex
	spaces   []string // in order of creation
	internet *segment // the public one; nil until something is on it
	homes    int
	public   int // hosts on the public segment
	delays   []*delay
	closed   bool
}

// labs counts those of this process.
var labs atomic.Int64

// New makes a lab with nothing in it, and takes away what dead processes left. The caller closes it.
func New() (*Lab, error) {
	err := Missing()
	if err == nil {
		err = sweep()
	}
	var me string
	if err == nil {
		me, err = process(os.Getpid())
	}
	if err != nil {
		return nil, fmt.Errorf("netlab: %w", err)
	}
	return &Lab{owner: fmt.Sprintf("%s%s-%d-", prefix, me, labs.Add(1))}, nil
}

// Close ends every process on the lab's hosts and takes the lab away.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	var errs []error
	for _, d := range l.delays {
		errs = append(errs, d.close())
	}
	err := errors.Join(append(errs, remove(l.spaces))...)
	l.delays, l.spaces = nil, nil
	if err != nil {
		return fmt.Errorf("netlab: closing: %w", err)
	}
	return nil
}

// prefix begins the name of every namespace of a lab: netlab-PID-STARTED-LAB-NUMBER-NAME.
const prefix = "netlab-"

// process names a process so that no later one has the same name: by its ID and when it started, in ticks since boot
// (proc(5), field 22 of stat).
func process(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ") // behind the command's own name
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return "", fmt.Errorf("reading when process %d started: %q", pid, stat)
	}
	return fmt.Sprintf("%d-%s", pid, fields[19]), nil
}

// stale reports whether a namespace is of a lab whose process has ended.
func stale(space string) bool {
	name, is := strings.CutPrefix(space, prefix)
	parts := strings.SplitN(name, "-", 3)
	if !is || len(parts) < 3 {
		return false
	}
	pid, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	now, err := process(pid)
	return err != nil || now != parts[0]+"-"+parts[1]
}

// spacesDir is where "ip netns" keeps namespaces by name.
const spacesDir = "/run/netns"

// sweep takes away what dead processes left.
func sweep() error {
	entries, err := os.ReadDir(spacesDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var left []string
	for _, e := range entries {
		if stale(e.Name()) {
			left = append(left, e.Name())
		}
	}
	if err := remove(left); err != nil {
		var now []string // another process may have swept at the same time
		for _, s := range left {
			if _, serr := os.Stat(spacesDir + "/" + s); serr == nil {
				now = append(now, s)
			}
		}
		if len(now) > 0 {
			return err
		}
	}
	return nil
}

// remove ends the processes in namespaces, and removes these.
func remove(spaces []string) error {
	var errs []error
	for _, s := range spaces {
		out, err := run("", "ip", "netns", "pids", s)
		errs = append(errs, err)
		for field := range strings.FieldsSeq(out) {
			if pid, err := strconv.Atoi(field); err == nil && pid != os.Getpid() {
				if p, err := os.FindProcess(pid); err == nil {
					_ = p.Kill() // it may have ended
				}
			}
		}
	}
	for _, s := range spaces {
		_, err := run("", "ip", "netns", "del", s)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// run runs a command and returns what it printed; what it wrote to standard error is in the error.
func run(stdin, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}

// space makes a namespace. l.mu is held.
func (l *Lab) space(name string) (string, error) {
	if l.closed {
		return "", errors.New("the lab is closed")
	}
	s := fmt.Sprintf("%s%d-%s", l.owner, len(l.spaces), name) // hosts may be called alike
	if _, err := run("", "ip", "netns", "add", s); err != nil {
		return "", err
	}
	l.spaces = append(l.spaces, s)
	// Addresses serve at once, instead of after a second of looking for somebody else who has them (RFC 4862 §5.4).
	return s, tune(s, "net/ipv6/conf/all/accept_dad=0", "net/ipv6/conf/default/accept_dad=0")
}

// tune sets parameters of a namespace's kernel, NAME=VALUE each.
func tune(space string, settings ...string) error {
	script := ""
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		script += fmt.Sprintf("echo %s >/proc/sys/%s\n", value, name)
	}
	_, err := run(script, "ip", "netns", "exec", space, "sh", "-eu")
	return err
}

// ask makes an interface ask for neighbours often: one may be asked for while their line is being plugged in.
func ask(space, name string) error {
	var settings []string
	for _, family := range []string{"ipv4", "ipv6"} {
		of := "net/" + family + "/neigh/" + name
		settings = append(settings, of+"/retrans_time_ms=100", of+"/mcast_solicit=30")
	}
	return tune(space, settings...)
}

// ip runs lines of commands of ip in a namespace.
func ip(space string, lines ...string) error {
	_, err := run(strings.Join(lines, "\n")+"\n", "ip", "-n", space, "-batch", "-")
	return err
}

// nft runs a script of nft in a namespace.
func nft(space, script string) error {
	_, err := run(script, "ip", "netns", "exec", space, "nft", "-f", "-")
	return err
}
