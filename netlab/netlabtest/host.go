//go:build linux

package netlabtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/netlab"
)

// Patience is how long a test waits for anything that a process is to do.
const Patience = 30 * time.Second

// A Host is a netlab.Host of a test.
type Host struct {
	*netlab.Host
	lab *Lab
}

// A Result is how a program ended.
type Result struct {
	Code     int // -1 if it was killed
	Out, Err string
	Took     time.Duration
}

// Run runs a program on the host to its end.
func (h *Host) Run(name string, args ...string) Result {
	h.lab.t.Helper()
	ctx, cancel := context.WithTimeout(h.lab.t.Context(), Patience)
	defer cancel()
	cmd := h.Command(ctx, name, args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.lab.t.Fatalf("%s: %s: %v", h.Name, strings.Join(args, " "), err)
	}
	return Result{Code: cmd.ProcessState.ExitCode(), Out: out.String(), Err: said.String(), Took: time.Since(began)}
}

// Unplug takes the host off its network.
func (h *Host) Unplug() { h.lab.t.Helper(); h.lab.check(h.Host.Unplug()) }

// Plug puts the host back on its network.
func (h *Host) Plug() { h.lab.t.Helper(); h.lab.check(h.Host.Plug()) }

// Do calls f on the host.
func (h *Host) Do(f func() error) { h.lab.t.Helper(); h.lab.check(h.Host.Do(f)) }

// A Process is a program that goes on. It is killed when the test is over.
type Process struct {
	t     testing.TB
	name  string // whose it is, for messages
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string   // of standard output; closed after the last
	quit  chan struct{} // closed when nobody reads lines any more
	done  chan struct{} // closed when it has ended

	mu   sync.Mutex
	said bytes.Buffer
}

// Start starts a program on the host.
func (h *Host) Start(name string, args ...string) *Process {
	h.lab.t.Helper()
	p := &Process{
		t: h.lab.t, name: h.Name + ": " + name + " " + strings.Join(args, " "), cmd: h.Command(context.Background(), name, args...),
		lines: make(chan string, 1024), quit: make(chan struct{}), done: make(chan struct{}),
	}
	p.cmd.Stderr = p
	var err error
	p.in, err = p.cmd.StdinPipe()
	h.lab.check(err)
	out, err := p.cmd.StdoutPipe()
	h.lab.check(err)
	h.lab.check(p.cmd.Start())
	go p.follow(out) // ends with the process
	h.lab.t.Cleanup(func() {
		close(p.quit)
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
		if said := p.Said(); said != "" && h.lab.t.Failed() {
			h.lab.t.Logf("%s wrote:\n%s", p.name, said)
		}
	})
	return p
}

func (p *Process) follow(out io.Reader) {
	for s := bufio.NewScanner(out); s.Scan(); {
		select {
		case p.lines <- s.Text():
		case <-p.quit:
		}
	}
	_ = p.cmd.Wait() // the exit code is in ProcessState
	close(p.lines)
	close(p.done)
}

// Write takes what the process writes to standard error.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

// Said returns what the process wrote to standard error so far.
func (p *Process) Said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// Line waits for the next line that the process prints.
func (p *Process) Line() string {
	p.t.Helper()
	line, ok := p.NextLine(Patience)
	if !ok {
		p.t.Fatalf("%s printed nothing more; it wrote:\n%s", p.name, p.Said())
	}
	return line
}

// NextLine waits for the next line that the process prints; false if it ends before, or the time is up.
func (p *Process) NextLine(within time.Duration) (string, bool) {
	select {
	case line, ok := <-p.lines:
		return line, ok
	case <-time.After(within):
		return "", false
	}
}

// Until waits for a line that matches, and returns it.
func (p *Process) Until(re *regexp.Regexp) string {
	p.t.Helper()
	for {
		if line := p.Line(); re.MatchString(line) {
			return line
		}
	}
}

// Say writes a line to the process's standard input.
func (p *Process) Say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// End waits until the process has ended and returns its exit code; -1 if it was killed.
func (p *Process) End() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(Patience):
		p.t.Fatalf("%s does not end; it wrote:\n%s", p.name, p.Said())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Stop asks the process to end and waits for that.
func (p *Process) Stop() int {
	p.t.Helper()
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
	return p.End()
}

// Kill ends the process as kill -9 does, and waits for that.
func (p *Process) Kill() {
	p.t.Helper()
	_ = p.cmd.Process.Kill() // it may have ended
	p.End()
}
