package p1

import (
	"bytes"
	"fmt"
	"time"
)

// Encode writes r as a DSMR 5 telegram with its checksum: the objects in the
// standard's order, numbers with the standard's digits, and with more only
// where fewer would lose something. Parse(Encode(r)) gives r again for every
// reading that [Parse] returns; what a meter could not say (a negative number,
// a line break in an identifier) Parse refuses.
//
// A time in another zone than the two that Parse uses is written as the clock
// in Europe/Amsterdam shows it; parts of a second are cut off.
func Encode(r Reading) []byte {
	var e encoder
	e.WriteString(r.Identifier + "\r\n\r\n")
	switch len(r.Version) {
	case 0:
	case 2:
		e.line("1-3:0.2.8", r.Version)
	default:
		e.line("0-0:96.1.4", r.Version)
	}
	e.line("0-0:1.0.0", stamp(r.Time))
	if r.EquipmentID != "" {
		e.line("0-0:96.1.1", r.EquipmentID)
	}
	e.registers("1-0:1.8.", r.EnergyIn)
	e.registers("1-0:2.8.", r.EnergyOut)
	if r.Tariff != 0 {
		e.line("0-0:96.14.0", fmt.Sprintf("%04d", r.Tariff))
	}
	e.line("1-0:1.7.0", kilowatts(r.PowerIn))
	e.line("1-0:2.7.0", kilowatts(r.PowerOut))
	e.phases(r.Phases)
	for _, a := range r.Attached {
		e.attached(a)
	}
	e.WriteByte('!')
	fmt.Fprintf(&e.Buffer, "%04X\r\n", crc16(e.Bytes()))
	return e.Bytes()
}

type encoder struct{ bytes.Buffer }

func (e *encoder) line(id string, values ...string) {
	e.WriteString(id)
	for _, v := range values {
		e.WriteString("(" + v + ")")
	}
	e.WriteString("\r\n")
}

func (e *encoder) registers(prefix string, tariffs []Energy) {
	for i, energy := range tariffs {
		e.line(fmt.Sprint(prefix, i+1), fixed(int64(energy), 6, 3)+"*kWh")
	}
}

// phases writes each kind of value for all phases before the next, as the
// standard's table has them.
func (e *encoder) phases(phases []Phase) {
	for i, p := range phases {
		if p.Voltage != nil {
			e.line(fmt.Sprintf("1-0:%d2.7.0", 3+2*i), fixed(int64(*p.Voltage), 3, 1)+"*V")
		}
	}
	for i, p := range phases {
		if p.Current != nil {
			e.line(fmt.Sprintf("1-0:%d1.7.0", 3+2*i), fixed(int64(*p.Current), 3, 0)+"*A")
		}
	}
	for i, p := range phases {
		if p.PowerIn != nil {
			e.line(fmt.Sprintf("1-0:%d1.7.0", 2+2*i), kilowatts(*p.PowerIn))
		}
	}
	for i, p := range phases {
		if p.PowerOut != nil {
			e.line(fmt.Sprintf("1-0:%d2.7.0", 2+2*i), kilowatts(*p.PowerOut))
		}
	}
}

func (e *encoder) attached(a Attached) {
	at := func(object string) string { return fmt.Sprintf("0-%d:%s", a.Channel, object) }
	if a.Kind != 0 {
		e.line(at("24.1.0"), fmt.Sprintf("%03d", a.Kind))
	}
	if a.EquipmentID != "" {
		e.line(at("96.1.0"), a.EquipmentID)
	}
	if !a.Time.IsZero() {
		e.line(at("24.2.1"), stamp(a.Time), fixed(a.Thousandths, 5, 3)+"*"+a.Unit)
	}
}

func kilowatts(p Power) string { return fixed(int64(p), 2, 3) + "*kW" }

func stamp(t time.Time) string {
	_, offset := t.Zone()
	if offset != 3600 && offset != 7200 {
		t = t.In(zoneAt(t))
		_, offset = t.Zone()
	}
	suffix := "W"
	if offset == 7200 {
		suffix = "S"
	}
	return t.Format("060102150405") + suffix
}
