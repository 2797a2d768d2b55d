package kindred

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// askGateway calls the gateway: where it was last, or else where it said at a relay that it is.
func (t transport) askGateway(req *http.Request) (*http.Response, error) {
	n := t.node
	if n.isolated() { // nobody was where it was last a moment ago
		n.seek(req.Context(), n.gateway.Member)
	}
	resp, err := t.askBriefly(req)
	if err == nil || !repeatable(req) {
		return resp, err
	}
	if !errors.Is(err, errElsewhere) && !(outOfReach(err) && n.seek(req.Context(), n.gateway.Member)) {
		return resp, err
	}
	again, err := repeat(req)
	if err != nil {
		return nil, err
	}
	return t.base.RoundTrip(again)
}

// errElsewhere says that the gateway was looked for, and is not where it was called.
var errElsewhere = errors.New("the gateway is elsewhere")

// seekAfter is how long the gateway has to be reached before it is looked for as well.
const seekAfter = 700 * time.Millisecond

// askBriefly calls the gateway where it was last. If there is no connection soon, the gateway is looked for meanwhile, and
// the call ends with errElsewhere if it is found.
func (t transport) askBriefly(req *http.Request) (*http.Response, error) {
	n := t.node
	if n.gatewayConnected(req.Context()) || !repeatable(req) {
		return t.base.RoundTrip(req)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	seeking, stop := context.WithCancel(ctx)
	sought := make(chan struct{})
	timer := time.AfterFunc(seekAfter, func() {
		defer close(sought)
		if !n.gatewayConnected(seeking) && n.seek(seeking, n.gateway.Member) && !n.gatewayConnected(seeking) {
			cancel(errElsewhere)
		}
	})
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	stop()
	if !timer.Stop() {
		<-sought
	}
	if cause := context.Cause(ctx); errors.Is(cause, errElsewhere) {
		if err == nil {
			resp.Body.Close()
		}
		return nil, cause
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp.Body = &ending{resp.Body, cancel}
	return resp, nil
}

// An ending is the body of a response whose context ends with it.
type ending struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close closes the body.
func (e *ending) Close() error {
	defer e.cancel(nil)
	return e.ReadCloser.Close()
}

// gatewayConnected reports whether there is a connection with the gateway.
func (n *Node) gatewayConnected(ctx context.Context) bool {
	c, err := n.known(ctx, n.gateway.Member)
	if err != nil {
		return false
	}
	_, connected := n.host.Path(c.Key)
	return connected
}
