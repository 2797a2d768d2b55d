package kindred_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A fence is a fenced block of a Markdown page.
type fence struct {
	info string // behind the opening fence: "console laptop"
	line int    // of the page, where the block begins
	text []string
}

// fencesOf returns the fenced blocks of a page, in order.
func fencesOf(t *testing.T, name string) []fence {
	t.Helper()
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var found []fence
	open := false
	for i, line := range strings.Split(string(page), "\n") {
		info, is := strings.CutPrefix(line, "```")
		switch {
		case is && !open:
			found = append(found, fence{info: info, line: i + 2})
			open = true
		case is:
			open = false
		case open:
			last := &found[len(found)-1]
			last.text = append(last.text, line)
		}
	}
	if open {
		t.Fatalf("%s: the block of line %d is not closed", name, found[len(found)-1].line-1)
	}
	return found
}

// The examples of README.md are blocks "console NAME": what is to be seen at the terminal NAME. A line that begins
// with "NAME$ " is a command, "^C" interrupts the one that runs, and all other lines are what is shown; what is typed
// at a question is at the end of its line. A block that begins without a command goes on with the one that runs there.
// A line "…" stands for any lines.
//
// What differs from run to run is compared by its form: see volatile. Where a value is named again, the same is meant:
// the invitation that one machine printed is the one that another is given.

// A step is a line of a transcript.
type step struct {
	terminal string
	line     int
	command  string // typed at the prompt, if it is a command
	shown    string // else what is shown,
	typed    string // and then typed,
	question bool   // if it is a question
	stop     bool   // or the user interrupts
	skip     bool   // any lines may be shown before
	rest     bool   // it is nothing but that, up to the next prompt
}

var question = regexp.MustCompile(`^(.*(?:\[y/N\]|:) )(y|n|kindred1\S+)$`)

// transcript returns the steps of all examples.
func transcript(t *testing.T, name string) []step {
	t.Helper()
	var steps []step
	for _, f := range fencesOf(t, name) {
		terminal, is := strings.CutPrefix(f.info, "console ")
		if !is {
			continue
		}
		skip := false
		for i, line := range f.text {
			if line == "…" {
				skip = true
				continue
			}
			s := step{terminal: terminal, line: f.line + i, skip: skip}
			skip = false
			if command, is := strings.CutPrefix(line, terminal+"$ "); is {
				s.command = command
			} else if line == "^C" {
				s.stop = true
			} else if q := question.FindStringSubmatch(line); q != nil {
				s.shown, s.typed, s.question = q[1], q[2], true
			} else {
				s.shown = line
			}
			steps = append(steps, s)
		}
		if skip {
			steps = append(steps, step{terminal: terminal, line: f.line + len(f.text) - 1, rest: true})
		}
	}
	return steps
}

