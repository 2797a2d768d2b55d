package car

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/thing"
)

func TestCar(t *testing.T) {
	at := time.Date(2026, 11, 21, 14, 30, 0, 0, time.UTC)
	c := New(Config{
		Stops: []thing.Position{{Latitude: 52.52, Longitude: 13.405}, {Latitude: 48.85, Longitude: 2.35}}, Every: time.Minute,
		Areas: []thing.Area{{Name: "berlin", Center: thing.Position{Latitude: 52.5, Longitude: 13.4}, Radius: 30_000}}, Now: func() time.Time { return at },
	})
	var view thing.View
	handler := c.Thing().Handler(func(r *http.Request, _ thing.Op, _ string) error { return nil })
	call := func(method, path string) string {
		t.Helper()
		r := httptest.NewRequest(method, path, nil)
		caller := &thing.Caller{Name: "anna", View: func() thing.View { return view }}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(thing.WithCaller(r.Context(), caller)))
		return strings.TrimSpace(w.Body.String())
	}
	for _, s := range []struct {
		method, path, want string
		view               thing.View
		pass               time.Duration
	}{
		{"GET", "/properties/state", `"locked"`, thing.View{}, 0},
		{"POST", "/actions/unlock", `"unlocked"`, thing.View{}, 0},
		{"GET", "/properties/state", `"unlocked"`, thing.View{}, 0},
		{"POST", "/actions/lock", `"locked"`, thing.View{}, 0},
		{"GET", "/properties/charge", "100", thing.View{}, 0},
		{"GET", "/properties/position", `{"area":"berlin"}`, thing.View{Area: true}, 0},
		{"GET", "/properties/charge", "95", thing.View{}, time.Minute},
		{"GET", "/properties/position", `{"area":"` + thing.Elsewhere + `"}`, thing.View{Area: true}, 0},
		{"POST", "/actions/unlock", "", thing.View{Fields: []string{}}, 0}, // opened, and nothing is told
	} {
		view, at = s.view, at.Add(s.pass)
		if got := call(s.method, s.path); got != s.want {
			t.Errorf("%s %s: %s, want %s", s.method, s.path, got, s.want)
		}
	}
	if c.State() != Unlocked {
		t.Error("it was unlocked, and is not")
	}
	d := c.Thing().Describe()
	for name, want := range map[string]bool{"position": true, "state": true, "unlock": true, "charge": false} {
		if d.Never(name) != want {
			t.Errorf("%s is never shown: %t", name, !want)
		}
	}
}
