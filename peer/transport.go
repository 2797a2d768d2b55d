package peer

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Scheme is the scheme of URLs that name peers.
const Scheme = "kindred"

// A Remote is the other end of a request.
type Remote struct {
	Key     crypto.PublicKey
	Showed  bool  // a hello, and it was accepted
	Value   any   // of a caller: Admission.Value
	Refused error // of a caller: why Admit refused it; nil if it did not
	Path    Path
}

type contextKey int

const (
	callerKey contextKey = iota // *served, in the context of a request being served
	calleeKey                   // *call, in the context of a response's request
)

// Callee tells who sent a response that a transport of Host.Transport returned.
func Callee(resp *http.Response) (Remote, bool) {
	if resp.Request == nil {
		return Remote{}, false
	}
	c, ok := resp.Request.Context().Value(calleeKey).(*call)
	if !ok {
		return Remote{}, false
	}
	return c.remote(), true
}

// Transport returns a RoundTripper for URLs kindred://HOST/…, which keeps
// streams to each HOST for further requests. resolve says who HOST is; it is
// called for every new stream, with a context that is not that of the request
// but ends with the host. Errors are CallErrors, or what resolve or the
// request's context returned.
//
// The body of a response that switches protocols (101) is the stream itself: a
// net.Conn that has CloseWrite and Reset too. The request's context does not
// end it; the host's Close does.
//
// A request that got no answer on a kept stream or connection is repeated once
// on a new one if it has no body or can get it again, and its method is GET,
// HEAD, OPTIONS or TRACE or it carries an Idempotency-Key.
func (h *Host) Transport(resolve func(ctx context.Context, host string) (Target, error)) http.RoundTripper {
	t := &transport{host: h, resolve: resolve, known: make(map[string]*acquaintance)}
	t.http = &http.Transport{
		DialContext:            t.dial,
		DisableCompression:     true,
		MaxIdleConns:           0, // no limit over all hosts
		MaxIdleConnsPerHost:    16,
		MaxConnsPerHost:        maxStreams,
		IdleConnTimeout:        callerIdle,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idlers = append(h.idlers, t.http)
	return t
}

// A transport makes HTTP requests over calls. Streams that show different
// hellos must not be mixed: net/http keeps them apart by the port, which counts
// the hellos.
type transport struct {
	host    *Host
	resolve func(context.Context, string) (Target, error)
	http    *http.Transport

	mu    sync.Mutex
	known map[string]*acquaintance // by HOST
}

// An acquaintance is the target that a HOST last resolved to.
type acquaintance struct {
	target Target
	hello  []byte // as of the last request
	count  int    // of different hellos so far
}

// port returns the port under which streams for host with the present hello
// are kept.
func (t *transport) port(host string) string {
	t.mu.Lock()
	a := t.acquaintance(host)
	makeHello := a.target.Hello
	t.mu.Unlock()
	var hello []byte
	if makeHello != nil {
		hello = makeHello()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !bytes.Equal(hello, a.hello) {
		a.hello = hello
		a.count++
	}
	return strconv.Itoa(a.count)
}

// acquaintance returns that of host, made if need be. t.mu is held.
func (t *transport) acquaintance(host string) *acquaintance {
	a := t.known[host]
	if a == nil {
		a = &acquaintance{count: 1}
		t.known[host] = a
	}
	return a
}

// dial opens a stream to addr, HOST:PORT with a port of the method port.
func (t *transport) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.host.ctx, cancel)()
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	target, err := t.resolve(ctx, name)
	if err != nil {
		return nil, err
	}
	c, err := t.host.open(ctx, target)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.acquaintance(name)
	switch {
	case a.target.Key == nil: // the first
		a.hello = c.hello.hello
	case !sameKey(a.target.Key, target.Key):
		a.count++ // streams to the former key are left to expire
	}
	a.target = target
	return c, nil
}

// RoundTrip makes one request.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != Scheme || req.URL.Hostname() == "" || req.URL.Port() != "" {
		closeBody(req)
		return nil, fmt.Errorf("peer: requesting %q: not of the form %s://HOST/PATH", redact(req.URL), Scheme)
	}
	resp, used, err := t.try(req)
	if worthRepeating(req, err) {
		again := req
		if req.GetBody != nil {
			again = req.Clone(req.Context())
			if again.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
		resp, used, err = t.try(again)
	}
	if err != nil {
		var ce *CallError
		if req.Context().Err() == nil && errors.As(err, &ce) {
			err = ce
		}
		return nil, err
	}
	resp.Request = req.WithContext(context.WithValue(req.Context(), calleeKey, used))
	return resp, nil
}

// worthRepeating reports whether req failed in a way that another stream may
// mend, and can be made once more: without harm if the callee did not look at
// it, and otherwise under net/http's conditions.
func worthRepeating(req *http.Request, err error) bool {
	if req.Context().Err() != nil || req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return false
	}
	var stale staleError
	switch {
	case errors.Is(err, errForgotten):
		return true
	case !errors.As(err, &stale):
		return false
	}
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return req.Header.Get("Idempotency-Key") != ""
}

// try makes the request through net/http, and tells by which call.
func (t *transport) try(req *http.Request) (_ *http.Response, used *call, _ error) {
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { used, _ = info.Conn.(*call) },
	})
	host := strings.ToLower(req.URL.Hostname())
	inner := req.WithContext(ctx)
	u := *req.URL
	u.Scheme, u.Host = "http", net.JoinHostPort(host, t.port(host))
	inner.URL = &u
	if inner.Host == "" || inner.Host == req.URL.Host {
		inner.Host = host
	}
	resp, err := t.http.RoundTrip(inner)
	if err != nil {
		return nil, used, err
	}
	if body, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
		used.switched.Store(true)
		resp.Body = switched{used, body}
	}
	return resp, used, nil
}

// switched is a call that carries another protocol now, of which net/http may
// have read a little.
type switched struct {
	*call
	body io.ReadWriteCloser
}

func (s switched) Read(p []byte) (int, error) { return s.body.Read(p) }
func (s switched) Close() error               { return s.body.Close() }

// CloseIdleConnections closes the streams that are not in use.
func (t *transport) CloseIdleConnections() { t.http.CloseIdleConnections() }

// sameKey reports whether a and b are the same public key.
func sameKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// redact returns u for an error: scheme, host and path only.
func redact(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
