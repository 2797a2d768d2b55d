package kindred

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

// What a listener for HTTPS puts up with.
const (
	maxTLSConns   = 512
	maxTLSConnsOf = 32               // of one address; of one network of IPv6
	maxTLSHeader  = 32 << 10         // bytes of a request's header
	tlsPatience   = 10 * time.Second // for a handshake, and for a request's header
	tlsBodyPause  = 30 * time.Second // between two reads of a request's body
	tlsWritePause = 30 * time.Second // for a record to be taken
	tlsIdle       = time.Minute      // between two requests
	tlsEnds       = time.Second      // for what is being said when the node closes
)

// An httpsServer serves what the node serves to members that come with a certificate and no hello: HTTP/1.1 over
// TLS 1.3, certificates on both sides.
//
//	handshake: is it a chain of the tree, valid now, and at the gateway live? ── no ──▶ closed
//	     │ yes
//	request: who is it, by the roster at the gateway, by the gateway's word at a thing? ── nobody ──▶ refused
//	     │
//	the node's handler, as for callers over the peer network
//
// Sessions are not resumed: each connection shows its certificates, so none outlives a removal.
type httpsServer struct {
	node     *Node
	listener net.Listener
	http     *http.Server
	own      serverCertificate
	callers  callers

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // requests being served; none begins once closed
}

// listenHTTPS opens the listener. Nothing is served before serve.
func listenHTTPS(n *Node, addr string, h http.Handler) (*httpsServer, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return newHTTPS(n, l, h), nil
}

func newHTTPS(n *Node, l net.Listener, h http.Handler) *httpsServer {
	s := &httpsServer{node: n, listener: newLimited(l)}
	s.own.ready = make(chan struct{})
	var protocols http.Protocols
	protocols.SetHTTP1(true) // what members speak among themselves, too
	s.http = &http.Server{
		Protocols:         &protocols,
		Handler:           s.handler(h),
		ReadHeaderTimeout: tlsPatience, // bounds the handshake too
		IdleTimeout:       tlsIdle,
		MaxHeaderBytes:    maxTLSHeader,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13,
			ClientAuth: tls.RequireAnyClientCert, VerifyConnection: s.verify,
			SessionTicketsDisabled: true,
			Time:                   n.cfg.Clock,
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				return s.own.current(hello.ServerName, n.cfg.Clock())
			},
		},
	}
	return s
}

// serve serves until close.
func (s *httpsServer) serve(ctx context.Context) {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	if err := s.http.ServeTLS(s.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		s.node.log.Error("serving HTTPS ended", "error", err)
	}
}

// close ends all connections and waits for what is being served. Its context has ended by then.
func (s *httpsServer) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	soon, cancel := context.WithTimeout(context.Background(), tlsEnds)
	defer cancel()
	err := s.http.Shutdown(soon)
	if err != nil { // somebody still holds on
		err = s.http.Close()
	}
	s.running.Wait()
	return err
}

func (s *httpsServer) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

// verify looks at a caller before anything else is said: nobody but members has more of this node than a handshake.
// The roster has its say for every request. It is asked here too where it is at hand.
func (s *httpsServer) verify(cs tls.ConnectionState) error {
	n := s.node
	chain := rawChain(cs)
	err := n.checkCertificates(chain)
	if g := n.cfg.Gateway; g != nil && err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), askGateway)
		defer cancel()
		_, err = g.Live(ctx, credential.Hello{Chain: chain})
	}
	if err != nil {
		n.countStranger(err)
	}
	return err
}

// checkCertificates checks that a chain is that of a leaf of the tree, and valid now. Whether it is live is not in it.
func (n *Node) checkCertificates(chain [][]byte) error {
	now := n.now()
	if now.IsZero() {
		return errors.New("the clock was not set, and nothing can be said of certificates")
	}
	c, err := identity.Verify(chain, n.trust.tree(), n.trust.charter().RootCertificate(), now)
	if err == nil && !c.Kind().Leaf() {
		err = fmt.Errorf("%s is a %s and no leaf", c.ID.Path, c.Kind())
	}
	return err
}

func rawChain(cs tls.ConnectionState) [][]byte {
	chain := make([][]byte, len(cs.PeerCertificates))
	for i, cert := range cs.PeerCertificates {
		chain[i] = cert.Raw
	}
	return chain
}

