package portmap

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	router = netip.MustParseAddr("192.168.1.1")
	self   = netip.MustParseAddr("192.168.1.2")
	asked  = wish{inside: inside{UDP, 4711, netip.Addr{}}, outside: 4711, lease: 10 * time.Minute, nonce: [12]byte{1, 2, 3}}
)

// pcpAnswer is what a router answers to a wish.
func pcpAnswer(w wish, code byte, lease uint32, outside string) []byte {
	b := pcpMapRequest(w, self)
	b[1] |= pcpIsAnswer
	b[3] = code
	binary.BigEndian.PutUint32(b[4:], lease)
	at := netip.MustParseAddrPort(outside)
	binary.BigEndian.PutUint16(b[42:], at.Port())
	ip := at.Addr().As16()
	copy(b[44:], ip[:])
	return b
}

// The bytes of a request are those of RFC 6887, figures 2 and 9.
func TestPCPRequest(t *testing.T) {
	want := []byte{
		2, 1, 0, 0, 0, 0, 2, 0x58, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 2,
		1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0x12, 0x67, 0x12, 0x67, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0,
	}
	if got := pcpMapRequest(asked, self); !bytes.Equal(got, want) {
		t.Errorf("got  % x\nwant % x", got, want)
	}
}

func TestParsePCPMap(t *testing.T) {
	other := asked
	other.nonce[0] = 9
	tcp := asked
	tcp.protocol = TCP
	for _, tt := range []struct {
		name   string
		answer []byte
		want   Mapping
		mine   bool
		err    string
	}{
		{"mapped", pcpAnswer(asked, 0, 300, "9.9.9.9:5000"), Mapping{netip.MustParseAddrPort("9.9.9.9:5000"), 5 * time.Minute}, true, ""},
		{"forever", pcpAnswer(asked, 0, 1<<32-1, "9.9.9.9:5000"), Mapping{netip.MustParseAddrPort("9.9.9.9:5000"), maxLease}, true, ""},
		{"no address", pcpAnswer(asked, 0, 300, "0.0.0.0:5000"), Mapping{netip.AddrPortFrom(netip.Addr{}, 5000), 5 * time.Minute}, true, ""},
		{"refused", pcpAnswer(asked, 2, 300, "0.0.0.0:0"), Mapping{}, true, "the router refuses: it is not allowed (PCP 2)"},
		{"refused, and who knows why", pcpAnswer(asked, 99, 300, "0.0.0.0:0"), Mapping{}, true, "the router refuses: it does not say why (PCP 99)"},
		{"nothing", pcpAnswer(asked, 0, 0, "9.9.9.9:5000"), Mapping{}, true, "the router maps to 9.9.9.9:5000 for 0 seconds, which is nothing"},
		{"for another", pcpAnswer(other, 0, 300, "9.9.9.9:5000"), Mapping{}, false, ""},
		{"for TCP", pcpAnswer(tcp, 0, 300, "9.9.9.9:5000"), Mapping{}, false, ""},
		{"cut off", pcpAnswer(asked, 0, 300, "9.9.9.9:5000")[:59], Mapping{}, false, ""},
		{"a request", pcpMapRequest(asked, self), Mapping{}, false, ""},
		{"NAT-PMP", []byte{0, 0x81, 0, 1, 0, 0, 0, 1}, Mapping{}, true, "the router refuses: it does not speak this version (PCP 1)"},
	} {
		m, mine, err := parsePCPMap(tt.answer, asked)
		if m != tt.want || mine != tt.mine || message(err) != tt.err {
			t.Errorf("%s: %+v, %v, %v", tt.name, m, mine, err)
		}
	}
}

// For an address of IPv6 a router is asked for the same (RFC 6887 §11.2), and only an address of IPv6 is an answer.
func TestPCPFirewall(t *testing.T) {
	ip := netip.MustParseAddr("2001:db8::2")
	w := asked
	w.ip = ip
	request := pcpMapRequest(w, ip)
	if client, suggested := netip.AddrFrom16([16]byte(request[8:24])), netip.AddrFrom16([16]byte(request[44:60])); client != ip || suggested != netip.IPv6Unspecified() {
		t.Errorf("%v asks for %v", client, suggested)
	}
	for outside, want := range map[string]string{
		"[2001:db8::2]:4711": "[2001:db8::2]:4711", "[2001:db8:9::2]:4711": "[2001:db8:9::2]:4711", "[::]:4711": "invalid AddrPort", "9.9.9.9:4711": "invalid AddrPort",
	} {
		m, mine, err := parsePCPMap(pcpAnswer(w, 0, 300, outside), w)
		if m.Outside.String() != want || m.Outside.Port() != 4711 || !mine || err != nil {
			t.Errorf("%s: %+v, %v, %v, want %s", outside, m, mine, err, want)
		}
	}
	if m, _, err := parsePCPMap(pcpAnswer(asked, 0, 300, "[2001:db8::2]:4711"), asked); m.Outside.Addr().IsValid() || err != nil {
		t.Errorf("IPv4 is forwarded at %v, %v", m.Outside, err)
	}
}

