// Package peer lets holders of keys call each other: it dials a peer by its
// public key, and carries HTTP/1.1 over the streams of one encrypted
// connection, each stream opened by a hello that says who is calling.
//
// The connection is QUIC's or, on a LAN, where it costs less, TCP's with
// yamux, or a relay's circuit with yamux; and where a LAN is busy, further
// streams are TCP connections of their own. The handshake (libp2p's TLS 1.3 in
// all of them) proves both ends' keys and nothing else. Who a key belongs to is
// said in the hello: opaque bytes here, made and verified by the functions that
// [Config] and [Target] carry. What a caller may do is the business of the HTTP
// handler, which finds with [Caller] what the verification returned.
//
// # Protocol
//
// [Protocol] runs over a bidirectional stream, after multistream-select 1.0. The
// caller sends, in one write and so in the first flight,
//
//	"\x13/multistream/1.0.0\n" "\x13/kindred/http/1\n" — multistream-select
//	shown                                              — the caller's hello
//	held                                               — the callee's hello that the caller holds
//	HTTP/1.1 requests, one after the other
//
// and the callee answers, as soon as it has verified the caller,
//
//	"\x13/multistream/1.0.0\n" "\x13/kindred/http/1\n"
//	shown                                              — the callee's hello
//	HTTP/1.1 responses
//
// where shown and held are frames:
//
//	0x00                           none
//	0x01 length hello              full; length is a minimal unsigned varint, 1 … 65536
//	0x02 SHA-256 of a hello        digest, 32 bytes
//
// A caller may show a digest once a full hello with that digest was answered
// on the same connection by a frame other than none. held is none or a digest:
// of a hello that the callee showed on the same connection and the caller
// accepted. A callee whose hello has exactly that digest answers with the
// digest, and otherwise in full. A digest that the callee does not know ends
// the stream with code 0x6b01, upon which the caller starts over with a full
// hello; anything malformed ends it with 0x6b02, and slowness or want of room
// with 0x6b03.
//
// A callee that does not accept its caller shows none, answers the first request
// with 403 and closes the stream: no stranger ever sees a hello. A caller that
// cannot rely on the callee's key alone (its record of the callee is old) sends
// its frames, waits for the callee's hello, and only then its request
// ([Target.Hold]).
//
// Streams are kept and reused for further requests. A hello holds for one
// stream, so a caller with a new hello opens a new stream, and a callee with a
// new hello, or on a stream five minutes old, answers with "Connection: close".
// A request may switch protocols (101, as WebSocket does): the stream is then
// the new protocol's for as long as it lasts, each direction ended by itself.
//
// A caller opens at most sixteen streams on a connection before the callee has
// answered on one: until then it is a stranger.
//
// A lane is a TCP connection that is one stream, beside one that carries many:
// doc/peer.md, section 4. TLS calls it "http/1.1", nothing names [Protocol], and the
// caller's hello is always full. Sixteen requests in a quarter of a second over
// TCP on a LAN make further streams lanes, at most sixteen at a time, whose
// callee knows the caller already. They end with the connection that they are
// beside, which stays for everything else, and is what is looked after.
//
// # HTTP
//
// What net/http does over a connection, it does over a stream: trailers, 100
// Continue, answers before a request's end, upgrades. A body that nobody reads
// stops its writer once the stream's window is full, and no other stream of the
// connection; a request given up ends its handler's context. Whoever closes a
// stream tells the other end that nothing more is read, so that no handler
// writes to nobody. Bodies of any size take the same memory.
//
// # Bounds
//
// Bounds hold alike over QUIC, TCP and circuits, as far as nothing else is said.
// An address is one of IPv4, a /56 of IPv6, or a relay, for all who come through
// it. Whoever goes over a bound is cut off, without an answer, and the owner is
// told how often ([Config.Offended]).
//
// A handshake has five seconds, and an address 64 of them under way at a time.
// An address can open 50 connections a second, and 512 at once, and have 1,024, at a
// relay 256 and 512 streams (as many as fit its limits).
//
// Whoever was not accepted yet is a stranger: a member that is about to show its
// hello, somebody of another tree, or of none. Strangers have 256 connections
// together; where one more comes, the address with most of them loses its oldest.
// One of theirs may have sixteen streams open and send 256 KiB, of TCP and of
// circuits no more is even read, and has fifteen seconds to be accepted. Sixteen
// of its streams may fail to begin as is due, and sixteen of its hellos be
// refused; then it is cut off, or nothing more is verified.
//
// A hello has at most [MaxHello] bytes. Eight are verified at a time: one of a
// stranger's connection, and of those that wait one for each address, and each
// member, before the second of any. So a flood of hellos, however long each
// takes, makes those wait who send it.
//
// A member can have 64 connections open to a host, lanes included, 256 streams on each
// and 512 in all; sixteen of a connection are examined at a time. A stream must bring its
// frames within five seconds of its first byte, and then each request's header: 32 KiB
// at most, where each line counts 64 bytes more than it has, as it takes in memory.
// What a member does not read stays in the windows, 256 KiB of a stream on TCP
// and circuits and 512 KiB on QUIC, which grow where it is read, up to 4 MiB and
// 10 MiB, 64 MiB for all connections of a member and 512 MiB for all members; of a
// lane it stays in what the system holds for TCP. A connection of bytes into which nothing can be written for ten seconds is
// closed; and so is every one that nobody used for five minutes, and one on which
// packets were sent and none came back for two and a half seconds. On a connection
// that this end made and where a stream is open, something is sent after a second
// of silence, elsewhere QUIC does every fifteen. Where packets are not seen (TCP,
// circuits), a ping may take five seconds.
//
// # Ways
//
// All addresses of a callee are tried side by side, those on this machine's own
// networks with a head start of 25 ms, then all others, then relays with 25 ms
// more; the first connection is used ([Path] tells which). Later streams use the
// best connection there is: [LAN], [Loopback], [Direct], [Relayed].
//
// From a relayed way a direct one is made while it is in use. The callee asks for
// it once it has accepted the caller, by libp2p's DCUtR: the two tell each other,
// through the relay, where others see them, and send at the same time. Nobody is
// told that whose hello was not accepted. If it fails three times ([Path].Punch),
// nothing is tried until one end has moved, or the caller comes on another
// connection. Streams stay where they began ([Superseded] tells of a response
// that it had better be asked for again), the kept ones that are idle are closed,
// and so is the relayed connection once nothing goes over it.
//
// A host notices within a second that this machine's networks changed or that it
// slept, and has each of its connections show within another that it lives. A
// change of a router's address shows as silence. What was in progress fails with
// [ErrUnreachable], and is repeated under the conditions of [Host.Transport].
//
// # Being found
//
// A host that listens keeps a reservation at each of the relays of
// [Config.Relays], renews it, and comes back to a relay that was lost, ever more
// slowly and at once when the networks change. Circuits are accepted from these
// relays alone. [Host.Addresses] are what others should be told, and
// [Config.Changed] hears of changes.
//
// A relay tells how it sees a host by /kindred/seen/1, whose format is in
// doc/peer.md: where, again whenever that changed, and on request whether
// somebody gets in there whom the host does not expect. [Host.Reach] is what
// follows from it; what two relays see, or one at two ports, tells how the NAT in
// front of the host maps ([NATCone], …). An address at which nobody gets in is told to those alone
// with whom a hole is punched.
//
// With [Config.MapPorts] the router is asked to forward ports, and to open its
// firewall for IPv6, see package portmap. Its word is not taken: a relay is asked
// by /kindred/door/1 to knock at the port, at the address where it sees the host,
// and others are told of what is forwarded once the relay got in. With no relay to
// ask they are told what the router says.
//
// # Relays
//
// A host with [Config.Relay] carries calls between others, by libp2p's circuit
// relay v2: whoever holds a reservation there (/libp2p/circuit/relay/0.2.0/hop)
// can be called through it. It sees both keys, both addresses, and how much is
// said when; the handshake and all that follows is between the two ends. What it
// takes on is bounded, and what it carries is shared fairly, see [RelayLimits].
// A connection on which there is a reservation is kept for as long as that lasts,
// an hour unless it is renewed.
//
// # What it does not do
//
// It finds nobody: addresses are given with each [Target], and the only ones that
// are learned from peers are those between which a hole is punched. It runs no
// other libp2p protocol (no identify, no ping), and none but the relay's for
// strangers, so that they learn nothing about a host but its key. A stream is not
// moved from one way to another. TCP goes through no punched hole.
package peer
