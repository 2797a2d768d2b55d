package peer

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-yamux/v5"
)

var (
	// ErrUnreachable marks every failure to get an answer from a peer: nobody
	// at its addresses, a lost connection, no hello in time. The request may
	// have been executed if a connection was lost after it was sent.
	ErrUnreachable = errors.New("unreachable")

	// ErrWrongKey marks a call that found someone else at the address: the
	// holder of another key. Nothing was sent to it.
	ErrWrongKey = errors.New("another key answered")

	// ErrRefused marks a call for which the callee showed no hello where
	// [Target.Check] insists on one.
	ErrRefused = errors.New("the peer showed no hello")

	// ErrHelloTooLong marks a hello of one's own that exceeds [MaxHello]. Nothing
	// was sent.
	ErrHelloTooLong = errors.New("hello too long")

	// ErrClosed marks a call on a host that was closed.
	ErrClosed = errors.New("host closed")
)

// errForgotten reports that the callee no longer knew the hello whose digest it
// was shown; the next stream shows it in full.
var errForgotten = errors.New("the peer does not remember the hello it was shown")

// A staleError is the loss, before anything of an answer came, of a stream or a
// connection that had served before: likely the callee was restarted or moved.
type staleError struct{ error }

func (e staleError) Unwrap() error { return e.error }

// errUnsent marks a request of which the stream took nothing.
var errUnsent = errors.New("nothing was sent")

// errLongHeader reports an answer whose header does not end.
var errLongHeader = fmt.Errorf("the answer's header is longer than %d bytes, or has too many lines", maxHeader)

// A CallError is the failure of a call: errors of this package that come out of
// [Host.Transport] are of this type, outside whatever net/http wrapped around
// them. Match what went wrong with errors.Is and As.
type CallError struct {
	Peer  string // libp2p's name of the callee's key
	Doing string // "dialing", "reading", …
	Err   error
}

func (e *CallError) Error() string { return fmt.Sprintf("peer: %s %s: %v", e.Doing, e.Peer, e.Err) }

// Unwrap returns what went wrong.
func (e *CallError) Unwrap() error { return e.Err }

// callError returns err as a CallError; it leaves one that is one already.
func callError(id libp2ppeer.ID, doing string, err error) error {
	var ce *CallError
	if err == nil || errors.As(err, &ce) {
		return err
	}
	return &CallError{Peer: id.String(), Doing: doing, Err: err}
}

// Stream error codes (the letter k, and a number).
const (
	codeForgotten network.StreamErrorCode = 0x6b01 // a digest of a hello never shown or forgotten
	codeMalformed network.StreamErrorCode = 0x6b02 // bytes not in the protocol's form
	codeBusy      network.StreamErrorCode = 0x6b03 // too many streams, too slow, or closing
)

// late reports whether err is that a stream's deadline has passed. QUIC and yamux say it differently.
func late(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, yamux.ErrTimeout)
}

// lost turns the error of a dead stream or connection into one that says so.
func lost(err error) error {
	var se *network.StreamError
	if errors.As(err, &se) && se.Remote {
		switch se.ErrorCode {
		case codeForgotten:
			return errForgotten
		case codeMalformed:
			return errors.New("the peer could not read what it was sent")
		case codeBusy:
			return fmt.Errorf("%w: the peer is busy", ErrUnreachable)
		}
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: connection lost: %w", ErrUnreachable, err)
}
