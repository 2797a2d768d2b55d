package peer

import (
	"context"
	"fmt"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// carrying is a bare whose circuits keep to limits, and to their holder's rate.
type carrying struct {
	bare
	carrier *carrier
}

// SetStreamHandler has serve take streams on which reservations and circuits are asked for, not too many of one address.
func (b carrying) SetStreamHandler(p protocol.ID, serve network.StreamHandler) {
	b.bare.SetStreamHandler(p, func(s network.Stream) {
		at := neighbourhood(s.Conn().RemoteMultiaddr())
		if !at.IsValid() || !b.carrier.asking.enter(at) {
			b.carrier.note(func(s *RelayStats) { s.Refused[RefusedCalls]++ })
			s.ResetWithError(codeBusy)
			return
		}
		serve(&asked{Stream: s, leave: sync.OnceFunc(func() { b.carrier.asking.leave(at) })})
	})
}

// spareAsking is how many more streams of one address than circuits may be open, so that those who only want reservations
// get them.
const spareAsking = 64

// An asked is the caller's end of a circuit, or the stream of a reservation.
type asked struct {
	network.Stream
	leave func()
}

// Close ends the stream.
func (s *asked) Close() error {
	s.leave()
	return s.Stream.Close()
}

// Reset cuts the stream.
func (s *asked) Reset() error {
	s.leave()
	return s.Stream.Reset()
}

// NewStream opens the stream to the callee of a circuit, through which all that is carried passes, both ways.
func (b carrying) NewStream(ctx context.Context, to libp2ppeer.ID, ps ...protocol.ID) (network.Stream, error) {
	c := b.carrier
	c.mu.Lock()
	held := c.holders[to]
	c.mu.Unlock()
	if held == nil {
		return nil, fmt.Errorf("%s holds no reservation", to)
	}
	s, err := b.bare.NewStream(ctx, to, ps...)
	if err != nil {
		return nil, err
	}
	carried := &carried{Stream: s, carrier: c, holder: held}
	carried.ctx, carried.end = context.WithCancel(c.host.ctx)
	return carried, nil
}

// A carried is the callee's end of a circuit. What was read is handed on, and what was handed over is written, when it
// is the holder's turn; meanwhile nothing more is taken from whoever sends, whose window closes.
type carried struct {
	network.Stream
	carrier *carrier
	holder  *holder
	ctx     context.Context // ends with the stream
	end     context.CancelFunc
}

// Read reads, and waits until it may be handed on.
func (s *carried) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if werr := s.wait(n); werr != nil {
		return 0, werr
	}
	return n, err
}

// Write waits until p may be handed on, and writes it.
func (s *carried) Write(p []byte) (int, error) {
	if err := s.wait(len(p)); err != nil {
		return 0, err
	}
	return s.Stream.Write(p)
}

// wait waits until the holder's turn for n bytes has come.
func (s *carried) wait(n int) error {
	for ; n > 0; n -= relayBuffer {
		piece := min(n, relayBuffer)
		if err := s.holder.pace.WaitN(s.ctx, piece); err != nil {
			return err
		}
		s.carrier.mu.Lock()
		share := s.holder.share
		s.carrier.mu.Unlock()
		if share == nil {
			continue
		}
		if err := s.carrier.line.wait(s.ctx, share, piece); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the stream.
func (s *carried) Close() error {
	s.end()
	return s.Stream.Close()
}

// Reset cuts the stream.
func (s *carried) Reset() error {
	s.end()
	return s.Stream.Reset()
}

// ResetWithError cuts the stream and says why.
func (s *carried) ResetWithError(code network.StreamErrorCode) error {
	s.end()
	return s.Stream.ResetWithError(code)
}
