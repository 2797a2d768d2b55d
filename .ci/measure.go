// Command measure takes the figures that belong to the binary, from outside: its size, how long a gateway takes to be
// up, what one command costs from start to answer, what an idle gateway costs, and how long the whole story takes. It
// prints them as benchmarks do: measure BINARY.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	starts  = 5
	calls   = 20
	watched = 30 * time.Second // an idle gateway
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	if len(os.Args) != 2 {
		return errors.New("usage: measure BINARY")
	}
	binary, err := filepath.Abs(os.Args[1])
	if err != nil {
		return err
	}
	info, err := os.Stat(binary)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kindred-measure-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Println("pkg: binary")
	report("Binary", 1, float64(info.Size()), "bytes")
	h := home{binary, dir}
	if err := h.measure(); err != nil {
		return err
	}
	return h.story()
}

func report(name string, n int, value float64, unit string) {
	fmt.Printf("Benchmark%s\t%d\t%.3f %s\n", name, n, value, unit)
}

// A home is where the commands are made.
type home struct{ binary, dir string }

func (h home) command(ctx context.Context, member string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.binary, append([]string{"--json", "--dir", filepath.Join(h.dir, member)}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = os.Stderr
	return cmd
}

// A service is a command that stays.
type service struct {
	cmd *exec.Cmd
	out *bufio.Reader
	end context.CancelFunc
}

// start starts a command and returns its first line.
func (h home) start(in io.Reader, member string, args ...string) (*service, []byte, error) {
	ctx, end := context.WithCancel(context.Background())
	s := &service{cmd: h.command(ctx, member, args...), end: end}
	s.cmd.Stdin = in
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	s.out = bufio.NewReader(out)
	line, err := s.out.ReadBytes('\n')
	if err != nil {
		return nil, nil, fmt.Errorf("%q: %w", args, errors.Join(err, s.stop()))
	}
	return s, line, nil
}

// stop interrupts a service and waits for its end. Of how it ends nothing is made here.
func (s *service) stop() error {
	s.end()
	_, err := io.Copy(io.Discard, s.out)
	_ = s.cmd.Wait()
	return err
}

func (h home) measure() error {
	if err := h.command(context.Background(), "laptop", "init", "Birch Street", "--owner", "sam", "--tz", "UTC").Run(); err != nil {
		return err
	}
	var took []time.Duration
	var gateway *service
	for range starts {
		if gateway != nil {
			if err := gateway.stop(); err != nil {
				return err
			}
		}
		began := time.Now()
		var err error
		if gateway, _, err = h.start(nil, "laptop", "up", "--listen", "127.0.0.1:0"); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	report("Up", starts, median(took).Seconds(), "s/up")
	err := errors.Join(h.idle(gateway.cmd.Process.Pid), h.get())
	return errors.Join(err, gateway.stop())
}

// get measures a command from its start to its answer.
func (h home) get() error {
	add, line, err := h.start(nil, "laptop", "add", "device", "home/lock")
	if err != nil {
		return err
	}
	defer add.stop()
	var invited struct{ Invitation string }
	if err := json.Unmarshal(line, &invited); err != nil {
		return err
	}
	join := h.command(context.Background(), "lock", "join")
	join.Stdin = strings.NewReader(invited.Invitation + "\n")
	if err := join.Run(); err != nil {
		return err
	}
	if _, err := add.out.ReadBytes('\n'); err != nil { // it has joined
		return err
	}
	lock, _, err := h.start(nil, "lock", "device", "lock", "--listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer lock.stop()
	var took []time.Duration
	for range calls {
		began := time.Now()
		out, err := h.command(context.Background(), "laptop", "get", "home/lock", "state").Output()
		if err != nil || !bytes.Contains(out, []byte("locked")) {
			return fmt.Errorf("get answered %q: %w", out, err)
		}
		took = append(took, time.Since(began))
	}
	report("Get", calls, float64(median(took).Microseconds())/1000, "ms/get")
	return nil
}

// idle measures what a gateway costs while nothing happens, from what Linux tells of the process.
func (h home) idle(pid int) error {
	before, err := processorTime(pid)
	if err != nil {
		return err
	}
	time.Sleep(watched)
	after, err := processorTime(pid)
	if err != nil {
		return err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes, err := strconv.ParseFloat(strings.Fields(rest + " ?")[0], 64)
	if err != nil {
		return err
	}
	report("Idle", 1, 100*(after-before).Seconds()/watched.Seconds(), "%core")
	report("Idle", 1, kilobytes/1024, "MB-resident")
	return nil
}

// processorTime returns the time that a process has spent computing: fields 14 and 15 of proc_pid_stat(5), in ticks of
// 10 ms.
func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, err
}

func (h home) story() error {
	began := time.Now()
	cmd := exec.Command(h.binary, "demo", "--once", "--json")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the story: %w\n%s", err, out)
	}
	report("Story", 1, time.Since(began).Seconds(), "s/story")
	return nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
