package tunnel

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// The examples of RFC 9000, appendix A.1, and the borders.
func TestVarint(t *testing.T) {
	for _, tt := range []struct {
		n    uint64
		wire string
	}{
		{151288809941952652, "c2197c5eff14e88c"}, {494878333, "9d7f3e7d"}, {15293, "7bbd"}, {37, "25"},
		{0, "00"}, {63, "3f"}, {64, "4040"}, {16383, "7fff"}, {16384, "80004000"},
		{1<<30 - 1, "bfffffff"}, {1 << 30, "c000000040000000"}, {1<<62 - 1, "ffffffffffffffff"},
		{uint64(typeData), "a028d7f0"}, {uint64(typeFinalData), "a028d7f1"},
	} {
		if got := hex.EncodeToString(appendVarint(nil, tt.n)); got != tt.wire {
			t.Errorf("%d is written %s, want %s", tt.n, got, tt.wire)
		}
		raw, _ := hex.DecodeString(tt.wire)
		if got, err := readVarint(bytes.NewReader(raw)); got != tt.n || err != nil {
			t.Errorf("%s is read as %d, %v, want %d", tt.wire, got, err, tt.n)
		}
	}
	if got, err := readVarint(bytes.NewReader([]byte{0x40, 0x25})); got != 37 || err != nil { // not the shortest form, and allowed
		t.Errorf("read %d, %v, want 37", got, err)
	}
}

func capsule(kind capsuleType, value string) string {
	b := appendVarint(appendVarint(nil, uint64(kind)), uint64(len(value)))
	return string(b) + value
}

// readOnly is a stream that is read alone.
func readOnly(r io.Reader) bare { return bare{both{r, io.Discard}} }

type both struct {
	io.Reader
	io.Writer
}

func (both) Close() error { return nil }

func TestReadTCP(t *testing.T) {
	unknown := capsule(0x1234, "passed over")
	for _, tt := range []struct {
		name, wire, want string
		err              error
	}{
		{"nothing", "", "", io.ErrUnexpectedEOF},
		{"data and end", capsule(typeData, "ab") + capsule(typeData, "") + capsule(typeFinalData, "c"), "abc", nil},
		{"end alone", capsule(typeFinalData, ""), "", nil},
		{"what follows the end", capsule(typeFinalData, "a") + capsule(typeData, "b"), "a", nil},
		{"no end", capsule(typeData, "abc"), "abc", io.ErrUnexpectedEOF},
		{"cut off in a value", capsule(typeFinalData, "abc")[:6], "a", io.ErrUnexpectedEOF},
		{"cut off in a length", capsule(typeData, "ab") + "\xa0\x28\xd7\xf0", "ab", io.ErrUnexpectedEOF},
		{"cut off in a type", capsule(typeData, "ab") + "\xa0", "ab", io.ErrUnexpectedEOF},
		{"unknown", unknown + capsule(typeData, "a") + unknown + capsule(typeFinalData, "b") + unknown, "ab", nil},
		{"unknown and cut off", unknown[:5], "", io.ErrUnexpectedEOF},
		{"a datagram", capsule(typeDatagram, "\x00x") + capsule(typeFinalData, "a"), "a", nil},
	} {
		for how, r := range map[string]io.Reader{"whole": strings.NewReader(tt.wire), "bytewise": iotest.OneByteReader(strings.NewReader(tt.wire))} {
			got, err := io.ReadAll(newConn(TCP, readOnly(nil), r, 0))
			if string(got) != tt.want || !errors.Is(err, tt.err) || err != tt.err {
				t.Errorf("%s, %s: read %q, %v; want %q, %v", tt.name, how, got, err, tt.want, tt.err)
			}
		}
	}
	long := string(appendVarint(appendVarint(nil, 0x1234), maxUnknown+1))
	if _, err := newConn(TCP, readOnly(nil), strings.NewReader(long), 0).Read(make([]byte, 1)); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a long capsule of unknown type: %v", err)
	}
}

func TestReadUDP(t *testing.T) {
	datagram := func(payload string) string { return capsule(typeDatagram, "\x00"+payload) }
	other := capsule(typeDatagram, "\x02of another context") + capsule(typeData, "no datagram")
	c := newConn(UDP, readOnly(nil), strings.NewReader(
		datagram("one")+other+datagram("")+capsule(typeDatagram, "\x40\x00two")+datagram("three and more")+datagram(strings.Repeat("x", MaxDatagram))), 0)
	buffer := make([]byte, maxReceived)
	for _, want := range []string{"one", "", "two"} {
		if n, err := c.Read(buffer); err != nil || string(buffer[:n]) != want {
			t.Errorf("read %q, %v, want %q", buffer[:n], err, want)
		}
	}
	if n, err := c.Read(buffer[:5]); err != nil || string(buffer[:n]) != "three" { // the rest is lost
		t.Errorf("read %q, %v", buffer[:n], err)
	}
	if n, err := c.Read(buffer); err != nil || n != MaxDatagram {
		t.Errorf("read %d bytes, %v, want %d", n, err, MaxDatagram)
	}
	if _, err := c.Read(buffer); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for name, wire := range map[string]string{
		"too long":               string(appendVarint(appendVarint(nil, uint64(typeDatagram)), maxReceived+9)),
		"too long by a byte":     datagram(strings.Repeat("x", maxReceived+1)),
		"without a context":      capsule(typeDatagram, ""),
		"with half a context":    capsule(typeDatagram, "\x40"),
		"cut off in its payload": datagram("abc")[:4],
	} {
		if _, err := newConn(UDP, readOnly(nil), strings.NewReader(wire), 0).Read(buffer); err == nil || err == io.EOF {
			t.Errorf("a datagram %s: %v", name, err)
		}
	}
}

// FuzzCapsules reads anything as both kinds of tunnel: however the bytes arrive they mean the same, nothing is read
// that was not sent, and what is read, written again, reads the same.
func FuzzCapsules(f *testing.F) {
	f.Add([]byte(capsule(typeData, "ab") + capsule(0x1234, "x") + capsule(typeFinalData, "c")))
	f.Add([]byte(capsule(typeDatagram, "\x00one") + capsule(typeDatagram, "\x40\x00") + capsule(typeDatagram, "\x02x")))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	buffer := make([]byte, maxReceived)
	f.Fuzz(func(t *testing.T, wire []byte) {
		whole, err := io.ReadAll(newConn(TCP, readOnly(nil), bytes.NewReader(wire), 0))
		bytewise, err2 := io.ReadAll(newConn(TCP, readOnly(nil), iotest.OneByteReader(bytes.NewReader(wire)), 0))
		if !bytes.Equal(whole, bytewise) || (err == nil) != (err2 == nil) || len(whole) > len(wire) {
			t.Fatalf("read %q, %v at once and %q, %v bytewise", whole, err, bytewise, err2)
		}
		if err == nil {
			var out bytes.Buffer
			c := newConn(TCP, bare{both{nil, &out}}, strings.NewReader(""), 0)
			if _, err := c.Write(whole); err != nil {
				t.Fatal(err)
			}
			c.Close()
			if again, err := io.ReadAll(newConn(TCP, readOnly(nil), &out, 0)); err != nil || !bytes.Equal(again, whole) {
				t.Fatalf("wrote %q and read %q, %v", whole, again, err)
			}
		}
		in := newConn(UDP, readOnly(nil), bytes.NewReader(wire), 0)
		for total := 0; ; {
			n, err := in.Read(buffer)
			if err != nil {
				break
			}
			if total += n; total > len(wire) {
				t.Fatal("more was read than was sent")
			}
		}
	})
}
