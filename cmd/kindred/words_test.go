package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// inner are words of the design that users do not read by default.
var inner = regexp.MustCompile(`(?i)\b(rosters?|charters?|keepers?|ledgers?|proofs?|merkle|revocations?)\b`)

// everyCommand calls f with a command and all below it.
func everyCommand(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		everyCommand(sub, f)
	}
}

func TestHelpSpeaksPlainly(t *testing.T) {
	everyCommand(newRoot(&session{}), func(c *cobra.Command) {
		if c.Name() == "completion" || c.Name() == "help" {
			return
		}
		if c.Short == "" {
			t.Errorf("%s has no short help", c.CommandPath())
		}
		text := c.Short + "\n" + c.Long + "\n" + c.Example + "\n" + c.Flags().FlagUsages()
		if word := inner.FindString(text); word != "" {
			t.Errorf("the help of %s says %q", c.CommandPath(), word)
		}
		for line := range strings.Lines(c.Long) {
			if n := len([]rune(line)); n > 96 {
				t.Errorf("the help of %s has a line of %d characters: %s", c.CommandPath(), n, line)
			}
		}
	})
}

// Every example in the help of a command calls a command that there is, with flags that it has, and all its arguments.
func TestExamplesParse(t *testing.T) {
	everyCommand(newRoot(&session{}), func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			_, line, ok := strings.Cut(line, "kindred ")
			if !ok {
				continue
			}
			line, _, _ = strings.Cut(line, " <")
			found, err := parses("kindred " + line)
			if err == nil && found.Args != nil {
				err = found.Args(found, found.Flags().Args())
			}
			if err != nil {
				t.Errorf("kindred %s: %v", line, err)
			}
		}
	})
}

// What the pages show calls commands that there are, with flags that they have.
func TestDocumentedCommandsParse(t *testing.T) {
	for page, least := range map[string]int{"README.md": 20, "doc/grants.md": 20, "doc/relay.md": 3} {
		text, err := os.ReadFile(filepath.Join("..", "..", page))
		if err != nil {
			t.Fatal(err)
		}
		shown := regexp.MustCompile("(?m)^(?:[a-z]*\\$ )?(kindred .*)$|`(kindred [^`]+)`").FindAllStringSubmatch(string(text), -1)
		count := 0
		for _, found := range shown {
			line := strings.Join(strings.Fields(strings.ReplaceAll(found[1]+found[2], "…", "home/lock")), " ")
			if strings.HasPrefix(line, "kindred: ") { // what one says
				continue
			}
			if _, err := parses(line); err != nil {
				t.Errorf("%s: %s: %v", page, line, err)
			}
			count++
		}
		if count < least {
			t.Errorf("%s: %d commands were found", page, count)
		}
	}
}

// parses finds the command of a line and its flags, and reports, as an error, what of it there is not. What is only named
// need not have its arguments.
func parses(line string) (*cobra.Command, error) {
	words := regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`)
	var args []string
	for _, w := range words.FindAllString(line, -1)[1:] {
		if w == "#" { // a remark
			break
		}
		args = append(args, strings.Trim(w, `"'`))
	}
	root := newRoot(&session{})
	root.InitDefaultHelpCmd()
	found, rest, err := root.Find(args)
	if err == nil {
		err = found.ParseFlags(rest)
	}
	if err == nil && found == root || !found.Runnable() && len(found.Flags().Args()) > 0 {
		err = errors.New("there is no such command")
	}
	return found, err
}

// What the code says to users, in its own words, holds none of the inner ones.
func TestSentencesSpeakPlainly(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	literal := regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"")
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(data), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "\"github.com/") {
				continue
			}
			for _, text := range literal.FindAllString(line, -1) {
				if word := inner.FindString(text); word != "" && strings.Contains(text, " ") {
					t.Errorf("%s:%d says %q", name, i+1, word)
				}
			}
		}
	}
}
