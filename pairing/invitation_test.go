package pairing_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/signed"
)

var now = time.Date(2026, 11, 21, 14, 30, 0, 0, time.UTC)

// sample makes an invitation of usual size.
func sample(t testing.TB, change func(*pairing.Terms)) (pairing.Invitation, string, error) {
	t.Helper()
	terms := pairing.Terms{
		Tree: identity.TreeID(signed.Sum([]byte("tree"))), Charter: signed.Sum([]byte("charter")), Gateway: identity.MemberID{1},
		GatewayKey: identitytest.NewKey(t).Public(), Addresses: []string{"192.168.178.20:47110", "10.0.0.2:47110"},
		Kind: identity.Device, Path: "home/porch/doorbell",
	}
	if change != nil {
		change(&terms)
	}
	return pairing.NewInvitation(identitytest.NewKey(t), terms, now)
}

func mustSample(t testing.TB) (pairing.Invitation, string) {
	t.Helper()
	inv, text, err := sample(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	return inv, text
}

func TestInvitationTravels(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*pairing.Terms){
		"usual":       nil,
		"later epoch": func(m *pairing.Terms) { m.Epoch = 3 },
		"P-256":       func(m *pairing.Terms) { m.GatewayKey = p256.Public() },
		"a day":       func(m *pairing.Terms) { m.Life = 24 * time.Hour },
		"IPv6":        func(m *pairing.Terms) { m.Addresses = []string{"/ip6/fe80::1/udp/4711/quic-v1"} },
		"other":       func(m *pairing.Terms) { m.Addresses = []string{"/dns4/home.example/udp/4711/quic-v1"} },
		"person":      func(m *pairing.Terms) { m.Kind, m.Path = identity.Person, "sam/anna" },
	} {
		made, text, err := sample(t, change)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		read, err := pairing.Parse(text, now)
		if err != nil || !reflect.DeepEqual(made, read) {
			t.Errorf("%s: %v\nmade %#v\nread %#v", name, err, made.Terms, read.Terms)
		}
		if strings.ContainsAny(text, " \n+/=") || len(text) > 500 {
			t.Errorf("%s: %d characters: %s", name, len(text), text)
		}
	}
}

func TestInvitationIsShort(t *testing.T) {
	if _, text := mustSample(t); len(text) > 450 {
		t.Errorf("%d characters with two addresses, want at most 450", len(text))
	}
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"192.168.178.20:4711":                   "/ip4/192.168.178.20/udp/4711/quic-v1",
		"/ip4/192.168.178.20/udp/4711/quic-v1":  "/ip4/192.168.178.20/udp/4711/quic-v1",
		"[fd00::1]:4711":                        "/ip6/fd00::1/udp/4711/quic-v1",
		"/ip6/fd00::1/udp/4711/quic-v1":         "/ip6/fd00::1/udp/4711/quic-v1",
		"/ip6/::ffff:10.0.0.1/udp/1/quic-v1":    "/ip6/::ffff:10.0.0.1/udp/1/quic-v1",
		"[fe80::1%eth0]:4711":                   "[fe80::1%eth0]:4711",
		"/ip4/1.2.3.4/tcp/4711":                 "/ip4/1.2.3.4/tcp/4711",
		"/ip4/fd00::1/udp/4711/quic-v1":         "/ip4/fd00::1/udp/4711/quic-v1",
		"/ip4/1.2.3.4/udp/4711/quic-v1/p2p/Qm1": "/ip4/1.2.3.4/udp/4711/quic-v1/p2p/Qm1",
	} {
		inv, _, err := sample(t, func(m *pairing.Terms) { m.Addresses = []string{in} })
		if err != nil || len(inv.Addresses) != 1 || inv.Addresses[0] != want {
			t.Errorf("%s becomes %q, %v; want %s", in, inv.Addresses, err, want)
		}
	}
}

func TestBadTerms(t *testing.T) {
	for name, change := range map[string]func(*pairing.Terms){
		"no tree":         func(m *pairing.Terms) { m.Tree = identity.TreeID{} },
		"no charter":      func(m *pairing.Terms) { m.Charter = signed.Digest{} },
		"no gateway":      func(m *pairing.Terms) { m.Gateway = identity.MemberID{} },
		"no key":          func(m *pairing.Terms) { m.GatewayKey = nil },
		"key of no use":   func(m *pairing.Terms) { m.GatewayKey = "key" },
		"no address":      func(m *pairing.Terms) { m.Addresses = nil },
		"nine addresses":  func(m *pairing.Terms) { m.Addresses = strings.Fields(strings.Repeat("10.0.0.1:1 ", 9)) },
		"a blank address": func(m *pairing.Terms) { m.Addresses = []string{"a b"} },
		"a long address":  func(m *pairing.Terms) { m.Addresses = []string{strings.Repeat("a", 129)} },
		"a root":          func(m *pairing.Terms) { m.Kind, m.Path = identity.Root, "root" },
		"a place":         func(m *pairing.Terms) { m.Kind = identity.Place },
		"no kind":         func(m *pairing.Terms) { m.Kind = 0 },
		"no path":         func(m *pairing.Terms) { m.Path = "" },
		"bad path":        func(m *pairing.Terms) { m.Path = "home/Porch" },
		"device on top":   func(m *pairing.Terms) { m.Path = "lock" },
		"owner below":     func(m *pairing.Terms) { m.Kind, m.Path = identity.Owner, "sam/eve" },
		"person deep":     func(m *pairing.Terms) { m.Kind, m.Path = identity.Person, "a/b/c" },
		"app on top":      func(m *pairing.Terms) { m.Kind, m.Path = identity.App, "phone" },
		"app deep":        func(m *pairing.Terms) { m.Kind, m.Path = identity.App, "a/b/c/d" },
		"no life":         func(m *pairing.Terms) { m.Life = time.Millisecond },
		"negative life":   func(m *pairing.Terms) { m.Life = -time.Hour },
		"too long a life": func(m *pairing.Terms) { m.Life = pairing.MaxLife + time.Second },
	} {
		if _, text, err := sample(t, change); err == nil || text != "" {
			t.Errorf("%s: made %s", name, text)
		}
	}
}

