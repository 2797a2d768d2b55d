package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// A process is a command that stays: a gateway, a device, somebody who watches, somebody who waits for an answer.
//
//	started ──▶ running ──▶ ended: by itself, interrupted by stop, or killed
type process struct {
	who   member
	args  []string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string   // of standard output; closed after the last
	done  chan struct{} // closed when the process has ended; then code and ended are set
	quit  chan struct{} // closed when nobody reads lines any more
	once  sync.Once
	said  tail // what it wrote to standard error
	began time.Time
	ended time.Time
	code  int
}

var errClosed = errors.New("the demo is ending")

// start starts a process. It runs until it ends or is stopped, or the house is closed.
func (h *house) start(who member, args ...string) (*process, error) {
	p := &process{
		who: who, args: args, lines: make(chan string, 64), done: make(chan struct{}), quit: make(chan struct{}),
		cmd: h.command(context.Background(), who, args...),
	}
	p.cmd.Stderr = &p.said
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		p.stdin, err = p.cmd.StdinPipe()
	}
	if err != nil {
		return nil, p.wrong(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, p.wrong(errClosed)
	}
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, p.wrong(err)
	}
	h.running[p] = struct{}{}
	h.wait.Go(func() {
		p.follow(out)
		h.mu.Lock()
		delete(h.running, p)
		h.mu.Unlock()
	})
	return p, nil
}

// follow reads what the process prints until it has ended.
func (p *process) follow(out io.Reader) {
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			select {
			case p.lines <- strings.TrimSpace(line):
			case <-p.quit: // read on, so that it is not held up while it ends
			}
		}
		if err != nil {
			break
		}
	}
	if err := p.cmd.Wait(); err != nil && p.cmd.ProcessState == nil {
		fmt.Fprintln(&p.said, err)
	}
	p.code, p.ended = p.cmd.ProcessState.ExitCode(), time.Now()
	close(p.lines)
	close(p.done)
}

// next returns the next line that the process prints.
func (p *process) next(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it prints nothing"))
	defer cancel()
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", p.wrong(fmt.Errorf("ended with exit code %d", p.code))
		}
		return line, nil
	case <-ctx.Done():
		return "", p.wrong(context.Cause(ctx))
	}
}

// read decodes the next line that the process prints.
func (p *process) read(ctx context.Context, v any) error {
	line, err := p.next(ctx)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(line), v); err != nil {
		return p.wrong(fmt.Errorf("printed %.200q: %w", line, err))
	}
	return nil
}

// end waits until the process has ended by itself, and passes over what it still prints.
func (p *process) end(ctx context.Context) (result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it does not end"))
	defer cancel()
	p.once.Do(func() { close(p.quit) })
	for range p.lines {
		if ctx.Err() != nil {
			break
		}
	}
	select {
	case <-p.done:
		return result{who: p.who, args: p.args, code: p.code, err: []byte(p.said.String()), took: p.ended.Sub(p.began)}, nil
	case <-ctx.Done():
		return result{}, p.wrong(context.Cause(ctx))
	}
}

// write writes a line to the process's standard input.
func (p *process) write(line string) error {
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		return p.wrong(err)
	}
	return nil
}

// stop asks the process to end, kills it if it does not, and waits for it.
func (p *process) stop() {
	p.once.Do(func() { close(p.quit) })
	if interrupt(p.cmd.Process) == nil {
		select {
		case <-p.done:
			return
		case <-time.After(graceful):
		}
	}
	p.kill()
}

// kill ends the process as kill -9 does, and waits for it.
func (p *process) kill() {
	p.once.Do(func() { close(p.quit) })
	_ = p.cmd.Process.Kill() // it has ended by itself, then
	<-p.done
}

// interrupt asks a process to end.
func interrupt(p *os.Process) error {
	if runtime.GOOS == "windows" { // where nobody can be asked
		return p.Kill()
	}
	return p.Signal(os.Interrupt)
}

func (p *process) wrong(err error) error {
	return result{who: p.who, args: p.args, err: []byte(p.said.String())}.wrong("%w", err)
}

// maxTail is how much of what a process wrote to standard error is kept, in bytes.
const maxTail = 16 << 10

// A tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, b...)
	if over := len(t.data) - maxTail; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data)
}
