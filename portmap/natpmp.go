package portmap

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// pmpResults are NAT-PMP's result codes (RFC 6886 §3.5).
var pmpResults = []string{
	"", "it does not speak this version", "it is not allowed", "its network fails", "no room for another mapping", "unknown request",
}

// NAT-PMP's requests; an answer's number is 128 more.
const (
	pmpAddress = 0
	pmpMapUDP  = 1
	pmpMapTCP  = 2
)

// parsePMP reads an answer of so many bytes (RFC 6886 §3.2, §3.3).
func parsePMP(b []byte, op byte, size int) (mine bool, err error) {
	if len(b) < 4 || b[0] != 0 || b[1] != op|0x80 {
		return false, nil
	}
	if code := binary.BigEndian.Uint16(b[2:]); code != 0 {
		return true, refused(NATPMP, int(code), pmpResults)
	}
	return len(b) >= size, nil
}

// parsePMPAddress reads the answer to what the router's outside address is.
func parsePMPAddress(b []byte) (at netip.Addr, mine bool, err error) {
	if mine, err = parsePMP(b, pmpAddress, 12); !mine || err != nil {
		return at, mine, err
	}
	return netip.AddrFrom4([4]byte(b[8:12])), true, nil
}

// parsePMPMap reads the answer to a wish: a port outside.
func parsePMPMap(b []byte, op byte, w wish) (m Mapping, mine bool, err error) {
	if mine, err = parsePMP(b, op, 16); !mine || err != nil {
		return m, mine, err
	}
	if binary.BigEndian.Uint16(b[8:]) != w.port {
		return m, false, nil
	}
	port, lease := binary.BigEndian.Uint16(b[10:]), binary.BigEndian.Uint32(b[12:])
	if seconds(w.lease) > 0 && (port == 0 || lease == 0) {
		return m, true, fmt.Errorf("the router maps to port %d for %d seconds, which is nothing", port, lease)
	}
	return Mapping{netip.AddrPortFrom(netip.Addr{}, port), leaseOf(lease)}, true, nil
}

// pmp asks by NAT-PMP.
type pmp struct{ gateway }

func greetNATPMP(ctx context.Context, g gateway) (dialect, error) {
	if _, err := (pmp{g}).outside(ctx); err != nil {
		return nil, err
	}
	return pmp{g}, nil
}

// outside asks for the router's outside address.
func (p pmp) outside(ctx context.Context) (at netip.Addr, err error) {
	err = p.exchange(ctx, []byte{0, pmpAddress}, func(b []byte) (mine bool, err error) {
		at, mine, err = parsePMPAddress(b)
		return mine, err
	})
	return at, err
}

// ask asks for a mapping, or for its end.
func (p pmp) ask(ctx context.Context, w wish) (m Mapping, err error) {
	op := byte(pmpMapUDP)
	if w.protocol == TCP {
		op = pmpMapTCP
	}
	b := binary.BigEndian.AppendUint16([]byte{0, op, 0, 0}, w.port)
	b = binary.BigEndian.AppendUint16(b, w.outside)
	b = binary.BigEndian.AppendUint32(b, seconds(w.lease))
	err = p.exchange(ctx, b, func(b []byte) (mine bool, err error) {
		m, mine, err = parsePMPMap(b, op, w)
		return mine, err
	})
	return m, err
}

func (p pmp) forward(ctx context.Context, w wish) (Mapping, error) {
	m, err := p.ask(ctx, w)
	if err != nil {
		return m, err
	}
	at, _ := p.outside(ctx) // it is forwarded whether the router says where or not
	m.Outside = told(netip.AddrPortFrom(at, m.Outside.Port()), w)
	return m, nil
}

func (p pmp) cancel(ctx context.Context, w wish) error {
	w.lease, w.outside = 0, 0
	_, err := p.ask(ctx, w)
	return err
}
