package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
)

var now = time.Date(2026, 11, 21, 14, 30, 0, 0, time.UTC)

func home(t testing.TB) *identitytest.Tree {
	tr := identitytest.NewTree(t, now)
	tr.Add(identity.Owner, "sam")
	tr.Add(identity.App, "sam/laptop")
	tr.Add(identity.Person, "sam/anna")
	tr.Add(identity.App, "sam/anna/phone")
	tr.Add(identity.Place, "home")
	tr.Add(identity.Place, "home/porch")
	tr.Add(identity.Device, "home/porch/doorbell")
	return tr
}

func TestVerify(t *testing.T) {
	tr := home(t)
	bell := tr.At("home/porch/doorbell")
	if got, want := bell.ID.String(), "spiffe://"+tr.ID.String()+"/home/porch/doorbell"; got != want {
		t.Errorf("ID %q, want %q", got, want)
	}
	if bell.Kind() != identity.Device || len(bell.Line) != 3 || bell.Owner() || !bell.ActsFor().IsZero() {
		t.Errorf("the doorbell is read as %+v", bell.Chain)
	}
	phone := tr.At("sam/anna/phone")
	if phone.Owner() || phone.ActsFor() != tr.At("sam/anna").Member() {
		t.Errorf("anna's phone acts for %s, want anna", phone.ActsFor())
	}
	if !tr.At("sam/laptop").Owner() {
		t.Error("sam's laptop is not taken for an owner's app")
	}
}

