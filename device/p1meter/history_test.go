package p1meter

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kindred-iot/kindred/meter/p1"
	"github.com/kindred-iot/kindred/thing"
)

// memory is a book.
type memory map[string][]byte

func (m memory) Save(_ context.Context, changes map[string][]byte) error {
	for key, value := range changes {
		if m[key] = value; value == nil {
			delete(m, key)
		}
	}
	return nil
}

func (m memory) Scan(_ context.Context, prefix string, each func(string, []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if strings.HasPrefix(key, prefix) {
			if err := each(key, m[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// noon of a Saturday, UTC.
var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// note takes in a telegram.
func (p *past) mustNote(t *testing.T, at time.Time, in, out int) {
	t.Helper()
	if err := p.note(t.Context(), at, Energy{In: []p1.Energy{p1.Energy(in)}, Out: []p1.Energy{p1.Energy(out)}}); err != nil {
		t.Fatal(err)
	}
}

func TestPast(t *testing.T) {
	m := func(minutes float64) time.Time { return noon.Add(time.Duration(minutes * float64(time.Minute))) }
	type telegram struct {
		at      time.Time
		in, out int
	}
	for name, tt := range map[string]struct {
		telegrams []telegram
		want      []span // from and until in minutes from noon
	}{
		"within a quarter":          {[]telegram{{m(1), 100, 5}, {m(2), 110, 5}, {m(9), 150, 6}}, []span{{1, 9, 50, 1}}},
		"over its end":              {[]telegram{{m(14), 100, 0}, {m(16), 120, 0}, {m(17), 121, 0}}, []span{{14, 15, 10, 0}, {15, 17, 11, 0}}},
		"nothing for a quarter":     {[]telegram{{m(14), 100, 0}, {m(29), 115, 0}}, []span{{14, 15, 1, 0}, {15, 29, 14, 0}}},
		"nothing for longer":        {[]telegram{{m(14), 100, 0}, {m(300), 700, 9}, {m(301), 701, 9}}, []span{{14, 300, 600, 9}, {300, 301, 1, 0}}},
		"another meter":             {[]telegram{{m(0), 900, 9}, {m(1), 5, 0}, {m(2), 7, 1}}, []span{{0, 2, 2, 1}}},
		"twice within a second":     {[]telegram{{m(0), 10, 0}, {m(0), 20, 0}, {m(1), 30, 0}}, []span{{0, 1, 20, 0}}},
		"a clock that is set back":  {[]telegram{{m(10), 10, 0}, {m(11), 20, 0}, {m(5), 30, 0}, {m(6), 35, 0}, {m(12), 40, 0}}, []span{{10, 12, 30, 0}}},
		"a clock that was not set":  {[]telegram{{m(10), 10, 0}, {m(11), 20, 0}, {time.Unix(60, 0), 30, 0}, {m(13), 40, 0}}, []span{{10, 13, 30, 0}}},
		"the first says where from": {[]telegram{{m(10), 123456, 0}}, nil},
	} {
		var p past
		for _, telegram := range tt.telegrams {
			p.mustNote(t, telegram.at, telegram.in, telegram.out)
		}
		for i := range tt.want {
			tt.want[i].from, tt.want[i].until = noon.Unix()+60*tt.want[i].from, noon.Unix()+60*tt.want[i].until
		}
		got, _ := json.Marshal(p.spans)
		if want, _ := json.Marshal(tt.want); string(got) != string(want) {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
}

// A clock that stays behind is right in the end, and what it recorded when it was ahead is forgotten.
func TestClockThatWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, book := past{}, memory{}
		if err := p.load(t.Context(), book); err != nil {
			t.Fatal(err)
		}
		p.mustNote(t, noon, 0, 0)
		p.mustNote(t, noon.Add(20*time.Minute), 10, 0)
		ahead := noon.AddDate(10, 0, 0)
		p.mustNote(t, ahead, 20, 0)
		p.mustNote(t, ahead.Add(20*time.Minute), 30, 0)
		for i := range 70 {
			p.mustNote(t, noon.Add(time.Duration(30+i)*time.Minute), 40+i, 0)
			time.Sleep(time.Minute)
		}
		last := p.spans[len(p.spans)-1]
		if last.until != p.last.At || p.last.At != noon.Add(99*time.Minute).Unix() {
			t.Errorf("the last span is %+v, the last telegram %+v", last, p.last)
		}
		for key := range book {
			if strings.HasPrefix(key, bookPrefix+"2036") {
				t.Errorf("the book still has %s", key)
			}
		}
	})
}

// Whatever comes when, and however often the meter is stopped or killed, the sums are right: what is missing is less
// than what went through since the book was last written.
func TestPastAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		book := memory{}
		p := &past{}
		if err := p.load(t.Context(), book); err != nil {
			t.Fatal(err)
		}
		at, in, first := noon, 1000, 0
		for i := range 400 {
			at, in = at.Add(time.Duration(1+r.IntN(600))*time.Second), in+r.IntN(50)
			if r.IntN(60) == 0 {
				at = at.Add(time.Duration(r.IntN(72)) * time.Hour)
			}
			if i == 0 {
				first = in
			}
			p.mustNote(t, at, in, 0)
			if r.IntN(40) > 0 {
				continue
			}
			if r.IntN(2) == 0 { // stopped, not killed
				if err := p.save(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			p = &past{}
			if err := p.load(t.Context(), book); err != nil {
				t.Fatal(err)
			}
			p.mustNote(t, at.Add(time.Second), in, 0)
			at = at.Add(time.Second)
		}
		total, until := 0, int64(0)
		for _, s := range p.spans {
			if s.from < until || s.until <= s.from {
				t.Fatalf("seed %d: a span from %d until %d after one until %d", seed, s.from, s.until, until)
			}
			total, until = total+int(s.in), s.until
		}
		if book[bookLast] != nil && total != in-first {
			t.Errorf("seed %d: %d Wh in the history, %d through the meter", seed, total, in-first)
		}
	}
}

func TestPastIsBounded(t *testing.T) {
	p, book := past{}, memory{}
	if err := p.load(t.Context(), book); err != nil {
		t.Fatal(err)
	}
	for i := range maxQuarters + 1000 {
		p.take(registers{At: noon.Unix() + int64(i)*quarter, In: int64(i)})
	}
	if err := p.save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(p.spans) > maxQuarters || len(p.spans) < maxQuarters-200 {
		t.Errorf("%d spans", len(p.spans))
	}
	var again past
	if err := again.load(t.Context(), book); err != nil || len(again.spans) != len(p.spans) {
		t.Errorf("%d spans in the book, %d in memory, %v", len(again.spans), len(p.spans), err)
	}
}

func TestDamagedBook(t *testing.T) {
	for _, day := range []string{`x`, `[[5,5,0,0]]`, `[[0,900,1,1],[600,1500,1,1]]`, `[[0,900,-1,0]]`} {
		var p past
		if err := p.load(t.Context(), memory{bookPrefix + "2026-11-28": []byte(day)}); err == nil {
			t.Errorf("%s is read", day)
		}
	}
	full := errors.New("disk full")
	p := past{book: failing{full}}
	p.take(registers{At: 1})
	p.take(registers{At: 100, In: 1})
	if err := p.save(t.Context()); !errors.Is(err, full) || len(p.dirty) == 0 {
		t.Errorf("%v, and %d days are left to be written", err, len(p.dirty))
	}
}

type failing struct{ err error }

func (f failing) Save(context.Context, map[string][]byte) error                  { return f.err }
func (f failing) Scan(context.Context, string, func(string, []byte) error) error { return f.err }

// Who is to see days sees what flowed on average yesterday, and neither what flows now nor each telegram.
func TestMeterByTheDay(t *testing.T) {
	now := noon
	m := New(Config{Now: func() time.Time { return now }})
	for i := range 3 * 96 {
		m.past.mustNote(t, noon.AddDate(0, 0, -2).Add(time.Duration(i)*15*time.Minute), i*240, 0)
	}
	if err := m.tell(Reading{ID: "meter", Power: 7}); err != nil {
		t.Fatal(err)
	}
	view := thing.View{Step: thing.Day, Zone: time.UTC, Now: noon.AddDate(0, 0, 1)}
	h := m.Thing().Handler(func(*http.Request, thing.Op, string) error { return nil })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(thing.WithCaller(r.Context(), &thing.Caller{View: func() thing.View { return view }})))
	}))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := &thing.Client{Base: base}
	for name, want := range map[string]string{"power": "960", "export": "0", "id": `"meter"`} {
		if v, err := c.Read(t.Context(), name); err != nil || string(v.Body) != want {
			t.Errorf("%s is %s, %v; want %s", name, v.Body, err, want)
		}
	}
	for _, name := range []string{"reading", "phases", "energy", "time"} {
		var p *thing.Problem
		if v, err := c.Read(t.Context(), name); !errors.As(err, &p) || p.Code != thing.CodeDetail {
			t.Errorf("%s is %s, %v", name, v.Body, err)
		}
	}
	v, err := c.History(t.Context(), "history", thing.Query{})
	if err != nil {
		t.Fatal(err)
	}
	var spans []thing.Span[Used]
	if err := v.Decode(&spans); err != nil || len(spans) != 3 || spans[1].Value.In != 96*240 {
		t.Errorf("the history is %s, %v", v.Body, err)
	}
}