// volatile are the forms of what differs from run to run, the first that fits counting. Of one that is bound the page
// means the same value wherever it writes the same.
var volatile = []struct {
	written *regexp.Regexp // on the page
	shown   string         // at the terminal
	bound   bool
}{
	{regexp.MustCompile(`kindred1[\w-]+…?`), `kindred1[\w-]+`, true},
	{regexp.MustCompile(`\bg-[a-z2-7]{4,}`), `g-[a-z2-7]{4,}`, true},
	{regexp.MustCompile(`\b\d{3} \d{3}\b`), `\d{3} \d{3}`, true},
	{regexp.MustCompile(`spiffe://[a-z2-7]+…?/`), `spiffe://[a-z2-7]{52}/`, true},
	{regexp.MustCompile(`/ip[46]/\S+(, /ip[46]/\S+)*`), `/ip[46]/\S+(?:, /ip[46]/\S+)*`, false},
	{regexp.MustCompile(`\b[a-z2-7]{12}\.kindred\.internal(:[\d.]+)+`), `[a-z2-7]{12}\.kindred\.internal(?::[\d.,:a-f]+)+`, true},
	{regexp.MustCompile(`"id":"[\w-]+"`), `"id":"[\w-]+"`, false},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z`), `\d{4}-\d\d-\d\dT[\d:.]+Z`, false},
	{regexp.MustCompile(`\d{4}/\d\d/\d\d \d\d:\d\d:\d\d`), `\d{4}/\d\d/\d\d \d\d:\d\d:\d\d`, false},
	{regexp.MustCompile(`\b\d\d:\d\d(:\d\d)?\b`), `(?:[A-Z]\w\w \d{1,2} [A-Z]\w\w )?\d\d:\d\d(?::\d\d)?`, false},
	{regexp.MustCompile(`\b\d\d\.\d\b`), `\d\d(?:\.\d)?`, false},
	{regexp.MustCompile(`/home/sam\b`), `/\S+`, true},
	{regexp.MustCompile(`…`), `.*`, false},
	{regexp.MustCompile(`  +`), `  +`, false},
}

// A reader compares what is written on the page with what is shown.
type reader struct {
	values  map[string]string // what stands for a bound value, by how it is written
	literal map[string]bool   // times that somebody typed, and which therefore do not differ
}

func newReader(steps []step) *reader {
	r := &reader{values: map[string]string{}, literal: map[string]bool{}}
	clock := regexp.MustCompile(`\b\d\d:\d\d\b`)
	for _, s := range steps {
		for _, at := range clock.FindAllString(s.command, -1) {
			r.literal[at] = true
		}
	}
	return r
}

// piece is a part of a line: written as it is, or in place of something volatile.
type piece struct {
	text string
	form int // index in volatile; -1: literal
}

// pieces takes a line apart.
func (r *reader) pieces(line string) []piece {
	var found []piece
	for line != "" {
		from, to, form := len(line), len(line), -1
		for i, v := range volatile {
			for _, at := range v.written.FindAllStringIndex(line, -1) {
				if at[0] < from && !r.literal[line[at[0]:at[1]]] {
					from, to, form = at[0], at[1], i
					break
				}
			}
		}
		if from > 0 {
			found = append(found, piece{line[:from], -1})
		}
		if form >= 0 {
			found = append(found, piece{line[from:to], form})
		}
		line = line[to:]
	}
	return found
}

// pattern returns what a line is to look like at the terminal, and what its groups are bound to.
func (r *reader) pattern(line, end string) (next *regexp.Regexp, bound []string) {
	var p strings.Builder
	p.WriteString(`(?m)^`)
	for _, part := range r.pieces(line) {
		switch value, known := r.values[part.text]; {
		case part.form < 0:
			p.WriteString(regexp.QuoteMeta(part.text))
		case !volatile[part.form].bound:
			p.WriteString(volatile[part.form].shown)
		case known:
			p.WriteString(regexp.QuoteMeta(value))
		default:
			p.WriteString("(" + volatile[part.form].shown + ")")
			bound = append(bound, part.text)
		}
	}
	p.WriteString(regexp.QuoteMeta(end))
	return regexp.MustCompile(p.String()), bound
}

// fill puts the values into what is typed.
func (r *reader) fill(text string) string {
	var filled strings.Builder
	for _, part := range r.pieces(text) {
		if value, known := r.values[part.text]; known {
			filled.WriteString(value)
		} else {
			filled.WriteString(part.text)
		}
	}
	return filled.String()
}

func TestReader(t *testing.T) {
	r := newReader([]step{{command: "share --between 14:00-16:00"}})
	for _, tt := range []struct{ written, shown, other string }{
		{"until 15:03.", "until 16:59.", "until noon."},
		{"until 15:03.", "until Mon 23 Nov 00:07.", "until Monday."},
		{"Saturdays 14:00–16:00 (Berlin)", "Saturdays 14:00–16:00 (Berlin)", "Saturdays 15:00–16:00 (Berlin)"},
		{"Up at /ip4/10.0.0.1/udp/1/quic-v1", "Up at /ip4/1.2.3.4/udp/5/x, /ip6/::1/udp/7/x", "Up at"},
		{"lock     device", "lock  device", "lock device"},
		{"Is it 123 456? ", "Is it 704 211? ", "Is it 70421? "},
		{"id g-7kqm", "id g-abcd", "id h-abcd"},
		{"at b.vjp3molhrv6k.kindred.internal:8443/", "at b.abcdefgh2345.kindred.internal:1/", "at b.vjp3molhrv6k.example.com:8443/"},
	} {
		next, _ := r.pattern(tt.written, "\n")
		if !next.MatchString(tt.shown + "\n") {
			t.Errorf("%q does not match %q", tt.written, tt.shown)
		}
		if next.MatchString(tt.other + "\n") {
			t.Errorf("%q matches %q", tt.written, tt.other)
		}
	}
	next, bound := r.pattern("id g-7kqm", "\n")
	r.values[bound[0]] = next.FindStringSubmatch("id g-abcd\n")[1]
	if next, _ := r.pattern("took g-7kqm", "\n"); !next.MatchString("took g-abcd\n") || next.MatchString("took g-efgh\n") {
		t.Error("a value that was named again is not the same")
	}
	if got := r.fill("unshare g-7kqm --at 14:00"); got != "unshare g-abcd --at 14:00" {
		t.Errorf("typed is %q", got)
	}
}

// The README shows the thermometer as it is.
func TestReadmeThermometer(t *testing.T) {
	source, err := os.ReadFile("examples/thermometer/main.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fencesOf(t, "README.md") {
		if f.info == "go" {
			if got := strings.Join(f.text, "\n") + "\n"; got != string(source) {
				t.Errorf("README.md line %d is not examples/thermometer/main.go", f.line)
			}
			return
		}
	}
	t.Error("README.md does not show examples/thermometer/main.go")
}

// What the README says to run is what continuous integration runs, and stands in the Makefile.
func TestReadmeCommands(t *testing.T) {
	read := func(name string) string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	readme, ci, makefile := read("README.md"), read(".ci/run"), read("Makefile")
	for _, target := range []string{"run", "test"} {
		if !strings.Contains(readme, "make "+target) {
			t.Errorf("README.md does not say \"make %s\"", target)
		}
	}
	if !strings.Contains(ci, "\nmake test\n") {
		t.Error(".ci/run does not run the test command that README.md gives")
	}
	for _, named := range regexp.MustCompile("`make ([a-z]+)`|\nmake ([a-z]+)").FindAllStringSubmatch(readme+read("CONTRIBUTING.md"), -1) {
		if target := named[1] + named[2]; !strings.Contains(makefile, "\n"+target+":") {
			t.Errorf("there is no \"make %s\"", target)
		}
	}
}

// Links of the pages to files lead somewhere.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("doc/decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "doc/arch.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, l := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(l[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), l[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// Decisions are numbered without gaps and say what there is to say.
func TestDecisions(t *testing.T) {
	pages, err := filepath.Glob("doc/decisions/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("%d decisions, %v", len(pages), err)
	}
	for i, page := range pages { // in the order of their names
		if want := fmt.Sprintf("%04d-", i+1); !strings.HasPrefix(filepath.Base(page), want) {
			t.Errorf("%s: want %s…", page, want)
		}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{fmt.Sprintf("# %d. ", i+1), "\n## Context\n", "\n## Decision\n", "\n## Consequences\n", "\n## Rejected\n"} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s has no %q", page, strings.TrimSpace(part))
			}
		}
	}
}
