package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

// What things and people elsewhere say does not steer the terminal that it is shown on.
func TestTerminal(t *testing.T) {
	for text, want := range map[string]string{
		"plain\tand\nsimple":                    "plain\tand\nsimple",
		"\x1b[31mred\x1b[0m":                    "\x1b[31mred\x1b[0m",
		"\x1b[8mhidden\x1b[0m":                  "\uFFFD[8mhidden\x1b[0m",
		"home\r\x1b[2Kkindred: all is well":     "home\uFFFD\uFFFD[2Kkindred: all is well",
		"\x1b]0;title\a":                        "\uFFFD]0;title\uFFFD",
		"csi in one \u009b2J":                   "csi in one \uFFFD2J",
		"may see \u202eesu \u2066all":           "may see \uFFFDesu \uFFFDall",
		"\u0645\u0631\u062d\u0628\u0627\u200f!": "\u0645\u0631\u062d\u0628\u0627\u200f!",
	} {
		var out bytes.Buffer
		if n, err := (terminal{&out}).Write([]byte(text)); n != len(text) || err != nil || out.String() != want {
			t.Errorf("%q: %d, %v, %q, want %q", text, n, err, out.String(), want)
		}
	}
	if got := table([][]string{{"a\nb", "c"}}); got != "a\uFFFDb  c\n" {
		t.Errorf("a cell has two lines: %q", got)
	}
}

// A line of standard input has an end, and what comes after it stays for the next.
func TestLineIsBounded(t *testing.T) {
	s := &session{in: bufio.NewReaderSize(strings.NewReader("one\ntwo\n"+strings.Repeat("x", 100)), 16)}
	for _, want := range []string{"one", "two"} {
		if got, err := s.line(t.Context()); got != want || err != nil {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	if got, err := s.line(t.Context()); err == nil || explain(err).exit != exitUsage {
		t.Errorf("%q, %v, want usage", got, err)
	}
}
