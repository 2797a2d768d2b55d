package peer_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-yamux/v5"
	"github.com/quic-go/quic-go"

	"github.com/kindred-iot/kindred/peer"
)

// This file is a second implementation of the caller's side, written from doc/peer.md with QUIC, TLS, yamux and nothing
// else of libp2p, and of package peer nothing but the callee that it calls. Numbers in brackets are sections of the page.

// update has TestVectors write testdata/vectors.json anew from what this file makes of the page.
var update = flag.Bool("update", false, "write testdata/vectors.json from the second implementation")

// vectors is testdata/vectors.json.
type vectors struct {
	About  string        `json:"about"`
	Names  []nameVector  `json:"names"`
	Frames []frameVector `json:"frames"`
	Opens  []openVector  `json:"openings"`
}

// A nameVector is a key and what it is called [1].
type nameVector struct {
	Key  string `json:"ed25519"`
	Name string `json:"name"`
}

// A frameVector is one frame [5]; of a full one the hello stands beside it.
type frameVector struct {
	Kind  string `json:"kind"`
	Hello string `json:"hello,omitempty"`
	Frame string `json:"frame"`
}

// An openVector is what a caller writes before its first request [5].
type openVector struct {
	About string `json:"about"`
	Shown string `json:"shown"` // a frame
	Held  string `json:"held"`  // a frame
	Bytes string `json:"bytes"`
}

const vectorsFile = "testdata/vectors.json"

// base58 is how libp2p writes names.
func base58(b []byte) string {
	const digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	var out []byte
	for n, mod := new(big.Int).SetBytes(b), new(big.Int); n.Sign() > 0; {
		n.DivMod(n, big.NewInt(58), mod)
		out = append(out, digits[mod.Int64()])
	}
	for i := 0; i < len(b) && b[i] == 0; i++ {
		out = append(out, digits[0])
	}
	slices.Reverse(out)
	return string(out)
}

// publicKey is a key as the name and the certificate's extension hold it [1].
func publicKey(key ed25519.PublicKey) []byte { return append([]byte{0x08, 0x01, 0x12, 0x20}, key...) }

func name(key ed25519.PublicKey) string {
	return base58(append([]byte{0x00, byte(len(publicKey(key)))}, publicKey(key)...))
}

func full(hello []byte) []byte {
	f, n := []byte{0x01}, len(hello)
	for ; n >= 0x80; n >>= 7 {
		f = append(f, byte(n)|0x80)
	}
	return append(append(f, byte(n)), hello...)
}

func short(hello []byte) []byte {
	sum := sha256.Sum256(hello)
	return append([]byte{0x02}, sum[:]...)
}

func token(name string) []byte {
	return append(append([]byte{byte(len(name) + 1)}, name...), '\n')
}

func opening(shown, held []byte) []byte {
	return slices.Concat(token("/multistream/1.0.0"), token("/kindred/http/1"), shown, held)
}

func made() vectors {
	seed := func(b byte) ed25519.PublicKey {
		return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	}
	hello, theirs := []byte("the caller's hello"), []byte("the callee's hello")
	long := bytes.Repeat([]byte("kindred "), 40)
	v := vectors{About: "doc/peer.md; bytes in hexadecimal"}
	for _, b := range []byte{0, 1, 255} {
		v.Names = append(v.Names, nameVector{hex.EncodeToString(seed(b)), name(seed(b))})
	}
	v.Frames = []frameVector{
		{"none", "", "00"},
		{"full", hex.EncodeToString(hello), hex.EncodeToString(full(hello))},
		{"full", hex.EncodeToString(long), hex.EncodeToString(full(long))},
		{"digest", hex.EncodeToString(hello), hex.EncodeToString(short(hello))},
	}
	for _, o := range []struct {
		about       string
		shown, held []byte
	}{
		{"a first stream", full(hello), []byte{0}},
		{"a further stream of a connection on which both hellos were accepted", short(hello), short(theirs)},
		{"a further stream of a caller whose hello is new", full(long), short(theirs)},
		{"a caller with nothing to show", []byte{0}, []byte{0}},
	} {
		v.Opens = append(v.Opens, openVector{o.about, hex.EncodeToString(o.shown), hex.EncodeToString(o.held), hex.EncodeToString(opening(o.shown, o.held))})
	}
	return v
}

