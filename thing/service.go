package thing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/tunnel"
)

// A service is a TCP or UDP port that lies behind the thing.
type service struct {
	network     string
	port        uint16
	description string
	dial        func(context.Context) (net.Conn, error)
}

// ServiceName names the affordance that a service is: "tcp-8554".
func ServiceName(network string, port uint16) string { return fmt.Sprintf("%s-%d", network, port) }

// ParseServiceName reads what [ServiceName] writes, and nothing else.
func ParseServiceName(name string) (network string, port uint16, ok bool) {
	network, text, _ := strings.Cut(name, "-")
	n, err := strconv.ParseUint(text, 10, 16)
	port = uint16(n)
	ok = err == nil && n > 0 && tunnel.Token(network) != "" && ServiceName(network, port) == name
	return network, port, ok
}

// Service declares a TCP or UDP service: whoever may invoke it is connected to
// what dial gives, for as long as the right lasts. Callers know it by network
// ("tcp" or "udp") and port and have no say in where it goes; a nil dial goes to
// that port of 127.0.0.1. A TCP connection should have CloseWrite; a UDP one
// carries a datagram in each Read and Write. It panics where there is no such
// network or port, and where the name is taken.
func Service(t *Thing, network string, port uint16, description string, dial func(context.Context) (net.Conn, error)) {
	name := ServiceName(network, port)
	if _, _, ok := ParseServiceName(name); !ok {
		panic(fmt.Sprintf("thing: declaring service %q: want network tcp or udp, and a port", name))
	}
	if dial == nil {
		dial = DialTo(network, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	}
	declare(t.services, "service", name, &service{network, port, description, dial})
}

// DialTo returns a function for [Service] that connects to an address of package
// net.
func DialTo(network, address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
}

func (s *service) path() string { return fmt.Sprintf("services/%s/%d", s.network, s.port) }

// describe describes the service as an action, for that is what it takes to
// connect: the subprotocol says how.
func (s *service) describe() ActionAffordance {
	return ActionAffordance{Description: s.description, Forms: []Form{{
		Href: s.path(), ContentType: "application/octet-stream", Subprotocol: tunnel.Token(s.network),
		Method: http.MethodGet, Op: []Op{OpInvokeAction},
	}}}
}

// Service returns the network and port of an action that is a service.
func (a ActionAffordance) Service() (network string, port uint16, ok bool) {
	for _, f := range a.Forms {
		parts := strings.Split(f.Href, "/")
		if len(parts) == 3 && parts[0] == "services" {
			network, port, ok = ParseServiceName(parts[1] + "-" + parts[2])
			return network, port, ok && f.Subprotocol == tunnel.Token(network)
		}
	}
	return "", 0, false
}

// dialLimit is how long a service has to answer.
const dialLimit = 10 * time.Second

// connect connects a caller to a service.
func (s *servient) connect(w http.ResponseWriter, r *http.Request, at route) {
	name := at.name
	to := s.services[name]
	if to == nil {
		absent(w, "service", name)
		return
	}
	if !tunnel.Asked(r, to.network) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", tunnel.Token(to.network))
		refuse(w, fmt.Errorf("%s is reached by an upgrade to %s", name, tunnel.Token(to.network)), http.StatusUpgradeRequired)
		return
	}
	if err := viewOf(r.Context()).Whole(name); err != nil { // of what it carries nothing is left out
		refuse(w, err, http.StatusForbidden)
		return
	}
	defer s.streams.Add(-1)
	if s.streams.Add(1) > maxStreams {
		refuse(w, fmt.Errorf("%d streams are open, no more are served", maxStreams), http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), dialLimit)
	defer cancel()
	conn, err := to.dial(ctx)
	if err != nil {
		if c := callerIn(r.Context()); c != nil {
			c.Failed = "the service does not answer"
		}
		refuse(w, fmt.Errorf("what is offered as %s does not answer", name), http.StatusBadGateway)
		return
	}
	switch err := tunnel.Accept(w, r, to.network, CallerOf(r.Context()).Sent.counting(conn)); {
	case errors.Is(err, http.ErrNotSupported):
		refuse(w, errors.New("services cannot be reached this way"), http.StatusNotImplemented)
	case errors.Is(err, tunnel.ErrIdle):
		end(r, fmt.Sprintf("nothing was sent for %d minutes", int(tunnel.UDPIdle/time.Minute)))
	case errors.Is(err, tunnel.ErrLocal):
		end(r, "the service broke off")
	}
}

// end tells whoever serves the handler why a connection ended.
func end(r *http.Request, reason string) {
	if c := callerIn(r.Context()); c != nil {
		c.Ended = reason
	}
}

// mayConnect tells a caller that it may.
func (s *servient) mayConnect(w http.ResponseWriter, _ *http.Request, at route) {
	name := at.name
	if s.services[name] == nil {
		absent(w, "service", name)
		return
	}
	w.Header().Set("Allow", "GET, OPTIONS")
	respond(w, http.StatusNoContent, "", nil)
}

// MayConnect asks whether the caller may connect to a service now. Nothing is
// connected.
func (c *Client) MayConnect(ctx context.Context, network string, port uint16) error {
	name := ServiceName(network, port)
	_, err := c.do(ctx, OpConnect, name, http.MethodOptions, nil, nil, "services", network, strconv.Itoa(int(port)))
	return err
}

// Connect connects to a service by network ("tcp" or "udp") and port. For TCP
// the connection also has CloseWrite; for UDP each Read and Write is one
// datagram, of at most 65,507 bytes, and two minutes without any end it. A
// connection that the thing breaks, as when the right to it is taken away, ends
// with [io.ErrUnexpectedEOF] or another error, never with [io.EOF]. The context
// is for connecting alone.
func (c *Client) Connect(ctx context.Context, network string, port uint16) (tunnel.Conn, error) {
	name := ServiceName(network, port)
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	header := http.Header{}
	if c.Purpose != "" {
		header.Set(PurposeHeader, c.Purpose)
	}
	conn, resp, err := tunnel.Dial(ctx, client, c.Base.JoinPath("services", network, strconv.Itoa(int(port))).String(), network, header)
	if err == nil && conn == nil {
		defer resp.Body.Close()
		err = readProblem(resp)
	}
	if err != nil {
		return nil, wrap(OpConnect, name, err)
	}
	return conn, nil
}
