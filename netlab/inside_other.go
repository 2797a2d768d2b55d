//go:build !linux

package netlab

import "time"

// Do calls f on the host, which there is on Linux only.
func (*Host) Do(func() error) error { return Missing() }

// A Capture is the packets that a host sends, receives and passes on.
type Capture struct{}

// Capture begins to keep the host's packets, on Linux.
func (*Host) Capture() (*Capture, error) { return nil, Missing() }

// More receives when there are more packets.
func (*Capture) More() <-chan struct{} { return nil }

// Packets returns those captured so far.
func (*Capture) Packets() ([][]byte, error) { return nil, Missing() }

// Stop ends the capture.
func (*Capture) Stop() ([][]byte, error) { return nil, Missing() }

// SetDelay delays the home's packets, on Linux.
func (*Home) SetDelay(time.Duration) error { return Missing() }

func (*Host) forget() error { return Missing() }

type delay struct{}

func (*delay) close() error { return nil }
