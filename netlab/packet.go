package netlab

import (
	"encoding/binary"
	"net/netip"
)

// The transport protocols that ParsePacket reads (IANA, Protocol Numbers).
const (
	TCP = 6
	UDP = 17
)

// A Packet is what is in a frame that was captured.
type Packet struct {
	Transport int // TCP or UDP
	From, To  netip.AddrPort
	Data      []byte // behind the transport's header
}

// The lengths of headers, in bytes, and where in them things are.
const (
	ethernetHeader = 14
	etherType      = 12
	etherIPv4      = 0x0800
	etherIPv6      = 0x86dd

	ipv4Header = 20 // at least
	ipv6Header = 40
	udpHeader  = 8
	tcpHeader  = 20 // at least
)

// ParsePacket reads an Ethernet frame with IPv4 (RFC 791) or IPv6 (RFC 8200) and TCP or UDP in it; false if that is not
// what is in it, or it is cut short. IPv6's extension headers are not read.
func ParsePacket(frame []byte) (p Packet, ok bool) {
	if len(frame) < ethernetHeader {
		return p, false
	}
	ip := frame[ethernetHeader:]
	var from, to netip.Addr
	var segment []byte
	switch binary.BigEndian.Uint16(frame[etherType:]) {
	case etherIPv4:
		if len(ip) < ipv4Header || ip[0]>>4 != 4 {
			return p, false
		}
		header, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
		if header < ipv4Header || total < header || len(ip) < total || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
			return p, false
		}
		p.Transport = int(ip[9])
		from, to = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
		segment = ip[header:total]
	case etherIPv6:
		if len(ip) < ipv6Header || ip[0]>>4 != 6 {
			return p, false
		}
		total := ipv6Header + int(binary.BigEndian.Uint16(ip[4:]))
		if len(ip) < total {
			return p, false
		}
		p.Transport = int(ip[6])
		from, to = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
		segment = ip[ipv6Header:total]
	default:
		return p, false
	}
	skip := udpHeader
	switch p.Transport {
	case UDP:
	case TCP:
		if len(segment) < tcpHeader {
			return p, false
		}
		skip = max(tcpHeader, int(segment[12]>>4)*4)
	default:
		return p, false
	}
	if len(segment) < skip {
		return p, false
	}
	p.From = netip.AddrPortFrom(from, binary.BigEndian.Uint16(segment))
	p.To = netip.AddrPortFrom(to, binary.BigEndian.Uint16(segment[2:]))
	p.Data = segment[skip:]
	return p, true
}
