package journal

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestEntryJSON(t *testing.T) {
	e := Entry{
		Time: noon.Add(5 * time.Millisecond), Thing: lock, Caller: party(other, ""), Op: Invoke, Affordance: "unlock",
		Outcome: Refused, Reason: "it is not Saturday", AsOf: noon, Offline: true, Count: 2, Stream: 1<<64 - 1, With: anna, Grant: "g-7kqm",
	}
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var got Entry
	if err := json.Unmarshal(data, &got); err != nil || got != e {
		t.Errorf("%s\nwas read as %+v, %v\nwant %+v", data, got, err, e)
	}
	least, err := json.Marshal(Entry{Time: noon, Thing: lock, Op: Read, Outcome: Served})
	want := `{"time":"2031-05-03T12:00:00Z","thing":{"member":"` + lock.Member.String() + `","id":"spiffe://` + home.String() +
		`/home/lock"},"op":"read","outcome":"served"}`
	if err != nil || string(least) != want {
		t.Errorf("%s, %v\nwant %s", least, err, want)
	}
}

func TestEntryJSONRefused(t *testing.T) {
	good := `{"time":"2031-05-03T12:00:00Z","thing":{"member":"` + lock.Member.String() + `","id":"spiffe://` + home.String() +
		`/home/lock"},"op":"read","outcome":"served"}`
	if err := json.Unmarshal([]byte(good), new(Entry)); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"served"`, `"done"`}, {`"served"`, `2`}, {`"read"`, `"READ"`}, {`/home/lock`, `/home//lock`}, {`spiffe://`, `https://`},
		{lock.Member.String(), "lock"}, {`/home/lock`, `/`}, {`"time":"2031-05-03T12:00:00Z",`, ``},
		{lock.Member.String(), strings.Repeat("a", 26)},
	} {
		if err := json.Unmarshal([]byte(strings.Replace(good, change[0], change[1], 1)), new(Entry)); err == nil {
			t.Errorf("with %s for %s it was read", change[1], change[0])
		}
	}
	var got Entry
	escape := strings.Replace(good, `"op"`, `"reason":"\u001b[2J","op"`, 1)
	if err := json.Unmarshal([]byte(escape), &got); err != nil || got.Reason != "\ufffd[2J" {
		t.Errorf("reason %q, %v, want it made printable", got.Reason, err)
	}
}
