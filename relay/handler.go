package relay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/peer"
)

const (
	notePath      = "/rendezvous/1/"
	householdPath = "/household/1"
)

// A desk answers calls.
type desk struct {
	board *board
	tag   func(caller peer.Remote, tag peer.Tag) error
	now   func() time.Time
	count *counts
}

func (d *desk) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT "+notePath+"{id}", d.paced(d.put))
	mux.HandleFunc("GET "+notePath+"{id}", d.paced(d.get))
	mux.HandleFunc("PUT "+householdPath, d.paced(d.household))
	return mux
}

// A caller is who calls, and from where.
type caller struct {
	peer.Remote
	from netip.Prefix
}

// paced answers only as many requests of an address as are allowed.
func (d *desk) paced(serve func(http.ResponseWriter, *http.Request, caller)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		remote, ok := peer.Caller(r.Context())
		from, err := originOf(remote.Path.Address)
		if !ok || err != nil {
			refuse(w, http.StatusForbidden)
			return
		}
		if !d.board.admit(from, d.now()) {
			d.count.request(outcomePaced)
			refuse(w, http.StatusTooManyRequests)
			return
		}
		serve(w, r, caller{remote, from})
	}
}

// originOf returns what counts as one address, of a multiaddr.
func originOf(address string) (netip.Prefix, error) {
	parts := strings.SplitN(address, "/", 4)
	if len(parts) < 3 {
		return netip.Prefix{}, errors.New("relay: no IP address")
	}
	ip, err := netip.ParseAddr(parts[2])
	if err != nil {
		return netip.Prefix{}, err
	}
	return peer.Origin(ip), nil
}

func (d *desk) put(w http.ResponseWriter, r *http.Request, from caller) {
	id, err := ParseIdentifier(r.PathValue("id"))
	if err != nil {
		refuse(w, http.StatusBadRequest)
		return
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNote))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge)
		return
	}
	n, err := parseNote(raw)
	if err == nil && n.id != id {
		err = ErrForged
	}
	if err == nil {
		err = d.board.put(n, from.from, d.now())
	}
	if err != nil {
		d.count.request(outcomeRefused)
		refuse(w, statusOf(err))
		return
	}
	d.count.request(outcomeKept)
	w.WriteHeader(http.StatusNoContent)
}

// statusOf says what is wrong with a note.
func statusOf(err error) int {
	for _, s := range []struct {
		err    error
		status int
	}{
		{ErrForged, http.StatusForbidden}, {ErrExpired, http.StatusGone}, {errOlder, http.StatusConflict},
		{errMany, http.StatusTooManyRequests}, {errFull, http.StatusInsufficientStorage},
	} {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	return http.StatusBadRequest
}

func (d *desk) get(w http.ResponseWriter, r *http.Request, _ caller) {
	id, err := ParseIdentifier(r.PathValue("id"))
	raw, ok := []byte(nil), false
	if err == nil {
		raw, ok = d.board.get(id, d.now())
	}
	if !ok {
		d.count.request(outcomeMissed)
		refuse(w, http.StatusNotFound)
		return
	}
	d.count.request(outcomeFound)
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(raw) // the caller may have gone away
}

func (d *desk) household(w http.ResponseWriter, r *http.Request, from caller) {
	var tag peer.Tag
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(len(tag))))
	if err != nil || copy(tag[:], raw) != len(tag) {
		refuse(w, http.StatusBadRequest)
		return
	}
	if err := d.tag(from.Remote, tag); err != nil {
		refuse(w, http.StatusTooManyRequests)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// refuse answers with a status and its name.
func refuse(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) }

// admit lets in everybody who shows nothing: who calls is none of a relay's business.
func admit(_ context.Context, _ peerKey, hello []byte) (peer.Admission, error) {
	if hello != nil {
		return peer.Admission{}, errors.New("relay: a relay is shown no hello")
	}
	return peer.Admission{}, nil
}
