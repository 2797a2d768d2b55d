package netlab

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A delay is a line between two virtual network cards that holds back what goes through it. It stands for the kernel's
// own (tc-netem), which not every kernel has.
type delay struct {
	cards   [2]*os.File
	running sync.WaitGroup
	end     chan struct{}
}

// maxHeld is how many frames are under way in one direction; what comes beside is lost, as on a real line.
const maxHeld = 4096

// maxFrame is what fits into an Ethernet frame, with its header.
const maxFrame = 1600

// newCard makes a virtual network card (a TAP device) in a namespace.
func newCard(space, name string) (card *os.File, err error) {
	h := &Host{Name: space, space: space}
	err = h.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("/dev/net/tun: %w", err)
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("making the card %s: %w", name, err), unix.Close(fd))
		}
		card = os.NewFile(uintptr(fd), name)
		return nil
	})
	return card, err
}

// SetDelay makes every packet between the home and the public segment take some time, each way. It is said before
// anything talks: the router's connections are lost.
func (h *Home) SetDelay(each time.Duration) error {
	l := h.segment.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := h.setDelay(each); err != nil {
		return fmt.Errorf("netlab: delaying a home's packets: %w", err)
	}
	return nil
}

func (h *Home) setDelay(each time.Duration) error {
	l := h.segment.lab
	if err := ip(h.segment.space, "link del "+wan); err != nil {
		return err
	}
	l.internet.ports++
	port := fmt.Sprintf("port%d", l.internet.ports)
	inner, err := newCard(h.segment.space, wan)
	if err != nil {
		return err
	}
	outer, err := newCard(l.internet.space, port)
	if err != nil {
		return errors.Join(err, inner.Close())
	}
	d := &delay{cards: [2]*os.File{inner, outer}, end: make(chan struct{})}
	l.delays = append(l.delays, d)
	d.carry(inner, outer, each)
	d.carry(outer, inner, each)
	if err := ask(h.segment.space, wan); err != nil {
		return err
	}
	if err := ip(l.internet.space, "link set "+port+" master "+l.internet.bridge, "link set "+port+" up"); err != nil {
		return err
	}
	if err := ip(h.segment.space, "link set "+wan+" up", fmt.Sprintf("addr add %s dev %s", h.public, wan)); err != nil {
		return err
	}
	return h.route()
}

// A held frame is under way.
type held struct {
	due   time.Time
	frame []byte
}

// carry passes on what one card sends to the other, later.
func (d *delay) carry(from, to *os.File, each time.Duration) {
	way := make(chan held, maxHeld)
	d.running.Go(func() {
		defer close(way)
		for {
			b := make([]byte, maxFrame)
			n, err := from.Read(b)
			if errors.Is(err, unix.EIO) { // the card is not up
				continue
			}
			if err != nil {
				return
			}
			select {
			case way <- held{time.Now().Add(each), b[:n]}:
			default:
			}
		}
	})
	d.running.Go(func() {
		for h := range way {
			select {
			case <-time.After(time.Until(h.due)):
				_, _ = to.Write(h.frame) // as a line does: delivered or not
			case <-d.end:
			}
		}
	})
}

// close takes the line away.
func (d *delay) close() error {
	close(d.end)
	err := errors.Join(d.cards[0].Close(), d.cards[1].Close())
	d.running.Wait()
	return err
}
