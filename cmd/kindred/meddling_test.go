package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

// What a thing that turned bad answers stays one line of an error, wherever that goes, and drives no terminal: it cannot
// say what this program says, as in a hint, nor hide what it said.
func TestThingsSteerNoErrors(t *testing.T) {
	const bad = "stuck\x1b[2J\x1b]0;title\a\u009b1A\r\u202e\nkindred: all is well\nhint: run this\x1b[31m"
	const good = "stuck\uFFFD[2J\uFFFD]0;title\uFFFD\uFFFD1A\uFFFD\uFFFD; kindred: all is well; hint: run this\uFFFD[31m"
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	lock := thing.New("Lock")
	thing.Action(lock, "open", "Open it", func(context.Context, thing.None) (thing.None, error) {
		return thing.None{}, &thing.Problem{Status: 500, Code: "code\x1b[2J", Detail: bad}
	})
	h.Serve(h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0"), lock)
	if err := laptop.Close(); err != nil {
		t.Fatal(err)
	}
	for _, asJSON := range []bool{false, true} {
		s, out, errs := talk()
		s.wait = 0
		args := []string{"--dir", h.Path("laptop"), "do", "home/lock", "open"}
		if asJSON {
			args = append(args, "--json")
		}
		root := newRoot(s)
		root.SetArgs(args)
		c, err := root.ExecuteContextC(t.Context())
		if code := s.fail(c, err); code != exitFailed || out.Len() > 0 {
			t.Errorf("exit code %d, and %q on standard output", code, out)
		}
		if !asJSON {
			if want := "kindred: " + good + "\n"; errs.String() != want {
				t.Errorf("told\n%q, want\n%q", errs, want)
			}
			continue
		}
		var told struct{ Error failure }
		if err := json.Unmarshal(errs.Bytes(), &told); err != nil || told.Error.Message != good || strings.ContainsFunc(told.Error.Code, steers) {
			t.Errorf("told %q: %v", errs, err)
		}
	}
}

// What is told beside results is read by people in files, too: where nobody looks on, things steer it as little.
func TestFilesOfErrors(t *testing.T) {
	name := filepath.Join(t.TempDir(), "errors")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	newSession(os.Stdin, os.Stdout, file).say("a lock says %s", "open\x1b[2Jsesame")
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if want := "a lock says open\uFFFD[2Jsesame\n"; string(got) != want || err != nil {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}
