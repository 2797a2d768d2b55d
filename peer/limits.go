package peer

import (
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"
)

const (
	// streamLife is the age from which a callee closes a stream after its next
	// response, so that both ends show their hellos again.
	streamLife = 5 * time.Minute

	callerIdle = time.Minute              // an idle stream is kept by the caller for
	calleeIdle = callerIdle + time.Minute // and by the callee, so that the caller closes first

	openingBuffer = 512 // bytes of a stream read at a time until its hello; what follows httpConn buffers

	maxHeader   = 32 << 10 // bytes of a request's or response's header
	headLine    = 64       // bytes for which each of its lines counts beside its own: what is kept for it
	maxStreams  = 200      // a caller keeps open to one host; QUIC allows 256 a connection
	maxExamined = 16       // streams of one connection whose frames are read at a time
	maxAdmitted = 4        // accepted hellos remembered for a connection
	maxRefused  = 16       // callers verified in vain on one connection, or streams of one that cannot be read
	maxVerified = 8        // hellos being verified at a time

	maxIncoming = 256     // streams that a caller may have open on one connection, as in QUIC
	maxConns    = 1024    // open of one address; at a relay see RelayLimits.conns
	maxWindow   = 4 << 20 // bytes of one stream that yamux lets be under way, once the way is seen to need it

	// Of those who are not known: members about to say who they are, callers of other trees, and of none.
	maxHandshakes  = 64        // under way from one address
	maxStrangers   = 256       // connections, of all addresses
	strangeStreams = 16        // of one connection; a caller opens no more before it is answered
	strangeBytes   = 256 << 10 // of one connection: four hellos of MaxHello bytes
)

// A timing is how long a host waits for others.
type timing struct {
	dial    time.Duration // for a handshake
	hello   time.Duration // for the frames of a stream, for a request's header, and for the callee's hello
	admit   time.Duration // for Config.Admit
	strange time.Duration // a connection lives without its caller having been accepted
	idle    time.Duration // a connection lives without a stream
	silence time.Duration // a connection lives while nothing answers what is sent
	stalled time.Duration // a connection whose packets are not seen lives while a ping is not answered
	doubt   time.Duration // a connection has to show that it lives, once there is reason to doubt it
	probe   time.Duration // nothing is heard before the other end is made to answer
	tick    time.Duration // between two looks at all connections
	busy    int64         // requests between two looks make lanes worth their handshakes

	supersede time.Duration // a relayed connection is kept for, unused, when there is a direct one
	look      time.Duration // between two looks at this machine's networks
}

var defaultTiming = timing{
	dial:    3 * time.Second,
	hello:   5 * time.Second,
	admit:   10 * time.Second,
	strange: 15 * time.Second,
	idle:    5 * time.Minute,
	silence: 2500 * time.Millisecond, // with the looks, three seconds
	stalled: 5 * time.Second,         // a ping waits behind what is being sent
	doubt:   time.Second,
	probe:   time.Second,
	tick:    250 * time.Millisecond,
	busy:    16,

	supersede: 3 * time.Second,
	look:      time.Second,
}

// newResourceManager limits what all peers together, one peer, and one IP
// address can hold. A gateway serves a thousand members on one host; all of
// them may sit behind one address, or in one subnet of a LAN, for strangers are
// bounded apart. Loopback addresses are not counted.
func newResourceManager(perAddress int) (network.ResourceManager, error) {
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: 4096, ConnsInbound: 3072, ConnsOutbound: 2048,
			Streams: 32768, StreamsInbound: 16384, StreamsOutbound: 16384,
			Memory: 512 << 20,
		},
		// Before a handshake is done (see gate for each address), and before a stream's protocol is known.
		Transient: rcmgr.ResourceLimits{
			Conns: 1280, ConnsInbound: 1024, ConnsOutbound: 256,
			Streams: 20480, StreamsInbound: 16384, StreamsOutbound: 4096,
			Memory: 64 << 20,
		},
		PeerDefault: rcmgr.ResourceLimits{
			// A killed process's connections linger for half a minute; lanes are counted, too.
			Conns: 72, ConnsInbound: 64, ConnsOutbound: 8,
			Streams: 768, StreamsInbound: 512, StreamsOutbound: 512,
			Memory: 64 << 20,
		},
		Conn: rcmgr.ResourceLimits{Conns: 1, ConnsInbound: 1, ConnsOutbound: 1, FD: 1, Memory: 32 << 20},
	}
	// How many connections may be opened from one address: libp2p allows one in five seconds, where every command of a
	// command line opens one.
	pace := &rate.Limiter{
		NetworkPrefixLimits: []rate.PrefixLimit{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")}},
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: rate.Limit{RPS: 50, Burst: 512}}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: rate.Limit{RPS: 50, Burst: 512}}},
			GracePeriod:      time.Minute,
		},
	}
	return rcmgr.NewResourceManager(
		rcmgr.NewFixedLimiter(limits.Build(rcmgr.InfiniteLimits)),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithConnRateLimiters(pace),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: perAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: perAddress}, {PrefixLength: 48, ConnCount: 2 * perAddress}},
		))
}
