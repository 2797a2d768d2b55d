package identity_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base32"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
)

var (
	oidKind    = asn1.ObjectIdentifier{2, 25, 1802071524, 1}
	oidMember  = asn1.ObjectIdentifier{2, 25, 1802071524, 2}
	oidAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// A forge makes certificates that no Authority would, from the package's documentation alone.
type forge struct {
	*x509.Certificate
	key    crypto.Signer // what signs
	parent *x509.Certificate
	public crypto.PublicKey // what is signed
	tree   identity.TreeID
}

// newForge starts with a certificate that is in order, for a member below parent; nil is the root.
func newForge(t *testing.T, tr *identitytest.Tree, parent *identitytest.Member, kind identity.Kind, name string) *forge {
	f := &forge{key: tr.RootKey, parent: tr.Root, public: identitytest.NewKey(t).Public(), tree: tr.ID}
	path := identity.Path(name)
	if parent != nil {
		f.key, f.parent = parent.Signer, parseCert(t, parent.Raw[0])
		path = parent.ID.Path.Join(name)
	}
	f.Certificate = &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(time.Hour),
		ExtraExtensions:       []pkix.Extension{{Id: oidKind, Value: []byte{2, 1, byte(kind)}}, {Id: oidMember, Value: append([]byte{4, 16}, make([]byte, 15)...)}},
		BasicConstraintsValid: true,
	}
	f.ExtraExtensions[1].Value = append(f.ExtraExtensions[1].Value, 7)
	if kind.Leaf() {
		f.uri(identity.ID{Tree: tr.ID, Path: path}.String())
		f.KeyUsage = x509.KeyUsageDigitalSignature
		return f
	}
	f.uri("spiffe://" + tr.ID.String())
	f.IsCA, f.KeyUsage = true, x509.KeyUsageCertSign
	f.PermittedDNSDomainsCritical = true
	f.PermittedURIDomains = []string{tr.ID.String()}
	f.ExcludedDNSDomains, f.ExcludedEmailAddresses = []string{""}, []string{""}
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		_, network, err := net.ParseCIDR(all)
		if err != nil {
			t.Fatal(err)
		}
		f.ExcludedIPRanges = append(f.ExcludedIPRanges, network)
	}
	return f
}

func (f *forge) uri(s ...string) {
	f.URIs = nil
	for _, s := range s {
		scheme, rest, _ := strings.Cut(s, ":")
		f.URIs = append(f.URIs, &url.URL{Scheme: scheme, Opaque: rest}) // kept as it is spelled
	}
}

// names sets the subject alternative names.
func (f *forge) names(t *testing.T, names ...asn1.RawValue) {
	value, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	f.ExtraExtensions = append(f.ExtraExtensions, pkix.Extension{Id: oidAltName, Value: value})
}

func (f *forge) set(oid asn1.ObjectIdentifier, value ...byte) {
	for i := range f.ExtraExtensions {
		if f.ExtraExtensions[i].Id.Equal(oid) {
			f.ExtraExtensions[i].Value = value
		}
	}
}

func (f *forge) drop(oid asn1.ObjectIdentifier) {
	f.ExtraExtensions = slices.DeleteFunc(f.ExtraExtensions, func(e pkix.Extension) bool { return e.Id.Equal(oid) })
}

func (f *forge) make(t *testing.T) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, f.Certificate, f.parent, f.public, f.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func parseCert(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// uriName is a subject alternative name of the kind that SPIFFE IDs are.
func uriName(s string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(s)}
}