func TestParsePMP(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer []byte
		want   Mapping
		mine   bool
		err    string
	}{
		{"mapped", []byte{0, 0x81, 0, 0, 0, 0, 0, 1, 0x12, 0x67, 0x13, 0x88, 0, 0, 1, 0x2c}, Mapping{netip.AddrPortFrom(netip.Addr{}, 5000), 5 * time.Minute}, true, ""},
		{"refused", []byte{0, 0x81, 0, 4}, Mapping{}, true, "the router refuses: no room for another mapping (NAT-PMP 4)"},
		{"nothing", []byte{0, 0x81, 0, 0, 0, 0, 0, 1, 0x12, 0x67, 0, 0, 0, 0, 1, 0x2c}, Mapping{}, true, "the router maps to port 0 for 300 seconds, which is nothing"},
		{"another port", []byte{0, 0x81, 0, 0, 0, 0, 0, 1, 0x12, 0x68, 0x13, 0x88, 0, 0, 1, 0x2c}, Mapping{}, false, ""},
		{"for TCP", []byte{0, 0x82, 0, 0, 0, 0, 0, 1, 0x12, 0x67, 0x13, 0x88, 0, 0, 1, 0x2c}, Mapping{}, false, ""},
		{"cut off", []byte{0, 0x81, 0, 0, 0, 0, 0, 1, 0x12, 0x67}, Mapping{}, false, ""},
	} {
		m, mine, err := parsePMPMap(tt.answer, pmpMapUDP, asked)
		if m != tt.want || mine != tt.mine || message(err) != tt.err {
			t.Errorf("%s: %+v, %v, %v", tt.name, m, mine, err)
		}
	}
	if at, mine, err := parsePMPAddress([]byte{0, 0x80, 0, 0, 0, 0, 0, 1, 9, 9, 9, 9}); at.String() != "9.9.9.9" || !mine || err != nil {
		t.Errorf("%v, %v, %v", at, mine, err)
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Nobody but the router is followed.
func TestAt(t *testing.T) {
	base, err := url.Parse("http://192.168.1.1:5000/igd/root.xml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ ref, want string }{
		{"/ctl/IPConn", "http://192.168.1.1:5000/ctl/IPConn"},
		{"ctl", "http://192.168.1.1:5000/igd/ctl"},
		{"", "http://192.168.1.1:5000/igd/root.xml"},
		{"http://192.168.1.1:80/ctl", "http://192.168.1.1:80/ctl"},
		{"http://192.168.1.9/ctl", ""},
		{"//192.168.1.9/ctl", ""},
		{"http://router.example/ctl", ""},
		{"http://127.0.0.1:8080/ctl", ""},
		{"https://192.168.1.1/ctl", ""},
		{"file:///etc/passwd", ""},
		{"http://sam:secret@192.168.1.1/ctl", ""},
	} {
		u, err := at(router, base, tt.ref)
		if (err == nil) != (tt.want != "") || err == nil && u.String() != tt.want {
			t.Errorf("%q: %v, %v", tt.ref, u, err)
		}
	}
}

// A router of IPv6 is asked at the address by which it is the gateway, whichever it names.
func TestAtFirewall(t *testing.T) {
	for _, tt := range []struct{ router, ref, want string }{
		{"2001:db8::1", "http://[2001:db8::1]:5000/ctl", "http://[2001:db8::1]:5000/ctl"},
		{"fe80::1%eth0", "http://[2001:db8::1]:5000/ctl", "http://[fe80::1%25eth0]:5000/ctl"},
		{"fe80::1%eth0", "http://[2001:db8:bad::9]/ctl", "http://[fe80::1%25eth0]:80/ctl"},
		{"fe80::1%eth0", "http://192.168.1.1:5000/ctl", ""},
		{"fe80::1%eth0", "http://[::ffff:192.168.1.1]:5000/ctl", ""},
		{"fe80::1%eth0", "http://router.example:5000/ctl", ""},
		{"fe80::1%eth0", "https://[2001:db8::1]/ctl", ""},
		{"192.168.1.1", "http://[2001:db8::1]:5000/ctl", ""},
	} {
		u, err := at(netip.MustParseAddr(tt.router), nil, tt.ref)
		if (err == nil) != (tt.want != "") || err == nil && u.String() != tt.want {
			t.Errorf("%s at %s: %v, %v", tt.ref, tt.router, u, err)
		}
		if err != nil {
			continue
		}
		if again, err := at(netip.MustParseAddr(tt.router), u, "ctl"); err != nil || again.String() != tt.want {
			t.Errorf("%s at %s: from there %v, %v", tt.ref, tt.router, again, err)
		}
	}
}

const description = `<?xml version="1.0" encoding="iso-8859-1"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><URLBase> http://192.168.1.1:49000 </URLBase>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><friendlyName>Router f` + "\xfc" + `r alle</friendlyName>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType><controlURL>/l3</controlURL></service></serviceList>
<deviceList><device><deviceList><device><serviceList>
<service><serviceType>urn:schemas-upnp-org:service:WANPPPConnection:1</serviceType><controlURL>/ppp</controlURL></service>
<service><serviceType> urn:schemas-upnp-org:service:WANIPConnection:1 </serviceType><controlURL> /ip </controlURL></service>
</serviceList></device></deviceList></device></deviceList></device></root>`

func TestParseDescription(t *testing.T) {
	base, found, err := parseDescription([]byte(description), forwarding)
	want := []service{{"urn:schemas-upnp-org:service:WANPPPConnection:1", "/ppp"}, {"urn:schemas-upnp-org:service:WANIPConnection:1", "/ip"}}
	if err != nil || base != "http://192.168.1.1:49000" || !slices.Equal(found, want) {
		t.Errorf("%q, %q, %v", base, found, err)
	}
	both := strings.Replace(description, "</serviceList></device></deviceList>", "<service><serviceType>"+firewalls[0]+"</serviceType><controlURL>/6</controlURL></service></serviceList></device></deviceList>", 1)
	if _, found, err := parseDescription([]byte(both), firewalls); err != nil || !slices.Equal(found, []service{{firewalls[0], "/6"}}) {
		t.Errorf("firewalls: %q, %v", found, err)
	}
	if _, found, err := parseDescription([]byte(description[:700]), forwarding); err == nil {
		t.Errorf("of half a description %q", found)
	}
}

func TestParseAnswer(t *testing.T) {
	const fault = `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Client</faultcode>
<detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>718</errorCode><errorDescription>ConflictInMappingEntry</errorDescription></UPnPError>
</detail></s:Fault></s:Body></s:Envelope>`
	said := parseAnswer([]byte(fault), "errorCode", "errorDescription", "NewExternalIPAddress")
	if len(said) != 2 || said["errorCode"] != "718" || said["errorDescription"] != "ConflictInMappingEntry" {
		t.Errorf("%q", said)
	}
}

// What is asked is XML, whatever is in it.
func TestEnvelope(t *testing.T) {
	b := envelope("urn:schemas-upnp-org:service:WANIPConnection:1", "AddPortMapping", [][2]string{{"NewInternalClient", `<&">`}})
	if said := parseAnswer(b, "NewInternalClient"); said["NewInternalClient"] != `<&">` {
		t.Errorf("%q", said)
	}
	for d := xml.NewDecoder(bytes.NewReader(b)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzPCP(f *testing.F) {
	f.Add(pcpAnswer(asked, 0, 300, "9.9.9.9:5000"))
	f.Add([]byte{0, 0x81, 0, 1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, mine, err := parsePCPMap(b, asked); mine && err == nil && (m.Outside.Port() == 0 || m.Lease <= 0 || m.Lease > maxLease) {
			t.Fatalf("% x was taken for %+v", b, m)
		}
		_, _ = parsePCP(b, pcpAnnounce)
	})
}

func FuzzNATPMP(f *testing.F) {
	f.Add([]byte{0, 0x81, 0, 0, 0, 0, 0, 1, 0x12, 0x67, 0x13, 0x88, 0, 0, 1, 0x2c})
	f.Add([]byte{0, 0x80, 0, 0, 0, 0, 0, 1, 9, 9, 9, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, mine, err := parsePMPMap(b, pmpMapUDP, asked); mine && err == nil && (m.Outside.Port() == 0 || m.Lease <= 0) {
			t.Fatalf("% x was taken for %+v", b, m)
		}
		_, _, _ = parsePMPAddress(b)
	})
}

func FuzzFound(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nLOCATION: http://192.168.1.1:5000/rootDesc.xml\r\n\r\n"))
	f.Add([]byte("NOTIFY * HTTP/1.1\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nLOCATION: http://[2001:db8::1]:5000/rootDesc.xml\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		local := netip.MustParseAddr("fe80::1%eth0")
		if u, err := parseFound(b, local); err == nil && (u.Hostname() != local.String() || u.Scheme != "http") {
			t.Fatalf("%q leads to %v", b, u)
		}
		if u, err := parseFound(b, router); err == nil && (u.Hostname() != router.String() && u.Hostname() != "::ffff:"+router.String() || u.Scheme != "http") {
			t.Fatalf("%q leads to %v", b, u)
		}
	})
}

func FuzzDescription(f *testing.F) {
	f.Add([]byte(description))
	f.Add([]byte(strings.Repeat("<a>", 100)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, found, err := parseDescription(b, forwarding); len(found) > maxServices || err == nil && slices.ContainsFunc(found, func(s service) bool { return !slices.Contains(forwarding, s.Type) }) {
			t.Fatalf("found %q", found)
		}
		for _, value := range parseAnswer(b, "errorCode") {
			if len(value) > maxValue {
				t.Fatalf("%d bytes of a value", len(value))
			}
		}
	})
}
