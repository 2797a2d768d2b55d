package demo

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const stepInput = "what the meter will replay"

// moveIn makes the home and lets everybody in.
func (s *story) moveIn(ctx context.Context) error {
	demo := member{name: "demo"}
	w := s.who
	if s.world != nil {
		if err := s.step(ctx, w.relay, "a relay that knows nobody comes up, between the home and the phones", s.raiseRelay); err != nil {
			return err
		}
	}
	for _, step := range []struct {
		by   member
		what string
		f    func(context.Context) (outcome, error)
	}{
		{demo, stepInput, s.prepare},
		{w.laptop, "sam makes the tree " + homeName + " on a laptop", s.found},
		{w.gateway, "the gateway with its ledger comes up", s.raise},
		{w.laptop, "the meter joins by an invitation", s.joinDevice(w.meter, pathMeter)},
		{w.laptop, "the doorbell joins, and the porch with it", s.joinDevice(w.doorbell, pathDoorbell, "--parents", "--label", "Front door")},
		{w.laptop, "the lock joins", s.joinDevice(w.lock, pathLock)},
		{w.laptop, "sam's phone joins, both ends showing the same digits", s.joinPerson(w.phone, "app", pathPhone)},
		{w.laptop, "anna, a guest, joins with her phone", s.joinPerson(w.guest, "person", pathGuest, "--app", "phone")},
		{w.gateway, "meter, doorbell and lock come up", s.switchOn},
		{w.other, "a stranger makes a tree of their own", s.elsewhere},
	} {
		if err := s.step(ctx, step.by, step.what, step.f); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes what the meter tells and what the doorbell sees.
func (s *story) prepare(context.Context) (o outcome, err error) {
	folder := filepath.Join(s.dir, "pictures")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return o, err
	}
	if s.picture, err = drawPicture(filepath.Join(folder, "front-door.jpg")); err != nil {
		return o, err
	}
	if err := s.recorded(earlier, time.Now().Add(-5*24*time.Hour)); err != nil {
		return o, err
	}
	if len(s.cfg.Files) == 0 {
		now := time.Now().UTC()
		start := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
		s.input, err = makeUp(filepath.Join(s.dir, "telegrams.txt"), start)
	} else {
		s.input, err = examine(s.cfg.Files)
	}
	return outcome{told: s.input.told}, err
}

// found makes the home's tree.
func (s *story) found(ctx context.Context) (o outcome, err error) {
	r, err := s.makeTree(ctx, s.who.laptop, homeName, "--owner", "sam", "--app", "laptop", "--place", "home", "--tz", zone)
	if err != nil {
		return o, err
	}
	var made struct{ Owner, Place string }
	return outcome{took: r.took}, r.read(&made)
}

// makeTree makes a tree, and has its ledger make blocks often.
func (s *story) makeTree(ctx context.Context, who member, name string, args ...string) (result, error) {
	r, err := s.house.run(ctx, who, append([]string{"init", name}, args...)...)
	if err == nil {
		err = r.done()
	}
	if err != nil {
		return r, err
	}
	f, err := os.OpenFile(filepath.Join(who.dir, "gateway", "kindred.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return r, err
	}
	_, err = fmt.Fprintf(f, "interval: %s\n", interval)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return r, err
}

// ready is the line with which a gateway or a device says that it serves.
type ready struct {
	Ready     bool
	Tree, ID  string
	Addresses []string
}

// raise starts the home's gateway.
func (s *story) raise(ctx context.Context) (outcome, error) {
	up, line, o, err := s.up(ctx, s.who.gateway, s.who.gateway.anyPort())
	if err != nil {
		return o, err
	}
	at, _, err := socket(line.Addresses, s.who.gateway.ip())
	s.gateway, s.tree, s.listen = up, line.Tree, at.String()
	return o, err
}

// up starts a gateway and waits until it is ready.
func (s *story) up(ctx context.Context, who member, listen string) (*process, ready, outcome, error) {
	var line ready
	p, err := s.house.start(who, append([]string{"up", "--listen", listen}, s.relayed(who)...)...)
	if err == nil {
		err = p.read(ctx, &line)
	}
	if err == nil && !line.Ready {
		err = p.wrong(fmt.Errorf("printed %+v, which is not that it is ready", line))
	}
	if err != nil {
		return p, line, outcome{}, err
	}
	took := time.Since(p.began)
	return p, line, outcome{told: fmt.Sprintf("ready %d ms after its process began", took.Milliseconds()), took: took}, nil
}

var addressText = regexp.MustCompile(`^/ip4/([\d.]+)/udp/(\d+)/quic-v1(/p2p/\w+)$`)

// socket returns at which port of an address somebody is to be reached, and the name of the key there.
func socket(addresses []string, at netip.Addr) (netip.AddrPort, string, error) {
	for _, a := range addresses {
		if m := addressText.FindStringSubmatch(a); m != nil && m[1] == at.String() {
			at, err := netip.ParseAddrPort(m[1] + ":" + m[2])
			return at, m[3], err
		}
	}
	return netip.AddrPort{}, "", fmt.Errorf("no address at %s in %q", at, addresses)
}

// multiaddr writes a socket as kindred takes it.
func multiaddr(at netip.AddrPort, key string) string {
	return fmt.Sprintf("/ip4/%s/udp/%d/quic-v1%s", at.Addr(), at.Port(), key)
}

// joinDevice lets a device in.
func (s *story) joinDevice(who member, path string, options ...string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) {
		_, err := s.join(ctx, who, append([]string{"device", path}, options...))
		return outcome{}, err
	}
}

// joinPerson lets a person or an app in, and fails if the two ends did not show the same digits.
func (s *story) joinPerson(who member, kind, path string, options ...string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) {
		digits, err := s.join(ctx, who, []string{kind, path}, options...)
		if err == nil && digits == "" {
			err = fmt.Errorf("%s joined without anybody comparing digits", path)
		}
		return outcome{told: "both show " + digits}, err
	}
}

