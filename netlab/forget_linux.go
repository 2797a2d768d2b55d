package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// forget makes a router forget all connections that it translates, at once. By itself the kernel forgets those of an
// address that is gone in its own time.
func (h *Host) forget() error {
	return h.Do(func() (err error) {
		socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return fmt.Errorf("forgetting connections: %w", err)
		}
		defer func() { err = errors.Join(err, unix.Close(socket)) }()
		// A header (netlink(7)) and what all of netfilter's messages begin with: a family and a version, all zero. That
		// no connection is named means all.
		const remove = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_DELETE
		message := make([]byte, unix.SizeofNlMsghdr+4)
		binary.NativeEndian.PutUint32(message, uint32(len(message)))
		binary.NativeEndian.PutUint16(message[4:], remove)
		binary.NativeEndian.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
		if err := unix.Sendto(socket, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("forgetting connections: %w", err)
		}
		answer := make([]byte, 4096)
		n, _, err := unix.Recvfrom(socket, answer, 0)
		if err != nil || n < unix.SizeofNlMsghdr+4 {
			return fmt.Errorf("forgetting connections: an answer of %d bytes, %w", n, err)
		}
		if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
			return fmt.Errorf("forgetting connections: %w", unix.Errno(-code))
		}
		return nil
	})
}
