package peer

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// silentTCP makes TCP give a connection up once something that it sent was not acknowledged for d (RFC 5482).
func silentTCP(d time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
		}); cerr != nil {
			return cerr
		}
		return err
	}
}
