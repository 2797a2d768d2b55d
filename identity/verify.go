package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxCertificate is the size of a certificate, in bytes of DER, that Verify looks at.
const maxCertificate = 4 << 10

// A Link is one certificate of a verified chain.
type Link struct {
	Member   MemberID
	Kind     Kind
	Name     string
	Digest   [sha256.Size]byte // of the bytes that were signed (TBSCertificate); the signature can be altered and stay valid
	NotAfter time.Time

	tool bool
}

// ToolLife is the longest life of a tool's certificate: a day, and an hour that it is dated back for clocks that are
// behind. A tool is an app's leaf made for software that knows nothing of Kindred, and so can renew nothing.
const ToolLife = 25 * time.Hour

// Tool reports whether the certificate is that of a tool, as it says itself.
func (l Link) Tool() bool { return l.tool }

// unmarkedTool reports whether a certificate is that of a tool issued before they said so: of an app, for so short a
// time that it was not meant to be renewed, and not because what signed it ends at until.
func unmarkedTool(cert *x509.Certificate, kind Kind, until time.Time) bool {
	return kind == App && cert.NotAfter.Sub(cert.NotBefore) <= ToolLife && cert.NotAfter.Before(until)
}

// A Chain is a certificate chain that Verify found in order. Only Verify makes one.
type Chain struct {
	ID       ID
	Line     []Link           // from below the root down to the member itself
	Key      crypto.PublicKey // the member's
	NotAfter time.Time        // when the first certificate of the chain ends
	Raw      [][]byte         // the certificates, DER, the member's own first, without the root

	certs []*x509.Certificate
}

// Self returns the link of the member itself.
func (c Chain) Self() Link { return c.Line[len(c.Line)-1] }

// Kind returns the kind of the member itself.
func (c Chain) Kind() Kind { return c.Self().Kind }

// Member returns the ID of the member itself.
func (c Chain) Member() MemberID { return c.Self().Member }

// TreeMember names the member itself, whatever it is called now.
func (c Chain) TreeMember() TreeMember { return TreeMember{c.ID.Tree, c.Member()} }

// Owner reports whether the member acts for an owner, which gives it a right to everything in its tree, and is one
// of the owner's own apps.
func (c Chain) Owner() bool {
	return len(c.Line) == 2 && c.Line[0].Kind == Owner && c.Line[1].Kind == App
}

// ActsFor returns the owner or person right above an app. Every other member acts for nobody but itself, and the
// answer is the zero ID.
func (c Chain) ActsFor() MemberID {
	if c.Kind() != App {
		return MemberID{}
	}
	return c.Line[len(c.Line)-2].Member
}

// ParseRoot reads the certificate of a tree's root and checks its form. That the key rules the tree is not for the
// certificate to say, so its signature of itself is not looked at: the first root key is the one that the TreeID
// names, later ones are named by charters, and a charter is signed.
func ParseRoot(tree TreeID, der []byte) (*x509.Certificate, error) {
	fail := func(err error) (*x509.Certificate, error) {
		return nil, fmt.Errorf("identity: reading a root: %w", err)
	}
	root, err := parse(der)
	if err != nil {
		return fail(err)
	}
	link, err := readLink(root)
	if err != nil {
		return fail(err)
	}
	if link.Kind != Root || link.Name != rootName {
		return fail(fmt.Errorf("it is a %s called %q", link.Kind, link.Name))
	}
	if err := checkName(root, link.Kind, ID{Tree: tree}); err != nil {
		return fail(err)
	}
	return root, nil
}

// Verify checks a chain of certificates, DER, leaf first, without the root, against the certificate of the tree's
// root: RFC 5280 path validation, the rules of SPIFFE X.509-SVID, and what neither knows: the nesting of kinds, a
// member ID on each certificate, the trust domain equal to the TreeID, and a path equal to the names on the chain.
// It does not know whether the members are live, and not whether the root rules the tree.
func Verify(chain [][]byte, tree TreeID, root *x509.Certificate, now time.Time) (Chain, error) {
	c, err := verify(chain, tree, root, now)
	if err != nil {
		return Chain{}, fmt.Errorf("identity: verifying a chain: %w", err)
	}
	return c, nil
}