func TestForgedLeaf(t *testing.T) {
	tr := home(t)
	place := tr.At("home")
	id := "spiffe://" + tr.ID.String() + "/home/lock"
	for _, test := range []struct {
		name  string
		forge func(f *forge)
		want  string // "": accepted
	}{
		{"in order", func(*forge) {}, ""},
		{"a DNS name more", func(f *forge) { f.DNSNames = []string{"bank.example"} }, "names beside its SPIFFE ID"},
		{"an address more", func(f *forge) { f.IPAddresses = []net.IP{{10, 0, 0, 1}} }, "names beside its SPIFFE ID"},
		{"a mail box more", func(f *forge) { f.EmailAddresses = []string{"a@b.example"} }, "names beside its SPIFFE ID"},
		{"a directory name more", func(f *forge) {
			dir := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: []byte{0x30, 0}}
			f.names(t, uriName(id), dir)
		}, "names beside its SPIFFE ID, or another spelling of it"},
		{"an other name more", func(f *forge) {
			other := asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: []byte{6, 1, 42, 0xa0, 2, 5, 0}}
			f.names(t, other, uriName(id))
		}, "names beside its SPIFFE ID, or another spelling of it"},
		{"another spelling of the scheme", func(f *forge) { f.names(t, uriName("SPIFFE"+id[6:])) }, "or another spelling of it"},
		{"an empty fragment", func(f *forge) { f.names(t, uriName(id+"#")) }, "or another spelling of it"},
		{"no name", func(f *forge) { f.uri() }, "0 URI names, want one"},
		{"two names", func(f *forge) { f.uri(id, id) }, "2 URI names, want one"},
		{"a part of the trust domain", func(f *forge) { f.uri(strings.Replace(id, "//", "//evil.", 1)) }, `it is for "spiffe://evil.`},
		{"the trust domain in capitals", func(f *forge) { f.uri("spiffe://" + strings.ToUpper(tr.ID.String()) + "/home/lock") }, "it is for"},
		{"another path", func(f *forge) { f.uri(id + "2") }, "it is for"},
		{"a longer path", func(f *forge) { f.uri(id + "/x") }, "it is for"},
		{"a slash at the end", func(f *forge) { f.uri(id + "/") }, "it is for"},
		{"a port", func(f *forge) { f.uri("spiffe://" + tr.ID.String() + ":1/home/lock") }, "it is for"},
		{"a user", func(f *forge) { f.uri(strings.Replace(id, "//", "//sam@", 1)) }, "it is for"},
		{"a query", func(f *forge) { f.uri(id + "?a") }, "it is for"},
		{"a fragment", func(f *forge) { f.uri(id + "#a") }, "it is for"},
		{"an escaped letter", func(f *forge) { f.uri(strings.Replace(id, "lock", "%6cock", 1)) }, "it is for"},
		{"no path", func(f *forge) { f.uri("spiffe://" + tr.ID.String()) }, "it is for"},
		{"another scheme", func(f *forge) { f.uri("https" + id[6:]) }, "it is for"},
		{"no kind", func(f *forge) { f.drop(oidKind) }, "no kind"},
		{"kind 0", func(f *forge) { f.set(oidKind, 2, 1, 0) }, "no kind"},
		{"kind 99", func(f *forge) { f.set(oidKind, 2, 1, 99) }, "no kind"},
		{"kind 261, of which 5 fits a byte", func(f *forge) { f.set(oidKind, 2, 2, 1, 5) }, "no kind"},
		{"a negative kind", func(f *forge) { f.set(oidKind, 2, 1, 0xfb) }, "no kind"},
		{"the kind in another type", func(f *forge) { f.set(oidKind, 4, 1, 5) }, "no kind"},
		{"bytes after the kind", func(f *forge) { f.set(oidKind, 2, 1, 5, 0) }, "no kind"},
		{"the kind owner", func(f *forge) { f.set(oidKind, 2, 1, 2) }, "kind owner below kind place"},
		{"the kind app", func(f *forge) { f.set(oidKind, 2, 1, 6) }, "kind app below kind place"},
		{"the kind place", func(f *forge) { f.set(oidKind, 2, 1, 4) }, "it is for"},
		{"two kinds", func(f *forge) {
			f.ExtraExtensions = append(f.ExtraExtensions, pkix.Extension{Id: oidKind, Value: []byte{2, 1, 2}})
		}, "duplicate extension"},
		{"no member ID", func(f *forge) { f.drop(oidMember) }, "no member ID"},
		{"a short member ID", func(f *forge) { f.set(oidMember, append([]byte{4, 15}, make([]byte, 15)...)...) }, "no member ID"},
		{"a member ID of zeros", func(f *forge) { f.set(oidMember, append([]byte{4, 16}, make([]byte, 16)...)...) }, "no member ID"},
		{"no common name", func(f *forge) { f.Subject.CommonName = "" }, "is no name"},
		{"a path for a common name", func(f *forge) { f.Subject.CommonName = "home/lock" }, "is no name"},
		{"another common name", func(f *forge) { f.Subject.CommonName = "door" }, "it is for"},
		{"more in its subject", func(f *forge) { f.Subject.Organization = []string{"acme"} }, "more in its subject"},
		{"a CA", func(f *forge) { f.IsCA = true }, "basic constraints do not fit a device"},
		{"no basic constraints", func(f *forge) { f.BasicConstraintsValid = false }, "basic constraints do not fit a device"},
		{"no key usage", func(f *forge) { f.KeyUsage = 0 }, "key usage does not allow signatures"},
		{"a CA's key usage", func(f *forge) { f.KeyUsage |= x509.KeyUsageCertSign }, "key usage does not fit a device"},
		{"key usage for revocation lists", func(f *forge) { f.KeyUsage |= x509.KeyUsageCRLSign }, "key usage does not fit a device"},
		{"a critical extension nobody knows", func(f *forge) {
			f.ExtraExtensions = append(f.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 25, 5}, Critical: true, Value: []byte{5, 0}})
		}, "unhandled critical extension"},
		{"ended", func(f *forge) { f.NotAfter = now.Add(-time.Second) }, "expired"},
		{"not begun", func(f *forge) { f.NotBefore = now.Add(time.Second) }, "not yet valid"},
		{"an RSA key", func(f *forge) {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			f.public = key.Public()
		}, "want Ed25519 or ECDSA P-256"},
		{"a P-384 key", func(f *forge) {
			key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			f.public = key.Public()
		}, "want Ed25519 or ECDSA P-256"},
		{"the key of the place above", func(f *forge) { f.public = place.Signer.Public() }, "its key is that of a member above it"},
		{"the root key", func(f *forge) { f.public = tr.RootKey.Public() }, "its key is that of a member above it"},
		{"signed by another key", func(f *forge) {
			f.key = identitytest.NewKey(t)
			f.parent = &x509.Certificate{Subject: f.parent.Subject, PublicKey: f.key.Public(), SubjectKeyId: f.parent.SubjectKeyId}
		}, "x509: certificate signed by unknown authority"},
	} {
		f := newForge(t, tr, place, identity.Device, "lock")
		test.forge(f)
		_, err := identity.Verify(append([][]byte{f.make(t)}, place.Raw...), tr.ID, tr.Root, now)
		check(t, test.name, err, test.want)
	}
}

