package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/meter/p1"
)

// echo answers each datagram with itself, twice over.
func echo(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				c.WriteToUDPAddrPort(bytes.Repeat(b[:n], 2), from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c
}

// ask sends a datagram and returns the answer.
func ask(t *testing.T, c *net.UDPConn, data []byte) []byte {
	t.Helper()
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, maxDatagram)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func TestTap(t *testing.T) {
	callee := echo(t)
	tap, err := newTap(callee.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	var callers []*net.UDPConn
	for range 2 {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(tap.address()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		callers = append(callers, c)
	}
	picture := make([]byte, 3000)
	rand.Read(picture)
	long := make([]byte, 30_000)
	rand.Read(long)
	for i, data := range [][]byte{[]byte("a"), picture, {}, long, []byte("the last")} {
		if got := ask(t, callers[i%2], data); !bytes.Equal(got, bytes.Repeat(data, 2)) {
			t.Errorf("%d bytes were answered with %d", len(data), len(got))
		}
	}
	if err := tap.close(); err != nil {
		t.Error(err)
	}
	seen, err := tap.recording()
	if err != nil {
		t.Fatal(err)
	}
	there, back := flows(seen)
	if want := len("a") + len(picture) + len(long) + len("the last"); len(seen) != 10 || len(there) != want || len(back) != 2*want {
		t.Errorf("the tap saw %d datagrams, %d bytes there and %d back; want 10, %d and %d", len(seen), len(there), len(back), want, 2*want)
	}
	if !contains(there, picture) || !contains(back, picture) {
		t.Error("what went through in clear was not found")
	}
}

func TestContains(t *testing.T) {
	text := make([]byte, 10_000)
	rand.Read(text)
	other := make([]byte, 5_000)
	rand.Read(other)
	inside := func(secret []byte, at int) []byte {
		return append(append(bytes.Clone(text[:at]), secret...), text[at:]...)
	}
	for _, test := range []struct {
		name         string
		text, secret []byte
		want         bool
	}{
		{"nothing in common", text, other, false},
		{"all of it", inside(other, 77), other, true},
		{"a window of it", inside(other[4321:4321+window], 10_000), other, true},
		{"a byte less than a window", inside(other[4321:4321+window-1], 500), other, false},
		{"a short one", inside([]byte("E0047"), 0), []byte("E0047"), true},
		{"a part of a short one", inside([]byte("E004"), 0), []byte("E0047!"), false},
		{"no secret", text, nil, false},
		{"no text", nil, other, false},
	} {
		if got := contains(test.text, test.secret); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// The demo's expressions are independent of the parser, so each is the other's check.
func TestFind(t *testing.T) {
	start := time.Date(2026, 10, 24, 22, 0, 0, 0, time.UTC) // the day that summer time ends
	var day bytes.Buffer
	var want []p1.Reading
	for r := range p1.Simulate(start, 7, 10*time.Minute) {
		want = append(want, r)
		day.Write(p1.Encode(r))
	}
	found := find(day.Bytes())
	if len(found) != len(want) {
		t.Fatalf("found %d telegrams of %d", len(found), len(want))
	}
	for i, r := range want {
		if !found[i].time.Equal(r.Time) || found[i].power != int64(r.PowerIn) {
			t.Errorf("found %d W at %s, want %d at %s", found[i].power, found[i].time, r.PowerIn, r.Time)
		}
		for _, name := range []string{r.Identifier[1:], r.EquipmentID, r.MeterID(), r.Attached[0].MeterID()} {
			if !strings.Contains("\n"+strings.Join(found[i].names, "\n")+"\n", "\n"+name+"\n") {
				t.Errorf("%q is not among the names %q", name, found[i].names)
			}
		}
	}
}

func TestFindForms(t *testing.T) {
	const frame = "/XYZ5\\MODEL-1\r\n\r\n%\r\n!0000\r\n"
	for _, test := range []struct {
		name, lines string
		time        string
		power       int64 // -1: not found
	}{
		{"winter", "0-0:1.0.0(170102192002W)\r\n1-0:1.7.0(00.244*kW)", "2017-01-02T18:20:02Z", 244},
		{"summer", "0-0:1.0.0(200426223325S)\r\n1-0:1.7.0(12.345*kW)", "2020-04-26T20:33:25Z", 12345},
		{"watts", "0-0:1.0.0(221006155014S)\r\n1-0:1.7.0(000000286*W)", "2022-10-06T13:50:14Z", 286},
		{"bare line ends", "0-0:1.0.0(170102192002W)\n1-0:1.7.0(00.000*kW)", "2017-01-02T18:20:02Z", 0},
		{"another object", "0-0:1.0.0(170102192002W)\r\n1-0:21.7.0(00.244*kW)", "", -1},
		{"no time", "1-0:1.7.0(00.244*kW)", "", -1},
		{"half a watt", "0-0:1.0.0(170102192002W)\r\n1-0:1.7.0(00.2445*kW)", "", -1},
		{"no such day", "0-0:1.0.0(170230192002W)\r\n1-0:1.7.0(00.244*kW)", "", -1},
	} {
		found := find([]byte(strings.Replace(frame, "%", test.lines, 1)))
		switch {
		case test.power < 0:
			if len(found) > 0 {
				t.Errorf("%s: found %+v", test.name, found)
			}
		case len(found) != 1 || found[0].time.UTC().Format(time.RFC3339) != test.time || found[0].power != test.power:
			t.Errorf("%s: found %+v", test.name, found)
		}
	}
}

func TestMatch(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	in := input{readings: []reading{{time: at, power: 5}, {time: at, power: 7}, {time: at.Add(time.Second), power: 9}}}
	for _, test := range []struct {
		at    time.Time
		power int64
		err   string
	}{
		{at, 5, ""},
		{at.In(time.FixedZone("", 7200)), 7, ""},
		{at, 9, "no telegram of that time does"},
		{at.Add(time.Minute), 5, "stands in no telegram"},
	} {
		_, err := in.match(test.at, test.power)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%d W at %s: %v, want %q", test.power, test.at, err, test.err)
		}
	}
}

func TestExamine(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	var good string
	for r := range p1.Simulate(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 1, 12*time.Hour) {
		good += string(p1.Encode(r))
	}
	damaged := strings.Replace(good, "1-0:1.7.0(00", "1-0:1.7.0(01", 1)
	in, err := examine([]string{file("good.txt", good), file("part.txt", damaged), file("none.txt", "hello"), file("old.txt", "/ABC5\\OLD\r\n\r\n!\r\n")})
	if err != nil {
		t.Fatal(err)
	}
	if len(in.files) != 2 || filepath.Base(in.files[0]) != "good.txt" || filepath.Base(in.files[1]) != "part.txt" || !filepath.IsAbs(in.files[0]) {
		t.Errorf("the meter is to replay %q", in.files)
	}
	if !strings.HasPrefix(in.told, "3 recorded telegrams of 2 files; skipped are part.txt (checksum") || len(in.skipped) != 3 ||
		in.skipped[1] != (skip{"none.txt", "no telegram in it"}) || in.skipped[2].File != "old.txt" || !strings.Contains(in.skipped[2].Why, "no checksum") {
		t.Errorf("it is told: %s", in.told)
	}
	if _, err := examine([]string{filepath.Join(dir, "none.txt")}); err == nil || !strings.Contains(err.Error(), "none.txt") {
		t.Errorf("a file without telegrams: %v", err)
	}
	if _, err := examine([]string{filepath.Join(dir, "missing.txt")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestPicture(t *testing.T) {
	file := filepath.Join(t.TempDir(), "door.jpg")
	first, err := drawPicture(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := samePicture(file, first); err != nil {
		t.Error(err)
	}
	other := bytes.Clone(first)
	other[len(other)-3] ^= 1
	if _, err := samePicture(file, other); err == nil {
		t.Error("another picture passes for the same")
	}
	if err := os.WriteFile(file, first[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := samePicture(file, first[:100]); err == nil {
		t.Error("what is no JPEG passes for one")
	}
}

func TestHours(t *testing.T) {
	for _, test := range []struct {
		now      string
		from, to time.Duration
		want     string
	}{
		{"2026-11-22T17:08:00Z", 4 * time.Hour, 6 * time.Hour, "--days sun --between 22:08-00:08"},
		{"2026-11-22T17:08:00Z", -2 * time.Hour, 2 * time.Hour, "--days sun --between 16:08-20:08"},
		{"2026-11-22T23:30:00Z", -2 * time.Hour, 2 * time.Hour, "--days sun --between 22:30-02:30"},
		{"2026-07-04T20:00:00Z", 4 * time.Hour, 6 * time.Hour, "--days sun --between 02:00-04:00"},
	} {
		now, err := time.Parse(time.RFC3339, test.now)
		if err != nil {
			t.Fatal(err)
		}
		got, err := hours(now, test.from, test.to)
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("%s from %v to %v: %q, %v; want %s", test.now, test.from, test.to, got, err, test.want)
		}
	}
}

func TestCheck(t *testing.T) {
	const told = `{"who":"spiffe://t/sam/phone","op":"invoke","path":"home/lock","outcome":"served","offline":true,"sentence":"x"}`
	for _, test := range []struct {
		fact fact
		want bool
	}{
		{fact{}, true},
		{fact{Who: "/sam/phone", Path: "home/lock", Offline: true, says: "x"}, true},
		{fact{Who: "/anna/phone"}, false},
		{fact{Op: "read"}, false},
		{fact{Path: "home/loc"}, false},
		{fact{Outcome: "refused"}, false},
		{fact{Affordance: "unlock"}, false},
		{fact{says: "y"}, false},
	} {
		sentences, missing, err := missingOf([]fact{test.fact}, []byte(told+"\n"))
		if err != nil || (missing == nil) != test.want || test.want && len(sentences) != 1 {
			t.Errorf("%+v: %q, missing %v, %v", test.fact, sentences, missing, err)
		}
	}
	if _, missing, _ := missingOf([]fact{{Offline: true}}, []byte(strings.Replace(told, `"offline":true,`, "", 1))); missing == nil {
		t.Error("what was served with the gateway passes for what was served without")
	}
	if _, _, err := missingOf(nil, []byte("no JSON\n")); err == nil {
		t.Error("what is no JSON passes for a log")
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"home/lock": "home/lock", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "--dir": "--dir", "$HOME": "'$HOME'",
	} {
		if got := quote(word); got != want {
			t.Errorf("%q is quoted %s, want %s", word, got, want)
		}
	}
}

// A house can be tried without kindred: any binary will do that can be made to print, fail and stay.
func shell(t *testing.T) (*house, member) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there is no shell")
	}
	file := filepath.Join(t.TempDir(), "kindred")
	script := "#!/bin/sh\nshift 3\n[ $# -gt 0 ] && eval \"$*\"\n"
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	h := newHouse(file)
	t.Cleanup(h.close)
	return h, member{name: "somebody", dir: t.TempDir()}
}

func TestRun(t *testing.T) {
	h, who := shell(t)
	ctx := t.Context()
	r, err := h.run(ctx, who, `echo '{"a":3}'`)
	var v struct{ A int }
	if err != nil || r.read(&v) != nil || v.A != 3 || r.done() != nil {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = h.run(ctx, who, `echo noise >&2; echo '{"error":{"code":"stale","message":"too old"}}' >&2; exit 3`)
	if why, rerr := r.refused("no-grant", "stale"); err != nil || rerr != nil || why != "too old" {
		t.Errorf("a refusal: %q, %v, %v", why, rerr, err)
	}
	if _, err := r.refused("no-grant"); err == nil || !strings.Contains(err.Error(), `"stale", not no-grant`) {
		t.Errorf("another refusal: %v", err)
	}
	if err := r.done(); err == nil || !strings.Contains(err.Error(), "exit code 3") || !strings.Contains(err.Error(), "noise") {
		t.Errorf("a refusal is no success: %v", err)
	}
	r, err = h.run(ctx, who, "exit 1")
	if _, rerr := r.refused(); err != nil || rerr == nil {
		t.Errorf("a failure passes for a refusal: %v, %v", rerr, err)
	}
	cause := errors.New("enough")
	short, cancel := context.WithCancelCause(ctx)
	cancel(cause)
	if _, err := h.run(short, who, "exec sleep 60"); !errors.Is(err, cause) {
		t.Errorf("a command that was stopped: %v", err)
	}
}

func TestProcess(t *testing.T) {
	h, who := shell(t)
	ctx := t.Context()
	p, err := h.start(who, `echo '{"ready":true}'; read line; echo "heard $line"; echo bye >&2; exit 4`)
	if err != nil {
		t.Fatal(err)
	}
	var line ready
	if err := p.read(ctx, &line); err != nil || !line.Ready {
		t.Errorf("%+v, %v", line, err)
	}
	if err := p.write("hello"); err != nil {
		t.Error(err)
	}
	if text, err := p.next(ctx); err != nil || text != "heard hello" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := p.next(ctx); err == nil || !strings.Contains(err.Error(), "exit code 4") || !strings.Contains(err.Error(), "bye") {
		t.Errorf("after its end: %v", err)
	}
	if r, err := p.end(ctx); err != nil || r.code != 4 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Whoever talks without end and does not listen is ended too.
func TestClose(t *testing.T) {
	h, who := shell(t)
	var all []*process
	for _, script := range []string{"exec yes", "exec sleep 60", "exit 0", "while :; do echo on; echo on >&2; done"} {
		p, err := h.start(who, script)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if _, err := all[0].next(t.Context()); err != nil {
		t.Error(err)
	}
	all[1].kill()
	if all[1].code == 0 {
		t.Error("a process that was killed ended well")
	}
	h.close()
	for _, p := range all {
		select {
		case <-p.done:
		default:
			t.Errorf("%s goes on", words(p.args))
		}
	}
	if _, err := h.start(who, "exit 0"); !errors.Is(err, errClosed) {
		t.Errorf("a process was started in a house that is closed: %v", err)
	}
}

func TestTail(t *testing.T) {
	var kept tail
	want := strings.Repeat("0123456789abcde\n", maxTail/16)
	io.WriteString(&kept, strings.Repeat("x", 100))
	for part := range strings.Lines(want) {
		io.WriteString(&kept, part)
	}
	if got := kept.String(); got != want {
		t.Errorf("kept %d bytes, want the last %d", len(got), len(want))
	}
}

func TestTeller(t *testing.T) {
	step := told{Step: "it rains", OK: true, Ms: 7, By: "cloud", Told: "a\nb"}
	for _, test := range []struct {
		name   string
		teller teller
		want   string
	}{
		{"plain", teller{}, "\nWeather\n  ✓ it rains  (7 ms, cloud)\n      a\n      b\n"},
		{"JSON", teller{json: true}, `{"step":"it rains","ok":true,"ms":7,"by":"cloud","told":"a\nb"}` + "\n"},
	} {
		var out bytes.Buffer
		test.teller.out = &out
		if err := test.teller.chapter("Weather"); err != nil {
			t.Error(err)
		}
		test.teller.begin(step.Step)
		if err := test.teller.end(step); err != nil || out.String() != test.want {
			t.Errorf("%s: %q, %v", test.name, out.String(), err)
		}
	}
	var out bytes.Buffer
	terminal := teller{out: &out, terminal: true, colour: true}
	terminal.begin(step.Step)
	step.OK = false
	if err := terminal.end(step); err != nil {
		t.Error(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "\r\x1b[K") || !strings.Contains(got, "\r\x1b[K  \x1b[31m✗\x1b[0m it rains") {
		t.Errorf("on a terminal: %q", got)
	}
}
