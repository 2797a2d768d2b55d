// Package p1 reads and writes the telegrams that electricity meters send on
// their consumer port: the P1 companion standard of the Dutch Smart Meter
// Requirements (DSMR), versions 4 and 5, and its relatives in Belgium
// (Fluvius, e-MUCS), Luxembourg, Ireland and Hungary.
//
// # Format
//
// A telegram is ASCII text, its lines ended by CR LF:
//
//	/ISk5\2MT382-1000                     identification (IEC 62056-21)
//
//	1-3:0.2.8(50)                         data objects: OBIS reference (IEC 62056-61), values
//	0-0:1.0.0(170102192002W)              YYMMDDhhmmss, S for summer time, W for winter time
//	1-0:1.8.1(000004.426*kWh)
//	…
//	!6EEE                                 CRC16 over everything from / to ! inclusive
//
// The CRC is CRC-16/ARC: polynomial x¹⁶+x¹⁵+x²+1, reflected, start value 0,
// written as hexadecimal digits with the most significant first. Some meters
// drop leading zeros, which [Parse] accepts.
//
// The objects read here; all others are passed over:
//
//	1-3:0.2.8    version (42, 50)             0-0:96.14.0  tariff in force
//	0-0:96.1.4   version (e-MUCS: 50217)      1-0:1.7.0    power drawn       1-0:2.7.0  power fed back
//	0-0:1.0.0    time                         1-0:1.8.t    energy drawn      1-0:2.8.t  energy fed back, in tariff t
//	0-0:96.1.1   equipment identifier         1-0:p2.7.0   volts  1-0:p1.7.0 amperes      of phase p = 3, 5, 7
//	0-0:96.1.0   the same, where that is not  1-0:q1.7.0   drawn  1-0:q2.7.0 fed back     of phase q = 2, 4, 6
//	0-n:24.1.0   kind of the meter on M-Bus channel n, 0-n:96.1.0 or 96.1.1 its identifier,
//	0-n:24.2.1   its last value (24.2.3 where gas is not corrected for temperature)
//
// # What is refused
//
// A telegram without a CRC (DSMR 2 and 3, German D0 interfaces), since damage
// could not be told; one whose CRC does not match; one without a time; and one
// without power drawn, such as a heat meter's. A number finer than the unit it
// is kept in is refused too: nothing is ever rounded.
//
// A P1 telegram carries a checksum and no signature. It shows what a meter
// said, not that a meter said it.
package p1

import (
	"encoding/hex"
	"fmt"
	"time"
)

// MaxTelegram bounds a telegram's length in bytes, checksum line included. The
// longest a DSMR 5 meter can send, with a full text message and a full log of
// power failures, stays below 4 KiB.
const MaxTelegram = 8 << 10

// Energy is an amount of energy in watt-hours, the finest step that DSMR knows.
type Energy int64

// Power is a power in watts, never negative: which way it flows is told by the
// field that holds it.
type Power int64

// Voltage is a voltage in millivolts.
type Voltage int64

// Current is a current in milliamperes. It has no direction.
type Current int64

// String gives the energy in kilowatt-hours, as in "4.426 kWh".
func (e Energy) String() string { return fixed(int64(e), 1, 3) + " kWh" }

// String gives the power in kilowatts, as in "0.244 kW".
func (p Power) String() string { return fixed(int64(p), 1, 3) + " kW" }