// answer is any line that "add" and "join" print.
type answer struct {
	Invitation string
	Digits     string
	Joined     string
	Confirm    struct{ Path, Digits string }
}

// join makes an invitation on the laptop and has it used. It returns the digits that both ends showed, if they did.
func (s *story) join(ctx context.Context, who member, add []string, options ...string) (digits string, err error) {
	return s.joinAt(ctx, s.who.laptop, who, add, options...)
}

// joinAt is join by an invitation that is made on some owner's laptop.
func (s *story) joinAt(ctx context.Context, laptop, who member, add []string, options ...string) (digits string, err error) {
	host, err := s.house.start(laptop, append([]string{"add"}, add...)...)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			host.stop()
		}
	}()
	var invited answer
	if err := host.read(ctx, &invited); err != nil {
		return "", err
	}
	guest, err := s.house.start(who, append([]string{"join"}, options...)...)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			guest.stop()
		}
	}()
	if err := guest.write(invited.Invitation); err != nil {
		return "", err
	}
	var theirs answer
	if err := guest.read(ctx, &theirs); err != nil {
		return "", err
	}
	var mine answer
	if err := host.read(ctx, &mine); err != nil {
		return "", err
	}
	if mine.Confirm.Digits != "" {
		digits = theirs.Digits
		if mine.Confirm.Digits != digits {
			return "", fmt.Errorf("%s shows %s and %s shows %s", laptop.name, mine.Confirm.Digits, who.name, digits)
		}
		if err := host.write("yes"); err != nil {
			return "", err
		}
	}
	for _, p := range []*process{guest, host} {
		r, err := p.end(ctx)
		if err == nil {
			err = r.done()
		}
		if err != nil {
			return "", err
		}
	}
	return digits, nil
}

// A device is a thing that runs.
type device struct {
	*process
	id      string // SPIFFE ID
	socket  netip.AddrPort
	address string // the same with its key
	outside string // where those who are not at home call it; the same on one machine
	tapped  string // where the phone calls it: through the tap, if there is one; "": as it finds it
	tap     *tap
}

// serve starts a device.
func (s *story) serve(who member, listen string, args ...string) (*process, error) {
	return s.house.start(who, append([]string{"device", "--listen", listen}, args...)...)
}

// settle waits until a device is ready, and puts a tap before it if it is to have one.
func (s *story) settle(ctx context.Context, d *device, tapped bool) error {
	var line ready
	if err := d.read(ctx, &line); err != nil {
		return err
	}
	at, key, err := socket(line.Addresses, d.who.ip())
	if err != nil {
		return d.wrong(err)
	}
	d.id, d.socket, d.address = line.ID, at, multiaddr(at, key)
	d.outside = d.address
	if s.world != nil {
		d.outside = s.world.through(key)
	} else if tapped {
		if d.tap, err = newTap(at); err != nil {
			return err
		}
		d.tapped = multiaddr(d.tap.address(), key)
	}
	return nil
}

// switchOn starts the things, the first time with taps on the way to those that the phone will use. Later they are
// where they were before.
func (s *story) switchOn(ctx context.Context) (o outcome, err error) {
	first := s.meter.process == nil
	things := []struct {
		at   *device
		who  member
		tap  bool
		args []string
	}{
		{&s.meter, s.who.meter, first, append([]string{"p1meter", "--interval", "1s", "--repeat"}, s.input.files...)},
		{&s.door, s.who.doorbell, first, []string{"camera", "--pictures", filepath.Join(s.dir, "pictures"), "--recordings", filepath.Join(s.dir, "recordings"), "--longest", "50ms"}},
		{&s.lock, s.who.lock, false, []string{"lock"}},
	}
	for _, t := range things {
		listen := t.who.anyPort()
		if !first {
			listen = t.at.socket.String()
		}
		if t.at.process, err = s.serve(t.who, listen, t.args...); err != nil {
			return o, err
		}
	}
	for _, t := range things {
		if err := s.settle(ctx, t.at, t.tap); err != nil {
			return o, err
		}
	}
	return outcome{told: "as " + strings.Join([]string{pathMeter, pathDoorbell, pathLock}, ", ") + " of " + s.tree}, nil
}

// elsewhere makes the stranger's tree.
func (s *story) elsewhere(ctx context.Context) (o outcome, err error) {
	_, err = s.makeTree(ctx, s.who.stranger, "Elsewhere", "--owner", "eve", "--app", "phone", "--place", "den", "--tz", zone)
	if err != nil {
		return o, err
	}
	var line ready
	s.eve.process, line, o, err = s.up(ctx, s.who.other, s.who.other.anyPort())
	if err == nil && line.Tree == s.tree {
		err = fmt.Errorf("the stranger's tree is the home's: %s", line.Tree)
	}
	return o, err
}
