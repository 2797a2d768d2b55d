package kindred

import (
	"context"
	"fmt"
	"net"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

// Dial connects to a service that the thing at a path of the node's own tree offers (thing.Service), by network ("tcp"
// or "udp") and port. For TCP the connection also has CloseWrite; for UDP each Read and Write is one datagram, of at most
// 65,507 bytes. When the right to it ends, so does the connection, and never with io.EOF. The context is for connecting
// alone.
func (n *Node) Dial(ctx context.Context, path identity.Path, network string, port uint16) (conn net.Conn, err error) {
	err = n.Use(ctx, path, func(c *thing.Client) error {
		conn, err = c.Connect(ctx, network, port)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kindred: dialing %s:%d: %w", path, port, err)
	}
	return conn, nil
}
