package p1meter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/thing"
)

// NewTape returns a tape for a meter, which hands the readings of each stretch of
// time to keep, as a JSON array. It is to be run beside the meter.
func NewTape(length time.Duration, keep func(context.Context, thing.Recording)) *thing.Tape {
	return &thing.Tape{
		Affordance: "reading", Type: "application/json", Ending: ".json", Every: length, Keep: keep,
		Join: func(readings [][]byte) []byte {
			return append(append([]byte("["), bytes.Join(readings, []byte(",\n"))...), ']')
		},
	}
}

// record puts a reading on the tape, if there is one.
func (m *Meter) record(r Reading) error {
	if m.cfg.Tape == nil {
		return nil
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("p1meter: recording: %w", err)
	}
	m.cfg.Tape.Add(raw)
	return nil
}
