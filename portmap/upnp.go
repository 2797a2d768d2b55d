package portmap

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// UPnP's bounds: bytes read of a description and of an answer, and how many descriptions a router may have.
const (
	maxDescription = 256 << 10
	maxAnswer      = 64 << 10
	maxLocations   = 8
)

// searched are the devices that are looked for. One of version 2 should answer to both, and some do to its own alone.
var searched = []string{
	"urn:schemas-upnp-org:device:InternetGatewayDevice:1",
	"urn:schemas-upnp-org:device:InternetGatewayDevice:2",
}

// ssdp is where devices listen for searches (UPnP Device Architecture 1.1 §1.3.2, annex A).
var (
	ssdp  = netip.MustParseAddrPort("239.255.255.250:1900")
	ssdp6 = netip.MustParseAddrPort("[ff02::c]:1900")
)

// upnp asks by UPnP.
type upnp struct {
	gateway
	control *url.URL // where requests go
	service string   // what they ask
}

// greetUPnP finds the router's first service that forwards ports and is connected.
func greetUPnP(ctx context.Context, g gateway) (dialect, error) {
	return g.discover(ctx, forwarding, func(u upnp) (dialect, error) {
		status, err := u.call(ctx, "GetStatusInfo", nil, "NewConnectionStatus")
		if err != nil {
			return nil, err
		}
		if is := status["NewConnectionStatus"]; is != "Connected" {
			return nil, errors.New("the router is not connected to anything")
		}
		return u, nil
	})
}

