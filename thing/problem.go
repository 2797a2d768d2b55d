package thing

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// Problem is an error as it crosses the wire: problem details for HTTP APIs
// (RFC 9457). A device's functions and the authorize function may return one to
// choose the status; a client's methods return one for every answer that is not
// a success.
type Problem struct {
	Type   string `json:"type,omitempty"`   // URI reference; empty means about:blank
	Title  string `json:"title,omitempty"`  // the status in words, where the type says nothing else
	Status int    `json:"status,omitempty"` // HTTP status
	Detail string `json:"detail,omitempty"` // what went wrong, for people
	Code   string `json:"code,omitempty"`   // what went wrong, for programs; its values are its user's
}

// Error gives the detail, or what is known instead.
func (p *Problem) Error() string {
	return cmp.Or(p.Detail, p.Title, http.StatusText(p.Status), "unknown problem")
}

const (
	jsonType    = "application/json"
	problemType = "application/problem+json"
	streamType  = "text/event-stream"
	// maxProblem bounds the problem details that a client reads.
	maxProblem = 16 << 10
)

// problemOf makes a complete problem of an error, with the given status where
// the error does not choose one.
func problemOf(err error, status int) *Problem {
	var q Problem
	if p := (*Problem)(nil); errors.As(err, &p) && p != nil {
		q = *p
	} else {
		q.Detail = err.Error()
	}
	if q.Status < 400 || q.Status > 599 {
		q.Status = status
	}
	q.Title = cmp.Or(q.Title, http.StatusText(q.Status))
	return &q
}

// refuse answers with a problem.
func refuse(w http.ResponseWriter, err error, status int) {
	p := problemOf(err, status)
	body, _ := json.Marshal(p) // strings and a number always have a JSON form
	respond(w, p.Status, problemType, body)
}

// shortBody is a length of which net/http says by itself how much it is, as it does with a few KB.
const shortBody = 1 << 10

// respond answers with a whole body.
func respond(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	if body != nil {
		h["Content-Type"] = []string{contentType}
	}
	if len(body) > shortBody {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	w.WriteHeader(status)
	w.Write(body) // the caller's loss alone, if it is gone
}

// readProblem makes a problem of an answer that is not a success.
func readProblem(resp *http.Response) *Problem {
	p := &Problem{Status: resp.StatusCode}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err == nil && media == problemType && json.Unmarshal(body, p) == nil {
		p.Status = resp.StatusCode
		return p
	}
	p.Title = http.StatusText(resp.StatusCode)
	if media == "text/plain" {
		p.Detail = strings.TrimSpace(strings.ToValidUTF8(string(body[:min(len(body), 200)]), ""))
	}
	return p
}
