package tree_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

func spki(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// charter returns a charter that is in order.
func charter(t testing.TB, tr *identitytest.Tree, keeper crypto.PublicKey) tree.Charter {
	t.Helper()
	return tree.Charter{
		Tree: tr.ID, Root: tr.Root.Raw, Keeper: spki(t, keeper),
		Anchors: []tree.Anchor{{Chain: "kindred-test", Validators: []tree.Validator{{Key: make([]byte, 32), Power: 1}}, Height: 1}},
	}
}

// rootFor makes a root's certificate that names a tree, and signs itself with another key than the tree's.
func rootFor(t *testing.T, id identity.TreeID, key crypto.Signer) []byte {
	t.Helper()
	_, v4, _ := net.ParseCIDR("0.0.0.0/0")
	_, v6, _ := net.ParseCIDR("::/0")
	name := &url.URL{Scheme: "spiffe", Host: id.String()}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: now, NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{name},
		PermittedDNSDomainsCritical: true, PermittedURIDomains: []string{id.String()}, ExcludedDNSDomains: []string{""},
		ExcludedEmailAddresses: []string{""}, ExcludedIPRanges: []*net.IPNet{v4, v6},
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 25, 1802071524, 1}, Value: []byte{2, 1, 1}},
			{Id: asn1.ObjectIdentifier{2, 25, 1802071524, 2}, Value: append([]byte{4, 16}, slices.Repeat([]byte{7}, 16)...)},
		},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestCharter(t *testing.T) {
	tr, other := identitytest.NewTree(t, now), identitytest.NewTree(t, now)
	keeper := identitytest.NewKey(t)
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	thief := identitytest.NewKey(t)
	validator := tree.Validator{Key: make([]byte, 32), Power: 1}
	guardian := tree.Guardian{Tree: other.ID, Member: identity.MemberID{1}}
	anchor := func(change func(a *tree.Anchor)) func(c *tree.Charter) {
		return func(c *tree.Charter) { change(&c.Anchors[0]) }
	}
	for _, test := range []struct {
		name   string
		change func(c *tree.Charter)
		key    crypto.Signer // that signs, the root's if nil
		want   string
	}{
		{"in order", func(*tree.Charter) {}, nil, ""},
		{"two of three guardians", func(c *tree.Charter) { c.Guardians, c.Threshold = []tree.Guardian{guardian, guardian, guardian}, 2 }, nil, ""},
		{"of another tree", func(c *tree.Charter) { c.Tree = other.ID }, nil, "it is of tree " + other.ID.String()},
		{"of a later epoch", func(c *tree.Charter) { c.Epoch = 2 }, nil, "epoch 2: charters after epoch 0 are not understood by this version"},
		{"with another tree's root", func(c *tree.Charter) { c.Root = other.Root.Raw }, nil, "it is for"},
		{"with a root of its own for the tree", func(c *tree.Charter) { c.Root = rootFor(t, tr.ID, thief) }, thief, "its root key is not the one that the tree is named after"},
		{"signed by another", func(*tree.Charter) {}, thief, "signed: opening a kindred/charter"},
		{"signed by the keeper", func(*tree.Charter) {}, keeper, "signed: opening a kindred/charter"},
		{"with no root", func(c *tree.Charter) { c.Root = nil }, nil, "identity: reading a root"},
		{"with a leaf for a root", func(c *tree.Charter) {
			tr.Add(identity.Place, "home")
			c.Root = tr.Add(identity.Device, "home/lock").Raw[0]
		}, nil, "it is a device"},
		{"with no keeper", func(c *tree.Charter) { c.Keeper = nil }, nil, "keeper key: "},
		{"with an RSA keeper", func(c *tree.Charter) { c.Keeper = spki(t, weak.Public()) }, nil, "keeper key: identity: reading a public key: a key of type *rsa.PublicKey"},
		{"with the root for a keeper", func(c *tree.Charter) { c.Keeper = spki(t, tr.RootKey.Public()) }, nil, "its keeper key is the root key"},
		{"with a head before it", func(c *tree.Charter) { c.Last = &tree.LastHead{Sequence: 1} }, nil, "a first charter recognizes no head before it"},
		{"with more guardians needed than there are", func(c *tree.Charter) { c.Guardians, c.Threshold = []tree.Guardian{guardian}, 2 }, nil, "2 of 1 guardians"},
		{"with no guardian needed", func(c *tree.Charter) { c.Guardians = []tree.Guardian{guardian} }, nil, "0 of 1 guardians"},
		{"with many guardians", func(c *tree.Charter) { c.Guardians, c.Threshold = slices.Repeat([]tree.Guardian{guardian}, 17), 2 }, nil, "2 of 17 guardians"},
		{"with no anchor", func(c *tree.Charter) { c.Anchors = nil }, nil, "0 anchors, want 1 to 4"},
		{"with many anchors", func(c *tree.Charter) { c.Anchors = slices.Repeat(c.Anchors, 5) }, nil, "5 anchors, want 1 to 4"},
		{"with no chain", anchor(func(a *tree.Anchor) { a.Chain = "" }), nil, `an anchor with the chain ID ""`},
		{"with a long chain", anchor(func(a *tree.Anchor) { a.Chain = strings.Repeat("x", 51) }), nil, "an anchor with the chain ID"},
		{"with a blank in its chain", anchor(func(a *tree.Anchor) { a.Chain = "a b" }), nil, `an anchor with the chain ID "a b"`},
		{"with no validator", anchor(func(a *tree.Anchor) { a.Validators = nil }), nil, "anchor kindred-test: 0 validators, want 1 to 128"},
		{"with many validators", anchor(func(a *tree.Anchor) { a.Validators = slices.Repeat([]tree.Validator{validator}, 129) }), nil, "129 validators"},
		{"with a short validator key", anchor(func(a *tree.Anchor) { a.Validators[0].Key = []byte{1} }), nil, "a validator with a key of 1 bytes"},
		{"with a validator without power", anchor(func(a *tree.Anchor) { a.Validators[0].Power = 0 }), nil, "power 0"},
		{"with a validator of all power", anchor(func(a *tree.Anchor) { a.Validators[0].Power = 1 << 62 }), nil, "power 4611686018427387904"},
	} {
		c := charter(t, tr, keeper.Public())
		test.change(&c)
		key := test.key
		if key == nil {
			key = tr.RootKey
		}
		raw, err := signed.Sign(key, tree.CharterType, c)
		if err != nil {
			t.Fatal(err)
		}
		r, err := tree.OpenCharter(raw, tr.ID)
		check(t, test.name, err, test.want)
		switch {
		case err != nil:
			if errors.Is(err, tree.ErrLaterEpoch) != (c.Epoch > 0) {
				t.Errorf("%s: %v is, or is not, ErrLaterEpoch", test.name, err)
			}
			if r.RootCertificate() != nil || r.KeeperKey() != nil {
				t.Errorf("%s: it was refused, and rules", test.name)
			}
		case !identity.SameKey(r.KeeperKey(), keeper.Public()) || !r.RootCertificate().Equal(tr.Root) || r.Digest.IsZero() || r.Tree != tr.ID:
			t.Errorf("%s: read as %+v", test.name, r)
		}
	}
	_, err = tree.OpenCharter([]byte{1}, tr.ID)
	check(t, "junk", err, "tree: reading the charter of "+tr.ID.String()+": signed: reading a statement")
}

