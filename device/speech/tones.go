package speech

import "math"

// keys are what is on a telephone's keypad, by its row and column (ITU-T Q.23).
const keys = "123A456B789C*0#D"

var rows, columns = [4]float64{697, 770, 852, 941}, [4]float64{1209, 1336, 1477, 1633}

// The recogniser's measures.
const (
	blockTime = 0.025 // seconds that are looked at together: they tell the closest two tones, 73 Hz apart, from each other
	quiet     = 100.0 // root mean square of samples below which nobody speaks
	twist     = 6.0   // times that one of the tones of a key may be stronger, in energy, than the other
	share     = 0.7   // of a block's energy that the two tones have at least
	rival     = 6.0   // times that the strongest tone of a group is stronger than the next
)

// Recognise returns the keys that are heard in samples, in order. One is heard while its two tones are there and next to
// nothing else, for two blocks at least, and again once it was not.
func Recognise(rate int, samples []int16) string {
	size := int(float64(rate) * blockTime)
	if rate <= 0 || size == 0 {
		return ""
	}
	var heard []byte
	var last, told byte
	for ; len(samples) >= size; samples = samples[size:] {
		key := keyIn(rate, samples[:size])
		if key != 0 && key == last && key != told {
			heard = append(heard, key)
			told = key
		}
		if key == 0 && last == 0 {
			told = 0
		}
		last = key
	}
	return string(heard)
}

// keyIn returns the key whose tones a block is of; 0 if there is none.
func keyIn(rate int, block []int16) byte {
	energy := 0.0
	for _, v := range block {
		energy += float64(v) * float64(v)
	}
	n := float64(len(block))
	if energy < quiet*quiet*n {
		return 0
	}
	row, strongest, clear := pick(rate, block, rows)
	column, other, clearToo := pick(rate, block, columns)
	// A sine of amplitude a has a power of (a·n/2)² at its frequency, and an energy of a²·n/2.
	if !clear || !clearToo || strongest > twist*other || other > twist*strongest || (strongest+other)*2/n < share*energy {
		return 0
	}
	return keys[4*row+column]
}

// pick returns which of four tones is the strongest in a block, its power, and whether it stands out.
func pick(rate int, block []int16, tones [4]float64) (at int, power float64, clear bool) {
	var next float64
	for i, f := range tones {
		p := goertzel(rate, block, f)
		switch {
		case p > power:
			at, power, next = i, p, power
		case p > next:
			next = p
		}
	}
	return at, power, power > rival*next
}

// goertzel returns the power of a frequency in a block: the squared magnitude of its Fourier coefficient.
func goertzel(rate int, block []int16, frequency float64) float64 {
	c := 2 * math.Cos(2*math.Pi*frequency/float64(rate))
	var a, b float64
	for _, v := range block {
		a, b = float64(v)+c*a-b, a
	}
	return a*a + b*b - c*a*b
}
