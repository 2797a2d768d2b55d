package gateway

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/store"
)

func TestServerNames(t *testing.T) {
	now := time.Now()
	tree := identitytest.NewTree(t, now)
	l := &lan{domain: identity.ServerDomain(tree.ID)}
	tree.Add(identity.Place, "home")
	tree.Add(identity.Place, "home/x")
	tree.Add(identity.Place, "home/big_hall")
	for path, want := range map[identity.Path]string{
		"home/lock":                            "lock.home.",
		"home/x/y":                             "y.x.home.",
		"home/y.x":                             "", // or it could pass for the one above
		"home/big_hall/lamp":                   "",
		"home/a-":                              "",
		identity.Path("home/" + long("a", 63)): long("a", 63) + ".home.",
	} {
		c := tree.Add(identity.Device, path).Chain
		names := []string{c.Member().String() + "." + l.domain}
		if want != "" {
			names = append([]string{want + l.domain}, names...)
		}
		if got := l.names(c); !slices.Equal(got, names) {
			t.Errorf("%s is named %v, want %v", path, got, names)
		}
	}
}

func long(s string, n int) string { return strings.Repeat(s, n) }

// The issuer stays the same for years, so that what trusts it goes on doing so, and is replaced before it ends.
func TestIssuerLasts(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	tree := identitytest.NewTree(t, now).ID
	open := func() *lan {
		t.Helper()
		db, err := store.Open(t.Context(), filepath.Join(dir, "test.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		l, err := openLAN(t.Context(), db, identity.KeyDir(filepath.Join(dir, "keys")), tree, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := open()
	if err := first.db.Close(); err != nil {
		t.Fatal(err)
	}
	second := open()
	if !first.issuer.Equal(second.issuer) {
		t.Error("a start makes another issuer")
	}
	now = now.Add(issuerLife - issuerRenew)
	third, err := second.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if third.Equal(second.issuer) && third.NotAfter.Before(now.Add(issuerLife/2)) || !identity.SameKey(third.PublicKey, first.issuer.PublicKey) {
		t.Errorf("with a tenth of its life left it is good until %s", third.NotAfter)
	}
	key, err := identity.NewP256()
	if err != nil {
		t.Fatal(err)
	}
	cert, issuer, err := second.issue(t.Context(), key.Public(), []string{"lock.home." + second.domain})
	if err != nil || !slices.Equal(issuer, third.Raw) {
		t.Errorf("a certificate of %d bytes, %v", len(cert), err)
	}
}