func TestInvitationInTime(t *testing.T) {
	_, text := mustSample(t)
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{now, ""},
		{now.Add(-2 * time.Minute), ""},
		{now.Add(-2*time.Minute - time.Second), "pairing: reading an invitation: it was made at 2026-11-21 14:30:00 UTC, which is in the future: check this machine's clock, which says 2026-11-21 14:27:59"},
		{time.Unix(0, 0), "pairing: reading an invitation: it was made at 2026-11-21 14:30:00 UTC, which is in the future: check this machine's clock, which says 1970-01-01 00:00:00"},
		{now.Add(time.Hour + 2*time.Minute), ""},
		{now.Add(time.Hour + 2*time.Minute + time.Second), "pairing: reading an invitation: the invitation has expired, at 2026-11-21 15:30:00 UTC"},
	} {
		_, err := pairing.Parse(text, tt.at)
		if got := fmt.Sprint(err); err == nil && tt.want != "" || err != nil && got != tt.want {
			t.Errorf("at %s: %v\nwant %s", tt.at, err, tt.want)
		}
		if strings.Contains(tt.want, "expired") && !errors.Is(err, pairing.ErrExpired) {
			t.Errorf("at %s: %v is not ErrExpired", tt.at, err)
		}
		if _, err := pairing.Read(text); err != nil {
			t.Error(err)
		}
	}
}

// Every bit counts, and so does every character.
func TestInvitationAltered(t *testing.T) {
	_, text := mustSample(t)
	for i := range len(text) {
		for bit := range 8 {
			altered := []byte(text)
			altered[i] ^= 1 << bit
			if inv, err := pairing.Read(string(altered)); err == nil {
				t.Errorf("character %d, bit %d altered: %v", i, bit, inv)
			}
		}
		if inv, err := pairing.Read(text[:i]); err == nil {
			t.Errorf("cut to %d characters: %v", i, inv)
		}
	}
	if _, err := pairing.Read(text + "A"); err == nil {
		t.Error("lengthened")
	}
	raw := unwrap(t, text)
	for i := range raw {
		for bit := range 8 {
			altered := append([]byte(nil), raw...)
			altered[i] ^= 1 << bit
			if inv, err := pairing.Read(wrap(altered)); err == nil {
				t.Errorf("byte %d, bit %d altered, checksum mended: %v", i, bit, inv)
			}
		}
	}
}

func TestInvitationBroken(t *testing.T) {
	made, text := mustSample(t)
	broken := "  " + text[:70] + "\r\n\t" + text[70:300] + " \n" + text[300:] + "\n"
	if read, err := pairing.Parse(broken, now); err != nil || read.ID() != made.ID() {
		t.Errorf("broken into lines: %v", err)
	}
	for in, want := range map[string]string{
		"":                              "pairing: reading an invitation: it is empty",
		"hello":                         `pairing: reading an invitation: it begins with "hello", an invitation with "kindred1"`,
		"https://example.org/":          `pairing: reading an invitation: it begins with "https://", an invitation with "kindred1"`,
		"kindred1":                      "pairing: reading an invitation: it was cut short or altered on the way: its checksum is wrong",
		text[:len(text)-1]:              "pairing: reading an invitation: it was cut short or altered on the way: its checksum is wrong",
		text + text:                     "pairing: reading an invitation: it was cut short or altered on the way: its checksum is wrong",
		strings.Repeat("a", 1<<20):      "pairing: reading an invitation: 1048576 characters, of at most 2048",
		text + strings.Repeat("a", 2e3): fmt.Sprintf("pairing: reading an invitation: %d characters, of at most 2048", len(text)+2000),
	} {
		if _, err := pairing.Parse(in, now); fmt.Sprint(err) != want {
			t.Errorf("%.20s: %v\nwant %s", in, err, want)
		}
	}
}

