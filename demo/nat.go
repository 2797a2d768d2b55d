package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/kindred-iot/kindred/netlab"
)

// A world is networks of the demo's own, for everybody in the story (Config.NAT):
//
//	             relay        elsewhere: the stranger, the thief, the home across the street
//	               │               │
//	   ────────────┴───────┬───────┴────────┬────────
//	                     birch            hotel           routers, each with a NAT
//	                       │                │
//	gateway, things, laptop, on one       the phones, on another host
//
// What a tap is on one machine, a capture at the hotel's router is here: all that comes from the phones and goes to them.
type world struct {
	lab                          *netlab.Lab
	home, away, elsewhere, relay *netlab.Host
	hotel                        *netlab.Home
	capture                      *netlab.Capture
	relayAt                      string // the relay's multiaddr, with its key
	fetched                      int    // packets before the phone fetched the picture
}

// newWorld makes the networks.
func newWorld() (w *world, err error) {
	if err := netlab.Missing(); err != nil {
		return nil, err
	}
	w = &world{}
	if w.lab, err = netlab.New(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	birch, err := w.lab.Home("birch", netlab.Cone)
	if err != nil {
		return w, err
	}
	if w.hotel, err = w.lab.Home("hotel", netlab.Cone); err != nil {
		return w, err
	}
	for _, h := range []struct {
		name string
		host **netlab.Host
		make func(string) (*netlab.Host, error)
	}{
		{"home", &w.home, birch.Host}, {"phones", &w.away, w.hotel.Host},
		{"elsewhere", &w.elsewhere, w.lab.Public}, {"relay", &w.relay, w.lab.Public},
	} {
		if *h.host, err = h.make(h.name); err != nil {
			return w, err
		}
	}
	w.capture, err = w.hotel.Router().Capture()
	return w, err
}

// close takes the networks away.
func (w *world) close() error {
	if w == nil {
		return nil
	}
	var errs []error
	if w.capture != nil {
		_, err := w.capture.Stop()
		errs = append(errs, err)
	}
	return errors.Join(append(errs, w.lab.Close())...)
}

// settle puts everybody of the cast into the world.
func (w *world) settle(c *cast) {
	for _, m := range []*member{&c.laptop, &c.gateway, &c.meter, &c.doorbell, &c.lock, &c.shed, &c.newShed, &c.intercom} {
		m.host = w.home
	}
	c.speech.host, c.dora.host, c.across.host = w.elsewhere, w.elsewhere, w.elsewhere
	c.doraPhone.host, c.phone.host, c.guest.host, c.neighbour.host, c.adviser.host = w.away, w.away, w.away, w.away, w.away
	c.stranger.host, c.other.host, c.thief.host = w.elsewhere, w.elsewhere, w.elsewhere
	c.relay.host = w.relay
}

// raiseRelay starts the relay.
func (s *story) raiseRelay(ctx context.Context) (o outcome, err error) {
	p, err := s.house.start(s.who.relay, "relay", "--listen", s.who.relay.anyPort()+",/ip4/0.0.0.0/udp/0/quic-v1")
	if err != nil {
		return o, err
	}
	var line ready
	if err := p.read(ctx, &line); err != nil {
		return o, err
	}
	at, key, err := socket(line.Addresses, s.who.relay.ip())
	if err != nil {
		return o, p.wrong(err)
	}
	s.world.relayAt = multiaddr(at, key)
	return outcome{told: "at " + s.world.relayAt}, nil
}

// remote reports whether a member is not at home, and so on a path that is worth telling.
func (s *story) remote(who member) bool { return s.world != nil && who.host == s.world.away }

// path tells which way somebody who is not at home reaches a thing; nothing if the thing will not have them.
func (s *story) path(ctx context.Context, who member, thing string) (string, error) {
	r, err := s.house.run(ctx, who, "status", "--peer", thing)
	if err != nil || r.code == exitRefused {
		return "", err
	}
	var way struct {
		Kind, Address, First, NAT string
		After                     float64 `json:"direct_after"`
	}
	if err := r.read(&way); err != nil {
		return "", err
	}
	at := strings.Split(way.Address, "/") // of a relayed path, the relay's
	if len(at) < 3 {
		return "", r.wrong("printed the address %q", way.Address)
	}
	path := fmt.Sprintf("path: %s, %s", way.Kind, at[2])
	if way.First != "" {
		path = fmt.Sprintf("path: %s → %s after %.0f ms, %s", way.First, way.Kind, way.After, at[2])
	}
	if way.NAT != "" {
		path += ", NAT: " + way.NAT
	}
	return path, nil
}

// mark remembers that the phone is about to fetch the picture.
func (w *world) mark() error {
	if w == nil {
		return nil
	}
	packets, err := w.capture.Packets()
	w.fetched = len(packets)
	return err
}

// fetched returns the datagrams that brought the phone its picture.
func (s *story) fetched() ([]datagram, error) {
	if s.world == nil {
		return s.door.tap.recording()
	}
	return s.world.datagrams(s.world.fetched)
}

// recordings are what was seen of the phones at the hotel's router. Nothing is recorded from then on: the home may stay
// up for long.
func (w *world) recordings() ([]recording, error) {
	udp, err := w.datagrams(0)
	if _, serr := w.capture.Stop(); err == nil {
		err = serr
	}
	w.capture = nil
	return []recording{{where: "at the hotel's router", seen: udp, picture: true}}, err
}

// call is a command of the phone with a device, which it reaches through the tap, if there is one.
func (d *device) call(command string, args ...string) []string {
	if d.tap == nil {
		return append([]string{command, d.id}, args...)
	}
	return append(append([]string{command, d.id}, args...), "--at", d.tapped)
}

// relayed are the options with which a gateway lets its home be reached from elsewhere.
func (s *story) relayed(who member) []string {
	if s.world == nil || who.host != s.world.home {
		return nil
	}
	return []string{"--relay", s.world.relayAt}
}

// datagrams returns what the capture saw between the hotel and the rest of the world, over UDP, from some packet on.
func (w *world) datagrams(from int) ([]datagram, error) {
	packets, err := w.capture.Packets()
	if err != nil {
		return nil, err
	}
	var seen []datagram
	for _, frame := range packets[from:] {
		if p, ok := netlab.ParsePacket(frame); ok && p.Transport == netlab.UDP {
			seen = append(seen, datagram{fromCaller: p.From.Addr() == w.hotel.PublicAddr(), data: p.Data, to: p.To})
		}
	}
	return seen, nil
}

// strangersSocket returns a socket of somebody who is not in the story, to send packets again from.
func (s *story) strangersSocket() (c *net.UDPConn, err error) {
	if s.world == nil {
		return net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	}
	err = s.world.elsewhere.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", nil)
		return err
	})
	return c, err
}

// through makes the address of somebody with a key, at the relay.
func (w *world) through(key string) string {
	return strings.Join([]string{w.relayAt, "p2p-circuit"}, "/") + key
}
