package peer

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// written is what a request looks like on a stream, read back by net/http.
func written(t testing.TB, req *http.Request) *http.Request {
	t.Helper()
	if err := checkRequest(req); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	length := bodyLength(req)
	b.Write(appendHead(nil, req, length))
	var err error
	switch {
	case length > 0:
		err = writeBody(&b, req.Body, length)
	case length < 0:
		err = writeChunks(&b, req)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(&b)
	got, err := http.ReadRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(r); len(rest) > 0 {
		t.Fatalf("%q follows the request", rest)
	}
	got.Body = io.NopCloser(bytes.NewReader(body))
	return got
}

func TestRequest(t *testing.T) {
	long := strings.Repeat("0123456789", inlineBody/5)
	for _, tt := range []struct {
		method string
		body   io.Reader
		length int64 // as the callee reads it
		want   string
	}{
		{"GET", nil, 0, ""},
		{"POST", nil, 0, ""},
		{"DELETE", strings.NewReader("x"), 1, "x"},
		{"PUT", strings.NewReader(long), int64(len(long)), long},
		{"POST", io.MultiReader(strings.NewReader("in two "), strings.NewReader("pieces")), -1, "in two pieces"},
		{"POST", io.MultiReader(strings.NewReader(long)), -1, long},
		{"POST", io.MultiReader(), -1, ""},
	} {
		req, err := http.NewRequest(tt.method, "kindred://lock/a%20b/c?q=%0a&r", tt.body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"X-Many": {"1", "2"}, "Content-Length": {"77"}, "content-length": {"78"}, "host": {"other"}, "transfer-encoding": {"gzip"}}
		got := written(t, req)
		body, _ := io.ReadAll(got.Body)
		if got.Method != tt.method || got.Host != "lock" || got.RequestURI != "/a%20b/c?q=%0a&r" || got.ContentLength != tt.length || string(body) != tt.want {
			t.Errorf("%s of %d bytes: %s %q at %q, %d bytes announced, %d came", tt.method, len(tt.want), got.Method, got.RequestURI, got.Host, got.ContentLength, len(body))
		}
		if many := got.Header["X-Many"]; len(many) != 2 || got.Header.Get("User-Agent") != "" {
			t.Errorf("%s: header %q", tt.method, got.Header)
		}
	}
}

func TestRequestRefused(t *testing.T) {
	request := func(change func(*http.Request)) *http.Request {
		req, err := http.NewRequest("GET", "kindred://lock/", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(req)
		return req
	}
	for want, change := range map[string]func(*http.Request){
		`the method "GET /" is no token`:       func(r *http.Request) { r.Method = "GET /" },
		`"lock\r\nX: 1" is no host`:            func(r *http.Request) { r.Host = "lock\r\nX: 1" },
		`the path "a b" has bytes that end it`: func(r *http.Request) { r.URL.Opaque = "a b" },
		`"A b" is no name of a header`:         func(r *http.Request) { r.Header["A b"] = []string{"1"} },
		`the header Key has bytes that end it`: func(r *http.Request) { r.Header["Key"] = []string{"1\r\nX: 1"} },
		`"" is no name of a header`:            func(r *http.Request) { r.Trailer = http.Header{"": nil} },
	} {
		if err := checkRequest(request(change)); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// The body is what was announced, or the request fails.
func TestBodyOfAnotherLength(t *testing.T) {
	for _, tt := range []struct {
		body   string
		length int64
		want   string
	}{
		{"four", 4, ""},
		{"four", 5, "the body has 4 bytes, of the 5 that were announced"},
		{"four", 3, "the body has more than the 3 bytes that were announced"},
	} {
		req := &http.Request{Body: io.NopCloser(strings.NewReader(tt.body))}
		_, inline := appendBody(nil, req, tt.length)
		for _, err := range []error{inline, writeBody(io.Discard, strings.NewReader(tt.body), tt.length)} {
			if got := ""; err != nil && err.Error() != tt.want || err == nil && got != tt.want {
				t.Errorf("%q announced as %d: got %v, want %q", tt.body, tt.length, err, tt.want)
			}
		}
	}
}

// Whatever is let through is one request, which says what was meant.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "lock", "/state", "", "Accept", "*/*", []byte(nil))
	f.Add("POST", "lock:1", "/a b\r\n", "q=\r\n", "X", " 1 ", []byte("body"))
	f.Fuzz(func(t *testing.T, method, host, path, query, name, value string, body []byte) {
		req := &http.Request{
			Method: method, Host: host, URL: &url.URL{Scheme: Scheme, Host: "lock", Path: path, RawQuery: query},
			Header: http.Header{name: {value}}, Body: io.NopCloser(bytes.NewReader(body)),
		}
		if len(body) == 0 {
			req.Body = nil
		}
		if checkRequest(req) != nil || len(name)+len(value)+len(path)+len(query) > 16<<10 {
			return
		}
		var b bytes.Buffer
		b.Write(appendHead(nil, req, bodyLength(req)))
		if bodyLength(req) < 0 {
			if err := writeChunks(&b, req); err != nil {
				t.Fatal(err)
			}
		}
		r := bufio.NewReader(bytes.NewReader(b.Bytes()))
		got, err := http.ReadRequest(r)
		if err != nil {
			return // net/http refuses more: nothing is misunderstood
		}
		read, err := io.ReadAll(got.Body)
		rest, _ := io.ReadAll(r)
		if err == nil && len(rest) > 0 && got.ProtoAtLeast(1, 1) && !strings.EqualFold(name, "Connection") {
			t.Errorf("%q is one request, and %q more", b.Bytes(), rest)
		}
		if err == nil && !bytes.Equal(read, body) {
			t.Errorf("%q carries %q, want %q", b.Bytes(), read, body)
		}
		if want := max(method, ""); want != "" && got.Method != want {
			t.Errorf("the method is %q, want %q", got.Method, want)
		}
	})
}