// Statements that are well signed and no good invitation.
func TestInvitationForged(t *testing.T) {
	key := identitytest.NewKey(t)
	inv, text, err := pairing.NewInvitation(key, pairing.Terms{
		Tree: identity.TreeID{1}, Charter: signed.Digest{1}, Gateway: identity.MemberID{1},
		GatewayKey: identitytest.NewKey(t).Public(), Addresses: []string{"10.0.0.1:1"}, Kind: identity.Device, Path: "home/lock",
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	s, err := signed.Parse(unwrap(t, text))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(typ signed.Type, change func(fields map[uint64]any)) string {
		fields := map[uint64]any{}
		if err := signed.Unmarshal(s.Payload, &fields); err != nil {
			t.Fatal(err)
		}
		change(fields)
		raw, err := signed.Sign(key, typ, fields)
		if err != nil {
			t.Fatal(err)
		}
		return wrap(raw)
	}
	same := sign(pairing.InvitationType, func(map[uint64]any) {})
	if read, err := pairing.Read(same); err != nil || read.ID() != inv.ID() {
		t.Fatalf("signed anew: %v", err)
	}
	for _, tt := range []struct {
		name, text, want string
	}{
		{"another type", sign("kindred/grant", func(map[uint64]any) {}), `it is a "kindred/grant" and not an invitation`},
		{"another's key", sign(pairing.InvitationType, func(f map[uint64]any) {
			f[13] = []byte(identitytest.NewKey(t).Public().(ed25519.PublicKey))
		}), "its signature is wrong"},
		{"a field more", sign(pairing.InvitationType, func(f map[uint64]any) { f[14] = 1 }), "unknown field"},
		{"no secret", sign(pairing.InvitationType, func(f map[uint64]any) { f[12] = make([]byte, 16) }), "no secret"},
		{"a short secret", sign(pairing.InvitationType, func(f map[uint64]any) { f[12] = make([]byte, 15) }), "signed: decoding"},
		{"a place", sign(pairing.InvitationType, func(f map[uint64]any) { f[8] = uint64(identity.Place) }), "a place is not invited"},
		{"no address", sign(pairing.InvitationType, func(f map[uint64]any) { delete(f, 6) }), "0 addresses"},
		{"half an address", sign(pairing.InvitationType, func(f map[uint64]any) { f[6] = []any{[]byte{1, 2, 3}} }), "an address of 3 bytes"},
		{"no point", sign(pairing.InvitationType, func(f map[uint64]any) { f[5] = append([]byte{9}, make([]byte, 32)...) }), "no point on P-256"},
		{"half a key", sign(pairing.InvitationType, func(f map[uint64]any) { f[5] = make([]byte, 16) }), "a key of 16 bytes"},
		{"a long life", sign(pairing.InvitationType, func(f map[uint64]any) { f[11] = uint64(1 << 40) }), "it holds for"},
		{"a far time", sign(pairing.InvitationType, func(f map[uint64]any) { f[10] = uint64(1 << 50) }), "it was made at Unix time"},
	} {
		if _, err := pairing.Read(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v\nwant %q", tt.name, err, tt.want)
		}
	}
}

// Nothing that prints an invitation prints its secret.
func TestSecretIsNotPrinted(t *testing.T) {
	inv, text := mustSample(t)
	s, err := signed.Parse(unwrap(t, text))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[uint64]any{}
	if err := signed.Unmarshal(s.Payload, &fields); err != nil {
		t.Fatal(err)
	}
	secret := fields[12].([]byte)
	var log strings.Builder
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("invited", "invitation", inv, "list", []pairing.Invitation{inv}, "offer", inv.Offer("", false))
	}
	printed := fmt.Sprintf("%v %+v %#v %s %q %x %d %v %s", inv, inv, inv, inv, inv, inv, inv, []any{inv}, log.String())
	list := strings.Trim(fmt.Sprint(secret), "[]")
	for _, form := range []string{hex.EncodeToString(secret), list, string(secret), base64.StdEncoding.EncodeToString(secret)[:20], fmt.Sprintf("%#v", secret)[8:]} {
		if strings.Contains(printed, form) {
			t.Errorf("the secret is printed as %q in\n%s", form, printed)
		}
	}
}

func TestID(t *testing.T) {
	inv, _ := mustSample(t)
	id, err := pairing.ParseID(inv.ID().String())
	if err != nil || id != inv.ID() {
		t.Errorf("%s is read as %s, %v", inv.ID(), id, err)
	}
	for _, s := range []string{"", "x", strings.ToUpper(id.String()), id.String() + "a", strings.Repeat("7", 26), "pairing/" + id.String()} {
		if got, err := pairing.ParseID(s); err == nil {
			t.Errorf("%q is read as %s", s, got)
		}
	}
}

// unwrap returns the statement in an invitation.
func unwrap(t testing.TB, text string) []byte {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(text, "kindred1"))
	if err != nil {
		t.Fatal(err)
	}
	return data[:len(data)-4]
}

// wrap makes the line of an invitation around any bytes, with the right checksum.
func wrap(raw []byte) string {
	sum := binary.BigEndian.AppendUint32(append([]byte(nil), raw...), crc32.ChecksumIEEE(raw))
	return "kindred1" + base64.RawURLEncoding.EncodeToString(sum)
}
