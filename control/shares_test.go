package control

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
)

func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shares{calls: 2, watches: 1, waiting: 2}
		lamp, lock := identity.TreeMember{Member: identity.MemberID{1}}, identity.TreeMember{Member: identity.MemberID{2}}
		call := func(who identity.TreeMember) func() {
			t.Helper()
			done, err := s.call(t.Context(), who)
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		first := call(lamp)
		call(lamp)
		ctx, cancel := context.WithCancel(t.Context())
		gone, served := make(chan error, 1), make(chan struct{})
		go func() {
			_, err := s.call(ctx, lamp)
			gone <- err
		}()
		synctest.Wait()
		go func() {
			call(lamp)
			close(served)
		}()
		synctest.Wait()
		if _, err := s.call(t.Context(), lamp); !errors.Is(err, errTooMany) {
			t.Errorf("one that may not even wait: %v", err)
		}
		call(lock)() // nobody else is held up
		if _, known := s.by[lock]; known {
			t.Error("a member with nothing under way is remembered")
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("one that gave up: %v", err)
		}
		select {
		case <-served:
			t.Error("a third call is answered at a time")
		default:
		}
		first()
		<-served
		if got := s.by[lamp].calls; got != 2 {
			t.Errorf("%d calls are under way, want 2", got)
		}
	})
}

func TestWatchesAreFew(t *testing.T) {
	s := &shares{calls: 1, watches: 1}
	lamp := identity.TreeMember{Member: identity.MemberID{1}}
	done, err := s.watch(lamp)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.watch(lamp); !errors.Is(err, errTooMany) {
		t.Errorf("a second watch: %v", err)
	}
	if _, err := s.call(t.Context(), lamp); err != nil {
		t.Errorf("a call beside a watch: %v", err)
	}
	s.done(lamp)
	done()
	if len(s.by) != 0 {
		t.Errorf("left behind: %v", s.by)
	}
	if done, err = s.watch(lamp); err != nil {
		t.Errorf("a watch after the first: %v", err)
	}
	done()
}

// Two trees may have given two members the same ID: neither takes what is the other's, and nor does who made up a tree of
// their own in which they have the ID of somebody else.
func TestTheSameIDInTwoTreesIsTwoCallers(t *testing.T) {
	who := func(tree byte) credential.Principal {
		c := identity.Chain{Line: []identity.Link{{Member: identity.MemberID{1}}}}
		c.ID.Tree = identity.TreeID{tree}
		return credential.Principal{Chain: c}
	}
	type key struct{}
	s := server{nil, func(ctx context.Context) (credential.Principal, bool) {
		p, ok := ctx.Value(key{}).(credential.Principal)
		return p, ok
	}, slog.New(slog.DiscardHandler), aMember, &shares{calls: 1}}
	var calls http.Handler
	ask := func(as credential.Principal) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), key{}, as), http.MethodPost, "/", strings.NewReader("{}"))
		calls.ServeHTTP(w, r)
		return w.Code
	}
	var meanwhile []int // what others are told while one call is under way
	calls = handle(s, func(_ context.Context, p credential.Principal, _ Lookup) (None, error) {
		if p.ID.Tree == who(1).ID.Tree {
			meanwhile = []int{ask(who(1)), ask(who(2))}
		}
		return None{}, nil
	})
	if got := ask(who(1)); got != http.StatusOK {
		t.Errorf("the first call: %d", got)
	}
	if want := []int{http.StatusServiceUnavailable, http.StatusOK}; !slices.Equal(meanwhile, want) {
		t.Errorf("a second call of the same member, and one of its namesake elsewhere: %v, want %v", meanwhile, want)
	}
}

// An open house answers nobody before it is told to.
type openHouse struct {
	Visitors
	open chan struct{}
}

func (o openHouse) Given(context.Context, credential.Principal, None) (Given, error) {
	<-o.open
	return Given{}, nil
}

// Another home takes its share with all its members together, and nothing of what is there for a third.
func TestVisitorsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		house, next := openHouse{open: make(chan struct{})}, 0
		var who credential.Principal
		h := VisitorHandler(house, func(context.Context) (credential.Principal, bool) { return who, true }, slog.New(slog.DiscardHandler))
		visit := func(home byte) chan int {
			next++
			who = credential.Principal{Chain: identity.Chain{
				ID: identity.ID{Tree: identity.TreeID{home}}, Line: []identity.Link{{Member: identity.MemberID{byte(next)}}},
			}}
			answer := make(chan int, 1)
			go func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, Prefix+"given", strings.NewReader("{}")))
				answer <- w.Code
			}()
			synctest.Wait()
			return answer
		}
		answered := func(a chan int) int {
			select {
			case code := <-a:
				return code
			default:
				return 0
			}
		}
		for i := range maxVisits + maxWaiting {
			if code := answered(visit(1)); code != 0 {
				t.Fatalf("visitor %d is answered %d", i, code)
			}
		}
		if code := answered(visit(1)); code != http.StatusServiceUnavailable {
			t.Errorf("one more of the home is answered %d", code)
		}
		other := visit(2)
		close(house.open)
		synctest.Wait()
		if code := answered(other); code != http.StatusOK {
			t.Errorf("one of another home is answered %d", code)
		}
	})
}
