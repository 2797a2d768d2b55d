package peer

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"

	manet "github.com/multiformats/go-multiaddr/net"
)

// A lane is beside a connection of the same machine: one from another network does not pass for what comes on that.
func TestLaneFromElsewhere(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", whence), p.join("phone", nil)
	client := phone.client(func(t *Target) {
		t.Addresses = slices.DeleteFunc(t.Addresses, func(a string) bool { return strings.Contains(a, "/quic-v1") })
	}, meter)
	get(t, client, "kindred://meter/")
	l := phone.best(meter.id)
	for _, from := range []net.IP{otherNetwork, net.IPv4(127, 0, 0, 1)} {
		lane, err := laneFrom(t, l, from)
		if err != nil {
			t.Fatal(err)
		}
		c := newCall(l, lane, phone.target(meter), fullFrame(phone.show()))
		if err, want := c.hold(t.Context()), !from.Equal(otherNetwork); (err == nil) != want {
			t.Errorf("a lane from %s beside a connection from %s is taken: %t (%v), want %t", from, l.conn.LocalMultiaddr(), err == nil, err, want)
		}
		lane.Reset()
	}
}

// laneFrom makes a lane beside a link, which comes from another address.
func laneFrom(t *testing.T, l *link, from net.IP) (*lane, error) {
	at, err := manet.ToNetAddr(l.conn.RemoteMultiaddr())
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
	raw, err := dialer.DialContext(t.Context(), at.Network(), at.String())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { raw.Close() })
	conn, err := manet.WrapNetConn(raw)
	if err != nil {
		return nil, err
	}
	config, _ := l.host.identity.ConfigForPeer(l.conn.RemotePeer())
	config.NextProtos = []string{laneALPN}
	secure := tls.Client(begun(conn), config)
	l.mu.Lock()
	l.lanes.open++
	l.mu.Unlock()
	return newLane(secure, l, secure.Close), secure.HandshakeContext(t.Context())
}
