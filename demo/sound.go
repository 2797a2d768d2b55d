package demo

import (
	le "encoding/binary" // demo_test.go has a "binary" of its own
	"math"
	"os"
	"strings"
)

// playTones writes a WAV file (16 bits, one channel) of the tones of keys of a telephone, ITU-T Q.23.
func playTones(file, keys string) error {
	const second = 8000 // samples
	const on, off = second / 8, second / 10
	rows, columns := []float64{697, 770, 852, 941}, []float64{1209, 1336, 1477}
	var samples []byte
	for _, key := range keys {
		at := strings.IndexRune("123456789*0#", key)
		for i := range on + off {
			var v float64
			if i < on {
				t := 2 * math.Pi * float64(i) / second
				v = 8000 * (math.Sin(t*rows[at/3]) + math.Sin(t*columns[at%3]))
			}
			samples = le.LittleEndian.AppendUint16(samples, uint16(int16(v)))
		}
	}
	size := uint32(len(samples))
	wav := le.LittleEndian.AppendUint32([]byte("RIFF"), 36+size)
	wav = append(wav, "WAVEfmt "...)
	wav = le.LittleEndian.AppendUint32(wav, 16)
	for _, v := range []uint16{1, 1, second, 0, 2 * second, 0, 2, 16} { // the rates are of 32 bits
		wav = le.LittleEndian.AppendUint16(wav, v)
	}
	wav = le.LittleEndian.AppendUint32(append(wav, "data"...), size)
	return os.WriteFile(file, append(wav, samples...), 0o600)
}
