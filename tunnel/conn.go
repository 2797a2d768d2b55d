package tunnel

import (
	"fmt"
	"net"
	"sync"
)

// end is what the ends of all tunnels have: the stream, and a turn to write
// capsules to it.
type end struct {
	net.Conn

	writing sync.Mutex
	broken  bool // no more can be written; guarded by writing
}

// write writes a capsule. One that was not written whole is the last.
func (e *end) write(capsule []byte) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	if e.broken {
		return fmt.Errorf("tunnel: writing: %w", net.ErrClosed)
	}
	_, err := e.Conn.Write(capsule)
	e.broken = err != nil
	return err
}

// Abort implements [Conn].
func (e *end) Abort() error {
	if s, ok := e.Conn.(interface{ Reset() error }); ok {
		_ = s.Reset() // the stream may be over already
	}
	return e.Conn.Close()
}
