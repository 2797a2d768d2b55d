package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
)

func TestConfirm(t *testing.T) {
	for _, tc := range []struct {
		typed string
		want  bool
	}{{"y", true}, {"yes", true}, {" YES ", true}, {"n", false}, {"", false}, {"yeah", false}, {"123456", false}} {
		s, out, stderr := talk(tc.typed)
		got, err := s.confirm(t.Context(), "sam/anna", "123456")
		if err != nil || got != tc.want {
			t.Errorf("%q: %v, %v", tc.typed, got, err)
		}
		if want := "sam/anna shows six digits. Are they 123 456? [y/N] "; stderr.String() != want || out.Len() > 0 {
			t.Errorf("it asks %q, want %q", stderr, want)
		}
		s, out, stderr = talk(tc.typed)
		s.asks = false
		got, err = s.confirm(t.Context(), "sam/anna", "123456")
		if err != nil || got != tc.want {
			t.Errorf("%q: %v, %v", tc.typed, got, err)
		}
		if want := `{"confirm":{"digits":"123456","path":"sam/anna"}}` + "\n"; out.String() != want || stderr.Len() > 0 {
			t.Errorf("it asks %q, want %q", out, want)
		}
	}
	s, _, _ := talk()
	if got, err := s.confirm(t.Context(), "sam/anna", "123456"); got || err != nil {
		t.Errorf("silence: %v, %v", got, err)
	}
}