// check compares an error with a part of its text; "" is no error.
func check(t *testing.T, name string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %v, want one with %q", name, err, want)
	}
}

// A device hangs below a CA of whoever controls the place above it.
func TestForgedAuthority(t *testing.T) {
	tr, other := home(t), home(t)
	place := tr.At("home")
	tree := tr.ID.String()
	for _, test := range []struct {
		name  string
		forge func(f *forge)
		want  string
	}{
		{"in order", func(*forge) {}, ""},
		{"a path in its name", func(f *forge) { f.uri("spiffe://" + tree + "/home/shed") }, "it is for"},
		{"another tree", func(f *forge) { f.uri("spiffe://" + other.ID.String()) }, "it is for"},
		{"no constraints", func(f *forge) {
			f.PermittedURIDomains, f.ExcludedDNSDomains, f.ExcludedEmailAddresses, f.ExcludedIPRanges = nil, nil, nil, nil
		}, "name constraints are not those"},
		{"another trust domain", func(f *forge) { f.PermittedURIDomains = []string{other.ID.String()} }, "name constraints are not those"},
		{"a trust domain more", func(f *forge) { f.PermittedURIDomains = append(f.PermittedURIDomains, "bank.example") }, "name constraints are not those"},
		{"all below the trust domain", func(f *forge) { f.PermittedURIDomains = []string{"." + tree} }, "name constraints are not those"},
		{"any URI", func(f *forge) { f.PermittedURIDomains = nil }, "name constraints are not those"},
		{"any DNS name", func(f *forge) { f.ExcludedDNSDomains = nil }, "name constraints are not those"},
		{"some DNS names", func(f *forge) { f.PermittedDNSDomains = []string{"bank.example"} }, "name constraints are not those"},
		{"any mail box", func(f *forge) { f.ExcludedEmailAddresses = nil }, "name constraints are not those"},
		{"any address", func(f *forge) { f.ExcludedIPRanges = nil }, "name constraints are not those"},
		{"any IPv6 address", func(f *forge) { f.ExcludedIPRanges = f.ExcludedIPRanges[:1] }, "name constraints are not those"},
		{"constraints that others may pass over", func(f *forge) { f.PermittedDNSDomainsCritical = false }, "name constraints are not those"},
		{"no CA", func(f *forge) { f.IsCA = false }, "basic constraints do not fit a place"},
		{"no basic constraints", func(f *forge) { f.IsCA, f.BasicConstraintsValid = false, false }, "basic constraints do not fit a place"},
		{"a leaf's key usage", func(f *forge) { f.KeyUsage = x509.KeyUsageDigitalSignature }, "key usage does not fit a place"},
		{"key usage for revocation lists alone", func(f *forge) { f.KeyUsage = x509.KeyUsageCRLSign }, "x509"},
		{"no room below", func(f *forge) { f.MaxPathLenZero = true }, ""}, // the leaf does not count
		{"ended", func(f *forge) { f.NotAfter = now.Add(-time.Second) }, "expired"},
		{"not begun", func(f *forge) { f.NotBefore = now.Add(time.Second) }, "not yet valid"},
		{"the kind owner", func(f *forge) { f.set(oidKind, 2, 1, 2) }, "kind owner below kind place"},
		{"the kind root", func(f *forge) { f.set(oidKind, 2, 1, 1) }, "kind root below kind place"},
		{"the kind device", func(f *forge) { f.set(oidKind, 2, 1, 5) }, "it is for"},
		{"the root's name", func(f *forge) { f.Subject.CommonName = "root" }, "it is for"}, // the leaf says home/shed/lock
		{"the root key", func(f *forge) { f.public = tr.RootKey.Public() }, "its key is that of a member above it"},
	} {
		f := newForge(t, tr, place, identity.Place, "shed")
		key := identitytest.NewKey(t)
		f.public = key.Public()
		test.forge(f)
		shed := append([][]byte{f.make(t)}, place.Raw...)
		leaf := newForge(t, tr, place, identity.Device, "lock")
		leaf.uri("spiffe://" + tree + "/home/shed/lock")
		leaf.key, leaf.parent = key, parseCert(t, shed[0])
		leaf.parent.PublicKey = key.Public() // or crypto/x509 refuses to sign with a key that is not its parent's
		_, err := identity.Verify(append([][]byte{leaf.make(t)}, shed...), tr.ID, tr.Root, now)
		check(t, test.name, err, test.want)
	}
}

