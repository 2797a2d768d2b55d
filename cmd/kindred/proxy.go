package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	urlpath "path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

func newProxy(s *session) *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "proxy [PATH…]",
		Short: "Give things HTTP addresses on this machine, for tools that know nothing of Kindred",
		Long: `Give each thing an HTTP address on this machine until stopped: all things of this home, or
those named, which may be of other homes (oak-lane:home/meter). What is asked for there is
carried to the thing with the rights of this directory's member, and told in the thing's
journal as done by it.

Every program on this machine can use these addresses while they are there, also those of
other users. Web pages cannot: what a browser sends for a page from elsewhere is refused.
The directory is in use meanwhile; other commands take another one.`,
		Example:           "  kindred proxy\n  kindred proxy home/meter --listen 127.0.0.1:8080\n  kindred proxy oak-lane:home/meter",
		ValidArgsFunction: s.completeWho,
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "where: `127.0.0.1:PORT` or [::1]:PORT")
	return s.does(c, func(ctx context.Context, args []string) error {
		at, err := netip.ParseAddrPort(listen)
		if err != nil || !at.Addr().IsLoopback() {
			return usage("--listen: %q is not 127.0.0.1:PORT or [::1]:PORT, and no other machine is to use your rights", listen)
		}
		return s.with(ctx, func(n *kindred.Node) error {
			things, err := s.proxied(ctx, n, args)
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", at.String())
			if err != nil {
				return err
			}
			if err := s.printProxied(things, l.Addr()); err != nil {
				return errors.Join(err, l.Close())
			}
			return serveProxy(ctx, l, s.proxy(n, things))
		})
	})
}

// proxied returns the things that are given addresses: those named, else all.
func (s *session) proxied(ctx context.Context, n *kindred.Node, args []string) (things []proxiedThing, err error) {
	r, err := s.roster(ctx, n)
	if err != nil {
		return nil, err
	}
	for _, arg := range args {
		id, err := anywhere(ctx, n, arg)
		if err != nil {
			return nil, err
		}
		c, err := s.find(ctx, n, id, arg)
		if err != nil {
			return nil, err
		}
		abroad := id.Tree != n.Self().ID.Tree
		other, _ := r.OtherTree(id.Tree)
		if c.Kind() != identity.Device || c.Member() == other.Gateway.Member || !abroad && !isThing(n, c.Chain) {
			return nil, usage("%s is no thing", arg)
		}
		called := string(id.Path)
		if abroad {
			called = r.Elsewhere(id)
		}
		things = append(things, proxiedThing{id, called})
	}
	if len(args) > 0 {
		return things, nil
	}
	for _, m := range r.Members {
		if isThing(n, m.Who) {
			things = append(things, proxiedThing{m.Who.ID, string(m.Who.ID.Path)})
		}
	}
	if len(things) == 0 {
		return nil, notFound("there are no things on the tree")
	}
	return things, nil
}

// A proxiedThing is a thing with what it is called here, which its URL has too.
type proxiedThing struct {
	id     identity.ID
	called string
}

// isThing says whether a member is a thing. The gateway is none: whoever uses it with an owner's rights rules the home.
func isThing(n *kindred.Node, who identity.Chain) bool {
	t, err := n.ThingOf(who.Member())
	return err == nil && who.Kind() == identity.Device && t.Base.String() != n.Gateway().Base
}

func (s *session) printProxied(things []proxiedThing, at net.Addr) error {
	var rows [][]string
	for _, t := range things {
		url := "http://" + at.String() + "/" + t.called + "/"
		rows = append(rows, []string{t.called, url})
		if s.json {
			if err := s.object(map[string]string{"path": t.called, "url": url}); err != nil {
				return err
			}
		}
	}
	if s.json {
		return nil
	}
	return s.print(nil, table(rows))
}

// proxyEnds is how long the requests in progress have to end when the proxy is stopped.
const proxyEnds = 5 * time.Second

// serveProxy serves until ctx ends, and ends what is being served then.
func serveProxy(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), proxyEnds)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		_ = server.Close() // whoever still holds on is cut off
	}
	<-ended
	return nil
}

// proxy serves each thing below its path.
func (s *session) proxy(n *kindred.Node, things []proxiedThing) http.Handler {
	mux := http.NewServeMux()
	for _, t := range things {
		prefix := "/" + t.called
		mux.Handle(prefix+"/", http.StripPrefix(prefix, s.proxyTo(n, t)))
	}
	return localOnly(mux)
}