func verify(chain [][]byte, tree TreeID, root *x509.Certificate, now time.Time) (Chain, error) {
	if len(chain) == 0 || len(chain) > MaxDepth {
		return Chain{}, fmt.Errorf("%d certificates, want 1 to %d", len(chain), MaxDepth)
	}
	c := Chain{ID: ID{Tree: tree}, Raw: chain, NotAfter: root.NotAfter}
	parent := Root
	keys := [][]byte{root.RawSubjectPublicKeyInfo}
	for _, der := range slices.Backward(chain) {
		cert, err := parse(der)
		if err != nil {
			return Chain{}, err
		}
		link, err := readLink(cert)
		if err != nil {
			return Chain{}, err
		}
		if !parent.MaySign(link.Kind) {
			return Chain{}, fmt.Errorf("%q: kind %s below kind %s", link.Name, link.Kind, parent)
		}
		c.ID.Path = c.ID.Path.Join(link.Name)
		if err := checkName(cert, link.Kind, c.ID); err != nil {
			return Chain{}, err
		}
		if slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, cert.RawSubjectPublicKeyInfo) }) {
			return Chain{}, fmt.Errorf("the certificate of %q: its key is that of a member above it", link.Name)
		}
		keys = append(keys, cert.RawSubjectPublicKeyInfo)
		link.tool = link.tool || unmarkedTool(cert, link.Kind, c.NotAfter)
		if link.NotAfter.Before(c.NotAfter) {
			c.NotAfter = link.NotAfter
		}
		c.Line = append(c.Line, link)
		c.certs = append(c.certs, cert)
		parent = link.Kind
	}
	slices.Reverse(c.certs)
	c.Key = c.certs[0].PublicKey
	return c, verifyPath(c.certs, root, now)
}

// verifyPath leaves to crypto/x509 what it does well: signatures, validity, basic constraints, path lengths, key
// usage and name constraints. The path it finds must be the chain that was shown.
func verifyPath(certs []*x509.Certificate, root *x509.Certificate, now time.Time) error {
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	options.Roots.AddCert(root)
	for _, cert := range certs[1:] {
		options.Intermediates.AddCert(cert)
	}
	paths, err := certs[0].Verify(options)
	if err != nil {
		return err
	}
	want := append(slices.Clone(certs), root)
	for _, path := range paths {
		if slices.EqualFunc(path, want, (*x509.Certificate).Equal) {
			return nil
		}
	}
	return errors.New("the certificates verify by another path than the one shown")
}

func parse(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, fmt.Errorf("a certificate of %d bytes, of at most %d", len(der), maxCertificate)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return cert, CheckKey(cert.PublicKey)
}

// CheckKey checks that a public key is of a type that members have: Ed25519, or ECDSA on P-256.
func CheckKey(pub crypto.PublicKey) error {
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if pub.Curve == elliptic.P256() {
			return nil
		}
	}
	return fmt.Errorf("a key of type %T, want Ed25519 or ECDSA P-256", pub)
}