// The holder of a leaf's key signs for itself.
func TestLeafSigns(t *testing.T) {
	tr := home(t)
	bell, laptop := tr.At("home/porch/doorbell"), tr.At("sam/laptop")
	for _, test := range []struct {
		name   string
		signer *identitytest.Member
		kind   identity.Kind
		want   string
	}{
		{"a device a device", bell, identity.Device, "kind device below kind device"},
		{"a device a place", bell, identity.Place, "kind place below kind device"},
		{"an owner's app an app", laptop, identity.App, "kind app below kind app"},
		{"an owner's app a person", laptop, identity.Person, "kind person below kind app"},
	} {
		f := newForge(t, tr, test.signer, test.kind, "x")
		_, err := identity.Verify(append([][]byte{f.make(t)}, test.signer.Raw...), tr.ID, tr.Root, now)
		check(t, test.name, err, test.want)
	}
	// It leaves itself out, and says that the place above signed.
	f := newForge(t, tr, tr.At("home/porch"), identity.Device, "x")
	f.key = bell.Signer
	f.parent = &x509.Certificate{Subject: f.parent.Subject, PublicKey: bell.Signer.Public(), SubjectKeyId: f.parent.SubjectKeyId}
	_, err := identity.Verify(append([][]byte{f.make(t)}, tr.At("home/porch").Raw...), tr.ID, tr.Root, now)
	check(t, "a device in its place's name", err, "x509: certificate signed by unknown authority")
}

// An owner whose certificate allows no CA below introduces a person.
func TestPathLength(t *testing.T) {
	tr := home(t)
	owner := newForge(t, tr, nil, identity.Owner, "kim")
	owner.MaxPathLenZero = true
	key, sub := identitytest.NewKey(t), identitytest.NewKey(t)
	owner.public = key.Public()
	kim := owner.make(t)
	person := newForge(t, tr, nil, identity.Person, "lee")
	person.key, person.parent, person.public = key, parseCert(t, kim), sub.Public()
	lee := person.make(t)
	app := newForge(t, tr, nil, identity.App, "phone")
	app.uri("spiffe://" + tr.ID.String() + "/kim/lee/phone")
	app.key, app.parent = sub, parseCert(t, lee)
	_, err := identity.Verify([][]byte{app.make(t), lee, kim}, tr.ID, tr.Root, now)
	check(t, "a person below", err, "path length")
}

