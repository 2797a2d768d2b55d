package relay

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/kindred-iot/kindred/peer"
)

// An outcome is what came of a call at the board.
type outcome int

const (
	outcomeKept outcome = iota
	outcomeRefused
	outcomeFound
	outcomeMissed
	outcomePaced
	outcomes
)

var outcomeNames = [outcomes]string{"kept", "refused", "found", "missed", "paced"}

// counts counts calls by outcome.
type counts struct{ requests [outcomes]atomic.Uint64 }

func newCounts() *counts { return &counts{} }

func (c *counts) request(o outcome) { c.requests[o].Add(1) }

// reasons are all that a refusal to carry can be for, so that a reason is told of before it first occurs.
var reasons = []string{peer.RefusedAddress, peer.RefusedCalls, peer.RefusedCircuits, peer.RefusedFull, peer.RefusedHousehold,
	peer.RefusedMalformed, peer.RefusedNoHolder, peer.RefusedUnreachable}

// Metrics serves what the relay does in Prometheus' text format (version 0.0.4): numbers, and nothing of whom.
func (r *Relay) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		r.writeMetrics(w)
	})
}

func (r *Relay) writeMetrics(w io.Writer) {
	metric := func(name, kind, help string, value any) {
		fmt.Fprintf(w, "# HELP kindred_relay_%s %s\n# TYPE kindred_relay_%s %s\n", name, help, name, kind)
		if value != nil {
			fmt.Fprintf(w, "kindred_relay_%s %d\n", name, value)
		}
	}
	s := r.host.RelayStats()
	notes, bytes := r.board.size(r.now())
	metric("reservations", "gauge", "Members that can be called through the relay now.", s.Reservations)
	metric("circuits", "gauge", "Calls carried now.", s.Circuits)
	metric("reserved_total", "counter", "Reservations given or renewed.", s.Reserved)
	metric("circuits_total", "counter", "Calls carried.", s.Opened)
	metric("carried_bytes_total", "counter", "Bytes carried, both ways together.", s.Bytes)
	metric("refused_total", "counter", "Reservations and calls refused.", nil)
	for _, reason := range reasons {
		fmt.Fprintf(w, "kindred_relay_refused_total{reason=%q} %d\n", reason, s.Refused[reason])
	}
	metric("notes", "gauge", "Notes held for members who look for each other.", notes)
	metric("notes_bytes", "gauge", "Their size.", bytes)
	metric("requests_total", "counter", "Requests about notes.", nil)
	for o, name := range outcomeNames {
		fmt.Fprintf(w, "kindred_relay_requests_total{outcome=%q} %d\n", name, r.count.requests[o].Load())
	}
}
