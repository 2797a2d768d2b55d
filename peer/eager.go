package peer

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	libp2ptransport "github.com/libp2p/go-libp2p/core/transport"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	manet "github.com/multiformats/go-multiaddr/net"
)

// An eager upgrader does not wait for the callee to agree to TLS, to which there is no alternative: the caller's first
// bytes of TLS go out with the question. That saves a round trip on TCP and on circuits.
type eager struct {
	libp2ptransport.Upgrader
	host *Host
}

// UpgradeGatedMaListener makes a listener of connections, of which lanes are taken apart.
func (u eager) UpgradeGatedMaListener(t libp2ptransport.Transport, l libp2ptransport.GatedMaListener) libp2ptransport.Listener {
	return sorted{u.Upgrader.UpgradeGatedMaListener(t, l), u.host}
}

// Upgrade makes a connection of conn.
func (u eager) Upgrade(ctx context.Context, t libp2ptransport.Transport, conn manet.Conn, dir network.Direction, id libp2ppeer.ID,
	scope network.ConnManagementScope) (libp2ptransport.CapableConn, error) {
	if dir == network.DirOutbound {
		asked := newAsking(conn)
		if stat, ok := conn.(network.ConnStat); ok { // a circuit's, which says that it is one
			conn = askingCircuit{asked, stat}
		} else {
			conn = asked
		}
	}
	return u.Upgrader.Upgrade(ctx, t, conn, dir, id, scope)
}

// An asking is a connection on which multistream-select is told at once what it will hear: the tokens it wrote. They go
// out before the next bytes, and the true answer has to be the same.
type asking struct {
	manet.Conn

	reading sync.Mutex
	told    []byte // what is left to tell multistream-select
	due     []byte // what is left to come of the true answer

	writing sync.Mutex
	heard   int    // how many bytes multistream-select has yet to write
	held    []byte // what it wrote, until there is more
}

// agreed is what each end says where they agree.
var agreed = appendToken(appendToken(nil, multistream), libp2ptls.ID)

func newAsking(conn manet.Conn) *asking {
	return &asking{Conn: conn, told: agreed, due: agreed, heard: len(agreed)}
}

// begun is an asking of which multistream-select has said and heard all.
func begun(conn manet.Conn) *asking {
	return &asking{Conn: conn, due: agreed, held: slices.Clone(agreed)}
}

// Write holds the tokens back, and writes them before the first bytes that follow.
func (c *asking) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.heard > 0 {
		n := min(c.heard, len(p))
		c.held = append(c.held, p[:n]...)
		if c.heard -= n; n == len(p) {
			return n, nil
		}
		m, err := c.flush(p[n:])
		return n + m, err
	}
	if c.held != nil {
		return c.flush(p)
	}
	return c.Conn.Write(p)
}

// flush writes what is held and p. writing is held.
func (c *asking) flush(p []byte) (int, error) {
	held := c.held
	c.held = nil
	n, err := c.Conn.Write(append(held, p...))
	return max(0, n-len(held)), err
}

// Read tells multistream-select what it wants to hear, and then reads what follows the true answer.
func (c *asking) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if len(c.told) > 0 {
		n := copy(p, c.told)
		c.told = c.told[n:]
		return n, nil
	}
	for len(c.due) > 0 {
		answer := make([]byte, len(c.due))
		n, err := c.Conn.Read(answer)
		if string(answer[:n]) != string(c.due[:n]) {
			return 0, fmt.Errorf("the callee does not speak %s: it answered %q", libp2ptls.ID, answer[:n])
		}
		if c.due = c.due[n:]; err != nil {
			return 0, truncated(err)
		}
	}
	return c.Conn.Read(p)
}

// An askingCircuit is an asking that tells what kind of connection it is.
type askingCircuit struct {
	*asking
	network.ConnStat
}
