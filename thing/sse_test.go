package thing

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func decodeAll(r io.Reader) ([]ServerSentEvent, error) {
	d := newEventDecoder(r)
	var all []ServerSentEvent
	for {
		e, err := d.next()
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
}

func TestEventDecoder(t *testing.T) {
	long := strings.Repeat("x", maxEventSize)
	for name, c := range map[string]struct {
		stream string
		want   []ServerSentEvent
		err    error
	}{
		"nothing":            {"", nil, io.EOF},
		"one":                {"id: 7\nevent: tick\ndata: {}\n\n", []ServerSentEvent{{"7", "tick", []byte("{}")}}, io.EOF},
		"two lines":          {"data: a\ndata:b\n\n", []ServerSentEvent{{"", "", []byte("a\nb")}}, io.EOF},
		"empty data":         {"data\n\ndata:\n\n", []ServerSentEvent{{}, {}}, io.EOF},
		"one space only":     {"data:  a\n\n", []ServerSentEvent{{"", "", []byte(" a")}}, io.EOF},
		"CR LF":              {"data: a\r\n\r\ndata: b\r\n\r\n", []ServerSentEvent{{"", "", []byte("a")}, {"", "", []byte("b")}}, io.EOF},
		"CR":                 {"data: a\r\rdata: b\r\r", []ServerSentEvent{{"", "", []byte("a")}, {"", "", []byte("b")}}, io.EOF},
		"byte order mark":    {"\ufeffdata: a\n\n", []ServerSentEvent{{"", "", []byte("a")}}, io.EOF},
		"comments":           {":\n\n: hello\ndata: a\n:\n\n", []ServerSentEvent{{"", "", []byte("a")}}, io.EOF},
		"unknown fields":     {"retry: 5\nfoo: bar\ndata: a\n\n", []ServerSentEvent{{"", "", []byte("a")}}, io.EOF},
		"id lasts":           {"id: 7\n\ndata: a\n\nevent: e\n\ndata: b\n\n", []ServerSentEvent{{"7", "", []byte("a")}, {"7", "", []byte("b")}}, io.EOF},
		"id with NUL":        {"id: 7\nid: 8\x00\ndata: a\n\n", []ServerSentEvent{{"7", "", []byte("a")}}, io.EOF},
		"cut short":          {"data: a\n\ndata: b\n", []ServerSentEvent{{"", "", []byte("a")}}, io.EOF},
		"endless line":       {"data: " + long, nil, errEventTooLarge},
		"endless event":      {strings.Repeat("data: xxxxxxxxxxxxx\n", maxEventSize/19+1) + "\n", nil, errEventTooLarge},
		"comments are free":  {strings.Repeat(":"+long[:1000]+"\n", 200) + "data: a\n\n", []ServerSentEvent{{"", "", []byte("a")}}, io.EOF},
		"events do not add":  {strings.Repeat("event: "+long[:1000]+"\n\n", 200) + "data: a\n\n", []ServerSentEvent{{"", "", []byte("a")}}, io.EOF},
		"no data is no size": {"id: 1\ndata: " + long[:maxEventSize-20] + "\n\ndata: a\n\n", []ServerSentEvent{{"1", "", []byte(long[:maxEventSize-20])}, {"1", "", []byte("a")}}, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.stream), iotest.OneByteReader(strings.NewReader(c.stream))} {
				got, err := decodeAll(r)
				if !errors.Is(err, c.err) || !same(got, c.want) {
					t.Errorf("got  %q %v\nwant %q %v", got, err, c.want, c.err)
				}
			}
		})
	}
}

// same compares events, an empty payload being equal to none.
func same(a, b []ServerSentEvent) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].ID != b[i].ID || a[i].Name != b[i].Name || string(a[i].Data) != string(b[i].Data) {
			return false
		}
	}
	return true
}

// naive reads a whole stream at once, by the letter of the standard.
func naive(stream string) []ServerSentEvent {
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(stream, "\n")
	var all []ServerSentEvent
	var data, name, id string
	seen := false
	for _, line := range lines[:len(lines)-1] { // the last has no end
		field, value, colon := strings.Cut(line, ":")
		switch {
		case line == "":
			if seen {
				all = append(all, ServerSentEvent{id, name, []byte(strings.TrimSuffix(data, "\n"))})
			}
			data, name, seen = "", "", false
			continue
		case colon && field == "":
			continue
		}
		value = strings.TrimPrefix(value, " ")
		switch {
		case field == "data":
			data, seen = data+value+"\n", true
		case field == "event":
			name = value
		case field == "id" && !strings.Contains(value, "\x00"):
			id = value
		}
	}
	return all
}

func FuzzEventDecoder(f *testing.F) {
	f.Add("id: 7\nevent: tick\ndata: {}\n\n")
	f.Add("\ufeff:\r\ndata\rdata: b\r\n\r\nid\n")
	f.Fuzz(func(t *testing.T, stream string) {
		if len(stream) > maxEventSize {
			return
		}
		got, err := decodeAll(strings.NewReader(stream))
		if want := naive(stream); err != io.EOF || !same(got, want) {
			t.Errorf("got  %q %v\nwant %q", got, err, want)
		}
		if again, _ := decodeAll(iotest.OneByteReader(strings.NewReader(stream))); !reflect.DeepEqual(again, got) {
			t.Errorf("one byte at a time: %q\nat once: %q", again, got)
		}
	})
}