func TestHead(t *testing.T) {
	h := household(t)
	keeper := identitytest.NewKey(t)
	head := tree.Head{Tree: h.tr.ID, Sequence: 1, Root: h.State.Root(), Time: now.Unix(), Revoked: signed.Sum(nil)}
	for _, test := range []struct {
		name   string
		key    crypto.Signer
		typ    signed.Type
		change func(h *tree.Head)
		want   string
	}{
		{"in order", keeper, tree.HeadType, func(*tree.Head) {}, ""},
		{"of another keeper", h.tr.RootKey, tree.HeadType, func(*tree.Head) {}, "signed: opening a kindred/head"},
		{"of another type", keeper, tree.CharterType, func(*tree.Head) {}, `it is a "kindred/charter"`},
		{"of another tree", keeper, tree.HeadType, func(h *tree.Head) { h.Tree[0] ^= 1 }, "it is of tree"},
		{"number 0", keeper, tree.HeadType, func(h *tree.Head) { h.Sequence = 0 }, "its sequence is 0, heads are numbered from 1"},
	} {
		x := head
		test.change(&x)
		raw, err := signed.Sign(test.key, test.typ, x)
		if err != nil {
			t.Fatal(err)
		}
		got, digest, err := tree.OpenHead(raw, h.tr.ID, keeper.Public())
		check(t, test.name, err, test.want)
		if err == nil && (got != head || digest.IsZero()) {
			t.Errorf("%s: read as %+v, %s", test.name, got, digest)
		}
	}
}