// A command that is interrupted while it asks ends.
func TestAskInterrupted(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	s, _, _ := talk()
	s.in.Reset(in)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.line(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

func TestChoose(t *testing.T) {
	h := newHouse(t)
	s, _, stderr := talk("home/lock")
	got, err := s.choose(t.Context(), h.roster, "What do you share?", identity.Device, identity.Place)
	if err != nil || got != "home/lock" {
		t.Errorf("%q, %v", got, err)
	}
	if want := "What do you share? (home, home/lock, home/meter, home/porch, home/porch/bell) "; stderr.String() != want {
		t.Errorf("it asks %q, want %q", stderr, want)
	}
	s, _, _ = talk("")
	if _, err := s.choose(t.Context(), h.roster, "With whom?", identity.Person); explain(err).exit != exitUsage {
		t.Errorf("%v", err)
	}
}

func TestMoments(t *testing.T) {
	day := func(y int, m time.Month, d, hour, min int) time.Time {
		return time.Date(y, m, d, hour, min, 0, 0, berlin)
	}
	for _, tc := range []struct {
		text              string
		from, until, past time.Time // zero: refused
	}{
		{"2026-12-24", day(2026, 12, 24, 0, 0), day(2026, 12, 25, 0, 0), day(2026, 12, 24, 0, 0)},
		{"2026-12-24 18:00", day(2026, 12, 24, 18, 0), day(2026, 12, 24, 18, 0), day(2026, 12, 24, 18, 0)},
		{"2026-12-24T18:00", day(2026, 12, 24, 18, 0), day(2026, 12, 24, 18, 0), day(2026, 12, 24, 18, 0)},
		{"2026-12-24T17:00:00Z", day(2026, 12, 24, 18, 0), day(2026, 12, 24, 18, 0), day(2026, 12, 24, 18, 0)},
		{"18:00", day(2026, 11, 28, 18, 0), day(2026, 11, 28, 18, 0), day(2026, 11, 27, 18, 0)},
		{"12:00", day(2026, 11, 29, 12, 0), day(2026, 11, 29, 12, 0), day(2026, 11, 28, 12, 0)},
		{"08:30", day(2026, 11, 29, 8, 30), day(2026, 11, 29, 8, 30), day(2026, 11, 28, 8, 30)},
		{"2h", day(2026, 11, 28, 14, 0), day(2026, 11, 28, 14, 0), day(2026, 11, 28, 10, 0)},
		{"7d", day(2026, 12, 5, 12, 0), day(2026, 12, 5, 12, 0), day(2026, 11, 21, 12, 0)},
		{text: "tomorrow"}, {text: ""}, {text: "0s"}, {text: "2026-13-01"}, {text: "25:00"}, {text: "2026-12-24 18"},
	} {
		for what, parse := range map[string]struct {
			got  func() (time.Time, error)
			want time.Time
		}{
			"from":  {func() (time.Time, error) { return parseMoment(tc.text, noon, false) }, tc.from},
			"until": {func() (time.Time, error) { return parseMoment(tc.text, noon, true) }, tc.until},
			"past":  {func() (time.Time, error) { return parsePast(tc.text, noon) }, tc.past},
		} {
			got, err := parse.got()
			if !got.Equal(parse.want) && err == nil || (err != nil) != parse.want.IsZero() {
				t.Errorf("%s %q: %s, %v, want %s", what, tc.text, got, err, parse.want)
			}
		}
	}
}

func TestTerms(t *testing.T) {
	s, _, _ := talk()
	s.dir = t.TempDir()
	if err := writeSettings(s.dir, Settings{Name: "Home", Zone: "Europe/Berlin"}); err != nil {
		t.Fatal(err)
	}
	// The user is far away: hours are the place's, not theirs.
	now := noon.In(mustZone("America/New_York"))
	for _, tc := range []struct {
		o    termFlags
		want grant.Terms
	}{
		{termFlags{allow: "see"}, grant.Terms{Actions: grant.See}},
		{termFlags{allow: "use", days: "sat", between: "14:00-16:00"}, grant.Terms{
			Actions: grant.Use, Zone: "Europe/Berlin", Windows: []grant.Window{{Days: 1 << 5, From: 840, To: 960}}}},
		{termFlags{allow: "read,invoke", between: "22:00-06:00"}, grant.Terms{
			Actions: grant.Actions(grant.Read | grant.Invoke), Zone: "Europe/Berlin",
			Windows: []grant.Window{{Days: grant.AllDays, From: 1320, To: 360}}}},
		{termFlags{allow: "see", from: "2026-12-24 18:00", until: "2026-12-26", offline: "2d"}, grant.Terms{
			Actions: grant.See, Zone: "Europe/Berlin", Offline: 2 * 24 * 3600,
			From: time.Date(2026, 12, 24, 17, 0, 0, 0, time.UTC).Unix(), Until: time.Date(2026, 12, 26, 23, 0, 0, 0, time.UTC).Unix()}},
		{termFlags{allow: "see", until: "18:00", tz: "Asia/Kathmandu"}, grant.Terms{
			Actions: grant.See, Zone: "Asia/Kathmandu", Until: time.Date(2026, 11, 28, 12, 15, 0, 0, time.UTC).Unix()}},
		{termFlags{allow: "see", when: []string{"mon-fri 08:00-12:00", "22:00-06:00", "sun"}, days: "sat"}, grant.Terms{
			Actions: grant.See, Zone: "Europe/Berlin", Windows: []grant.Window{
				{Days: 31, From: 480, To: 720}, {Days: grant.AllDays, From: 1320, To: 360}, {Days: 1 << 6}, {Days: 1 << 5}}}},
		{termFlags{allow: "see", below: true, uses: 3, minutes: 30, atHome: true, route: "direct", purpose: "heating-advice", keep: "30d"}, grant.Terms{
			Actions: grant.See, Subject: grant.Subject{Below: true}, Uses: 3, Budget: 1800, Home: true, Route: grant.DirectRoute,
			Purpose: "heating-advice", Retention: 30 * 24 * 3600}},
		{termFlags{allow: "see", rate: "4/1h", route: "gateway", detail: "1d,area"}, grant.Terms{
			Actions: grant.See, Rate: grant.Rate{Uses: 4, Seconds: 3600}, Route: grant.GatewayRoute, Zone: "Europe/Berlin",
			Detail: grant.Detail{Step: grant.Day, Area: true}}},
		{termFlags{allow: "see", moments: "all"}, grant.Terms{
			Actions: grant.See, Zone: "Europe/Berlin", Moments: grant.Moments{From: 1, Always: true}}},
		{termFlags{allow: "see", moments: "2026-10-25..2026-10-25", anyHour: true}, grant.Terms{ // a day of 25 hours
			Actions: grant.See, Zone: "Europe/Berlin", Moments: grant.Moments{
				From:  time.Date(2026, 10, 24, 22, 0, 0, 0, time.UTC).Unix(),
				Until: time.Date(2026, 10, 25, 23, 0, 0, 0, time.UTC).Unix(), Always: true}}},
		{termFlags{allow: "see", moments: "7d"}, grant.Terms{
			Actions: grant.See, Zone: "Europe/Berlin", Moments: grant.Moments{From: noon.Unix() - 7*24*3600}}},
		{termFlags{allow: "see", moments: "..2h"}, grant.Terms{
			Actions: grant.See, Zone: "Europe/Berlin", Moments: grant.Moments{Until: noon.Unix() - 2*3600}}},
	} {
		got, err := s.terms(tc.o, now)
		if err != nil {
			t.Errorf("%+v: %v", tc.o, err)
			continue
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(tc.want)
		if string(a) != string(b) {
			t.Errorf("%+v:\n%s\nwant\n%s", tc.o, a, b)
		}
	}
	for _, tc := range []struct {
		o    termFlags
		want string
	}{
		{termFlags{}, `--allow: "" is nothing to allow`},
		{termFlags{allow: "see", when: []string{"sat"}, days: "day"}, `--days: "day" is no day`},
		{termFlags{allow: "see", when: []string{"sat 8-12"}}, `--when: "8-12" are no hours`},
		{termFlags{allow: "see", when: []string{"sometimes"}}, `--when: "sometimes" is no day`},
		{termFlags{allow: "see", when: []string{""}}, `--when: "" are no days and hours`},
		{termFlags{allow: "see", when: []string{"sat sun 08:00-12:00"}}, `--when: "sat sun 08:00-12:00" are no days and hours`},
		{termFlags{allow: "see", rate: "4"}, `--rate: "4" is no rate`},
		{termFlags{allow: "see", rate: "0/1h"}, `--rate: "0/1h" is no rate`},
		{termFlags{allow: "see", rate: "4/1ms"}, `--rate: "4/1ms" is no rate`},
		{termFlags{allow: "see", route: "relay"}, `--route: "relay" is no route`},
		{termFlags{allow: "see", detail: "2h"}, `--detail: "2h" is no detail`},
		{termFlags{allow: "see", detail: "1h,1d"}, `--detail: "1h,1d" is no detail`},
		{termFlags{allow: "see", keep: "40000d"}, `--keep: "40000d" is out of range`},
		{termFlags{allow: "see", purpose: "Heating advice"}, `--purpose: "Heating advice" is no purpose`},
		{termFlags{allow: "see", keep: "0s"}, `--keep: "0s" is out of range`},
		{termFlags{allow: "see", moments: "once"}, `--moments: "once" is no time`},
		{termFlags{allow: "see", moments: "2h..7d"}, `--moments: it ends before it begins`},
		{termFlags{allow: "see", moments: "7d..soon"}, `--moments: "soon" is no time`},
		{termFlags{allow: "see", from: "2026-12-24", until: "2026-12-23"}, `--until: "2026-12-23" is not after "2026-12-24"`},
	} {
		if _, err := s.terms(tc.o, now); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: error %v, want one with %q", tc.o, err, tc.want)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", ""},
		{"# nothing\n", ""},
		{"name: Birch Street\nzone: Europe/Berlin\nlisten: [\":4711\"]\ninterval: 2s\n", ""},
		{"interval: 7d\n", ""},
		{"https: :8443\n", ""},
		{"https: \"[::1]:8443\"\n", ""},
		{"https: home.example:443\n", `https: "home.example:443" is not IP:PORT or :PORT`},
		{"https: 192.168.1.2\n", `https: "192.168.1.2" is not IP:PORT or :PORT`},
		{"https: :70000\n", `https: ":70000" is not IP:PORT or :PORT`},
		{"map-ports: true\nrelays:\n- /ip4/9.9.9.9/udp/1/quic-v1/p2p/12D3KooWHkRc9ub5sn9fLx3bv2xyY3DmXYU6CsAHmX7KtBFoEiyP\n", ""},
		{"relays: [9.9.9.9]\n", `address "9.9.9.9": neither a multiaddr nor IP:PORT`},
		{"intervall: 2s\n", "line 1: field intervall not found: want name, zone, listen, https, interval, relays or map-ports"},
		{"name: a\nname: b\n", `line 2: mapping key "name" already defined at line 1`},
		{"interval: soon\n", `line 1: "soon" is no duration such as 10m`},
		{"interval: -2s\n", `line 1: "-2s" is no duration such as 10m`},
		{"zone: Local\n", `"Local" is no time zone: want one such as Europe/Berlin`},
		{"zone: [a]\n", "line 1: cannot unmarshal !!seq into string"},
		{"name: a\n---\nname: b\n", "more than one document"},
		{"- a\n", "line 1: cannot unmarshal !!seq into main.Settings"},
		{"\t", "found character that cannot start any token"},
	} {
		s, err := parseSettings([]byte(tc.text))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tc.want && (tc.want == "" || !strings.HasSuffix(got, tc.want)) {
			t.Errorf("%q: %q, want %q", tc.text, got, tc.want)
		}
		if err != nil {
			continue
		}
		dir := t.TempDir()
		if err := writeSettings(dir, s); err != nil {
			t.Fatal(err)
		}
		again, err := readSettings(dir)
		if err != nil || again.Name != s.Name || again.Zone != s.Zone || again.Interval != s.Interval || again.HTTPS != s.HTTPS ||
			len(again.Listen) != len(s.Listen) || !slices.Equal(again.Relays, s.Relays) || again.MapPorts != s.MapPorts {
			t.Errorf("%q: written and read again it is %+v, %v", tc.text, again, err)
		}
	}
	if s, err := readSettings(t.TempDir()); err != nil || s.Name != "" {
		t.Errorf("without a file: %+v, %v", s, err)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte("name: a\nzone: UTC\nlisten: [\":1\"]\ninterval: 2s\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		if s, err := parseSettings(data); err == nil && s.Interval < 0 {
			t.Errorf("interval %d", s.Interval)
		}
	})
}

func TestNames(t *testing.T) {
	for text, want := range map[string]string{
		"sam": "sam", "Sam Hill": "sam-hill", "DESKTOP-01": "desktop-01", "_x_": "x", "Ünï": "n", "…": "app", "": "app",
		strings.Repeat("a", 80): strings.Repeat("a", 63),
	} {
		if got := nameOf(text, "app"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestWithLimit(t *testing.T) {
	old := []tree.Limit{{Fresh: 60}, {Affordance: "unlock", Fresh: 5, Offline: 600}}
	for _, tc := range []struct {
		want tree.Limit
		get  []tree.Limit
	}{
		{tree.Limit{Fresh: 30}, []tree.Limit{{Fresh: 30}, old[1]}},
		{tree.Limit{Offline: 30}, []tree.Limit{{Fresh: 60, Offline: 30}, old[1]}},
		{tree.Limit{Affordance: "unlock", Offline: 1}, []tree.Limit{old[0], {Affordance: "unlock", Fresh: 5, Offline: 1}}},
		{tree.Limit{Affordance: "lock", Fresh: 1}, []tree.Limit{old[0], old[1], {Affordance: "lock", Fresh: 1}}},
	} {
		got := withLimit(old, tc.want)
		if len(got) != len(tc.get) {
			t.Fatalf("%+v, want %+v", got, tc.get)
		}
		for i := range got {
			if got[i] != tc.get[i] {
				t.Errorf("%+v, want %+v", got, tc.get)
			}
		}
	}
	if old[0].Fresh != 60 || old[0].Offline != 0 {
		t.Error("the limits there were have changed")
	}
}

func TestPrintValue(t *testing.T) {
	picture := thing.Value{ContentType: "image/jpeg", Body: []byte{0xff, 0xd8}}
	for _, tc := range []struct {
		v          thing.Value
		json, term bool
		out        string
		exit       int
	}{
		{thing.Value{ContentType: jsonType, Body: []byte(`"locked"`)}, false, true, "locked\n", 0},
		{thing.Value{ContentType: jsonType, Body: []byte(`"locked"`)}, true, true, "\"locked\"\n", 0},
		{thing.Value{ContentType: jsonType, Body: []byte(`"\u001b[2Jgone"`)}, false, true, "\uFFFD[2Jgone\n", 0},
		{thing.Value{ContentType: jsonType, Body: []byte(`{"a":1}`)}, false, true, "{\n  \"a\": 1\n}\n", 0},
		{thing.Value{ContentType: jsonType, Body: []byte(`12`)}, false, false, "12\n", 0},
		{thing.Value{}, false, false, "", 0},
		{thing.Value{}, true, false, "null\n", 0},
		{thing.Value{ContentType: "text/plain", Body: []byte("hello")}, false, true, "hello\n", 0},
		{picture, false, false, "\xff\xd8", 0},
		{picture, false, true, "", exitUsage},
		{picture, true, true, `{"contentType":"image/jpeg","data":"/9g=","size":2}` + "\n", 0},
	} {
		s, out, _ := talk()
		s.json, s.outTerm = tc.json, tc.term
		err := s.printValue(tc.v, "")
		exit := 0
		if err != nil {
			exit = explain(err).exit
		}
		if out.String() != tc.out || exit != tc.exit {
			t.Errorf("%+v: %q, %v", tc, out, err)
		}
	}
	s, out, stderr := talk()
	file := filepath.Join(t.TempDir(), "bell.jpg")
	if err := s.printValue(picture, file); err != nil || out.Len() > 0 || !strings.HasSuffix(stderr.String(), ": image/jpeg, 2 bytes\n") {
		t.Errorf("%v, %q, %q", err, out, stderr)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "\xff\xd8" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1: "1 byte", 999: "999 bytes", 1200: "1.2 kB", 12_345: "12 kB", 1_600_000: "1.6 MB", 2_345_000_000: "2.35 GB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
