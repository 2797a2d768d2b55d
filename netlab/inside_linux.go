package netlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Do calls f on the host: the sockets that f makes are the host's, and stay so. f must not leave that to goroutines of
// its own.
func (h *Host) Do(f func() error) error {
	errs := make(chan error)
	go func() {
		runtime.LockOSThread()
		back, err := h.enter()
		if err == nil {
			err = f()
			if berr := back(); berr != nil {
				errs <- errors.Join(err, berr)
				return // the thread, still locked, ends with the goroutine: nothing else gets onto the host
			}
		}
		runtime.UnlockOSThread()
		errs <- err
	}()
	return <-errs
}

// enter moves the thread onto the host. What it returns moves it back.
func (h *Host) enter() (back func() error, err error) {
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("netlab: leaving the machine's own network: %w", err)
	}
	there, err := os.Open(spacesDir + "/" + h.space)
	if err == nil {
		err = errors.Join(unix.Setns(int(there.Fd()), unix.CLONE_NEWNET), there.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlab: entering %s: %w", h.Name, err), here.Close())
	}
	return func() error { return errors.Join(unix.Setns(int(here.Fd()), unix.CLONE_NEWNET), here.Close()) }, nil
}

// A Capture is the packets that pass a host's interface, each with its Ethernet header. At the [Lab.Internet], which has
// an interface for everybody, each is there more than once.
type Capture struct {
	host    string
	socket  *os.File
	running sync.WaitGroup
	more    chan struct{} // capacity 1: there is a packet more

	mu      sync.Mutex
	packets [][]byte
	size    int
	err     error
}

// maxCaptured bounds what a capture keeps, in bytes.
const maxCaptured = 256 << 20

// captureBuffer is how many bytes the kernel keeps until they are read.
const captureBuffer = 32 << 20

// maxPacket is as much as the kernel hands over in one piece, when it has a network card cut that up.
const maxPacket = 1 << 17

// Capture begins to keep the packets that pass. The caller stops it.
func (h *Host) Capture() (*Capture, error) {
	c := &Capture{host: h.Name, more: make(chan struct{}, 1)}
	err := h.Do(func() error {
		protocol := uint16(unix.ETH_P_ALL)
		protocol = protocol<<8 | protocol>>8                                                          // in network byte order
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0) // deaf until it is bound
		if err != nil {
			return err
		}
		c.socket = os.NewFile(uintptr(fd), "packets of "+h.Name)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer); err != nil {
			return err
		}
		only := &unix.SockaddrLinklayer{Protocol: protocol}
		if h.iface != "" {
			found, err := net.InterfaceByName(h.iface)
			if err != nil {
				return err
			}
			only.Ifindex = found.Index
		}
		return unix.Bind(fd, only)
	})
	if err != nil {
		if c.socket != nil {
			err = errors.Join(err, c.socket.Close())
		}
		return nil, fmt.Errorf("netlab: capturing packets of %s: %w", h.Name, err)
	}
	c.running.Go(c.read)
	return c, nil
}

func (c *Capture) read() {
	b := make([]byte, maxPacket)
	for {
		n, err := c.socket.Read(b)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if errors.Is(err, unix.ENETDOWN) { // an interface was taken down; there are others
			continue
		}
		c.mu.Lock()
		if c.size += n; err == nil && c.size > maxCaptured {
			err = fmt.Errorf("netlab: more than %d bytes of packets at %s", maxCaptured, c.host)
		}
		if err == nil {
			c.packets = append(c.packets, append([]byte(nil), b[:n]...))
		}
		c.err = err
		c.mu.Unlock()
		if err != nil {
			return
		}
		select {
		case c.more <- struct{}{}:
		default:
		}
	}
}

// More receives when there are more packets than when it received last. It is for one goroutine.
func (c *Capture) More() <-chan struct{} { return c.more }

// Packets returns those captured so far, in order. It fails where some were lost.
func (c *Capture) Packets() ([][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	var stats *unix.TpacketStats
	var serr error
	if err := raw.Control(func(fd uintptr) {
		stats, serr = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	}); err != nil {
		return nil, err
	}
	if serr != nil {
		return nil, serr
	}
	if stats.Drops > 0 {
		c.err = fmt.Errorf("netlab: %d packets at %s were lost", stats.Drops, c.host)
	}
	return append([][]byte(nil), c.packets...), c.err
}

// Stop ends the capture and returns the packets.
func (c *Capture) Stop() ([][]byte, error) {
	packets, err := c.Packets()
	if cerr := c.socket.Close(); err == nil {
		err = cerr
	}
	c.running.Wait()
	return packets, err
}