// maxProxied bounds the body of a request. It is kept, so that the request can be made again with newer rights.
const maxProxied = thing.MaxInput

func (s *session) proxyTo(n *kindred.Node, to proxiedThing) http.Handler {
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			for _, name := range []string{"Authorization", "Cookie", "Origin", "Referer"} {
				r.Out.Header.Del(name) // of this machine's concern
			}
			if r.Out.Method == http.MethodPost && r.Out.Header.Get("Idempotency-Key") == "" {
				r.Out.Header.Set("Idempotency-Key", rand.Text()) // done once, though it may be asked for twice
			}
		},
		Transport: carrier{n, to.id},
		ModifyResponse: func(resp *http.Response) error {
			for name := range resp.Header {
				if withheld(name) {
					resp.Header.Del(name)
				}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			proxyError(w, s.unreached(err, to.called))
		},
		ErrorLog: slog.NewLogLogger(s.log(levelSilent).Handler(), slog.LevelDebug),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(urlpath.Clean(r.URL.Path)+"/", "/kindred/") { // however it is escaped: what members say to each other
			http.NotFound(w, r)
			return
		}
		if r.Body != http.NoBody {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxProxied))
			if err != nil {
				proxyError(w, err)
				return
			}
			r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
			r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		}
		reverse.ServeHTTP(w, r)
	})
}

// A carrier makes requests to whoever is the thing with an ID at the time.
type carrier struct {
	node *kindred.Node
	id   identity.ID
}

func (c carrier) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	err = c.node.UseID(req.Context(), c.id, func(t *thing.Client) error {
		again := req.Clone(req.Context())
		again.URL.Scheme, again.URL.Host, again.Host = t.Base.Scheme, t.Base.Host, ""
		if req.GetBody != nil {
			if again.Body, err = req.GetBody(); err != nil {
				return err
			}
		}
		resp, err = t.HTTP.Transport.RoundTrip(again)
		return err
	})
	return resp, err
}

// proxyError answers for a thing that did not: 403 refused, 404 no such thing, 413 too much, 502 out of reach.
func proxyError(w http.ResponseWriter, err error) {
	f, status := explain(err), http.StatusBadGateway
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		status = http.StatusRequestEntityTooLarge
	case f.exit == exitRefused:
		status = http.StatusForbidden
	case f.Code == "not-found":
		status = http.StatusNotFound
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(thing.Problem{Status: status, Code: f.Code, Detail: f.Message}) // the caller may have gone away
}

// withheld reports whether a header of a thing's answer is not passed on: a thing does not open the proxy to anybody, and
// sends no tool on to another thing, to use that with the rights of this directory's member.
func withheld(name string) bool {
	return guarded[name] != "" || name == "Set-Cookie" || name == "Location" || name == "Refresh" || strings.HasPrefix(name, "Access-Control-")
}

// guarded are the headers of every answer. What a thing sends is never run as a page of the proxy's own origin, which
// all things share, and the browser keeps none of it.
var guarded = map[string]string{
	"Cache-Control":                "no-store",
	"Content-Security-Policy":      "sandbox; default-src 'none'",
	"Cross-Origin-Resource-Policy": "same-origin",
	"X-Content-Type-Options":       "nosniff",
}

// localOnly refuses what a browser sends for pages from elsewhere. The name in Host must be this machine's, so that no
// other name can be made to lead here (DNS rebinding); Origin must be the proxy's own, where there is one; and where
// there is none, as with pictures and scripts of a page, Sec-Fetch-Site must not say that the page is from elsewhere.
func localOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range guarded {
			w.Header().Set(name, value)
		}
		origin, given := r.Header["Origin"]
		site := r.Header.Get("Sec-Fetch-Site")
		switch {
		case !isLocal(r.Host):
			proxyError(w, refused("%.100q is not this machine's name", r.Host))
		case given && (len(origin) != 1 || origin[0] != "http://"+r.Host), site != "" && site != "same-origin" && site != "none":
			proxyError(w, refused("web pages from elsewhere are refused"))
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// isLocal says whether a Host header names this machine to itself.
func isLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return host == "127.0.0.1" || host == "localhost" || host == "::1" || host == "[::1]"
}
