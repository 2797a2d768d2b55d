package peer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serveConns serves handler on TCP as streams are served, and returns where.
func serveConns(t testing.TB, handler http.HandlerFunc, idle, hello time.Duration) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				defer stop()
				serveHTTP(ctx, conn, handler, idle, hello, slog.New(slog.DiscardHandler))
			})
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); conns.Wait() })
	return l.Addr().String()
}

// both serves handler by net/http's server, too.
func both(t testing.TB, handler http.HandlerFunc) (ours, theirs string) {
	s := httptest.NewUnstartedServer(handler)
	s.Config.DisableGeneralOptionsHandler = true
	s.Config.MaxHeaderBytes = maxHeader
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.Start()
	t.Cleanup(s.Close)
	return serveConns(t, handler, time.Minute, time.Minute), s.Listener.Addr().String()
}

// say sends text to a server, and nothing more, and returns all that it answers.
func say(t testing.TB, to, text string) []byte {
	conn, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return sayOn(t, conn, text)
}

// sayOn is say on a connection that there is.
func sayOn(t testing.TB, conn net.Conn, text string) []byte {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		io.WriteString(conn, text) // fails where the server wants no more, as it may
		conn.(*net.TCPConn).CloseWrite()
	}()
	answer, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, net.ErrClosed) && len(answer) == 0 {
		t.Logf("reading: %v", err)
	}
	<-sent
	return answer
}

// A told is what a caller is told by a response.
type told struct {
	Status  int
	Header  http.Header
	Body    string
	Trailer http.Header
	Length  int64
	Close   bool
	Err     string
}

// tells reads responses to requests by method, until there are no more.
func tells(answer []byte, method string) (all []told) {
	in := bufio.NewReader(bytes.NewReader(answer))
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return all
		}
		body, err := io.ReadAll(resp.Body)
		if resp.Header.Get("Date") != "" {
			resp.Header.Set("Date", "now")
		}
		resp.Header.Del("Trailer")                                                                               // which is none of HEAD
		maps.DeleteFunc(resp.Trailer, func(name string, _ []string) bool { return strings.Contains(name, " ") }) // which is no name
		one := told{resp.StatusCode, resp.Header, string(body), resp.Trailer, resp.ContentLength, resp.Close, fmt.Sprint(err)}
		all = append(all, one)
	}
}

// The field Date is of the second it is asked for, also when clocks go back.
func TestDateField(t *testing.T) {
	at := time.Date(2026, 11, 28, 23, 59, 58, 0, time.FixedZone("", 3600))
	for _, step := range []time.Duration{0, 999 * time.Millisecond, time.Second, 2 * time.Second, -time.Hour, 0} {
		now := at.Add(step)
		if got, want := dateField(now), "Date: "+now.UTC().Format(http.TimeFormat)+"\r\n"; got != want {
			t.Errorf("%v after: %q, want %q", step, got, want)
		}
	}
}

