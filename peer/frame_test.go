package peer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"io"
	"strings"
	"testing"
)

func TestFrameRoundTrip(t *testing.T) {
	long := bytes.Repeat([]byte{7}, MaxHello)
	for _, tt := range []struct {
		name string
		f    frame
		size int
	}{
		{"none", frame{}, 1},
		{"empty hello is none", fullFrame(nil), 1},
		{"one byte", fullFrame([]byte("x")), 3},
		{"127 bytes", fullFrame(long[:127]), 129},
		{"128 bytes", fullFrame(long[:128]), 131},
		{"longest", fullFrame(long), 4 + MaxHello},
		{"digest", fullFrame([]byte("x")).short(), 33},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.f.append(nil)
			if len(b) != tt.size {
				t.Errorf("encoded in %d bytes, want %d", len(b), tt.size)
			}
			r := bufio.NewReader(bytes.NewReader(append(b, "GET /"...)))
			got, err := readFrame(r)
			if err != nil {
				t.Fatal(err)
			}
			if got.kind != tt.f.kind || !bytes.Equal(got.hello, tt.f.hello) || got.digest != tt.f.digest {
				t.Errorf("read back %v, want %v", got, tt.f)
			}
			if rest, _ := io.ReadAll(r); string(rest) != "GET /" {
				t.Errorf("left %q unread, want %q", rest, "GET /")
			}
		})
	}
}

func TestFrameRefused(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", "EOF"},
		{"unknown kind", "\x03abc", "frame of unknown kind 0x03"},
		{"HTTP at once", "GET / HTTP/1.1\r\n", "frame of unknown kind 0x47"},
		{"length missing", "\x01", "unexpected EOF"},
		{"length cut", "\x01\x80", "unexpected EOF"},
		{"length 0", "\x01\x00", "hello of length 0"},
		{"length not minimal", "\x01\x81\x00", "length of hello is not a minimal varint"},
		{"one too long", "\x01\x81\x80\x04", "hello longer than 65536 bytes"},
		{"much too long", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "hello longer than 65536 bytes"},
		{"hello cut", "\x01\x05abcd", "unexpected EOF"},
		{"digest cut", "\x02abcd", "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readFrame(bufio.NewReader(strings.NewReader(tt.in)))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestFrameAllocatesWhatArrives(t *testing.T) {
	claim := []byte{1, 0x80, 0x80, 0x04, 'x'} // 65536 bytes claimed, one sent
	r := bufio.NewReader(nil)
	if n := testing.AllocsPerRun(10, func() {
		r.Reset(bytes.NewReader(claim))
		if _, err := readFrame(r); err != io.ErrUnexpectedEOF {
			t.Fatalf("got %v", err)
		}
	}); n > 8 {
		t.Errorf("%v allocations for one byte", n)
	}
}

func TestSelectRefused(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", "EOF"},
		{"empty token", "\x00", "multistream token of length 0"},
		{"long token", "\x80", "multistream token of length 128"},
		{"cut token", "\x13/multi", "unexpected EOF"},
		{"no line end", "\x02ab", `multistream token "ab" without its line end`},
		{"other version", "\x13/multistream/2.0.0\n", `the peer answered "/multistream/2.0.0" where "/multistream/1.0.0" was due`},
		{"not spoken", "\x13/multistream/1.0.0\n\x03na\n", "the peer does not speak /kindred/http/1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := readSelected(bufio.NewReader(strings.NewReader(tt.in)))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// FuzzFrame checks that whatever readFrame accepts is exactly what append
// writes, and that digests are those of the hello.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0})
	f.Add(fullFrame([]byte("hello")).append(nil))
	f.Add(fullFrame([]byte("hello")).short().append(nil))
	f.Add([]byte{1, 0x80, 0x80, 0x04, 1})
	f.Add([]byte{1, 0x81, 0x00, 1})
	f.Add([]byte("\x13/multistream/1.0.0\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 2*MaxHello {
			t.Skip("longer than two frames")
		}
		r := bytes.NewReader(in)
		br := bufio.NewReader(r)
		got, err := readFrame(br)
		if err != nil {
			return
		}
		read := in[:len(in)-r.Len()-br.Buffered()]
		if again := got.append(nil); !bytes.Equal(again, read) {
			t.Fatalf("read %x, which is written %x", read, again)
		}
		if got.kind == frameFull && got.digest != sha256.Sum256(got.hello) {
			t.Fatal("digest is not the hello's")
		}
	})
}

// FuzzToken checks that whatever readToken accepts is what appendToken writes.
func FuzzToken(f *testing.F) {
	f.Add([]byte("\x13/multistream/1.0.0\n"))
	f.Add([]byte("\x03na\n"))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		token, err := readToken(bufio.NewReader(bytes.NewReader(in)))
		if err != nil {
			return
		}
		if out := appendToken(nil, token); !bytes.HasPrefix(in, out) {
			t.Fatalf("read %q, which is written %q", in, out)
		}
	})
}