// discover searches for the router, reads what it says of itself, and takes the first service of some types that take
// takes.
func (g gateway) discover(ctx context.Context, types []string, take func(upnp) (dialect, error)) (dialect, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.self, 0)))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	errs := []error{errors.New("no router answers")}
	read := make(map[string]bool)
	answer := make([]byte, 2048)
	for len(read) < maxLocations {
		var n int
		var from netip.AddrPort
		if err := g.search(conn); err != nil {
			return nil, err
		}
		conn.SetReadDeadline(time.Now().Add(searchAgain))
		for {
			if n, from, err = conn.ReadFromUDPAddrPort(answer); err != nil {
				break
			}
			location, err := parseFound(answer[:n], g.router)
			// By IPv6 a router answers from any of its addresses; whoever answered, at leads to the router.
			if from.Addr().Unmap() != g.router && g.router.Is4() || err != nil || read[location.String()] || len(read) == maxLocations {
				continue
			}
			read[location.String()] = true
			d, err := g.describe(ctx, location, types, take)
			if err == nil {
				return d, nil
			}
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errs[len(errs)-1]
}

// searchAgain is how long answers to a search are awaited before it is sent again: packets to many are lost easily.
const searchAgain = 1500 * time.Millisecond

// search sends a search to everybody, and to the router itself, for a bridge may keep from it what is for everybody.
func (g gateway) search(conn *net.UDPConn) error {
	all := ssdp
	if g.router.Is6() {
		all = netip.AddrPortFrom(ssdp6.Addr().WithZone(g.device), ssdp6.Port())
	}
	for _, device := range searched {
		for _, to := range []netip.AddrPort{all, netip.AddrPortFrom(g.router, all.Port())} {
			host := netip.AddrPortFrom(to.Addr().WithZone(""), to.Port())
			request := "M-SEARCH * HTTP/1.1\r\nHOST: " + host.String() + "\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: " + device + "\r\n\r\n"
			if _, err := conn.WriteToUDPAddrPort([]byte(request), to); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseFound reads an answer to a search, and returns where the router describes itself.
func parseFound(b []byte, router netip.Addr) (*url.URL, error) {
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer to a search is %s", resp.Status)
	}
	return at(router, nil, resp.Header.Get("Location"))
}

// at resolves a URL that the router gave. It has to be the router's own. One of IPv6 has many addresses, and is asked at
// the one by which it is the gateway.
func at(router netip.Addr, base *url.URL, ref string) (*url.URL, error) {
	u, err := url.Parse(ref)
	if err != nil {
		return nil, err
	}
	if base != nil {
		u = base.ResolveReference(u)
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if err == nil && ip.Unmap().Is6() && router.Is6() {
		ip, u.Host = router, net.JoinHostPort(router.String(), cmp.Or(u.Port(), "80"))
	}
	if err != nil || u.Scheme != "http" || ip.Unmap() != router || u.User != nil {
		return nil, fmt.Errorf("%q is no address of the router at %s", ref, router)
	}
	return u, nil
}

// fetch makes a request from the gateway's side of this machine and returns the status and at most so many bytes of the
// answer. Nobody is asked that the router refers to.
func (g gateway) fetch(req *http.Request, most int64) (status int, body []byte, err error) {
	from := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(g.self, 0))}
	client := &http.Client{
		Transport:     &http.Transport{DialContext: from.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: maxAnswer},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err == nil && int64(len(body)) > most {
		err = fmt.Errorf("the router's answer is longer than %d bytes", most)
	}
	return resp.StatusCode, body, err
}

// describe reads a description, and finds in it a service of some types that take takes.
func (g gateway) describe(ctx context.Context, location *url.URL, types []string, take func(upnp) (dialect, error)) (dialect, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location.String(), nil)
	if err != nil {
		return nil, err
	}
	status, body, err := g.fetch(req, maxDescription)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s answers %d", location, status)
	}
	if err != nil {
		return nil, err
	}
	base, services, err := parseDescription(body, types)
	if err != nil {
		return nil, err
	}
	from, err := at(g.router, location, base)
	if err != nil {
		return nil, err
	}
	err = errors.New("the router has no service of the kind")
	for _, s := range services {
		control, cerr := at(g.router, from, s.Control)
		if cerr != nil {
			err = cerr
			continue
		}
		var d dialect
		if d, err = take(upnp{g, control, s.Type}); err == nil {
			return d, nil
		}
	}
	return nil, err
}

// call asks the service to do something, and returns what it answers under some names.
func (u upnp) call(ctx context.Context, action string, args [][2]string, want ...string) (map[string]string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.control.String(), bytes.NewReader(envelope(u.service, action, args)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", `text/xml; charset="utf-8"`)
	req.Header["SOAPACTION"] = []string{`"` + u.service + "#" + action + `"`} // some know it in capitals only
	status, body, err := u.fetch(req, maxAnswer)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		said := parseAnswer(body, "errorCode", "errorDescription")
		code, err := strconv.Atoi(said["errorCode"])
		if err != nil {
			return nil, fmt.Errorf("the router answers %s with %d", action, status)
		}
		return nil, refusal{UPnP, code, strconv.Quote(said["errorDescription"])}
	}
	return parseAnswer(body, want...), nil
}

// UPnP's errors that another try may do without (WANIPConnection:2 §2.5).
const (
	upnpTaken     = 718 // somebody else has the port
	upnpSame      = 724 // outside has to be the same port as inside
	upnpPermanent = 725 // no leases
)

// tries is how many ports outside are asked for.
const tries = 4

// forward asks for a wish: for the same port outside, and where somebody has that, for others.
func (u upnp) forward(ctx context.Context, w wish) (Mapping, error) {
	err := errors.New("no port is free")
	for range tries {
		if !w.renewal && u.taken(ctx, w) {
			w.outside = anyPort()
			continue
		}
		if err = u.add(ctx, w); hasCode(err, upnpPermanent) {
			w.lease = 0
			err = u.add(ctx, w)
		}
		switch {
		case err == nil:
			said, _ := u.call(ctx, "GetExternalIPAddress", nil, "NewExternalIPAddress") // it is forwarded, said or not
			ip, _ := netip.ParseAddr(said["NewExternalIPAddress"])
			return Mapping{told(netip.AddrPortFrom(ip.Unmap(), w.outside), w), w.lease}, nil
		case hasCode(err, upnpSame):
			w.outside = w.port
		case hasCode(err, upnpTaken):
			w.outside, w.renewal = anyPort(), false
		default:
			return Mapping{}, err
		}
	}
	return Mapping{}, err
}

// anyPort is one that few others ask for.
func anyPort() uint16 { return uint16(20000 + rand.N(40000)) }

// taken reports whether the router forwards a port to somebody else already. Some would let it be taken away from them.
func (u upnp) taken(ctx context.Context, w wish) bool {
	said, err := u.call(ctx, "GetSpecificPortMappingEntry", w.named(), "NewInternalClient", "NewInternalPort")
	if err != nil {
		return false
	}
	return said["NewInternalClient"] != u.self.String() || said["NewInternalPort"] != strconv.Itoa(int(w.port))
}

func (u upnp) add(ctx context.Context, w wish) error {
	_, err := u.call(ctx, "AddPortMapping", append(w.named(),
		[2]string{"NewInternalPort", strconv.Itoa(int(w.port))}, [2]string{"NewInternalClient", u.self.String()},
		[2]string{"NewEnabled", "1"}, [2]string{"NewPortMappingDescription", "kindred"},
		[2]string{"NewLeaseDuration", strconv.Itoa(int(seconds(w.lease)))}))
	return err
}

func (u upnp) cancel(ctx context.Context, w wish) error {
	_, err := u.call(ctx, "DeletePortMapping", w.named())
	if hasCode(err, upnpNoSuch) {
		return nil
	}
	return err
}

// upnpNoSuch is the error for a mapping that is not there (any more).
const upnpNoSuch = 714

// named are the arguments that name a mapping.
func (w wish) named() [][2]string {
	return [][2]string{
		{"NewRemoteHost", ""}, {"NewExternalPort", strconv.Itoa(int(w.outside))}, {"NewProtocol", strings.ToUpper(w.protocol)},
	}
}

func hasCode(err error, code int) bool {
	var r refusal
	return errors.As(err, &r) && r.code == code
}
