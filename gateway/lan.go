package gateway

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/tree"
)

// The certificates by which software that knows nothing of Kindred knows servers of this home. They hang on an issuer
// of the gateway's own and not on the tree: its CAs sign no DNS names, and whatever this issuer signs, none of Kindred's
// verifiers, who all begin at the tree's root, takes for a member.
const (
	keyLAN       = "lan" // the issuer's
	issuerKey    = "lan/issuer"
	serverPrefix = "lan/server/"

	issuerLife  = 5 * 365 * 24 * time.Hour
	issuerRenew = issuerLife / 10    // made anew when no more than that is left
	serverLife  = 7 * 24 * time.Hour // as long as things go on without the gateway
)

// lan issues server certificates.
type lan struct {
	db     *store.DB
	domain string
	tree   identity.TreeID
	key    crypto.Signer
	clock  func() time.Time

	mu     sync.Mutex
	issuer *x509.Certificate
}

func openLAN(ctx context.Context, db *store.DB, keys identity.Keys, tree identity.TreeID, clock func() time.Time) (*lan, error) {
	l := &lan{db: db, domain: identity.ServerDomain(tree), tree: tree, clock: clock}
	var err error
	if l.key, err = keys.Open(keyLAN); errors.Is(err, fs.ErrNotExist) {
		l.key, err = keys.CreateP256(keyLAN)
	}
	if err != nil {
		return nil, err
	}
	data, err := db.Load(ctx, issuerKey)
	if err != nil {
		return nil, err
	}
	if data != nil {
		if l.issuer, err = x509.ParseCertificate(data); err != nil {
			return nil, fmt.Errorf("reading the issuer of server certificates: %w", err)
		}
	}
	_, err = l.current(ctx)
	return l, err
}

// current returns the issuer's certificate, and makes a new one, for the same key and name, when the old one is about
// to end or is not for the key.
func (l *lan) current(ctx context.Context) (*x509.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	if c := l.issuer; c != nil && identity.SameKey(c.PublicKey, l.key.Public()) && now.Add(issuerRenew).Before(c.NotAfter) && !now.Before(c.NotBefore) {
		return c, nil
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Servers of " + l.domain},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(issuerLife),
	}
	identity.ConfineServerIssuer(t, l.domain)
	der, err := x509.CreateCertificate(rand.Reader, t, t, l.key.Public(), l.key)
	if err != nil {
		return nil, err
	}
	c, err := identity.CheckServerIssuer(der, l.tree, now)
	if err != nil {
		return nil, err
	}
	if err := l.db.Save(ctx, map[string][]byte{issuerKey: der}); err != nil {
		return nil, err
	}
	l.issuer = c
	return c, nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280 §4.1.2.2: 20 octets at most
}

