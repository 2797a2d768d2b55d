package portmap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// pcpPort is where routers take requests of PCP and of NAT-PMP.
const pcpPort = 5351

// maxDatagram is the longest answer of PCP (RFC 6887 §7).
const maxDatagram = 1100

// resend is how long an answer is awaited before the request is sent again; each further time twice as long.
const resend = 250 * time.Millisecond

// exchange sends a request until an answer comes that take takes, or ctx ends.
func (g gateway) exchange(ctx context.Context, request []byte, take func(answer []byte) (mine bool, err error)) error {
	from := &net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.self, 0))}
	conn, err := from.DialContext(ctx, "udp4", netip.AddrPortFrom(g.router, pcpPort).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	answer := make([]byte, maxDatagram+1)
	for wait := resend; ; wait *= 2 {
		_, err := conn.Write(request)
		for over := time.Now().Add(wait); err == nil; {
			var n int
			conn.SetReadDeadline(over)
			if n, err = conn.Read(answer); err == nil {
				if mine, err := take(answer[:n]); mine {
					return err
				}
			}
		}
		if ctx.Err() != nil {
			return errors.New("no answer")
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) { // an ICMP error: nobody is there
			return err
		}
	}
}

// A refusal is a router's result code that is not success.
type refusal struct {
	by   string
	code int
	name string
}

func (r refusal) Error() string {
	return fmt.Sprintf("the router refuses: %s (%s %d)", r.name, r.by, r.code)
}

func refused(by string, code int, names []string) error {
	name := "it does not say why"
	if code < len(names) {
		name = names[code]
	}
	return refusal{by, code, name}
}

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
)

// transport is the number of a protocol (IANA's protocol numbers).
func transport(protocol string) byte {
	if protocol == TCP {
		return 6
	}
	return 17
}

// seconds is a lease on the wire.
func seconds(lease time.Duration) uint32 { return uint32(lease / time.Second) }

// maxLease bounds what is believed of a lease.
const maxLease = 24 * time.Hour

func leaseOf(seconds uint32) time.Duration {
	return min(time.Duration(seconds)*time.Second, maxLease)
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
	any4 := netip.IPv4Unspecified().As16()
	return append(b, any4[:]...)
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
	return Mapping{told(at), leaseOf(lease)}, true, nil
}

// told is where a router says that it forwards: no address is none that could be meant.
func told(at netip.AddrPort) netip.AddrPort {
	if !at.Addr().Is4() || at.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.Addr{}, at.Port())
	}
	return at
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
	err = p.exchange(ctx, pcpMapRequest(w, p.self), func(b []byte) (mine bool, err error) {
		m, mine, err = parsePCPMap(b, w)
		return mine, err
	})
	return m, err
}

func (p pcp) cancel(ctx context.Context, w wish) error {
	w.lease = 0
	_, err := p.forward(ctx, w)
	return err
}
