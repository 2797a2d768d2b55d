package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A told is a step as it is printed with Config.JSON.
type told struct {
	Step    string `json:"step"`
	OK      bool   `json:"ok"`
	Ms      int64  `json:"ms"`
	By      string `json:"by"`
	Told    string `json:"told,omitempty"`
	Path    string `json:"path,omitempty"`    // which way a thing was reached, with Config.NAT
	Skipped []skip `json:"skipped,omitempty"` // files that the meter does not replay
}

// A teller prints the story. Between begin and end a terminal shows that something is going on.
type teller struct {
	out              io.Writer
	json             bool
	terminal, colour bool

	stop  func() // ends the spinner; nil: there is none
	began time.Time
	steps int
}

// The colours, as SGR parameters (ECMA-48).
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
)

func (t *teller) paint(colour, text string) string {
	if !t.colour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// open says what is going to happen.
func (t *teller) open(dir string, nat bool) error {
	t.began = time.Now()
	if t.json {
		return nil
	}
	text := fmt.Sprintf("A whole home on this machine. Everybody is a process of kindred, with a directory in\n%s.\n", dir)
	if nat {
		text += "The home is behind one router, the phones are behind another, and neither lets anybody in.\n"
	}
	return t.printf("%s", text)
}

// sum says that all went well.
func (t *teller) sum() error {
	if t.json {
		return nil
	}
	return t.printf("\nAll %d steps came out as told, in %.1f s.\n", t.steps, time.Since(t.began).Seconds())
}

func (t *teller) printf(format string, args ...any) error {
	if _, err := fmt.Fprintf(t.out, format, args...); err != nil {
		return fmt.Errorf("demo: telling the story: %w", err)
	}
	return nil
}

// chapter prints a heading.
func (t *teller) chapter(title string) error {
	if t.json {
		return nil
	}
	return t.printf("\n%s\n", t.paint(bold, title))
}

// frames are what the spinner shows, one after the other.
const frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

// begin says what is being done.
func (t *teller) begin(step string) {
	if t.json || !t.terminal {
		return
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(80 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			frame := []rune(frames)[i%len([]rune(frames))]
			fmt.Fprintf(t.out, "\r\x1b[K  %s %s", t.paint(faint, string(frame)), step)
			select {
			case <-tick.C:
			case <-stop:
				fmt.Fprint(t.out, "\r\x1b[K")
				return
			}
		}
	})
	t.stop = func() { close(stop); running.Wait() }
}

// end says what came of it.
func (t *teller) end(s told) error {
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
	t.steps++
	if t.json {
		return t.object(s)
	}
	mark := t.paint(green, "✓")
	if !s.OK {
		mark = t.paint(red, "✗")
	}
	text := fmt.Sprintf("  %s %s  %s\n", mark, s.Step, t.paint(faint, fmt.Sprintf("(%d ms, %s)", s.Ms, s.By)))
	for line := range strings.SplitSeq(s.Told+"\n"+s.Path, "\n") {
		if line != "" {
			text += "      " + t.paint(faint, line) + "\n"
		}
	}
	return t.printf("%s", text)
}

// object prints a line of JSON.
func (t *teller) object(v any) error {
	e := json.NewEncoder(t.out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("demo: telling the story: %w", err)
	}
	return nil
}

// kept says where everything was left.
func (t *teller) kept(dir string) error {
	if t.json {
		return t.object(map[string]string{"kept": dir})
	}
	return t.printf("\nEverything was left in %s.\n", dir)
}
