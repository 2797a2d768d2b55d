package portmap

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
)

// firewalls are the services that let packets of IPv6 in.
var firewalls = []string{"urn:schemas-upnp-org:service:WANIPv6FirewallControl:1"}

// Bounds and errors of pinholes (WANIPv6FirewallControl:1 §2.3, §2.6).
const (
	maxPinhole = 86400 // seconds
	noPinhole  = 704
)

// pinholes asks by UPnP for a firewall to be opened.
type pinholes struct {
	upnp
	ids map[inside]uint16 // what the router calls those that it made
}

// greetPinholes finds the router's first firewall that may be opened.
func greetPinholes(ctx context.Context, g gateway) (dialect, error) {
	return g.discover(ctx, firewalls, func(u upnp) (dialect, error) {
		status, err := u.call(ctx, "GetFirewallStatus", nil, "FirewallEnabled", "InboundPinholeAllowed")
		switch {
		case err != nil:
			return nil, err
		case !yes(status["FirewallEnabled"]):
			return nil, errors.New("the router's firewall is off")
		case !yes(status["InboundPinholeAllowed"]):
			return nil, errors.New("the router's firewall must not be opened")
		}
		return pinholes{u, make(map[inside]uint16)}, nil
	})
}

// yes reads a boolean in the forms that UPnP allows.
func yes(s string) bool { return s == "1" || s == "true" || s == "yes" }

func (p pinholes) forward(ctx context.Context, w wish) (Mapping, error) {
	open := Mapping{netip.AddrPortFrom(w.ip, w.port), w.lease}
	u := p.upnp
	u.gateway = p.from(w.ip) // many open it to whoever asks, and for nobody else
	lease := [2]string{"LeaseTime", strconv.Itoa(int(min(seconds(w.lease), maxPinhole)))}
	if id, ok := p.ids[w.inside]; ok {
		_, err := u.call(ctx, "UpdatePinhole", [][2]string{uniqueID(id), {"NewLeaseTime", lease[1]}})
		if err == nil {
			return open, nil
		}
		delete(p.ids, w.inside) // a router that was restarted knows none
	}
	said, err := u.call(ctx, "AddPinhole", [][2]string{
		{"RemoteHost", ""}, {"RemotePort", "0"}, {"InternalClient", w.ip.String()}, {"InternalPort", strconv.Itoa(int(w.port))},
		{"Protocol", strconv.Itoa(int(transport(w.protocol)))}, lease,
	}, "UniqueID")
	if err != nil {
		return Mapping{}, err
	}
	id, err := strconv.ParseUint(said["UniqueID"], 10, 16)
	if err != nil {
		return Mapping{}, errors.New("the router does not say what it calls what it opened")
	}
	p.ids[w.inside] = uint16(id)
	return open, nil
}

func (p pinholes) cancel(ctx context.Context, w wish) error {
	id, ok := p.ids[w.inside]
	if !ok {
		return nil
	}
	u := p.upnp
	u.gateway = p.from(w.ip)
	_, err := u.call(ctx, "DeletePinhole", [][2]string{uniqueID(id)})
	if err != nil && !hasCode(err, noPinhole) {
		return err
	}
	delete(p.ids, w.inside)
	return nil
}

func uniqueID(id uint16) [2]string { return [2]string{"UniqueID", strconv.Itoa(int(id))} }
