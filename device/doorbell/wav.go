package doorbell

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxWAV is how large a WAV file is read, in bytes.
const MaxWAV = 8 << 20

// A Sound is what a microphone heard: samples of 16 bits, one channel.
type Sound struct {
	Rate    int // samples a second
	Samples []int16
}

// ParseWAV reads a WAV file (RIFF WAVE, format PCM, 16 bits a sample) of one channel, or the first of several, of 4,000
// to 48,000 samples a second.
func ParseWAV(data []byte) (Sound, error) {
	s, err := parseWAV(data)
	if err != nil {
		return Sound{}, fmt.Errorf("doorbell: reading WAV: %w", err)
	}
	return s, nil
}

func parseWAV(data []byte) (s Sound, err error) {
	if len(data) > MaxWAV {
		return s, fmt.Errorf("%d bytes, of at most %d", len(data), MaxWAV)
	}
	if len(data) < 12 || string(data[:4]) != "RIFF" || string(data[8:12]) != "WAVE" {
		return s, errors.New("it is no RIFF WAVE file")
	}
	channels := 0
	for rest := data[12:]; len(rest) >= 8; {
		name, size := string(rest[:4]), int64(binary.LittleEndian.Uint32(rest[4:8]))
		rest = rest[8:]
		if size > int64(len(rest)) {
			return s, fmt.Errorf("the chunk %.4q ends early", name)
		}
		body := rest[:size]
		rest = rest[min(size+size%2, int64(len(rest))):]
		switch name {
		case "fmt ":
			if channels, s.Rate, err = parseFormat(body); err != nil {
				return s, err
			}
		case "data":
			if channels == 0 {
				return s, errors.New("the samples come before their format")
			}
			frame := 2 * channels
			s.Samples = make([]int16, len(body)/frame)
			for i := range s.Samples {
				s.Samples[i] = int16(binary.LittleEndian.Uint16(body[i*frame:]))
			}
			return s, nil
		}
	}
	return s, errors.New("it has no samples")
}

func parseFormat(body []byte) (channels, rate int, err error) {
	if len(body) < 16 {
		return 0, 0, errors.New("the format ends early")
	}
	const pcm = 1
	format, bits := binary.LittleEndian.Uint16(body), binary.LittleEndian.Uint16(body[14:])
	channels, rate = int(binary.LittleEndian.Uint16(body[2:])), int(binary.LittleEndian.Uint32(body[4:]))
	switch {
	case format != pcm || bits != 16:
		return 0, 0, fmt.Errorf("format %d of %d bits a sample: want PCM of 16", format, bits)
	case channels < 1 || channels > 8:
		return 0, 0, fmt.Errorf("%d channels, of 1 to 8", channels)
	case rate < 4000 || rate > 48000:
		return 0, 0, fmt.Errorf("%d samples a second, of 4,000 to 48,000", rate)
	}
	return channels, rate, nil
}

// WAV writes the sound as a WAV file.
func (s Sound) WAV() []byte {
	size := 2 * len(s.Samples)
	b := append([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, uint32(36+size))...)
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.Rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(2*s.Rate))
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 16)
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	for _, v := range s.Samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return b
}