func TestAddress(t *testing.T) {
	h := household(t)
	lock, bell := h.At("home/lock"), h.At("home/porch/doorbell")
	address := tree.Address{
		Tree: h.tr.ID, Member: lock.Member(), Key: spki(t, lock.Key), Addresses: []string{"/ip4/10.0.0.7/udp/4001/quic-v1"}, Time: now.Unix(),
	}
	for _, test := range []struct {
		name   string
		by     *identitytest.Member
		change func(a *tree.Address)
		want   string
	}{
		{"in order", lock, func(*tree.Address) {}, ""},
		{"nowhere", lock, func(a *tree.Address) { a.Addresses = nil }, ""},
		{"by another", bell, func(*tree.Address) {}, "signed: opening a kindred/address"},
		{"of another member", lock, func(a *tree.Address) { a.Member = bell.Member() }, "it is of member " + bell.Member().String()},
		{"of another tree", lock, func(a *tree.Address) { a.Tree[0] ^= 1 }, "it is of member"},
		{"with another key", lock, func(a *tree.Address) { a.Key = spki(t, bell.Key) }, "it names another key than the one that signed it"},
		{"with many addresses", lock, func(a *tree.Address) { a.Addresses = slices.Repeat(a.Addresses, 17) }, "17 addresses, of at most 16"},
		{"with a long address", lock, func(a *tree.Address) { a.Addresses = []string{strings.Repeat("x", 513)} }, "an address of more than 512 bytes"},
	} {
		a := address
		test.change(&a)
		got, err := tree.OpenAddress(sign(t, test.by, tree.AddressType, a), h.tr.ID, lock.Member(), lock.Key)
		check(t, test.name, err, test.want)
		if err == nil && (got.Member != lock.Member() || !slices.Equal(got.Addresses, a.Addresses)) {
			t.Errorf("%s: read as %+v", test.name, got)
		}
	}
	_, err := tree.OpenAddress([]byte{1}, h.tr.ID, lock.Member(), lock.Key)
	check(t, "junk", err, "tree: reading an address record: signed: reading a statement")
}

func TestRecipient(t *testing.T) {
	h := household(t)
	laptop, lock := h.At("sam/laptop"), h.At("home/lock")
	recipient := tree.Recipient{
		Tree: h.tr.ID, Member: laptop.Member(), Key: spki(t, laptop.Key), Sealed: "age1pq1test", Time: now.Unix(),
	}
	for _, test := range []struct {
		name   string
		by     *identitytest.Member
		change func(r *tree.Recipient)
		want   string
	}{
		{"in order", laptop, func(*tree.Recipient) {}, ""},
		{"by another", lock, func(*tree.Recipient) {}, "signed: opening a kindred/recipient"},
		{"of another member", laptop, func(r *tree.Recipient) { r.Member = lock.Member() }, "it is of member " + lock.Member().String()},
		{"of another tree", laptop, func(r *tree.Recipient) { r.Tree[0] ^= 1 }, "it is of member"},
		{"with another key", laptop, func(r *tree.Recipient) { r.Key = spki(t, lock.Key) }, "it names another key than the one that signed it"},
		{"that quantum computers break", laptop, func(r *tree.Recipient) { r.Sealed = "age1test" }, `"age1test" is no post-quantum recipient of at most 4096 bytes`},
		{"that is long", laptop, func(r *tree.Recipient) { r.Sealed += strings.Repeat("q", 4096) }, "is no post-quantum recipient of at most 4096 bytes"},
	} {
		r := recipient
		test.change(&r)
		got, err := tree.OpenRecipient(sign(t, test.by, tree.RecipientType, r), h.tr.ID, laptop.Member(), laptop.Key)
		check(t, test.name, err, test.want)
		if err == nil && got.Sealed != recipient.Sealed {
			t.Errorf("%s: read as %+v", test.name, got)
		}
	}
	_, err := tree.OpenRecipient([]byte{1}, h.tr.ID, laptop.Member(), laptop.Key)
	check(t, "junk", err, "tree: reading a recipient: signed: reading a statement")
}

func TestGrantID(t *testing.T) {
	id, err := tree.NewGrantID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tree.ParseGrantID(id.String()); err != nil || got != id || len(id.String()) != 28 {
		t.Errorf("%q is read as %s, %v", id, got, err)
	}
	for _, s := range []string{"", "g-", id.String()[2:], "h" + id.String()[1:], id.String() + "a", strings.ToUpper(id.String()), "g-" + id.String()} {
		if got, err := tree.ParseGrantID(s); err == nil {
			t.Errorf("%q is read as %s", s, got)
		}
	}
	if !(tree.GrantID{}).IsZero() || id.IsZero() {
		t.Error("the zero ID is not the zero ID")
	}
	if _, err := tree.NewGrantID(strings.NewReader("short")); err == nil {
		t.Error("drawn from too little")
	}
	r := tree.Revocation{Grant: id, Member: identity.MemberID{1}}
	if r.Key() != tree.GrantKey(id) || (tree.Revocation{Member: identity.MemberID{1}}).Key() != tree.MemberKey(identity.MemberID{1}) {
		t.Error("a revocation is of another entry")
	}
}
