package kindred

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
)

// KeyServer is the key that a member which serves HTTPS shows to software that knows nothing of Kindred.
const KeyServer = "https"

// serverKey is where its certificate is kept, so that a thing which starts while the gateway is away has one.
const serverKey = "https/certificate"

// certifyEvery is how often a new certificate is asked for. It lasts for seven days, as long as a thing may go on
// without its gateway.
const certifyEvery = 24 * time.Hour

// A serverCertificate is what the node shows over HTTPS.
type serverCertificate struct {
	ready chan struct{} // closed once there is one
	told  sync.Once     // closes ready

	mu   sync.Mutex
	cert *tls.Certificate // nil: none yet
}

// current returns the certificate, if it holds, to whoever asks for one of its names. Others, who try addresses to see
// what is there, are not told what it is.
func (c *serverCertificate) current(name string, now time.Time) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cert == nil || now.After(c.cert.Leaf.NotAfter):
		return nil, errors.New("kindred: the gateway has not certified this server's names")
	case !slices.Contains(c.cert.Leaf.DNSNames, strings.ToLower(name)):
		return nil, fmt.Errorf("kindred: asked for %.100q, which is another server", name)
	}
	return c.cert, nil
}

func (c *serverCertificate) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cert == nil {
		return nil
	}
	return c.cert.Leaf.DNSNames
}

func (c *serverCertificate) set(leaf *x509.Certificate, key crypto.Signer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cert = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	c.told.Do(func() { close(c.ready) })
}

// keepCertified sees to it that the server has a certificate, until ctx ends. It asks for a new one at the start, also
// to have the gateway know where the server is now.
func (s *httpsServer) keepCertified(ctx context.Context) {
	if err := s.recall(ctx); err != nil {
		s.node.log.Info("the certificate for HTTPS that was kept is of no use", "error", err)
	}
	wait, retry := time.Duration(0), firstRetry
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		err := s.certify(ctx)
		if ctx.Err() != nil {
			return
		}
		if wait = certifyEvery; err != nil {
			s.node.log.Info("no new certificate for HTTPS", "error", err)
			wait, retry = retry, min(2*retry, lastRetry)
			continue
		}
		retry = firstRetry
	}
}

// recall takes the certificate that is kept, if there is one.
func (s *httpsServer) recall(ctx context.Context) error {
	var kept control.ServerCertificate
	data, err := s.node.db.Load(ctx, serverKey)
	if err != nil || data == nil {
		return err
	}
	if err := json.Unmarshal(data, &kept); err != nil {
		return err
	}
	key, err := s.node.keys.Open(KeyServer)
	if err != nil {
		return err
	}
	return s.take(kept, key)
}

// certify fetches a certificate from the gateway.
func (s *httpsServer) certify(ctx context.Context) error {
	n := s.node
	ctx, cancel := context.WithTimeout(ctx, askGateway)
	defer cancel()
	key, err := n.keys.Open(KeyServer)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = n.keys.CreateP256(KeyServer)
	}
	if err != nil {
		return err
	}
	r := control.ServerRequest{}
	if r.Key, err = spki(key); err != nil {
		return err
	}
	if r.Listen, err = s.addresses(); err != nil {
		return err
	}
	got, err := n.home.Certify(ctx, r)
	n.link.tried(n.cfg.Clock(), err)
	if err != nil {
		return err
	}
	if err := s.take(got, key); err != nil {
		return err
	}
	data, err := json.Marshal(got)
	if err != nil {
		return err
	}
	return n.db.Save(ctx, map[string][]byte{serverKey: data})
}

// take verifies a certificate and shows it from now on.
func (s *httpsServer) take(c control.ServerCertificate, key crypto.Signer) error {
	now := s.node.cfg.Clock()
	issuer, err := identity.CheckServerIssuer(c.Issuer, s.node.self.ID.Tree, now)
	if err != nil {
		return err
	}
	leaf, err := identity.CheckServer(c.Certificate, issuer, key.Public(), now)
	if err != nil {
		return err
	}
	s.own.set(leaf, key)
	return nil
}
