package p1

import (
	"fmt"
	"strings"
)

// reading builds a reading from the objects; f.err tells whether it is one.
func (f *fields) reading() Reading {
	r := Reading{
		Version:     f.version(),
		EquipmentID: f.text("0-0:96.1.1"),
		Tariff:      f.digits("0-0:96.14.0", 9999),
		EnergyIn:    f.registers("1-0:1.8."),
		EnergyOut:   f.registers("1-0:2.8."),
		Phases:      f.phases(),
		Attached:    f.attached(),
	}
	if r.EquipmentID == "" {
		r.EquipmentID = f.text("0-0:96.1.0")
	}
	if _, ok := f.objects["0-0:1.0.0"]; !ok {
		f.fail("0-0:1.0.0", "no time")
	}
	if s, ok := f.value("0-0:1.0.0"); ok {
		t, err := parseTime(s)
		if err != nil {
			f.fail("0-0:1.0.0", err.Error())
		}
		r.Time = t
	}
	if _, ok := f.objects["1-0:1.7.0"]; !ok {
		f.fail("1-0:1.7.0", "no power drawn: not a telegram about electricity")
	}
	in, _ := f.amount("1-0:1.7.0", "kW", "W")
	out, _ := f.amount("1-0:2.7.0", "kW", "W")
	r.PowerIn, r.PowerOut = Power(in), Power(out)
	return r
}

func (f *fields) version() string {
	for _, v := range []struct {
		id     string
		digits int
	}{{"1-3:0.2.8", 2}, {"0-0:96.1.4", 5}} {
		s, ok := f.value(v.id)
		if !ok {
			continue
		}
		if len(s) != v.digits || strings.Trim(s, "0123456789") != "" {
			f.fail(v.id, fmt.Sprintf("version %.20q is not %d digits", s, v.digits))
		}
		return s
	}
	return ""
}

// registers reads the energy registers of up to four tariffs, and where there
// are none the total as the only one.
func (f *fields) registers(prefix string) []Energy {
	var tariffs []Energy
	for t := 1; t <= 4; t++ {
		id := fmt.Sprint(prefix, t)
		n, ok := f.amount(id, "kWh", "Wh")
		if !ok {
			continue
		}
		if len(tariffs) != t-1 {
			f.fail(id, fmt.Sprintf("no register of tariff %d", len(tariffs)+1))
			return nil
		}
		tariffs = append(tariffs, Energy(n))
	}
	if n, ok := f.amount(prefix+"0", "kWh", "Wh"); ok && tariffs == nil {
		tariffs = []Energy{Energy(n)}
	}
	return tariffs
}

func (f *fields) phases() []Phase {
	var phases []Phase
	for i := range 3 {
		p := Phase{
			Voltage:  optional[Voltage](f, fmt.Sprintf("1-0:%d2.7.0", 3+2*i), "V"),
			Current:  optional[Current](f, fmt.Sprintf("1-0:%d1.7.0", 3+2*i), "A"),
			PowerIn:  optional[Power](f, fmt.Sprintf("1-0:%d1.7.0", 2+2*i), "kW", "W"),
			PowerOut: optional[Power](f, fmt.Sprintf("1-0:%d2.7.0", 2+2*i), "kW", "W"),
		}
		if p == (Phase{}) {
			continue
		}
		for len(phases) < i {
			phases = append(phases, Phase{})
		}
		phases = append(phases, p)
	}
	return phases
}

func optional[T ~int64](f *fields, id string, units ...string) *T {
	n, ok := f.amount(id, units...)
	if !ok {
		return nil
	}
	return new(T(n))
}

func (f *fields) attached() []Attached {
	var all []Attached
	for n := 1; n <= 4; n++ {
		at := func(object string) string { return fmt.Sprintf("0-%d:%s", n, object) }
		a := Attached{Channel: n, Kind: f.digits(at("24.1.0"), 255), EquipmentID: f.text(at("96.1.0"))}
		if a.EquipmentID == "" {
			a.EquipmentID = f.text(at("96.1.1"))
		}
		f.lastValue(&a, at("24.2.1"))
		if a.Time.IsZero() {
			f.lastValue(&a, at("24.2.3"))
		}
		if a != (Attached{Channel: n}) {
			all = append(all, a)
		}
	}
	return all
}

// lastValue reads a time and a value with its unit. A meter that was announced
// but has not reported shows a time that is none, or a value without a unit:
// that is no value, and no reason to refuse the telegram.
func (f *fields) lastValue(a *Attached, id string) {
	vs, ok := f.values(id)
	if !ok {
		return
	}
	if len(vs) != 2 {
		f.fail(id, fmt.Sprintf("%d values, want a time and a value", len(vs)))
		return
	}
	number, unit, _ := strings.Cut(vs[1], "*")
	t, err := parseTime(vs[0])
	if err != nil || unit == "" {
		return
	}
	if unit != "m3" && unit != "GJ" {
		f.fail(id, fmt.Sprintf("%.40q is not in m3 or GJ", vs[1]))
		return
	}
	n, err := parseFixed(number, 3)
	if err != nil {
		f.fail(id, err.Error())
		return
	}
	a.Time, a.Thousandths, a.Unit = t, n, unit
}
