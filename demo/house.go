package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/netlab"
)

// A member is somebody in the story: a directory, and the processes that are made in its name.
type member struct {
	name string // as "by" has it
	dir  string
	host *netlab.Host // where the processes run; nil: on this machine's own network
}

// ip is where the member's processes are to be reached, by those at home.
func (m member) ip() netip.Addr {
	if m.host == nil {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}) // which this machine alone can reach
	}
	return m.host.Addr()
}

// anyPort is a free port there.
func (m member) anyPort() string { return m.ip().String() + ":0" }

// A house is all the processes of the demo.
type house struct {
	binary string

	mu      sync.Mutex
	running map[*process]struct{}
	closed  bool
	wait    sync.WaitGroup
}

func newHouse(binary string) *house {
	return &house{binary: binary, running: map[*process]struct{}{}}
}

// graceful is how long a process has to end by itself when it is asked to.
const graceful = 3 * time.Second

// close ends all processes and waits for them.
func (h *house) close() {
	h.mu.Lock()
	h.closed = true
	all := make([]*process, 0, len(h.running))
	for p := range h.running {
		all = append(all, p)
	}
	h.mu.Unlock()
	for _, p := range all {
		h.wait.Go(p.stop)
	}
	h.wait.Wait()
}

// command is the kindred binary run in a member's name.
func (h *house) command(ctx context.Context, who member, args ...string) *exec.Cmd {
	args = append([]string{"--dir", who.dir, "--json"}, args...)
	cmd := exec.CommandContext(ctx, h.binary, args...)
	if who.host != nil {
		cmd = who.host.Command(ctx, h.binary, args...)
	}
	cmd.Cancel = func() error { return interrupt(cmd.Process) }
	cmd.WaitDelay = graceful
	return cmd
}

// A result is a command that has ended.
type result struct {
	who  member
	args []string
	code int // -1 if it did not end by itself
	out  []byte
	err  []byte
	took time.Duration
}

// run runs a command to its end.
func (h *house) run(ctx context.Context, who member, args ...string) (result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it takes too long"))
	defer cancel()
	cmd := h.command(ctx, who, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	began := time.Now()
	err := cmd.Run()
	r := result{who: who, args: args, out: out.Bytes(), err: stderr.Bytes(), took: time.Since(began), code: -1}
	if cmd.ProcessState != nil {
		r.code = cmd.ProcessState.ExitCode()
	}
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return r, r.wrong("%w", context.Cause(ctx))
	}
	if err != nil && !errors.As(err, &exit) {
		return r, r.wrong("%w", err)
	}
	return r, nil
}

// wrong says what was wrong with how a command ended, and quotes what it said last.
func (r result) wrong(format string, args ...any) error {
	err := fmt.Errorf("%s: kindred %s: "+format, append([]any{r.who.name, words(r.args)}, args...)...)
	if said := lastLines(string(r.err), 8); said != "" {
		return fmt.Errorf("%w; it wrote:\n%s", err, said)
	}
	return err
}

// words joins arguments, the long ones (an invitation) cut short.
func words(args []string) string {
	short := make([]string, len(args))
	for i, a := range args {
		if len(a) > 80 {
			a = a[:77] + "…"
		}
		short[i] = a
	}
	return strings.Join(short, " ")
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// The exit codes of kindred that the story is about.
const (
	exitDone    = 0
	exitRefused = 3
)

// said is an error as kindred prints it.
type said struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// problem returns the error that the command printed.
func (r result) problem() said {
	lines := bytes.Split(bytes.TrimSpace(r.err), []byte("\n"))
	var p struct{ Error said }
	if err := json.Unmarshal(lines[len(lines)-1], &p); err != nil {
		return said{Message: "(it gave no reason)"}
	}
	return p.Error
}

// done is the error of a command that should have ended with code 0 and did not.
func (r result) done() error {
	if r.code != exitDone {
		return r.wrong("ended with exit code %d, not 0", r.code)
	}
	return nil
}

// refused checks that a command was refused, for one of the reasons if any are given, and returns the reason told.
func (r result) refused(codes ...string) (string, error) {
	p := r.problem()
	if r.code != exitRefused {
		return "", r.wrong("ended with exit code %d, not 3 (refused)", r.code)
	}
	for _, c := range codes {
		if p.Code == c {
			return p.Message, nil
		}
	}
	if len(codes) > 0 {
		return "", r.wrong("was refused with code %q, not %s", p.Code, strings.Join(codes, " or "))
	}
	return p.Message, nil
}

// read decodes the JSON that a command printed.
func (r result) read(v any) error {
	if err := r.done(); err != nil {
		return err
	}
	if err := json.Unmarshal(r.out, v); err != nil {
		return r.wrong("printed %.200q: %w", r.out, err)
	}
	return nil
}