func TestVectors(t *testing.T) {
	want, err := json.MarshalIndent(made(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(vectorsFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(vectorsFile)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the page says (%v)", vectorsFile, err)
	}
	for _, v := range made().Names {
		key, err := hex.DecodeString(v.Key)
		if err != nil {
			t.Fatal(err)
		}
		named, err := peer.WithKey("", ed25519.PublicKey(key))
		if err != nil || named != "/p2p/"+v.Name {
			t.Errorf("package peer calls %s %s (%v), the page %s", v.Key, named, err, v.Name)
		}
	}
}

// oidKey is the certificate extension that binds a connection to the holder of a key [2].
var oidKey = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 53594, 1, 1}

type signedKey struct{ PublicKey, Signature []byte }

const bindingPrefix = "libp2p-tls-handshake:"

// certificate makes the self-signed certificate of one connection [2].
func certificate(t *testing.T, key ed25519.PrivateKey) tls.Certificate {
	t.Helper()
	once, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(once.Public())
	if err != nil {
		t.Fatal(err)
	}
	value, err := asn1.Marshal(signedKey{
		publicKey(key.Public().(ed25519.PublicKey)), ed25519.Sign(key, append([]byte(bindingPrefix), spki...)),
	})
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: oidKey, Value: value}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, once.Public(), once)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: once}
}

// config is TLS as both ends speak it; the other end must prove want [2].
func config(cert tls.Certificate, want ed25519.PublicKey, alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: alpn,
		InsecureSkipVerify: true, // there is no authority: the certificate proves a key
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) != 1 {
				return fmt.Errorf("%d certificates", len(state.PeerCertificates))
			}
			leaf := state.PeerCertificates[0]
			for _, e := range leaf.Extensions {
				var s signedKey
				if !e.Id.Equal(oidKey) {
					continue
				}
				if _, err := asn1.Unmarshal(e.Value, &s); err != nil {
					return err
				}
				if !bytes.Equal(s.PublicKey, publicKey(want)) || !ed25519.Verify(want, append([]byte(bindingPrefix), leaf.RawSubjectPublicKeyInfo...), s.Signature) {
					return errors.New("another key")
				}
				return leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature)
			}
			return errors.New("no key in the certificate")
		},
	}
}

// A streams opens streams of one connection; bare ones are opened without naming protocols.
type streams struct {
	open func() (io.ReadWriteCloser, error)
	bare bool
}

// overQUIC connects as [3] says.
func overQUIC(t *testing.T, at string, key ed25519.PrivateKey, want ed25519.PublicKey) streams {
	conn, err := quic.DialAddr(t.Context(), at, config(certificate(t, key), want, "libp2p"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseWithError(0, "") })
	return streams{open: func() (io.ReadWriteCloser, error) { return conn.OpenStreamSync(t.Context()) }}
}

// secure connects to a TCP port, and returns the connection once the callee has chosen a protocol in TLS [4].
func secure(t *testing.T, at string, config *tls.Config, want string) (*tls.Conn, error) {
	raw, err := net.Dial("tcp", at)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { raw.Close() })
	return secureOver(t, raw, config, want)
}

