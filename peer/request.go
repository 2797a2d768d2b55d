package peer

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// checkRequest refuses what cannot be written as a request without saying something else.
func checkRequest(req *http.Request) error {
	if m := req.Method; m != "" && !httpguts.ValidHeaderFieldName(m) { // a token, too
		return fmt.Errorf("the method %.40q is no token", m)
	}
	if h := req.Host; !httpguts.ValidHostHeader(h) {
		return fmt.Errorf("%.80q is no host", h)
	}
	if uri := req.URL.RequestURI(); strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("the path %.80q has bytes that end it", uri)
	}
	for _, header := range []http.Header{req.Header, req.Trailer} {
		for name, values := range header {
			if !httpguts.ValidHeaderFieldName(name) {
				return fmt.Errorf("%.80q is no name of a header", name)
			}
			for _, v := range values {
				if !httpguts.ValidHeaderFieldValue(v) {
					return fmt.Errorf("the header %s has bytes that end it", name) // its value may be a secret
				}
			}
		}
	}
	return nil
}

// bodyLength returns the length of a request's body, -1 if that is not known.
func bodyLength(req *http.Request) int64 {
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		return 0
	case req.ContentLength > 0:
		return req.ContentLength
	}
	return -1
}

// appendHead appends a request that was checked, up to its body.
func appendHead(b []byte, req *http.Request, length int64) []byte {
	method, host := req.Method, req.Host
	if method == "" {
		method = http.MethodGet
	}
	if host == "" {
		host = req.URL.Host
	}
	b = append(append(append(append(b, method...), ' '), req.URL.RequestURI()...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, host...), "\r\n"...)
	switch {
	case length > 0, length == 0 && (method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch):
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), length, 10), "\r\n"...)
	case length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		for name := range req.Trailer {
			b = append(append(append(b, "Trailer: "...), name...), "\r\n"...)
		}
	}
	if req.Close {
		b = append(b, "Connection: close\r\n"...)
	}
	b = appendFields(b, req.Header)
	return append(b, "\r\n"...)
}

// appendFields appends the fields of a header that say nothing of framing. What would end a line ends nothing.
func appendFields(b []byte, header http.Header) []byte {
	for name, values := range header {
		if framing(name) || !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				v = strings.Map(blank, v)
			}
			b = append(append(append(append(b, name...), ": "...), strings.TrimSpace(v)...), "\r\n"...)
		}
	}
	return b
}

// blank makes a space of what may not stand in a header.
func blank(r rune) rune {
	if r < ' ' && r != '\t' || r == 0x7f {
		return ' '
	}
	return r
}

// framing reports whether a header says what the request itself says elsewhere.
func framing(name string) bool {
	switch len(name) { // all others at a glance
	case len("Host"), len("Trailer"), len("Content-Length"), len("Transfer-Encoding"):
		name = http.CanonicalHeaderKey(name)
		return name == "Host" || name == "Trailer" || name == "Content-Length" || name == "Transfer-Encoding"
	}
	return false
}

// appendBody appends a body of length bytes.
func appendBody(b []byte, req *http.Request, length int64) ([]byte, error) {
	if length == 0 {
		return b, nil
	}
	from := len(b)
	b = append(b, make([]byte, length)...)
	if n, err := io.ReadFull(req.Body, b[from:]); err != nil {
		return b, shortBody(int64(n), length, err)
	}
	return b, endBody(req.Body, length)
}

// writeBody writes a body of length bytes.
func writeBody(w io.Writer, body io.Reader, length int64) error {
	n, err := io.CopyBuffer(onlyWriter{w}, io.LimitReader(body, length), make([]byte, inlineBody))
	if err == nil && n < length {
		err = io.EOF
	}
	if err != nil {
		return shortBody(n, length, err)
	}
	return endBody(body, length)
}

// An onlyWriter hides what else w can do from io.Copy.
type onlyWriter struct{ io.Writer }

func shortBody(n, length int64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the body has %d bytes, of the %d that were announced", n, length)
	}
	return fmt.Errorf("sending the body: %w", err)
}

// endBody checks that nothing follows in a body.
func endBody(body io.Reader, length int64) error {
	var one [1]byte
	switch n, err := body.Read(one[:]); {
	case n > 0:
		return fmt.Errorf("the body has more than the %d bytes that were announced", length)
	case err != nil && err != io.EOF:
		return fmt.Errorf("sending the body: %w", err)
	}
	return nil
}

// sizeRoom is what the size of a chunk takes before it: four hexadecimal digits and a line end.
const sizeRoom = 6

// writeChunks writes a body of any length, each piece at once, and the trailer.
func writeChunks(w io.Writer, req *http.Request) error {
	b := make([]byte, sizeRoom+inlineBody+2)
	for {
		n, err := req.Body.Read(b[sizeRoom : sizeRoom+inlineBody])
		if n > 0 {
			chunk := copyBefore(b, fmt.Sprintf("%x\r\n", n))
			if _, err := w.Write(append(b[chunk:sizeRoom+n], "\r\n"...)); err != nil {
				return err
			}
		}
		if err == io.EOF {
			_, err = w.Write(append(appendFields([]byte("0\r\n"), req.Trailer), "\r\n"...))
			return err
		}
		if err != nil {
			return fmt.Errorf("sending the body: %w", err)
		}
	}
}

// copyBefore writes size right before sizeRoom, and returns where it begins.
func copyBefore(b []byte, size string) int {
	at := sizeRoom - len(size)
	copy(b[at:], size)
	return at
}
