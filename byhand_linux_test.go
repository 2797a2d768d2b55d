package kindred_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestReadme does by hand what README.md says, each terminal with a shell of its own, and compares what they show.
func TestReadme(t *testing.T) {
	programs, home := t.TempDir(), t.TempDir()
	build(t, programs)
	steps := transcript(t, "README.md")
	if len(steps) == 0 {
		t.Fatal("README.md has no examples")
	}
	w := &walk{t: t, reader: newReader(steps), home: home, programs: programs, terminals: map[string]*terminal{}, loose: map[*terminal]bool{}}
	w.reader.values["/home/sam"] = home
	for _, s := range steps {
		t.Logf("README.md:%d %s$ %s%s%s", s.line, s.terminal, s.command, s.shown, s.typed)
		w.do(s)
	}
	for _, term := range w.terminals {
		w.ready(term) // nothing runs any more
	}
}

// build makes the programs as "make build" does.
func build(t *testing.T, into string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", into+string(filepath.Separator), "./cmd/kindred", "./examples/thermometer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
}

// A walk is the examples being done.
type walk struct {
	t              *testing.T
	reader         *reader
	home, programs string
	terminals      map[string]*terminal
	loose          map[*terminal]bool // any lines may be shown before the next prompt
}

var ready = regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(prompt))

func (w *walk) do(s step) {
	w.t.Helper()
	term := w.terminals[s.terminal]
	if term == nil {
		term = newTerminal(w.t, s.terminal, w.home, w.programs)
		w.terminals[s.terminal] = term
	}
	switch {
	case s.command != "":
		w.ready(term)
		term.enter(w.reader.fill(s.command))
	case s.rest:
		w.loose[term] = true
	case s.stop:
		term.press(interrupt)
	case s.question:
		w.see(term, s, "")
		term.enter(w.reader.fill(s.typed))
	default:
		w.see(term, s, "\n")
	}
}

// ready waits for a prompt.
func (w *walk) ready(term *terminal) {
	w.t.Helper()
	term.expect(ready, w.loose[term], "a prompt")
	delete(w.loose, term)
}

// see waits for a line and learns its values.
func (w *walk) see(term *terminal, s step, end string) {
	w.t.Helper()
	next, bound := w.reader.pattern(s.shown, end)
	for i, value := range term.expect(next, s.skip, s.shown)[1:] {
		w.reader.values[bound[i]] = value
	}
}
