package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// echoing starts servers that send back what they are sent, until the script ends: their addresses become $TCP and $UDP,
// the first's port $TCPPORT.
func echoing(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close(); p.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := p.ReadFrom(buffer)
			if err != nil {
				return
			}
			p.WriteTo(buffer[:n], from)
		}
	}()
	ts.Setenv("TCP", l.Addr().String())
	ts.Setenv("TCPPORT", fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	ts.Setenv("UDP", p.LocalAddr().String())
}

// dialed connects to the address at the end of a line.
func dialed(ts *testscript.TestScript, line, network string) net.Conn {
	c, err := net.Dial(network, line[strings.LastIndexByte(line, ' ')+1:])
	ts.Check(err)
	ts.Check(c.SetDeadline(time.Now().Add(enough)))
	return c
}

// said checks that what is said at an address comes back, and for TCP with it the end; or not.
func said(ts *testscript.TestScript, neg bool, args []string) {
	c := dialed(ts, args[0], args[1])
	defer c.Close()
	_, err := io.WriteString(c, args[2])
	back := make([]byte, len(args[2]))
	if err == nil {
		_, err = io.ReadFull(c, back)
	}
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		ts.Check(tcp.CloseWrite())
		if _, end := c.Read(make([]byte, 1)); end != io.EOF {
			ts.Fatalf("after all was said: %v", end)
		}
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		ts.Fatalf("there is no answer")
	case neg && err == nil:
		ts.Fatalf("%q came back", back)
	case !neg && (err != nil || string(back) != args[2]):
		ts.Fatalf("%q came back, %v", back, err)
	}
}

// connection is the key of a script's value that holds a connection: a map[string]net.Conn.
type connection struct{}

// hold keeps a connection on which something was said and came back.
func hold(ts *testscript.TestScript, _ bool, args []string) {
	c := dialed(ts, args[0], args[1])
	ts.Defer(func() { c.Close() })
	_, err := io.WriteString(c, args[2])
	ts.Check(err)
	_, err = io.ReadFull(c, make([]byte, len(args[2])))
	ts.Check(err)
	ts.Value(connection{}).(map[string]net.Conn)["held"] = c
}

// dropped checks that the connection that is held is broken off, and does not just end.
func dropped(ts *testscript.TestScript, _ bool, _ []string) {
	c := ts.Value(connection{}).(map[string]net.Conn)["held"]
	if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded) {
		ts.Fatalf("the connection: %v", err)
	}
}