// readLink reads what Kindred puts into every certificate.
func readLink(cert *x509.Certificate) (Link, error) {
	link := Link{Name: cert.Subject.CommonName, Digest: sha256.Sum256(cert.RawTBSCertificate), NotAfter: cert.NotAfter}
	if !validName(link.Name) {
		return Link{}, fmt.Errorf("a certificate with the common name %.80q, which is no name", link.Name)
	}
	fail := func(what string) (Link, error) {
		return Link{}, fmt.Errorf("the certificate of %q: %s", link.Name, what)
	}
	if len(cert.Subject.Names) != 1 {
		return fail("more in its subject than a common name")
	}
	var kind int
	var member []byte
	if !extension(cert, oidKind, &kind) || kind < 0 || kind > 255 || !Kind(kind).Valid() {
		return fail("no kind")
	}
	if !extension(cert, oidMember, &member) || len(member) != len(link.Member) {
		return fail("no member ID")
	}
	link.Kind = Kind(kind)
	copy(link.Member[:], member)
	if link.Member.IsZero() {
		return fail("no member ID")
	}
	if mark := find(cert, oidTool); mark != nil {
		if link.tool = true; !bytes.Equal(mark, derTrue) || link.Kind != App || cert.NotAfter.Sub(cert.NotBefore) > ToolLife {
			return fail("marked as a tool's, which is an app's for " + ToolLife.String() + " at most")
		}
	}
	return link, nil
}

// extension decodes the value of an extension.
func extension(cert *x509.Certificate, oid asn1.ObjectIdentifier, v any) bool {
	rest, err := asn1.Unmarshal(find(cert, oid), v)
	return err == nil && len(rest) == 0
}

// find returns the value of an extension, which stands once in a certificate (crypto/x509 sees to that), or nil.
func find(cert *x509.Certificate, oid asn1.ObjectIdentifier) []byte {
	for _, e := range cert.Extensions {
		if e.Id.Equal(oid) {
			return e.Value
		}
	}
	return nil
}

// checkName checks the subject alternative names and what depends on a certificate being a leaf: SPIFFE X.509-SVID
// §2 to §4, and exactly one URI and nothing else. crypto/x509 lets a leaf without a name through every constraint,
// looks at no path, takes evil.TREE for a part of TREE, and passes over the kinds of name that it does not know.
func checkName(cert *x509.Certificate, kind Kind, id ID) error {
	want := ID{Tree: id.Tree}
	if kind.Leaf() {
		want = id
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("the certificate of %q: %s", cert.Subject.CommonName, fmt.Sprintf(format, args...))
	}
	if len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses) > 0 {
		return fail("names beside its SPIFFE ID")
	}
	if len(cert.URIs) != 1 {
		return fail("%d URI names, want one", len(cert.URIs))
	}
	if got := cert.URIs[0].String(); got != want.String() {
		return fail("it is for %.200q, want %q", got, want)
	}
	if names, err := marshalName(want); err != nil || !bytes.Equal(names, find(cert, oidAltName)) {
		return fail("names beside its SPIFFE ID, or another spelling of it")
	}
	if !cert.BasicConstraintsValid || cert.IsCA == kind.Leaf() {
		return fail("basic constraints do not fit a %s", kind)
	}
	if signs := cert.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0; signs == kind.Leaf() {
		return fail("key usage does not fit a %s", kind)
	}
	switch {
	case kind.Leaf() && cert.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fail("key usage does not allow signatures")
	case !kind.Leaf() && !confined(cert, id.Tree):
		return fail("its name constraints are not those of a CA of the tree")
	}
	return nil
}

// marshalName returns the subject alternative names (RFC 5280 §4.2.1.6) that consist of one URI.
func marshalName(id ID) ([]byte, error) {
	const uniformResourceIdentifier = 6
	return asn1.Marshal([]asn1.RawValue{
		{Class: asn1.ClassContextSpecific, Tag: uniformResourceIdentifier, Bytes: []byte(id.String())},
	})
}

// ValidFrom returns the first moment at which every certificate of a chain is valid, if there is one. Certificates
// that are kept, and not shown by somebody, are verified as of then: they stay readable when they have ended.
func ValidFrom(chain [][]byte) (time.Time, error) {
	var from time.Time
	for _, der := range chain {
		cert, err := parse(der)
		if err != nil {
			return time.Time{}, fmt.Errorf("identity: reading a chain: %w", err)
		}
		if cert.NotBefore.After(from) {
			from = cert.NotBefore
		}
	}
	return from, nil
}
