package identity_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
)

// issuer makes an issuer of server certificates, and lets change spoil it.
func issuer(t testing.TB, tree identity.TreeID, now time.Time, change func(*x509.Certificate)) []byte {
	t.Helper()
	key, err := identity.NewP256()
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Servers"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	identity.ConfineServerIssuer(c, identity.ServerDomain(tree))
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// What is handed to a browser or to curl as an authority can name the home's servers, and nothing else in the world.
func TestCheckServerIssuer(t *testing.T) {
	now := time.Now()
	tree := identitytest.NewTree(t, now).ID
	for name, test := range map[string]struct {
		change func(*x509.Certificate)
		want   string
	}{
		"as it is":            {func(*x509.Certificate) {}, ""},
		"of another domain":   {func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"kindred.internal"} }, "home's own names"},
		"of one more":         {func(c *x509.Certificate) { c.PermittedDNSDomains = append(c.PermittedDNSDomains, "com") }, "home's own names"},
		"of all domains":      {func(c *x509.Certificate) { c.PermittedDNSDomains = nil }, "home's own names"},
		"not critical":        {func(c *x509.Certificate) { c.PermittedDNSDomainsCritical = false }, "home's own names"},
		"with addresses":      {func(c *x509.Certificate) { c.ExcludedIPRanges = c.ExcludedIPRanges[:1] }, "more than hosts"},
		"with some addresses": {func(c *x509.Certificate) { c.PermittedIPRanges = []*net.IPNet{c.ExcludedIPRanges[0]} }, "more than hosts"},
		"with mail boxes":     {func(c *x509.Certificate) { c.ExcludedEmailAddresses = nil }, "more than hosts"},
		"with URIs":           {func(c *x509.Certificate) { c.ExcludedURIDomains = nil }, "more than hosts"},
		"with some URIs":      {func(c *x509.Certificate) { c.PermittedURIDomains = []string{tree.String()} }, "more than hosts"},
		"of other issuers":    {func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false }, "signs other issuers"},
		"no issuer":           {func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }, "signs other issuers, or nothing"},
		"of clients":          {func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) }, "more than servers"},
		"of anything":         {func(c *x509.Certificate) { c.ExtKeyUsage = nil }, "more than servers"},
		"of yesterday":        {func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }, "out of date"},
		"of tomorrow":         {func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) }, "out of date"},
	} {
		_, err := identity.CheckServerIssuer(issuer(t, tree, now, test.change), tree, now)
		switch {
		case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func FuzzCheckServerIssuer(f *testing.F) {
	now, tree := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), identity.TreeID{1} // the same in all processes
	f.Add(issuer(f, tree, now, func(*x509.Certificate) {}))
	f.Fuzz(func(t *testing.T, der []byte) {
		if cert, err := identity.CheckServerIssuer(der, tree, now); err == nil && (len(cert.PermittedDNSDomains) != 1 || len(cert.PermittedIPRanges) > 0) {
			t.Errorf("an issuer of %v and %v passes", cert.PermittedDNSDomains, cert.PermittedIPRanges)
		}
	})
}
