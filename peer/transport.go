package peer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
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
	c := callOf(resp)
	if c == nil {
		return Remote{}, false
	}
	return c.remote(), true
}

// Superseded reports whether a response of a transport of Host.Transport comes through a relay although there is a direct
// way to its sender by now. A request made now takes that; the response stays where it is.
func Superseded(resp *http.Response) bool {
	c := callOf(resp)
	return c != nil && c.link.superseded()
}

// callOf returns the call that a response came on; nil if no transport of Host.Transport returned it.
func callOf(resp *http.Response) *call {
	if resp.Request == nil {
		return nil
	}
	c, _ := resp.Request.Context().Value(calleeKey).(*call)
	return c
}

// Transport returns a RoundTripper for URLs kindred://HOST/…, which keeps
// streams to each HOST for further requests. resolve says who HOST is; it is
// called for every new stream, with a context that ends with the request's and
// with the host. Errors are CallErrors, or what resolve or the request's context
// returned.
//
// The body of a response that switches protocols (101) is the stream itself: a
// net.Conn that has CloseWrite and Reset too. The request's context does not
// end it; the host's Close does.
//
// A request that got no answer on a kept stream is repeated on a new one, and
// if a kept connection is lost, on a new connection: if it has no body or can
// get it again, and its method is GET, HEAD, OPTIONS or TRACE or it carries an
// Idempotency-Key.
func (h *Host) Transport(resolve func(ctx context.Context, host string) (Target, error)) http.RoundTripper {
	t := &transport{host: h, resolve: resolve, pools: make(map[string]*pool)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.transports = append(h.transports, t)
	return t
}

// A transport makes HTTP requests over calls.
type transport struct {
	host    *Host
	resolve func(context.Context, string) (Target, error)

	mu    sync.Mutex
	pools map[string]*pool // by HOST
}

// pool returns that of host, made if need be.
func (t *transport) pool(host string) *pool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pools[host]
	if p == nil {
		p = new(pool)
		t.pools[host] = p
	}
	return p
}

// dial opens a call to host.
func (t *transport) dial(ctx context.Context, host string, p *pool) (*call, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.host.ctx, cancel)()
	target, err := t.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	epoch := p.resolved(target)
	c, err := t.host.open(ctx, target, p)
	if err == nil {
		c.epoch = epoch
	}
	return c, err
}

// RoundTrip makes one request.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != Scheme || req.URL.Hostname() == "" || req.URL.Port() != "" {
		closeBody(req)
		return nil, fmt.Errorf("peer: requesting %q: not of the form %s://HOST/PATH", redact(req.URL), Scheme)
	}
	if err := checkRequest(req); err != nil {
		closeBody(req)
		return nil, fmt.Errorf("peer: requesting %q: %w", redact(req.URL), err)
	}
	resp, used, err := t.try(req, false)
	for tried := 1; err != nil && tried < maxTries && worthRepeating(req, err); tried++ {
		again := req
		if req.GetBody != nil {
			again = req.Clone(req.Context())
			if again.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
		resp, used, err = t.try(again, true)
	}
	if err != nil {
		return nil, err
	}
	resp.Request = req.WithContext(context.WithValue(req.Context(), calleeKey, used))
	return resp, nil
}

// maxTries is how often a request is made that died unanswered: on a stream that was kept, on a new one of the same
// connection, and on a new connection.
const maxTries = 3

// worthRepeating reports whether req failed in a way that another stream may
// mend, and can be made once more: without harm if the callee did not look at
// it, and otherwise under net/http's conditions.
func worthRepeating(req *http.Request, err error) bool {
	if req.Context().Err() != nil || req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return false
	}
	var stale staleError
	switch {
	case errors.Is(err, errForgotten), errors.Is(err, errUnsent):
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

// try makes the request on a call that is kept or, anew, on another, and tells by which.
func (t *transport) try(req *http.Request, anew bool) (*http.Response, *call, error) {
	host := strings.ToLower(req.URL.Hostname())
	p := t.pool(host)
	c, err := p.take(req.Context(), anew)
	if err == nil && c == nil {
		if c, err = t.dial(req.Context(), host, p); err != nil {
			p.leave(nil)
		}
	}
	if err != nil {
		closeBody(req)
		return nil, nil, err
	}
	resp, err := c.exchange(req)
	return resp, c, err
}

// CloseIdleConnections closes the streams that are not in use, and those in use once they are not.
func (t *transport) CloseIdleConnections() {
	for _, p := range t.all() {
		p.renew()
	}
}

// all returns the pools that there are.
func (t *transport) all() []*pool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.pools))
}

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