// sealed are headers of every answer: what a thing sends is not run as a page, nor taken into one from elsewhere, nor kept.
var sealed = map[string]string{
	"Cache-Control":                "no-store",
	"Content-Security-Policy":      "sandbox; default-src 'none'",
	"Cross-Origin-Resource-Policy": "same-origin",
	"X-Content-Type-Options":       "nosniff",
}

// handler finds out who calls, and hands on to what all callers are served.
func (s *httpsServer) handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.begin() {
			panic(http.ErrAbortHandler)
		}
		defer s.running.Done()
		for name, value := range sealed {
			w.Header().Set(name, value)
		}
		if fromElsewhere(r) {
			problem(w, &thing.Problem{Status: http.StatusForbidden, Code: codeRefused, Detail: "web pages from elsewhere are refused"})
			return
		}
		caller, err := s.callers.session(r.Context(), s.node, *r.TLS)
		if err != nil {
			w.Header().Set("Connection", "close")
			problem(w, s.refuse(err))
			return
		}
		if r.Body != http.NoBody {
			rc := http.NewResponseController(w)
			r.Body = &patientBody{r.Body, rc}
			defer func() { _ = rc.SetReadDeadline(time.Now().Add(tlsBodyPause)) }() // for what the handler leaves unread
		}
		h.ServeHTTP(w, r.WithContext(withArrival(r.Context(), arrival{session: caller, base: "https://" + r.Host + "/", at: r.RemoteAddr})))
	})
}

// fromElsewhere reports whether a browser sends a request for a page of another origin: it would show the user's
// certificate all the same. The name in Host is one of this server's, or the browser had refused its certificate.
func fromElsewhere(r *http.Request) bool {
	origin, given := r.Header["Origin"]
	site := r.Header.Get("Sec-Fetch-Site")
	return given && (len(origin) != 1 || origin[0] != "https://"+r.Host) || site != "" && site != "same-origin" && site != "none"
}

// refuse says why a caller is nobody.
func (s *httpsServer) refuse(err error) *thing.Problem {
	s.node.countStranger(err)
	var silent *silentError
	if errors.As(err, &silent) {
		return &thing.Problem{
			Status: http.StatusServiceUnavailable, Code: "unavailable",
			Detail: "the gateway cannot be reached, and nobody else can say whether this certificate is still good",
		}
	}
	p := &thing.Problem{Status: http.StatusForbidden, Code: codeRefused, Detail: "refused"}
	if errors.Is(err, credential.ErrRevoked) {
		p.Detail = "access was taken away"
	}
	return p
}

// A patientBody is a request's body whose sender may pause for a while, and no longer.
type patientBody struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (b *patientBody) Read(p []byte) (int, error) {
	if err := b.rc.SetReadDeadline(time.Now().Add(tlsBodyPause)); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil { // all of it is there, or no more comes: what follows has no deadline
		if cerr := b.rc.SetReadDeadline(time.Time{}); cerr != nil {
			return n, cerr
		}
	}
	return n, err
}

// urls returns where the node is served, by name.
func (s *httpsServer) urls() []string {
	_, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return nil
	}
	var urls []string
	for _, name := range s.own.names() {
		urls = append(urls, "https://"+net.JoinHostPort(name, port))
	}
	return urls
}

// addresses returns where the listener is reached from other machines, IP:PORT, IPv4 first; if there is none, from
// this one.
func (s *httpsServer) addresses() ([]string, error) {
	at, err := netip.ParseAddrPort(s.listener.Addr().String())
	if err != nil {
		return nil, err
	}
	if !at.Addr().IsUnspecified() {
		return []string{netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String()}, nil
	}
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, a := range found {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
			all = append(all, p.Addr().Unmap())
		}
	}
	slices.SortFunc(all, func(a, b netip.Addr) int {
		if a.IsLoopback() != b.IsLoopback() {
			return map[bool]int{false: -1, true: 1}[a.IsLoopback()]
		}
		return a.Compare(b) // IPv4 is less than IPv6
	})
	var out []string
	for _, a := range all {
		if len(out) > 0 && a.IsLoopback() {
			break
		}
		out = append(out, netip.AddrPortFrom(a, at.Port()).String())
	}
	return out[:min(len(out), maxListed)], nil
}

// maxListed is how many addresses the gateway is told of.
const maxListed = 8