// issue certifies a server's key for names.
func (l *lan) issue(ctx context.Context, key crypto.PublicKey, names []string) (cert, issuer []byte, err error) {
	above, err := l.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	now := l.clock()
	t := &x509.Certificate{
		SerialNumber: serial, DNSNames: names,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(serverLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	cert, err = x509.CreateCertificate(rand.Reader, t, above, key, l.key)
	return cert, above.Raw, err
}

// label is what a DNS name consists of (RFC 1123 §2.1). Names on paths may also have dots and underscores in them.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// names returns the DNS names of a member: doorbell.porch.home for home/porch/doorbell, if each part of the path is one
// of a DNS name; and always one with the member's ID, which outlives moves.
func (l *lan) names(c identity.Chain) []string {
	names := []string{c.Member().String() + "." + l.domain}
	parts := strings.Split(string(c.ID.Path), "/")
	slices.Reverse(parts)
	byPath := strings.Join(append(parts, l.domain), ".")
	if len(byPath) > 253 || slices.ContainsFunc(parts, func(p string) bool { return !label.MatchString(p) }) {
		return names
	}
	return append([]string{byPath}, names...)
}

// server is what is kept of a device that serves HTTPS.
type server struct {
	Listen []string
	Until  time.Time // of its certificate
}

// Certify certifies the caller, a device, as a server of its own names and no others.
func (h *home) Certify(ctx context.Context, who credential.Principal, r control.ServerRequest) (control.ServerCertificate, error) {
	var none control.ServerCertificate
	if who.Kind() != identity.Device {
		return none, refused("only devices serve the home")
	}
	key, err := x509.ParsePKIXPublicKey(r.Key)
	if err == nil {
		err = identity.CheckKey(key)
	}
	if err != nil {
		return none, invalid(err)
	}
	if err := checkListen(r.Listen); err != nil {
		return none, invalid(err)
	}
	cert, issuer, err := h.lan.issue(ctx, key, h.lan.names(who.Chain))
	if err != nil {
		return none, err
	}
	data, err := json.Marshal(server{r.Listen, h.cfg.Clock().Add(serverLife)})
	if err != nil {
		return none, err
	}
	if err := h.db.Save(ctx, map[string][]byte{serverPrefix + who.Member().String(): data}); err != nil {
		return none, err
	}
	return control.ServerCertificate{Certificate: cert, Issuer: issuer}, nil
}

func checkListen(listen []string) error {
	if n := len(listen); n > control.MaxListen {
		return fmt.Errorf("%d addresses, of at most %d", n, control.MaxListen)
	}
	for _, at := range listen {
		if _, err := netip.ParseAddrPort(at); err != nil {
			return fmt.Errorf("%.60q is no address such as 192.168.1.2:8443", at)
		}
	}
	return nil
}

// LAN tells the caller whom to trust for the home's names, and who of those that concern it serves HTTPS.
func (h *home) LAN(ctx context.Context, who credential.Principal, _ control.None) (control.LAN, error) {
	issuer, err := h.lan.current(ctx)
	if err != nil {
		return control.LAN{}, err
	}
	out := control.LAN{Issuer: issuer.Raw}
	err = h.db.Scan(ctx, serverPrefix, func(key string, value []byte) error {
		id, err := identity.ParseMemberID(strings.TrimPrefix(key, serverPrefix))
		if err != nil {
			return err
		}
		var s server
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("gateway: reading %s: %w", key, err)
		}
		e, live := h.member(id)
		if live && h.cfg.Clock().Before(s.Until) && h.concerns(who.Chain, e.Chain) {
			out.Servers = append(out.Servers, control.Server{
				Path: e.Path(), Gateway: id == h.started().Self().Member(), Names: h.lan.names(e.Chain), Listen: s.Listen,
			})
		}
		return nil
	})
	slices.SortFunc(out.Servers, func(a, b control.Server) int { return strings.Compare(string(a.Path), string(b.Path)) })
	return out, err
}

// Vouch tells the calling device what somebody who shows certificates to it would show as a member: that it is live,
// and its grants for this device. It is no use for finding out about others.
func (h *home) Vouch(ctx context.Context, who credential.Principal, q control.VouchQuery) (control.Evidence, error) {
	if who.Kind() != identity.Device {
		return control.Evidence{}, refused("only devices have callers to ask about")
	}
	charter := h.keeper.Charter()
	c, err := identity.Verify(q.Chain, charter.Tree, charter.RootCertificate(), h.cfg.Clock())
	if err != nil {
		return control.Evidence{}, refused("those are no certificates of this home that hold now")
	}
	if !c.Kind().Leaf() || !h.isLive(c) {
		return control.Evidence{}, refused(fmt.Sprintf("%s is not a member any more", c.ID.Path))
	}
	e, err := h.evidence(ctx, c, control.ProofQuery{Thing: who.Member().String()})
	return shownBy(e), err
}

// AdmitTool lets in a tool of the caller's own owner or person, in place of the one of the same name.
func (h *home) AdmitTool(ctx context.Context, who credential.Principal, t control.Tool) (control.None, error) {
	charter := h.keeper.Charter()
	c, err := identity.Verify(t.Chain, charter.Tree, charter.RootCertificate(), h.cfg.Clock())
	if err != nil {
		return control.None{}, invalid(err)
	}
	var taken bool
	h.keeper.View(func(s *tree.State) {
		e, ok := s.At(c.ID.Path)
		taken = ok && !e.Chain.Self().Tool()
	})
	if taken {
		return control.None{}, &control.Error{Code: control.Conflict, Message: fmt.Sprintf("%s is a member that was not exported", c.ID.Path), Hint: "take another name"}
	}
	if err := h.keeper.AdmitTool(ctx, who.Chain, c); err != nil {
		return control.None{}, answer(err)
	}
	h.tell(ctx, journal.Admit, who.Chain, journal.Party{}, party(c), tree.GrantID{})
	return control.None{}, nil
}

// Certify certifies the gateway itself.
func (o own) Certify(ctx context.Context, r control.ServerRequest) (control.ServerCertificate, error) {
	return o.home.Certify(ctx, credential.Principal{Chain: o.self()}, r)
}

// Vouch is not asked: the gateway's node has the roster.
func (o own) Vouch(context.Context, control.VouchQuery) (control.Evidence, error) {
	return control.Evidence{}, errors.New("gateway: asked to vouch to itself")
}

// tidyEvery is how often tools that have ended are looked for.
const tidyEvery = time.Hour

// tidy takes tools that have ended off the roster until ctx ends. It does not begin with that: a gateway restored from
// an old copy would sign a head before any member could tell it so.
func (g *Gateway) tidy(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := g.keeper.Tidy(ctx); err != nil && ctx.Err() == nil {
			g.cfg.Log.Warn("tools that have ended stay on the roster", "error", err)
		}
	}
}
