package netlab

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// frames are packets as they were captured, and what is in them.
var frames = []struct{ frame, want string }{
	{"00005e0001010000 5e000102 0800" + // UDP over IPv4
		"45000021000040004011 0000 19000101 19000201" + "1068c0de000d0000" + "68656c6c6f", "25.0.1.1:4200 → 25.0.2.1:49374 hello"},
	{"00005e000101 00005e000102 86dd" + // UDP over IPv6
		"60000000000d1140 2a100025000000000000000000000101 2a100025000000010000000000000002" + "1068c0de000d0000" + "68656c6c6f", "[2a10:25::101]:4200 → [2a10:25:0:1::2]:49374 hello"},
	{"00005e000101 00005e000102 0800" + // TCP over IPv4, with an option
		"4500002f000040004006 0000 19000101 19000201" + "01bbc0de 00000001 00000002 6018ffff 00000000 02040064" + "68656c", "25.0.1.1:443 → 25.0.2.1:49374 hel"},
}

func decode(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParsePacket(t *testing.T) {
	for _, tt := range frames {
		frame := decode(t, tt.frame)
		if p, ok := ParsePacket(frame); !ok || p.From.String()+" → "+p.To.String()+" "+string(p.Data) != tt.want {
			t.Errorf("%s: %+v, %v", tt.want, p, ok)
		}
		for cut := range frame {
			if p, ok := ParsePacket(frame[:cut]); ok {
				t.Errorf("%s, cut after %d bytes: %+v", tt.want, cut, p)
			}
		}
	}
	for name, text := range map[string]string{
		"ARP":                   "00005e000101 00005e000102 0806 0001080006040001",
		"a later fragment":      strings.Replace(frames[0].frame, "00004000", "00002001", 1),
		"ICMP":                  strings.Replace(frames[0].frame, "4011", "4001", 1),
		"an IPv4 header of 16":  strings.Replace(frames[0].frame, "45000021", "44000021", 1),
		"IPv6 that says IPv4":   strings.Replace(frames[1].frame, "60000000", "40000000", 1),
		"a TCP header too long": strings.Replace(frames[2].frame, "6018ffff", "f018ffff", 1),
	} {
		if p, ok := ParsePacket(decode(t, text)); ok {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func FuzzParsePacket(f *testing.F) {
	for _, tt := range frames {
		f.Add(decode(f, tt.frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		p, ok := ParsePacket(frame)
		if !ok {
			return
		}
		if p.Transport != TCP && p.Transport != UDP || !p.From.IsValid() || !p.To.IsValid() || !bytes.Contains(frame, p.Data) {
			t.Errorf("%x is %+v", frame, p)
		}
	})
}

// Whose namespaces are, their names say.
func TestStale(t *testing.T) {
	me, err := process(1)
	if err != nil {
		t.Skip(err) // there is no /proc
	}
	for name, want := range map[string]bool{
		prefix + me + "-1-0-host":      false, // process 1 lives
		prefix + "1-1-1-0-host":        true,  // another process 1 did
		prefix + "999999999-1-1-0-lan": true,
		prefix + "what":                false,
		prefix + "a-b-c-d":             false,
		"somebody-elses":               false,
	} {
		if got := stale(name); got != want {
			t.Errorf("%s is stale: %v", name, got)
		}
	}
}
