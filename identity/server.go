package identity

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// ServerDomain is the DNS domain in which the members of a tree have names for HTTPS on the local network. ".internal"
// is set aside for private use. No resolver knows the names: whoever uses them says where they lead.
func ServerDomain(tree TreeID) string { return tree.String()[:12] + ".kindred.internal" }

// anyDomain and anyAddress are name constraints that fit everything.
var (
	anyDomain  = []string{""}
	anyAddress = []*net.IPNet{
		{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
		{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
	}
)

// ConfineServerIssuer makes t the certificate of an issuer of server certificates for names below a domain, and of
// nothing else.
func ConfineServerIssuer(t *x509.Certificate, domain string) {
	t.BasicConstraintsValid, t.IsCA, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.PermittedDNSDomainsCritical = true // the flag of the whole extension (RFC 5280 §4.2.1.10)
	t.PermittedDNSDomains = []string{domain}
	t.ExcludedIPRanges = anyAddress
	t.ExcludedEmailAddresses, t.ExcludedURIDomains = anyDomain, anyDomain
}

// CheckServerIssuer reads the certificate, DER, of an issuer of server certificates, and checks that it can name nothing
// but members of a tree: it is handed to software that believes whatever such an issuer signs. Whose word it is has to
// be known otherwise.
func CheckServerIssuer(der []byte, tree TreeID, now time.Time) (*x509.Certificate, error) {
	cert, err := parse(der)
	if err != nil {
		return nil, fmt.Errorf("identity: reading the issuer of the home's server certificates: %w", err)
	}
	fail := func(what string) (*x509.Certificate, error) {
		return nil, fmt.Errorf("identity: the issuer of the home's server certificates %s", what)
	}
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA || cert.MaxPathLen != 0 || !cert.MaxPathLenZero:
		return fail("signs other issuers, or nothing")
	case !cert.PermittedDNSDomainsCritical || !slices.Equal(cert.PermittedDNSDomains, []string{ServerDomain(tree)}):
		return fail("is not confined to the home's own names")
	case !excludesAddresses(cert) || len(cert.PermittedIPRanges) > 0 || len(cert.PermittedEmailAddresses)+len(cert.PermittedURIDomains) > 0 ||
		!slices.Equal(cert.ExcludedEmailAddresses, anyDomain) || !slices.Equal(cert.ExcludedURIDomains, anyDomain):
		return fail("can name more than hosts")
	case !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) || len(cert.UnknownExtKeyUsage) > 0:
		return fail("signs for more than servers")
	case now.Before(cert.NotBefore) || now.After(cert.NotAfter):
		return fail("is out of date")
	}
	return cert, nil
}

func excludesAddresses(cert *x509.Certificate) bool {
	return slices.EqualFunc(cert.ExcludedIPRanges, anyAddress, func(a, b *net.IPNet) bool { return a.String() == b.String() })
}

// CheckServer checks that a server's certificate is for a key, was signed by its issuer, and holds now.
func CheckServer(der []byte, issuer *x509.Certificate, key crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	cert, err := parse(der)
	if err != nil {
		return nil, fmt.Errorf("identity: reading a server's certificate: %w", err)
	}
	if !SameKey(cert.PublicKey, key) || len(cert.DNSNames) == 0 {
		return nil, errors.New("identity: a server's certificate is for another key, or names nothing")
	}
	roots := x509.NewCertPool()
	roots.AddCert(issuer)
	for _, name := range cert.DNSNames {
		_, err = cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now})
		if err != nil {
			return nil, fmt.Errorf("identity: checking a server's certificate: %w", err)
		}
	}
	return cert, nil
}
