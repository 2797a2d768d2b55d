//go:build linux

package netlabtest

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// The client's keys of RFC 9001, Appendix A.1, and what protects the header of the packet in A.2.
func TestInitialKeys(t *testing.T) {
	id, _ := hex.DecodeString("8394c8f03e515708")
	secret := "c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea"
	raw, _ := hex.DecodeString(secret)
	if key := hex.EncodeToString(expand(raw, "quic key", 16)); key != "1f369613dd76d5467730efcbe3b1a22d" {
		t.Errorf("the key is %s", key)
	}
	_, iv, mask := initialKeys(id)
	if got := hex.EncodeToString(iv); got != "fa044b2f42a3fd3b46fb255c" {
		t.Errorf("the IV is %s", got)
	}
	sample, _ := hex.DecodeString("d1b1c98dd7689fb8ec11d242b123dc9b")
	hidden := make([]byte, len(sample))
	mask.Encrypt(hidden, sample)
	if got := hex.EncodeToString(hidden[:5]); got != "437b9aec36" {
		t.Errorf("the mask is %s", got)
	}
}

func TestVarint(t *testing.T) { // RFC 9000, Appendix A.1
	for text, want := range map[string]uint64{
		"c2197c5eff14e88c": 151288809941952652, "9d7f3e7d": 494878333, "7bbd": 15293, "25": 37, "4025": 37,
	} {
		b, _ := hex.DecodeString(text)
		if n, size := varint(append(b, 0xff)); n != want || size != len(b) {
			t.Errorf("%s is %d, of %d bytes", text, n, size)
		}
		if n, size := varint(b[:len(b)-1]); size != 0 || n < 1<<62 {
			t.Errorf("%s without its end is %d, of %d bytes", text, n, size)
		}
	}
}

func FuzzOpenInitial(f *testing.F) {
	f.Add(append([]byte{0xc0, 0, 0, 0, 1, 1, 7, 0, 0, 0x40, 60}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, frames, rest, ok := openInitial(b)
		if !ok {
			return
		}
		if len(rest) >= len(b) || len(frames) >= len(b) || !bytes.Contains(b, []byte(id)) {
			t.Errorf("%x is of %x: %x, then %x", b, id, frames, rest)
		}
		cryptoFrames(frames, map[uint64][]byte{})
	})
}