// Reading is what one telegram says. Lists and pointers are nil where the meter
// does not tell, so that "0 V" and "no voltmeter" stay different.
type Reading struct {
	// Identifier is the identification line with its slash, as in
	// `/ISk5\2MT382-1000`: maker and model, not the single meter.
	Identifier string
	// Version is the P1 version as told: "42", "50", for e-MUCS "50217"; empty
	// where the meter tells none.
	Version string
	// EquipmentID is the meter's own identifier as it stands in the telegram,
	// usually hexadecimal digits of ASCII text. Empty where the meter tells none.
	// See [Reading.MeterID].
	EquipmentID string
	// Time is the meter's clock, to the second, in a fixed zone: +02:00 where
	// the telegram says S, +01:00 where it says W (Europe/Amsterdam).
	Time time.Time
	// Tariff in force. In the Netherlands 1 is low and 2 normal, in Belgium the
	// other way round; 0 where the meter tells none.
	Tariff int
	// EnergyIn and EnergyOut are the energy drawn from the grid and fed back
	// into it since the meter was made; element t-1 is tariff t. A meter that
	// keeps one register without tariffs has one element.
	EnergyIn, EnergyOut []Energy
	// PowerIn and PowerOut are the power drawn and fed back now.
	PowerIn, PowerOut Power
	// Phases are L1, L2, L3: one, three or none, the last never empty.
	Phases []Phase
	// Attached are the meters for gas, heat, water or cold on the M-Bus, by channel.
	Attached []Attached
}

// Phase is what a meter tells of one phase; nil means not told.
type Phase struct {
	Voltage  *Voltage
	Current  *Current
	PowerIn  *Power
	PowerOut *Power
}

// Attached is a meter of something else that reports through this one.
type Attached struct {
	// Channel on the M-Bus, 1 to 4.
	Channel int
	// Kind of medium after EN 13757-3: 3 gas, 4 heat, 7 water; 0 where not told.
	Kind int
	// EquipmentID as it stands in the telegram, like [Reading.EquipmentID].
	EquipmentID string
	// Time of the value; the zero time where there is no value yet.
	Time time.Time
	// Thousandths of the unit, and the unit: "m3" or "GJ".
	Thousandths int64
	Unit        string
}

// MeterID gives the meter's identifier in plain text, as printed on it: the
// equipment identifier with its hexadecimal digits decoded if they hold
// printable ASCII, and as it stands if not. Empty where the meter tells none.
func (r Reading) MeterID() string { return plainID(r.EquipmentID) }

// MeterID gives the attached meter's identifier in plain text, like
// [Reading.MeterID].
func (a Attached) MeterID() string { return plainID(a.EquipmentID) }

func plainID(raw string) string {
	plain, err := hex.DecodeString(raw)
	if err != nil {
		return raw
	}
	for _, c := range plain {
		if c < 0x20 || c > 0x7e {
			return raw
		}
	}
	return string(plain)
}

// Total adds up the energy of all tariffs.
func Total(tariffs []Energy) Energy {
	var sum Energy
	for _, e := range tariffs {
		sum += e
	}
	return sum
}

// The two offsets of Europe/Amsterdam, as a telegram names them.
var (
	summer = time.FixedZone("CEST", 2*60*60)
	winter = time.FixedZone("CET", 1*60*60)
)

// zoneAt gives the offset in force at t under the rule of directive 2000/84/EC:
// summer time from 01:00 UTC on the last Sunday of March to 01:00 UTC on the
// last Sunday of October.
func zoneAt(t time.Time) *time.Location {
	t = t.UTC()
	if t.Before(lastSunday(t.Year(), time.March)) || !t.Before(lastSunday(t.Year(), time.October)) {
		return winter
	}
	return summer
}

// lastSunday gives 01:00 UTC on the last Sunday of a month that has 31 days.
func lastSunday(year int, month time.Month) time.Time {
	end := time.Date(year, month, 31, 1, 0, 0, 0, time.UTC)
	return end.AddDate(0, 0, -int(end.Weekday()))
}

// fixed writes n thousandths with the given least number of digits before the
// point and the fewest after it, at least min, that lose nothing.
func fixed(n int64, width, min int) string {
	whole, frac := n/1000, fmt.Sprintf("%03d", n%1000)
	for len(frac) > min && frac[len(frac)-1] == '0' {
		frac = frac[:len(frac)-1]
	}
	if len(frac) == 0 {
		return fmt.Sprintf("%0*d", width, whole)
	}
	return fmt.Sprintf("%0*d.%s", width, whole, frac)
}
