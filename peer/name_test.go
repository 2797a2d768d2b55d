package peer

import (
	"crypto/ed25519"
	"crypto/rand"
	"testing"
)

func TestWithKey(t *testing.T) {
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const addr = "/ip4/192.0.2.1/udp/4747/quic-v1"
	named, err := WithKey(addr, pub)
	if err != nil {
		t.Fatal(err)
	}
	key, err := KeyOf(named)
	if err != nil || !pub.Equal(key) {
		t.Errorf("KeyOf(%q) = %v, %v", named, key, err)
	}
	for _, bad := range []string{"", addr, "192.0.2.1:1", "/ip4/192.0.2.1/udp/1" + named[len(addr):], named[:len(named)-2]} {
		if key, err := KeyOf(bad); err == nil {
			t.Errorf("KeyOf(%q) = %v", bad, key)
		}
	}
}
