package peer

import (
	"errors"
	"net"
	"net/http"
	"testing"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"
)

// otherNetwork is another address of this machine.
var otherNetwork = net.IPv4(127, 0, 0, 2)

// whence answers with where the caller is.
var whence = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	who, _ := Caller(r.Context())
	_, _ = w.Write([]byte(who.Path.Kind + " " + who.Path.Address))
})

// A caller that takes its connection along to another network is where it is now, and not where it connected.
func TestMovedCaller(t *testing.T) {
	p := newPlace(t)
	meter := p.join("meter", whence)
	phone := p.join("phone", nil)
	client := phone.client(func(t *Target) { t.Addresses = t.Addresses[:1] }, meter)
	_, before := get(t, client, "kindred://meter/")
	var conn *quic.Conn
	if l := phone.best(meter.id); l == nil || !l.conn.As(&conn) {
		t.Fatalf("it is connected by %s, and not over QUIC", before)
	}
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: otherNetwork})
	if err != nil {
		t.Fatal(err)
	}
	there := &quic.Transport{Conn: socket}
	t.Cleanup(func() { _ = errors.Join(there.Close(), socket.Close()) }) // of a test that is over
	path, err := conn.AddPath(there)
	if err == nil {
		err = path.Probe(t.Context())
	}
	if err == nil {
		err = path.Switch()
	}
	if err != nil {
		t.Fatal(err)
	}
	at, err := manet.FromNetAddr(socket.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	want := Loopback + " " + at.Encapsulate(multiaddr.StringCast("/quic-v1")).String()
	waitFor(t, func() bool { // the packets that the callee goes by may be on their way still
		_, after := get(t, client, "kindred://meter/")
		if after != before && after != want {
			t.Fatalf("it is at %s, want %s", after, want)
		}
		return after == want
	})
}