// secureOver is secure for a connection that is there [4], [8].
func secureOver(t *testing.T, raw net.Conn, config *tls.Config, want string) (*tls.Conn, error) {
	choice := slices.Concat(token("/multistream/1.0.0"), token("/tls/1.0.0"))
	if _, err := raw.Write(choice); err != nil {
		return nil, err
	}
	answer := make([]byte, len(choice))
	if _, err := io.ReadFull(raw, answer); err != nil || !bytes.Equal(answer, choice) {
		return nil, fmt.Errorf("it answered %q (%w)", answer, err)
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(t.Context()); err != nil {
		return nil, err
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != want {
		return nil, fmt.Errorf("it chose %q", got)
	}
	return conn, nil
}

// overTCP connects as [4] says.
func overTCP(t *testing.T, at string, key ed25519.PrivateKey, want ed25519.PublicKey) streams {
	conn, err := secure(t, at, config(certificate(t, key), want, "/yamux/1.0.0", "libp2p"), "/yamux/1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	return shared(t, conn)
}

// shared has a connection be one of many streams [4].
func shared(t *testing.T, conn net.Conn) streams {
	settings := yamux.DefaultConfig()
	settings.LogOutput = io.Discard
	session, err := yamux.Client(conn, settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return streams{open: func() (io.ReadWriteCloser, error) { return session.OpenStream(t.Context()) }}
}

// overLanes connects as [4] says, and then makes a connection of each stream, beside that.
func overLanes(t *testing.T, at string, key ed25519.PrivateKey, want ed25519.PublicKey) streams {
	beside := overTCP(t, at, key, want)
	if _, status, _ := ask(t, beside, full([]byte(phoneHello)), []byte{0}); status != 200 {
		t.Fatalf("status %d on the connection itself", status)
	}
	return streams{bare: true, open: func() (io.ReadWriteCloser, error) {
		return secure(t, at, config(certificate(t, key), want, "http/1.1"), "http/1.1")
	}}
}

// ask opens a stream, and returns the frame that the callee showed and what it answered [5].
func ask(t *testing.T, over streams, shown, held []byte) (theirs []byte, status int, body string) {
	t.Helper()
	s, err := over.open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first, names := opening(shown, held), []string{"/multistream/1.0.0", "/kindred/http/1"}
	if over.bare {
		first, names = slices.Concat(shown, held), nil
	}
	if _, err := s.Write(append(first, "GET /state HTTP/1.1\r\nHost: lock\r\n\r\n"...)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(s)
	for _, want := range names {
		got := make([]byte, len(token(want)))
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, token(want)) {
			t.Fatalf("it answered %q (%v), want %q", got, err, token(want))
		}
	}
	theirs = readFrame(t, r)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return theirs, resp.StatusCode, string(b)
}

func readFrame(t *testing.T, r *bufio.Reader) []byte {
	t.Helper()
	kind, err := r.ReadByte()
	if err != nil {
		t.Fatal(err)
	}
	frame := []byte{kind}
	n := 0
	switch kind {
	case 0x01:
		for shift := 0; ; shift += 7 {
			b, err := r.ReadByte()
			if err != nil {
				t.Fatal(err)
			}
			frame, n = append(frame, b), n|int(b&0x7f)<<shift
			if b < 0x80 {
				break
			}
		}
	case 0x02:
		n = sha256.Size
	}
	rest := make([]byte, n)
	if _, err := io.ReadFull(r, rest); err != nil {
		t.Fatal(err)
	}
	return append(frame, rest...)
}

const phoneHello = "hello of the phone"

// TestSecondImplementation calls a host without package peer, over each transport.
func TestSecondImplementation(t *testing.T) {
	_, lockKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	phone, phoneKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := []byte(phoneHello), []byte("hello of the lock")
	lock, err := peer.New(peer.Config{
		Key: lockKey, Listen: []string{"127.0.0.1:0"},
		Admit: func(_ context.Context, from crypto.PublicKey, hello []byte) (peer.Admission, error) {
			if !phone.Equal(from) || !bytes.Equal(hello, ours) {
				return peer.Admission{}, errors.New("a stranger")
			}
			return peer.Admission{Hello: func() []byte { return theirs }}, nil
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "locked") }),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })

	for name, way := range map[string]struct {
		transport string
		connect   func(*testing.T, string, ed25519.PrivateKey, ed25519.PublicKey) streams
	}{"QUIC": {"udp", overQUIC}, "TCP": {"tcp", overTCP}, "lanes": {"tcp", overLanes}} {
		t.Run(name, func(t *testing.T) {
			over := way.connect(t, socket(t, lock.Addresses(), way.transport), phoneKey, lockKey.Public().(ed25519.PublicKey))
			for _, tt := range []struct {
				what               string
				shown, held, frame []byte
				status             int
				body               string
			}{
				{"the first stream", full(ours), []byte{0}, full(theirs), 200, "locked"},
				{"the next", short(ours), short(theirs), short(theirs), 200, "locked"},
				{"one that holds another hello", short(ours), short(ours), full(theirs), 200, "locked"},
				{"a hello that is not the caller's", full(theirs), []byte{0}, []byte{0}, 403, "refused\n"},
				{"no hello", []byte{0}, []byte{0}, []byte{0}, 403, "refused\n"},
			} {
				frame, status, body := ask(t, over, tt.shown, tt.held)
				if !bytes.Equal(frame, tt.frame) || status != tt.status || body != tt.body {
					t.Errorf("%s: got %q, %d %q; want %q, %d %q", tt.what, frame, status, body, tt.frame, tt.status, tt.body)
				}
			}
		})
	}
}

// socket returns the IP:PORT of the address for a transport.
func socket(t *testing.T, addrs []string, transport string) string {
	t.Helper()
	for _, a := range addrs {
		if parts := strings.Split(a, "/"); parts[1] == "ip4" && parts[3] == transport {
			return net.JoinHostPort(parts[2], parts[4])
		}
	}
	t.Fatalf("no address for %s among %q", transport, addrs)
	return ""
}
