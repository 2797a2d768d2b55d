package main

import (
	"bufio"
	"context"
	"encoding/json"
	"image/jpeg"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/device/camera"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

// proxyFor runs the proxy for a node until the test ends, and returns its URL.
func proxyFor(t *testing.T, n *kindred.Node, paths ...identity.Path) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	things := make([]proxiedThing, len(paths))
	for i, p := range paths {
		things[i] = proxiedThing{identity.ID{Tree: n.Self().ID.Tree, Path: p}, string(p)}
	}
	go func() { ended <- serveProxy(ctx, l, (&session{err: io.Discard}).proxy(n, things)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// fetch makes a request with headers "Name: value" and returns what was answered.
func fetch(t *testing.T, method, url, body string, headers ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if req.Header.Set(name, value); name == "Host" {
			req.Host = value
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}

func TestProxy(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	door := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(door, lock.New().Thing())
	at := proxyFor(t, laptop, "home/lock") + "/home/lock"

	events := fetch(t, "GET", at+"/properties/state/observe", "", "Accept: text/event-stream")
	stream := bufio.NewScanner(events.Body)
	next := func(want string) {
		t.Helper()
		for stream.Scan() {
			if data, ok := strings.CutPrefix(stream.Text(), "data:"); ok {
				if strings.TrimSpace(data) != want {
					t.Errorf("the stream tells %s, want %s", data, want)
				}
				return
			}
		}
		t.Fatalf("the stream ended: %v", stream.Err())
	}
	next(`"locked"`)

	for _, tt := range []struct {
		method, path, body string
		headers            []string
		status             int
		want               string
	}{
		{"GET", "/properties/state", "", nil, 200, `"locked"`},
		{"GET", "/properties/state", "", []string{"Origin: http://127.0.0.1:1"}, 403, "pages from elsewhere"},
		{"GET", "/properties/state", "", []string{"Origin: null"}, 403, "pages from elsewhere"},
		{"GET", "/properties/state", "", []string{"Sec-Fetch-Site: cross-site"}, 403, "pages from elsewhere"},
		{"GET", "/properties/state", "", []string{"Sec-Fetch-Site: same-site"}, 403, "pages from elsewhere"},
		{"GET", "/properties/state", "", []string{"Host: evil.example"}, 403, "evil.example"},
		{"GET", "/properties/state", "", []string{"Host: 127.0.0.1.evil.example:80"}, 403, "evil.example"},
		{"GET", "/properties/state", "", []string{"Host: localhost:80", "Origin: http://localhost:80"}, 200, `"locked"`},
		{"GET", "/properties/state", "", []string{"Host: [::1]:80", "Sec-Fetch-Site: none"}, 200, `"locked"`},
		{"POST", "/actions/unlock", "", []string{"Origin: https://evil.example"}, 403, "pages from elsewhere"},
		{"GET", "/properties/state", "", nil, 200, `"locked"`}, // and so it was not done
		{"POST", "/actions/unlock", "", nil, 200, `"unlocked"`},
		{"GET", "/properties/state", "", nil, 200, `"unlocked"`},
		{"PUT", "/properties/state", `"locked"`, []string{"Content-Type: application/json"}, 405, ""},
		{"PUT", "/properties/state", strings.Repeat("x", maxProxied+1), nil, 413, ""},
		{"GET", "/properties/door", "", nil, 404, "door"},
		{"POST", "/kindred/v1/revoke", "", nil, 404, "404 page not found"},
		{"GET", "/kindred%2Fv1", "", nil, 404, "404 page not found"},
		{"GET", "/x/%2e%2e/kindred/v1/receipts", "", nil, 404, "404 page not found"},
		{"GET", "/../gateway/", "", nil, 404, "404 page not found"},
	} {
		resp := fetch(t, tt.method, at+tt.path, tt.body, tt.headers...)
		if got := text(t, resp); resp.StatusCode != tt.status || !strings.Contains(got, tt.want) {
			t.Errorf("%s %s %q: %s %s, want %d %s", tt.method, tt.path, tt.headers, resp.Status, got, tt.status, tt.want)
		}
		for name, value := range guarded {
			if got := resp.Header.Values(name); len(got) != 1 || got[0] != value {
				t.Errorf("%s %s: %s is %q", tt.method, tt.path, name, got)
			}
		}
	}
	next(`"unlocked"`)

	// A guest's proxy has the guest's rights.
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.See})
	hers := proxyFor(t, anna, "home/lock", "home/oven") + "/home"
	for _, tt := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/lock/properties/state", 200, ""},
		{"POST", "/lock/actions/lock", 403, "action"},
		{"GET", "/oven/properties/state", 404, "not-found"},
	} {
		resp := fetch(t, tt.method, hers+tt.path, "")
		var problem struct{ Code string }
		_ = json.Unmarshal([]byte(text(t, resp)), &problem) // a value has no code
		if resp.StatusCode != tt.status || problem.Code != tt.code {
			t.Errorf("%s %s: %s, code %q; want %d, %q", tt.method, tt.path, resp.Status, problem.Code, tt.status, tt.code)
		}
	}

	if err := door.Close(); err != nil {
		t.Fatal(err)
	}
	resp := fetch(t, "GET", at+"/properties/state", "")
	if got := text(t, resp); resp.StatusCode != http.StatusBadGateway || !strings.Contains(got, "home/lock cannot be reached") {
		t.Errorf("of a lock that is off: %s %s", resp.Status, got)
	}
}

// Tools that know nothing of Kindred see the camera's film, and fetch what it recorded in parts.
func TestProxyCarriesFilmsAndFiles(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	door := h.Invite(laptop, identity.Device, "home/bell", "", "127.0.0.1:0")
	cam, err := camera.New(camera.Config{PerSecond: 20, Recordings: fstest.MapFS{"a.mp4": {Data: []byte("0123456789"), ModTime: time.Unix(1e9, 0)}}})
	if err != nil {
		t.Fatal(err)
	}
	h.Serve(door, cam.Thing())
	at := proxyFor(t, laptop, "home/bell") + "/home/bell"

	resp := fetch(t, "GET", at+"/properties/picture/observe", "")
	media, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || media != "multipart/x-mixed-replace" {
		t.Fatalf("%s, %q, %v", resp.Status, media, err)
	}
	parts := multipart.NewReader(resp.Body, params["boundary"])
	for range 5 {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jpeg.Decode(part); err != nil || part.Header.Get("Content-Type") != "image/jpeg" {
			t.Fatalf("%v, %v", part.Header, err)
		}
	}
	resp.Body.Close()

	resp = fetch(t, "GET", at+"/files/recordings/a.mp4", "", "Range: bytes=2-4")
	if got := text(t, resp); resp.StatusCode != 206 || got != "234" || resp.Header.Get("Content-Range") != "bytes 2-4/10" {
		t.Errorf("%s %q %q", resp.Status, got, resp.Header)
	}
	resp = fetch(t, "GET", at+"/files/recordings/a.mp4", "", "If-None-Match: "+resp.Header.Get("ETag"))
	if resp.StatusCode != 304 {
		t.Errorf("what is known already is answered by %s", resp.Status)
	}
}

func TestWithheldByProxy(t *testing.T) {
	for name, want := range map[string]bool{
		"Location": true, "Refresh": true, "Set-Cookie": true, "Access-Control-Allow-Origin": true, "Content-Security-Policy": true,
		"Content-Type": false, "Content-Length": false, "Etag": false,
	} {
		if withheld(name) != want {
			t.Errorf("%s is passed on: %t", name, want)
		}
	}
}