func TestForgedRoot(t *testing.T) {
	tr := home(t)
	for _, test := range []struct {
		name  string
		forge func(f *forge)
		want  string
	}{
		{"in order", func(*forge) {}, ""},
		{"another name", func(f *forge) { f.Subject.CommonName = "sam" }, `it is a root called "sam"`},
		{"another kind", func(f *forge) { f.set(oidKind, 2, 1, 2) }, `it is a owner called "root"`},
		{"another tree", func(f *forge) { f.uri("spiffe://" + home(t).ID.String()) }, "it is for"},
		{"a path", func(f *forge) { f.uri("spiffe://" + tr.ID.String() + "/root") }, "it is for"},
		{"no CA", func(f *forge) { f.IsCA = false }, "basic constraints do not fit a root"},
		{"no constraints", func(f *forge) { f.PermittedURIDomains = nil }, "name constraints are not those"},
	} {
		f := newForge(t, tr, nil, identity.Root, "root")
		test.forge(f)
		_, err := identity.ParseRoot(tr.ID, f.make(t))
		check(t, test.name, err, test.want)
	}
	if _, err := identity.ParseRoot(tr.ID, make([]byte, 5000)); err == nil || !strings.Contains(err.Error(), "5000 bytes") {
		t.Errorf("a large root: %v", err)
	}
	if _, err := identity.Verify(tr.At("sam/laptop").Raw, tr.ID, tr.Root, tr.Root.NotAfter.Add(time.Second)); err == nil {
		t.Error("accepted after the root ended")
	}
}

func FuzzVerify(f *testing.F) {
	tr := home(f)
	members := map[identity.Path]*identitytest.Member{}
	for _, path := range []identity.Path{"sam", "sam/laptop", "sam/anna", "sam/anna/phone", "home", "home/porch", "home/porch/doorbell"} {
		members[path] = tr.At(path)
		raw := append(slices.Clone(tr.At(path).Raw), nil, nil)
		f.Add(raw[0], raw[1], raw[2])
	}
	f.Fuzz(func(t *testing.T, leaf, middle, top []byte) {
		chain := slices.DeleteFunc([][]byte{leaf, middle, top}, func(der []byte) bool { return len(der) == 0 })
		c, err := identity.Verify(chain, tr.ID, tr.Root, now)
		if err != nil {
			return
		}
		// Nobody forges a signature, so it is one of the members.
		if is := members[c.ID.Path]; is == nil || c.Member() != is.Member() || !identity.SameKey(c.Key, is.Key) {
			t.Errorf("%x is taken for %s", chain, c.ID)
		}
	})
}

// An ID has one spelling, which is that of package base32.
func FuzzParseMemberID(f *testing.F) {
	for _, s := range []string{"aaaaaaaaaaaaaaaaaaaaaaaaaa", "77777777777777777777777774", "77777777777777777777777777", "AAAAAAAAAAAAAAAAAAAAAAAAAA", "aaaaaaaaaaaaaaaaaaaaaaaaa\n", "a"} {
		f.Add(s)
	}
	rfc4648 := base32.StdEncoding.WithPadding(base32.NoPadding)
	f.Fuzz(func(t *testing.T, s string) {
		want, err := rfc4648.DecodeString(strings.ToUpper(s))
		valid := err == nil && len(want) == len(identity.MemberID{}) && strings.ToLower(rfc4648.EncodeToString(want)) == s
		got, err := identity.ParseMemberID(s)
		if valid != (err == nil) || valid && !bytes.Equal(got[:], want) {
			t.Errorf("%q is read as %x, %v; want %x", s, got, err, want)
		}
	})
}

func FuzzParseID(f *testing.F) {
	f.Add("spiffe://" + home(f).ID.String() + "/home/lock")
	f.Add("spiffe://")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := identity.ParseID(s)
		if err == nil && id.String() != s {
			t.Errorf("%q is read as %q", s, id)
		}
	})
}
