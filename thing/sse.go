package thing

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ServerSentEvent is one event of a stream (WHATWG HTML, §9.2).
type ServerSentEvent struct {
	ID   string // of this event or, where it has none, the last one before it
	Name string // empty: "message"
	Data []byte
}

// maxEventSize bounds the lines of one event that a decoder takes.
const maxEventSize = MaxInput + 4<<10

// errEventTooLarge ends a stream whose server does not keep to the bound.
var errEventTooLarge = fmt.Errorf("event of more than %d bytes", maxEventSize)

// eventDecoder splits a text/event-stream into events. Comments and retry
// times are passed over, lines may end with CR, LF or CR LF, and events without
// data are none, as the standard has it.
type eventDecoder struct {
	r      *bufio.Reader
	lastID string // of what was read as a whole, be it an event or only an ID
	id     string // the latest, perhaps of an event that is cut off
	size   int    // bytes of the event being read
	begun  bool
	skipLF bool // the last line ended with CR
}

func newEventDecoder(r io.Reader) *eventDecoder { return &eventDecoder{r: bufio.NewReader(r)} }

// next reads the next event. It fails with io.EOF where the stream ends, even
// within an event, which is then dropped.
func (d *eventDecoder) next() (ServerSentEvent, error) {
	for {
		if e, err := d.eventOrSign(); err != errQuiet {
			return e, err
		}
	}
}

// errQuiet says that there was no event, and a comment by itself in its place: a sign of life.
var errQuiet = errors.New("nothing happens")

// eventOrSign is next, but for that it fails with errQuiet where that comes first.
func (d *eventDecoder) eventOrSign() (ServerSentEvent, error) {
	var e ServerSentEvent
	var data bytes.Buffer
	hasData, hasComment := false, false
	d.size = 0
	for {
		line, err := d.line()
		if err != nil {
			return ServerSentEvent{}, err
		}
		if line == "" {
			d.lastID = d.id
			if hasData {
				e.ID, e.Data = d.lastID, data.Bytes()
				return e, nil
			}
			if hasComment {
				return ServerSentEvent{}, errQuiet
			}
			e, d.size = ServerSentEvent{}, 0
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "data":
			if hasData {
				data.WriteByte('\n')
			}
			data.WriteString(value)
			hasData = true
		case "event":
			e.Name = value
		case "id":
			if !strings.Contains(value, "\x00") {
				d.id = value
			}
		case "": // a comment
			d.size, hasComment = data.Len(), true
		}
	}
}

// line reads one line without its end.
func (d *eventDecoder) line() (string, error) {
	var line []byte
	for {
		c, err := d.r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.EOF
			}
			return "", err
		}
		afterCR := d.skipLF
		d.skipLF = false
		switch {
		case c == '\n' && afterCR:
			continue
		case c == '\n' || c == '\r':
			d.skipLF = c == '\r'
			if !d.begun {
				d.begun = true
				line = bytes.TrimPrefix(line, []byte("\ufeff"))
			}
			return string(line), nil
		}
		if d.size++; d.size > maxEventSize {
			return "", errEventTooLarge
		}
		line = append(line, c)
	}
}
