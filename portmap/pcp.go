package portmap

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// pcpResults are PCP's result codes (RFC 6887 §7.4).
var pcpResults = []string{
	"", "it does not speak this version", "it is not allowed", "malformed request", "it does not map ports",
	"unknown option", "malformed option", "its network fails", "no room for another mapping", "unknown protocol",
	"too many mappings of this machine", "this outside address or port cannot be had", "another NAT is in between",
	"too many peers",
}

const (
	pcpVersion   = 2
	pcpAnnounce  = 0
	pcpMap       = 1
	pcpIsAnswer  = 0x80
	pcpHeaderLen = 24
	pcpMapLen    = pcpHeaderLen + 36

	pcpNotAllowed = 2 // a result code
)

// transport is the number of a protocol (IANA's protocol numbers).
func transport(protocol string) byte {
	if protocol == TCP {
		return 6
	}
	return 17
}

// pcpRequest is a request's header (RFC 6887 §7.1).
func pcpRequest(op byte, lease uint32, self netip.Addr) []byte {
	b := append(make([]byte, 0, pcpMapLen), pcpVersion, op, 0, 0)
	b = binary.BigEndian.AppendUint32(b, lease)
	client := self.As16()
	return append(b, client[:]...)
}

// pcpMapRequest asks for a mapping (RFC 6887 §11.1); for its end with no lease.
func pcpMapRequest(w wish, self netip.Addr) []byte {
	b := append(pcpRequest(pcpMap, seconds(w.lease), self), w.nonce[:]...)
	b = append(b, transport(w.protocol), 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, w.port)
	b = binary.BigEndian.AppendUint16(b, w.outside)
	which := netip.IPv4Unspecified().As16() // any of IPv4
	if w.ip.Is6() {
		which = netip.IPv6Unspecified().As16()
	}
	return append(b, which[:]...)
}

// parsePCP reads an answer's header (RFC 6887 §7.2). An answer in NAT-PMP says that PCP is not spoken.
func parsePCP(b []byte, op byte) (mine bool, err error) {
	switch {
	case len(b) < 4 || len(b) > maxDatagram:
		return false, nil
	case b[0] != pcpVersion && b[1]&pcpIsAnswer != 0:
		return true, refused(PCP, 1, pcpResults)
	case len(b) < pcpHeaderLen || b[1] != op|pcpIsAnswer:
		return false, nil
	case b[3] != 0:
		return true, refused(PCP, int(b[3]), pcpResults)
	}
	return true, nil
}

// parsePCPMap reads the answer to pcpMapRequest. What belongs to another request is not mine.
func parsePCPMap(b []byte, w wish) (m Mapping, mine bool, err error) {
	mine, err = parsePCP(b, pcpMap)
	if !mine || len(b) < pcpMapLen {
		return Mapping{}, mine && err != nil, err
	}
	lease, body := binary.BigEndian.Uint32(b[4:]), b[pcpHeaderLen:]
	if !bytes.Equal(body[:12], w.nonce[:]) || body[12] != transport(w.protocol) || binary.BigEndian.Uint16(body[16:]) != w.port {
		return Mapping{}, false, nil
	}
	if err != nil {
		return Mapping{}, true, err
	}
	at := netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[20:36])).Unmap(), binary.BigEndian.Uint16(body[18:]))
	if seconds(w.lease) > 0 && (at.Port() == 0 || lease == 0) {
		return Mapping{}, true, fmt.Errorf("the router maps to %s for %d seconds, which is nothing", at, lease)
	}
	return Mapping{told(at, w), leaseOf(lease)}, true, nil
}

// pcp asks by PCP.
type pcp struct{ gateway }

func greetPCP(ctx context.Context, g gateway) (dialect, error) {
	err := g.exchange(ctx, pcpRequest(pcpAnnounce, 0, g.self), func(b []byte) (bool, error) { return parsePCP(b, pcpAnnounce) })
	if err != nil {
		return nil, err
	}
	return pcp{g}, nil
}

func (p pcp) forward(ctx context.Context, w wish) (m Mapping, err error) {
	at := p.from(w.ip)
	err = at.exchange(ctx, pcpMapRequest(w, at.self), func(b []byte) (mine bool, err error) {
		m, mine, err = parsePCPMap(b, w)
		return mine, err
	})
	return m, err
}

// cancel asks for the end. Some routers (miniupnpd 2.3.1, of a firewall's port that was renewed) forget who asked for it,
// and end it for nobody; they are asked for the shortest lease there is.
func (p pcp) cancel(ctx context.Context, w wish) error {
	w.lease = 0
	_, err := p.forward(ctx, w)
	if hasCode(err, pcpNotAllowed) {
		w.lease = time.Second
		_, _ = p.forward(ctx, w) // what it answered to the first stands
	}
	return err
}