// A leaf must be good for software that knows SPIFFE and not Kindred.
func TestLeafIsSPIFFE(t *testing.T) {
	tr := home(t)
	bell := tr.At("home/porch/doorbell")
	var certs []*x509.Certificate
	for _, der := range bell.Raw {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	id, err := x509svid.IDFromCert(certs[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := spiffeid.RequireFromString(bell.ID.String()); id != want {
		t.Errorf("go-spiffe reads %s, want %s", id, want)
	}
}

func TestNesting(t *testing.T) {
	tr := home(t)
	kinds := []identity.Kind{identity.Root, identity.Owner, identity.Person, identity.Place, identity.Device, identity.App, identity.Service}
	parents := map[identity.Kind]identity.Path{identity.Root: "", identity.Owner: "sam", identity.Person: "sam/anna", identity.Place: "home"}
	for kind, path := range parents {
		for _, child := range kinds {
			key := identitytest.NewKey(t)
			_, err := tr.Authority(path).Issue(identity.Subject{
				Kind: child, Member: identity.MemberID{1}, Name: "x", Key: key.Public(), NotBefore: now, NotAfter: now.Add(time.Hour),
			})
			if (err == nil) != kind.MaySign(child) {
				t.Errorf("a %s signs a %s: %v", kind, child, err)
			}
		}
	}
	if identity.Device.MaySign(identity.Device) || identity.Kind(0).MaySign(identity.Owner) || identity.Kind(99).MaySign(identity.App) {
		t.Error("a kind that signs nothing may sign")
	}
}

func TestVerifyRefuses(t *testing.T) {
	tr, other := home(t), home(t)
	bell := tr.At("home/porch/doorbell").Raw
	for _, test := range []struct {
		name  string
		chain [][]byte
		tree  *identitytest.Tree
		at    time.Time
		want  string
	}{
		{"nothing", nil, tr, now, "0 certificates"},
		{"too many", make([][]byte, 9), tr, now, "9 certificates"},
		{"too large", [][]byte{make([]byte, 5000)}, tr, now, "5000 bytes"},
		{"no certificate", [][]byte{{1, 2, 3}}, tr, now, "x509"},
		{"a gap", [][]byte{bell[0], bell[2]}, tr, now, "it is for"},
		{"the wrong order", [][]byte{bell[1], bell[0], bell[2]}, tr, now, "it is for"},
		{"a leaf that signs", [][]byte{bell[0], tr.At("sam/laptop").Raw[0], tr.At("sam").Raw[0]}, tr, now, "kind device below kind app"},
		{"another tree's root", bell, other, now, "it is for"},
		{"another tree's link", [][]byte{bell[0], bell[1], other.At("home").Raw[0]}, tr, now, "it is for"},
		{"before its time", bell, tr, now.Add(-2 * time.Hour), "not yet valid"},
		{"after its time", bell, tr, now.Add(2 * identitytest.Lifetime), "expired"},
	} {
		_, err := identity.Verify(test.chain, test.tree.ID, test.tree.Root, test.at)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
}

// A certificate with the right shape and a signature of somebody else's.
func TestForgedSignature(t *testing.T) {
	tr := home(t)
	thief := identitytest.NewTree(t, now)
	thief.Add(identity.Place, "home")
	for _, bit := range []int{0, 77, 300} {
		chain := [][]byte{append([]byte(nil), tr.At("home").Raw[0]...)}
		der := chain[0]
		der[len(der)-1-bit/8] ^= 1 << (bit % 8)
		if _, err := identity.Verify(chain, tr.ID, tr.Root, now); err == nil {
			t.Errorf("bit %d from the end altered, and still accepted", bit)
		}
	}
}

func TestP256Verifies(t *testing.T) {
	tr := home(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := tr.Authority("home").Issue(identity.Subject{
		Kind: identity.Device, Member: identity.MemberID{1}, Name: "lock", Key: key.Public(), NotBefore: now, NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Verify(chain, tr.ID, tr.Root, now); err != nil {
		t.Error(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tr.Authority("home").Issue(identity.Subject{
		Kind: identity.Device, Member: identity.MemberID{1}, Name: "lock", Key: weak.Public(), NotBefore: now, NotAfter: now.Add(time.Hour),
	})
	if err == nil || !strings.Contains(err.Error(), "want Ed25519 or ECDSA P-256") {
		t.Errorf("an RSA key: %v", err)
	}
}

func TestParseKey(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		key   crypto.PublicKey
		spoil func(der []byte) []byte
		want  string
	}{
		{"Ed25519", identitytest.NewKey(t).Public(), nil, ""},
		{"P-256", p256.Public(), nil, ""},
		{"P-384", p384.Public(), nil, "want Ed25519 or ECDSA P-256"},
		{"bytes after it", p256.Public(), func(der []byte) []byte { return append(der, 0) }, "identity: reading a public key"},
		{"cut short", p256.Public(), func(der []byte) []byte { return der[:20] }, "identity: reading a public key"},
		{"nothing", p256.Public(), func([]byte) []byte { return nil }, "identity: reading a public key"},
	} {
		der, err := x509.MarshalPKIXPublicKey(test.key)
		if err != nil {
			t.Fatal(err)
		}
		if test.spoil != nil {
			der = test.spoil(der)
		}
		got, err := identity.ParseKey(der)
		check(t, test.name, err, test.want)
		if err == nil && !identity.SameKey(got, test.key) {
			t.Errorf("%s: read as another key", test.name)
		}
	}
}

func TestPaths(t *testing.T) {
	for s, ok := range map[string]bool{
		"home": true, "home/porch/doorbell": true, "a.b_c-d/0": true, "a/b/c/d/e/f/g/h": true,
		"": false, "/": false, "/home": false, "home/": false, "home//x": false, "Home": false, "kü": false, ".x": false,
		"-x": false, "a b": false, "a/b/c/d/e/f/g/h/i": false, strings.Repeat("x", 63): true, strings.Repeat("x", 64): false,
		"..": false, "a/../b": false, "a%2fb": false,
	} {
		if _, err := identity.ParsePath(s); (err == nil) != ok {
			t.Errorf("ParsePath(%q): %v", s, err)
		}
	}
	for _, test := range []struct {
		path, branch identity.Path
		want         bool
	}{
		{"home/lock", "home", true}, {"home", "home", true}, {"homes", "home", false}, {"home", "home/lock", false}, {"x/y", "", true},
	} {
		if got := test.path.Within(test.branch); got != test.want {
			t.Errorf("%q within %q: %v", test.path, test.branch, got)
		}
	}
	if p := identity.Path("home/porch/bell"); p.Name() != "bell" || p.Parent() != "home/porch" || identity.Path("home").Parent() != "" {
		t.Error("Name or Parent is wrong")
	}
}

func TestIDs(t *testing.T) {
	tr := home(t)
	id := tr.At("home/porch/doorbell").ID
	got, err := identity.ParseID(id.String())
	if err != nil || got != id {
		t.Errorf("ParseID(%q) = %v, %v", id, got, err)
	}
	tree := tr.ID.String()
	for _, s := range []string{
		"", "spiffe://", tree, "spiffe://" + tree, "spiffe://" + tree + "/", "spiffe://" + strings.ToUpper(tree) + "/a",
		"spiffe://evil." + tree + "/a", "http://" + tree + "/a", "spiffe://" + tree + "/a/", "spiffe://" + tree + "/a?b",
		"spiffe://" + tree + ":1/a", "spiffe://" + tree[:51] + "b/a",
	} {
		if id, err := identity.ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %v", s, id)
		}
	}
	m := tr.At("home").Member()
	if got, err := identity.ParseMemberID(m.String()); err != nil || got != m || len(m.String()) != 26 {
		t.Errorf("ParseMemberID(%q) = %v, %v", m, got, err)
	}
}

func TestKeyDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	keys := identity.KeyDir(dir)
	if _, err := keys.Open("leaf"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key never made: %v", err)
	}
	made, err := keys.Create("leaf")
	if err != nil {
		t.Fatal(err)
	}
	opened, err := identity.KeyDir(dir).Open("leaf")
	if err != nil || !identity.SameKey(made.Public(), opened.Public()) {
		t.Errorf("the key read back differs: %v", err)
	}
	if _, err := keys.Create("leaf"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a key made twice: %v", err)
	}
	if _, err := keys.Create("../leaf"); err == nil {
		t.Error("a key outside the directory")
	}
	for name, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, "leaf.pem"): 0o600} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v (%v)", name, info.Mode().Perm(), want, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bad.pem"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open("bad"); err == nil || strings.Contains(err.Error(), "junk") {
		t.Errorf("a damaged key: %v", err)
	}
}

func BenchmarkVerify(b *testing.B) {
	tr := home(b)
	bell := tr.At("home/porch/doorbell")
	size := 0
	for _, der := range bell.Raw {
		size += len(der)
	}
	for b.Loop() {
		if _, err := identity.Verify(bell.Raw, tr.ID, tr.Root, now); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size), "B/chain")
}