// Whatever a handler does, a caller is told the same as by net/http's server.
func TestResponses(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1<<10)
	handlers := map[string]http.HandlerFunc{
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"short":   func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "short") },
		"long":    func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, long) },
		"pieces": func(w http.ResponseWriter, _ *http.Request) {
			for piece := range slices.Chunk([]byte(long), 100) {
				w.Write(piece)
			}
		},
		"flushed": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "one")
			w.(http.Flusher).Flush()
			io.WriteString(w, "two")
		},
		"flushed before it is begun": func(w http.ResponseWriter, _ *http.Request) { http.NewResponseController(w).Flush() },
		"status":                     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) },
		"an unknown status":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599) },
		"no content": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
			if _, err := io.WriteString(w, "but some"); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("a body of 204: %v", err)
			}
		},
		"not modified": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"1"`)
			w.WriteHeader(http.StatusNotModified)
		},
		"declared": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(long)))
			io.WriteString(w, long)
		},
		"less than declared": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "four")
		},
		"more than declared": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "4")
			if _, err := io.WriteString(w, "fourteen"); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("more than declared: %v", err)
			}
			io.WriteString(w, "four")
		},
		"a header too late": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusOK)
			w.Header().Set("Late", "1")
			w.WriteHeader(http.StatusTeapot)
		},
		"a header with lines": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Split", "a\r\nSet-Cookie: b\nc")
			w.Header()["Bad name\r\nX"] = []string{"1"}
			w.Header()["Several"] = []string{"1", "2"}
		},
		"typed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x")
			io.WriteString(w, "<html>")
		},
		"what is said by itself, withheld": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Date"], w.Header()["Content-Type"] = nil, nil
			io.WriteString(w, "<html>")
		},
		"sniffed": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>"+long) },
		"early hints": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</x>")
			w.WriteHeader(http.StatusEarlyHints)
			io.WriteString(w, "then")
		},
		"closing": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			io.WriteString(w, "last")
		},
		"trailers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "Sum, More")
			io.WriteString(w, "body")
			w.Header().Set("Sum", "5")
			w.Header().Set("Other", "6")
		},
		"a trailer with lines": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "Sum, Split\r\nSet-Cookie: b")
			io.WriteString(w, "body")
			w.Header().Set("Sum", "5")
		},
		"trailers nobody announced": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, long)
			w.Header().Set(http.TrailerPrefix+"Sum", "5")
		},
		"short, with trailers nobody announced": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "short")
			w.Header().Set(http.TrailerPrefix+"Sum", "5")
		},
		"broken off": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, long)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"broken off before it is begun": func(http.ResponseWriter, *http.Request) { panic("a bug") },
		"file": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "x.txt", time.Time{}, strings.NewReader(long))
		},
		"switched": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Upgrade", "x")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		},
		"where it is": func(w http.ResponseWriter, r *http.Request) {
			host, _, err := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(w, "%s %v %T %T", host, err, r.Context().Value(http.ServerContextKey), r.Context().Value(http.LocalAddrContextKey))
		},
		"taken over": func(w http.ResponseWriter, _ *http.Request) {
			conn, buffered, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			rest, _ := io.ReadAll(buffered)
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(rest), rest)
		},
	}
	for name, handler := range handlers {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			t.Run(method+" "+name, func(t *testing.T) {
				ours, theirs := both(t, handler)
				text := method + " /a HTTP/1.1\r\nHost: a\r\nRange: bytes=3-9\r\n\r\n"
				text += text
				is, want := tells(say(t, ours, text), method), tells(say(t, theirs, text), method)
				if diff := cmp.Diff(want, is); diff != "" {
					t.Errorf("said otherwise than by net/http (-net/http +here):\n%s", diff)
				}
			})
		}
	}
}

// What a server behind a handler has broken off is broken off, and does not pass for the whole.
func TestBrokenOffBehind(t *testing.T) {
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "the beginning")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer behind.Close()
	to, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	resp, err := http.Get("http://" + serveConns(t, proxy.ServeHTTP, time.Minute, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); string(got) != "the beginning" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %q, %v", got, err)
	}
}

// A request is what reached a handler.
type request struct {
	Method, URI, Host string
	Header            http.Header
	Length            int64
	Encoding          []string
	Body              string
	Err               bool
	Trailer           http.Header
	Close             bool
}

// reached returns a handler that reads all and answers it, and what reached it since it was last asked.
func reached() (http.HandlerFunc, func() []request) {
	var mu sync.Mutex
	var all []request
	return func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			mu.Lock()
			all = append(all, request{r.Method, r.RequestURI, r.Host, r.Header, r.ContentLength, r.TransferEncoding, string(body), err != nil, r.Trailer, r.Close})
			mu.Unlock()
			w.Write(body)
		}, func() []request {
			mu.Lock()
			defer mu.Unlock()
			defer func() { all = nil }()
			return all
		}
}

// What reaches a handler is what net/http's server would hand it, however a caller puts its requests together.
func FuzzRequests(f *testing.F) {
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
		"POST /x?y=%20 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n3\r\nabc\r\n0\r\nSum: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nUnannounced: 1\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabcd",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-maybe\r\nContent-Length: 3\r\n\r\nabc",
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX y: 1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n folded: 1\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n",
	} {
		f.Add([]byte(text))
	}
	here, atOurs := reached()
	there, atTheirs := reached()
	ours := serveConns(f, here, time.Minute, time.Minute)
	_, theirs := both(f, there)
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4*maxHeader {
			t.Skip("longer than anything that matters here")
		}
		say(t, ours, string(text))
		answered := say(t, theirs, string(text))
		is, want := atOurs(), atTheirs()
		for i, r := range is { // fewer may reach it: HTTP/1.0 is declined
			if i >= len(want) && bytes.Contains(answered, []byte("Host header")) {
				return // it has none but in its target, or two, which is not known once it is parsed
			}
			if i >= len(want) {
				t.Fatalf("%q: only here there is %+v", text, r)
			}
			if diff := cmp.Diff(want[i], r); diff != "" {
				t.Fatalf("%q: (-net/http +here):\n%s", text, diff)
			}
		}
	})
}

// What net/http's server declines, or not, is declined here with the status that it should have.
func TestDeclined(t *testing.T) {
	handler, _ := reached()
	at := serveConns(t, handler, time.Minute, time.Minute)
	for text, want := range map[string]int{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n":                                                                   200,
		"GET / HTTP/1.0\r\nHost: a\r\n\r\n":                                                                   505,
		"GET / HTTP/1.1\r\n\r\n":                                                                              400,
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n":                                                                 400,
		"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n":                                                        400,
		"GET / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n":                                                   417,
		"nonsense\r\n\r\n":                                                                                    400,
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n":                    431,
		"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X:\r\n", maxHeader/5-10) + "\r\n":                   431, // 500 KB in memory, were each X another
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n":                                       400,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd":                    400,
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc":                  100,
		"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: "+strings.Repeat("x", 100)+"\r\n", 100) + "\r\n": 200,
	} {
		all := tells(say(t, at, text), "GET")
		if len(all) == 0 || all[0].Status != want {
			t.Errorf("%.60q: %+v, want %d", text, all, want)
		}
	}
}

// A caller who hangs up ends what it asked for, also while it was sending; one that asks for more does not.
func TestHangUpEndsRequest(t *testing.T) {
	ended, waiting := make(chan error, 1), make(chan struct{}, 1)
	at := serveConns(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		waiting <- struct{}{}
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	}, time.Minute, time.Minute)
	for name, text := range map[string]string{
		"no body":   "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"a body":    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"half of a": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, text); err != nil {
				t.Fatal(err)
			}
			if name != "half of a" {
				<-waiting
			}
			conn.Close()
			if name == "half of a" {
				<-waiting
			}
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("ended by %v", err)
			}
		})
	}
}

// A request that is sent while the one before it takes long is answered after it, and is not lost to who watches.
func TestPipelined(t *testing.T) {
	long, more := make(chan struct{}), make(chan struct{})
	at := serveConns(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			close(long)
			<-more
			if err := r.Context().Err(); err != nil {
				t.Errorf("a further request ended the first: %v", err)
			}
		}
		io.WriteString(w, r.URL.Path)
	}, time.Minute, time.Minute)
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	fmt.Fprintf(conn, "GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
	<-long
	time.AfterFunc(3*watchAfter, func() { close(more) }) // so that it is watched, on most machines
	fmt.Fprintf(conn, "GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, want := range []string{"/long", "/next"} {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); string(body) != want || err != nil {
			t.Errorf("answered %q %v, want %q", body, err, want)
		}
	}
}

// Whoever waits to be asked for its body is told that the stream ends where it is not, and need not send it to be heard.
func TestBodyNotAskedFor(t *testing.T) {
	at := serveConns(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/asked" {
			io.Copy(io.Discard, r.Body)
		}
	}, time.Minute, time.Minute)
	for path, want := range map[string]bool{"/asked": false, "/": true} {
		all := tells(say(t, at, "POST "+path+" HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"), "POST")
		if len(all) == 0 || all[len(all)-1].Close != want {
			t.Errorf("%s: answered %+v, to be the last: %v", path, all, want)
		}
	}
}

// A time that a handler sets for its own response is none of the next one's, nor of what takes the stream over.
func TestDeadlinesEnd(t *testing.T) {
	at := serveConns(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		w.Header().Set("Content-Length", "4") // so that nothing is left to be written
		io.WriteString(w, "said")
		if err := errors.Join(rc.Flush(), rc.SetReadDeadline(time.Unix(1, 0)), rc.SetWriteDeadline(time.Unix(1, 0))); err != nil {
			t.Error(err)
		}
		if r.URL.Path == "/taken" {
			conn, in, err := rc.Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.Copy(conn, in)
		}
	}, time.Minute, time.Minute)
	const request = "GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
	answer := say(t, at, fmt.Sprintf(request+request, "/", "/taken")+"more")
	if all := tells(answer, "GET"); len(all) != 2 || !bytes.HasSuffix(answer, []byte("saidmore")) {
		t.Errorf("%d answers: %q", len(all), answer)
	}
}

// While a body is being sent, for however long, nobody looks again and again whether its caller is still there.
func TestBodyIsNotWatched(t *testing.T) {
	reached := make(chan bool)
	at := serveConns(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			reached <- w.(*response).conn.watcher.Stop()
			io.Copy(w, r.Body)
		}
	}, time.Minute, time.Minute)
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
	if <-reached {
		t.Error("it is watched")
	}
	if all := tells(sayOn(t, conn, "body"), "POST"); len(all) != 2 || all[1].Body != "body" {
		t.Errorf("answered %+v", all)
	}
}

// Of a body that was not there in time its handler may read on, and nobody else does meanwhile.
func TestBodyReadAgain(t *testing.T) {
	late := make(chan struct{})
	at := serveConns(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			return
		}
		rc := http.NewResponseController(w)
		rc.SetReadDeadline(time.Unix(1, 0))
		if _, err := r.Body.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("reading too late: %v", err)
		}
		rc.SetReadDeadline(time.Time{})
		c := w.(*response).conn
		looked := make(chan struct{})
		go func() { c.watch(); close(looked) }()
		for looking := true; looking; {
			select {
			case <-looked:
				looking = false
			default:
				c.mu.Lock()
				looking = !c.watched
				c.mu.Unlock()
				runtime.Gosched()
			}
		}
		if c.mu.Lock(); c.watched {
			t.Error("somebody else reads the body")
		}
		c.mu.Unlock()
		close(late)
		io.Copy(w, r.Body)
	}, time.Minute, time.Minute)
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
	<-late
	if all := tells(sayOn(t, conn, "bodyGET / HTTP/1.1\r\nHost: a\r\n\r\n"), "POST"); len(all) != 2 || all[0].Body != "body" {
		t.Errorf("answered %+v", all)
	}
}

// A stream whose caller sends too slowly, or nothing, is closed.
func TestSlowCallers(t *testing.T) {
	handler, _ := reached()
	for _, text := range []string{"", "GET / HTT", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET"} {
		at := serveConns(t, handler, 50*time.Millisecond, 50*time.Millisecond)
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, text)
		answer, _ := io.ReadAll(conn) // which ends, if only because it was closed before all of the text came
		if n := len(tells(answer, "GET")); n > strings.Count(text, "\r\n\r\n") {
			t.Errorf("%q: %d answers", text, n)
		}
		conn.Close()
	}
}

// Of a body that its handler leaves, little is read, and the caller still learns what was answered.
func TestBodyLeft(t *testing.T) {
	at := serveConns(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) }, time.Minute, time.Minute)
	for size, want := range map[int]int{100: 2, maxUnread - 1: 2, 16 << 20: 1} {
		text := fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
		all := tells(say(t, at, text+"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "GET")
		if len(all) != want || all[0].Status != http.StatusForbidden {
			t.Errorf("%d bytes: %d answers, want %d: %+v", size, len(all), want, all)
		}
	}
}
