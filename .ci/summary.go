// Command summary reads what "go test -json" prints and tells it in few lines: each package with how long it took,
// the whole output of each test that failed or did not end, each test that was skipped with its reason, what a test that
// passed says it skipped (a line of its log that begins with "skipped "), and the count. It exits with 1 if anything
// failed, or nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// An event is a line of "go test -json", see "go doc test2json".
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build event
	Test       string // "": the event is about the package
	Output     string
	Elapsed    float64 // seconds
}

type summary struct {
	out                     io.Writer
	output                  map[string]*strings.Builder // of packages, tests and builds that are not over
	tests                   map[string]int              // by package
	skips                   []string
	passed, failed, skipped int
	broken                  bool // something failed that is no test
}

func main() {
	s := &summary{out: os.Stdout, output: map[string]*strings.Builder{}, tests: map[string]int{}}
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			s.line(line)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "summary: reading events:", err)
			os.Exit(1)
		}
	}
	if !s.end() {
		os.Exit(1)
	}
}

// line takes in one line. What is no event is passed on.
func (s *summary) line(line string) {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Action == "" {
		fmt.Fprint(s.out, line)
		return
	}
	name := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		s.of(name).WriteString(e.Output)
	case "build-output":
		s.of(e.ImportPath).WriteString(e.Output)
	case "build-fail":
		s.broken = true
		fmt.Fprint(s.out, s.of(e.ImportPath).String())
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.packageOver(e)
		} else {
			s.testOver(e)
		}
		delete(s.output, name)
	}
}

func (s *summary) of(name string) *strings.Builder {
	if s.output[name] == nil {
		s.output[name] = &strings.Builder{}
	}
	return s.output[name]
}

func (s *summary) testOver(e event) {
	s.tests[e.Package]++
	text := s.of(e.Package + " " + e.Test).String()
	switch e.Action {
	case "pass":
		s.passed++
		for line := range strings.Lines(text) {
			if _, what, ok := strings.Cut(strings.TrimSpace(line), ": skipped "); ok {
				s.skips = append(s.skips, fmt.Sprintf("%s %s, of its inputs: %s", e.Package, e.Test, what))
			}
		}
	case "fail":
		s.failed++
		fmt.Fprintf(s.out, "FAIL %s %s\n%s", e.Package, e.Test, text)
	case "skip":
		s.skipped++
		s.skips = append(s.skips, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(text)))
	}
}

// reason finds why a test was skipped in its output: the last line that it wrote itself.
func reason(text string) string {
	why := "no reason given"
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			why = line
		}
	}
	return why
}

func (s *summary) packageOver(e event) {
	text := s.of(e.Package + " ").String()
	switch {
	case e.Action == "fail":
		s.broken = true
		s.unended(e.Package)
		fmt.Fprintf(s.out, "%sFAIL\t%s\t%.1fs\n", text, e.Package, e.Elapsed)
	case e.Action == "skip":
		fmt.Fprintf(s.out, "?   \t%s\tno tests\n", e.Package)
	case s.tests[e.Package] == 0:
		fmt.Fprintf(s.out, "ok  \t%s\t%.1fs\tno test was run\n", e.Package, e.Elapsed)
	default:
		fmt.Fprintf(s.out, "ok  \t%s\t%.1fs\t%d tests\n", e.Package, e.Elapsed, s.tests[e.Package])
	}
}

// unended tells of the tests of a package that is over that were still going on: one that hangs, or panics.
func (s *summary) unended(of string) {
	for _, name := range slices.Sorted(maps.Keys(s.output)) {
		if test, ok := strings.CutPrefix(name, of+" "); ok && test != "" {
			s.failed++
			fmt.Fprintf(s.out, "FAIL %s, which did not end\n%s", name, s.output[name])
			delete(s.output, name)
		}
	}
}

// end tells what was skipped and the count, and reports whether all is well.
func (s *summary) end() bool {
	for _, skip := range s.skips {
		fmt.Fprintln(s.out, "skipped:", skip)
	}
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return s.failed == 0 && !s.broken && s.passed > 0
}
