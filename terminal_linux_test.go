package kindred_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// patience is how long a terminal has to show what is expected.
const patience = time.Minute

// prompt is what the shell of a terminal says when it is ready for a command.
const prompt = "[[ready]] "

// A terminal is a shell on a pseudo-terminal, as a person has one: it does not echo, so that what it shows is output.
type terminal struct {
	t     *testing.T
	name  string
	shell *exec.Cmd
	pty   *os.File
	wait  sync.WaitGroup

	mu    sync.Mutex
	shown string        // and not read yet
	more  chan struct{} // capacity 1: something was shown, or the terminal is at its end
	ended bool
}

// newTerminal opens a terminal whose user has a home directory and programs to run. It is closed with the test.
func newTerminal(t *testing.T, name, home, programs string) *terminal {
	t.Helper()
	pty, tty, err := openPTY()
	if err != nil {
		t.Fatalf("opening a terminal for %s: %v", name, err)
	}
	defer tty.Close()
	shell := exec.Command("bash", "--noprofile", "--norc", "--noediting", "-i")
	shell.Dir = home
	shell.Env = []string{
		"HOME=" + home, "PATH=" + programs + ":" + os.Getenv("PATH"), "PS1=" + prompt, "PS2=", "HISTFILE=",
		"TERM=dumb", "LANG=C.UTF-8", "TZ=UTC", "USER=sam",
	}
	shell.Stdin, shell.Stdout, shell.Stderr = tty, tty, tty
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := shell.Start(); err != nil {
		t.Fatalf("starting a shell for %s: %v", name, err)
	}
	term := &terminal{t: t, name: name, shell: shell, pty: pty, more: make(chan struct{}, 1)}
	term.wait.Go(term.read)
	t.Cleanup(term.close)
	return term
}

// read takes in what is shown until the last process has closed the terminal.
func (term *terminal) read() {
	data := make([]byte, 4096)
	for {
		n, err := term.pty.Read(data)
		term.mu.Lock()
		term.shown += strings.ReplaceAll(string(data[:n]), "\r", "")
		term.ended = err != nil
		term.mu.Unlock()
		select {
		case term.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// enter types a line.
func (term *terminal) enter(line string) { term.press(line + "\n") }

func (term *terminal) press(keys string) {
	term.t.Helper()
	if _, err := term.pty.WriteString(keys); err != nil {
		term.t.Fatalf("typing at %s: %v", term.name, err)
	}
}

const interrupt = "\x03"

// expect waits until what is shown next matches, takes it away, and returns the submatches. With skip, other lines may
// be shown before; what is for the message.
func (term *terminal) expect(next *regexp.Regexp, skip bool, what string) []string {
	term.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		term.mu.Lock()
		at := next.FindStringSubmatchIndex(term.shown)
		var found []string
		if at != nil && at[0] > 0 && !skip {
			at = nil
		}
		if at != nil {
			for i := 0; i < len(at); i += 2 {
				found = append(found, term.shown[at[i]:at[i+1]])
			}
			term.shown = term.shown[at[1]:]
		}
		shown, ended := term.shown, term.ended
		term.mu.Unlock()
		if at != nil {
			return found
		}
		if ended {
			term.t.Fatalf("%s closed; it shows\n%s\nwant\n%s", term.name, shown, what)
		}
		select {
		case <-term.more:
		case <-timeout.C:
			term.t.Fatalf("%s shows\n%s\nwant\n%s", term.name, shown, what)
		}
	}
}

// close ends the shell and all that runs in it.
func (term *terminal) close() {
	group := -term.shell.Process.Pid // of the session; a process in the foreground has one of its own
	if foreground, err := foregroundOf(term.pty); err == nil {
		_ = syscall.Kill(-foreground, syscall.SIGKILL) // it may have ended
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	_ = term.shell.Wait() // killed, which is an error
	term.pty.Close()
	term.wait.Wait()
}

// openPTY returns the two ends of a pseudo-terminal that does not echo.
func openPTY() (pty, tty *os.File, err error) {
	if pty, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	var number, locked int32
	var settings syscall.Termios
	if err = ioctl(pty, syscall.TIOCGPTN, unsafe.Pointer(&number)); err == nil {
		err = ioctl(pty, syscall.TIOCSPTLCK, unsafe.Pointer(&locked))
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err == nil {
		err = ioctl(tty, syscall.TCGETS, unsafe.Pointer(&settings))
	}
	if err == nil {
		settings.Lflag &^= syscall.ECHO
		err = ioctl(tty, syscall.TCSETS, unsafe.Pointer(&settings))
	}
	if err != nil {
		pty.Close()
	}
	return pty, tty, err
}

func foregroundOf(tty *os.File) (group int, err error) {
	var g int32
	err = ioctl(tty, syscall.TIOCGPGRP, unsafe.Pointer(&g))
	return int(g), err
}

// ioctl asks the terminal driver, leaving the file in the mode in which reads can be ended.
func ioctl(f *os.File, request uintptr, argument unsafe.Pointer) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(argument))
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}
