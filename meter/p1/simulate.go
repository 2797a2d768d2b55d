package p1

import (
	"encoding/hex"
	"iter"
	"math"
	"math/rand/v2"
	"time"
)

// Simulate gives the readings of a made-up household over the 24 hours from
// start, one each step: a fridge that comes and goes, breakfast, cooking, an
// evening at home, solar panels around noon, gas that is burnt for heating, low
// tariff at night and at weekends. The same start, seed and step always give
// the same readings; registers grow by exactly the power told before, to the
// watt-second. A DSMR 5 meter sends each second, a DSMR 4 meter every ten.
// A step below one second counts as one.
func Simulate(start time.Time, seed uint64, step time.Duration) iter.Seq[Reading] {
	step = max(step.Truncate(time.Second), time.Second)
	start = start.Truncate(time.Second)
	return func(yield func(Reading) bool) {
		h := newHousehold(start, seed)
		for t := start; t.Before(start.Add(24 * time.Hour)); t = t.Add(step) {
			if !yield(h.at(t)) {
				return
			}
			h.pass(t, step)
		}
	}
}

// household is the state behind Simulate, owned by one iteration.
type household struct {
	rnd     *rand.Rand
	reading Reading
	// Registers in watt-seconds, of which the reading shows whole watt-hours.
	in, out [2]int64
	gas     float64 // m³
	kettle  time.Time
	cloud   float64 // 0 clear, 1 overcast
}

func newHousehold(start time.Time, seed uint64) *household {
	rnd := rand.New(rand.NewPCG(seed, 0x5031))
	h := &household{rnd: rnd, kettle: start, cloud: rnd.Float64() * 0.6}
	for i := range h.in {
		h.in[i] = (1_000_000 + rnd.Int64N(9_000_000)) * 3600
		h.out[i] = rnd.Int64N(3_000_000) * 3600
	}
	h.gas = 500 + rnd.Float64()*5000
	h.reading = Reading{
		Identifier:  `/KDR5\2SIM-1000`,
		Version:     "50",
		EquipmentID: hex.EncodeToString([]byte("E0000000000" + serial(rnd))),
		Phases:      make([]Phase, 3),
		Attached:    []Attached{{Channel: 1, Kind: 3, EquipmentID: hex.EncodeToString([]byte("G0000000000" + serial(rnd))), Unit: "m3"}},
	}
	return h
}

func serial(rnd *rand.Rand) string {
	digits := make([]byte, 6)
	for i := range digits {
		digits[i] = '0' + byte(rnd.IntN(10))
	}
	return string(digits)
}

// at gives the reading at t, with slices of its own.
func (h *household) at(t time.Time) Reading {
	t = t.In(zoneAt(t))
	load, sun := h.load(t), h.sun(t)
	r := h.reading
	r.Time, r.Tariff = t, tariff(t)
	net := int64(0)
	r.Phases = make([]Phase, 3)
	for i, part := range split(load) {
		flow := part
		if i == 0 {
			flow -= sun // the inverter sits on L1
		}
		net += flow
		r.Phases[i] = h.phase(flow)
	}
	// The meter adds its phases before it counts (Dutch meters do).
	r.PowerIn, r.PowerOut = Power(max(net, 0)), Power(max(-net, 0))
	r.EnergyIn = []Energy{Energy(h.in[0] / 3600), Energy(h.in[1] / 3600)}
	r.EnergyOut = []Energy{Energy(h.out[0] / 3600), Energy(h.out[1] / 3600)}
	gas := r.Attached[0]
	gas.Time = t.Truncate(5 * time.Minute)
	gas.Thousandths = int64(h.gas * 1000)
	r.Attached = []Attached{gas}
	h.reading = r
	return r
}

// pass lets time go by at the power of the last reading.
func (h *household) pass(t time.Time, step time.Duration) {
	i, seconds := h.reading.Tariff-1, int64(step/time.Second)
	h.in[i] += int64(h.reading.PowerIn) * seconds
	h.out[i] += int64(h.reading.PowerOut) * seconds
	hour := clock(t)
	if hour > 6 && hour < 9 || hour > 17 && hour < 22 {
		h.gas += 0.8 / 3600 * float64(seconds)
	}
	h.cloud = min(1, max(0, h.cloud+(h.rnd.Float64()-0.5)*0.02))
	if h.kettle.Before(t) && h.rnd.Float64() < 0.0001*float64(seconds)*activity(hour) {
		h.kettle = t.Add(3 * time.Minute)
	}
}

// load is what the house uses, in watts.
func (h *household) load(t time.Time) int64 {
	hour := clock(t)
	watts := 85.0 + 15*h.rnd.Float64()                 // what is never switched off
	if math.Mod(hour*60+float64(t.Day())*7, 48) < 16 { // the fridge
		watts += 75
	}
	watts += 380 * activity(hour) * (0.85 + 0.3*h.rnd.Float64())
	if hour > 17.75 && hour < 18.6 { // cooking
		watts += 1650
	}
	if t.Before(h.kettle) {
		watts += 2050
	}
	return int64(watts)
}

// sun is what the panels give, in watts.
func (h *household) sun(t time.Time) int64 {
	season := 0.65 - 0.35*math.Cos(2*math.Pi*float64(t.YearDay()-172+182)/365)
	height := math.Sin((clock(t) - 7) / 12.5 * math.Pi)
	if height <= 0 || clock(t) < 7 || clock(t) > 19.5 {
		return 0
	}
	return int64(3600 * season * height * (1 - 0.75*h.cloud))
}

func (h *household) phase(flow int64) Phase {
	millivolts := 228_000 + 100*h.rnd.Int64N(50)
	milliamperes := max(flow, -flow) * 1_000_000 / millivolts
	return Phase{
		Voltage:  new(Voltage(millivolts)),
		Current:  new(Current(milliamperes / 1000 * 1000)), // DSMR 5 tells whole amperes
		PowerIn:  new(Power(max(flow, 0))),
		PowerOut: new(Power(max(-flow, 0))),
	}
}

// split spreads a load over three phases.
func split(watts int64) [3]int64 {
	return [3]int64{watts - watts/4 - watts/5, watts / 4, watts / 5}
}

// activity says how much is going on in the house, 0 to 1.
func activity(hour float64) float64 {
	bump := func(at, width float64) float64 { return math.Exp(-(hour - at) * (hour - at) / width) }
	return min(1, 0.7*bump(7.5, 1.2)+0.25*bump(12.5, 3)+bump(20, 5))
}

// tariff is low (1) at night and at weekends, normal (2) otherwise.
func tariff(t time.Time) int {
	if day := t.Weekday(); day == time.Saturday || day == time.Sunday || t.Hour() < 7 || t.Hour() >= 23 {
		return 1
	}
	return 2
}

// clock is the time of day in hours, as the household's clock shows it.
func clock(t time.Time) float64 {
	t = t.In(zoneAt(t))
	return float64(t.Hour()) + float64(t.Minute())/60 + float64(t.Second())/3600
}
