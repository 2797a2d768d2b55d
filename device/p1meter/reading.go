package p1meter

import (
	"time"

	"github.com/kindred-iot/kindred/meter/p1"
)

// Reading is what a telegram says, as it is served. What the meter does not
// tell is left out.
type Reading struct {
	ID         string     `json:"id" doc:"identifier of the meter in plain text, or its model where it tells none"`
	Identifier string     `json:"identifier" doc:"identification line: maker and model"`
	Version    string     `json:"version,omitempty" doc:"version of P1"`
	Time       time.Time  `json:"time" doc:"the meter's clock"`
	Tariff     int        `json:"tariff,omitempty" doc:"number of the tariff in force"`
	Power      p1.Power   `json:"power" doc:"drawn from the grid" unit:"W"`
	Export     p1.Power   `json:"export" doc:"fed back into the grid" unit:"W"`
	Energy     Energy     `json:"energy" doc:"since the meter was made"`
	Phases     []Phase    `json:"phases" doc:"L1, L2, L3"`
	Attached   []Attached `json:"attached,omitempty" doc:"meters of other media"`
}

// Energy is what the registers say, tariff 1 first.
type Energy struct {
	In  []p1.Energy `json:"in" doc:"drawn from the grid, tariff 1 first" unit:"Wh"`
	Out []p1.Energy `json:"out" doc:"fed back into the grid, tariff 1 first" unit:"Wh"`
}

// Phase is what the meter tells of one phase.
type Phase struct {
	Voltage *float64  `json:"voltage,omitempty" unit:"V"`
	Current *float64  `json:"current,omitempty" unit:"A"`
	Power   *p1.Power `json:"power,omitempty" doc:"drawn" unit:"W"`
	Export  *p1.Power `json:"export,omitempty" doc:"fed back" unit:"W"`
}

// Attached is a meter of gas, heat or water behind this one.
type Attached struct {
	ID    string    `json:"id,omitempty" doc:"its identifier in plain text"`
	Kind  int       `json:"kind,omitempty" doc:"medium after EN 13757-3: 3 gas, 4 heat, 7 water"`
	Time  time.Time `json:"time,omitzero" doc:"of the value"`
	Value *float64  `json:"value,omitempty" doc:"what went through"`
	Unit  string    `json:"unit,omitempty" doc:"of the value: m3 or GJ"`
}

func readingOf(r p1.Reading) Reading {
	out := Reading{
		ID:         r.MeterID(),
		Identifier: r.Identifier,
		Version:    r.Version,
		Time:       r.Time,
		Tariff:     r.Tariff,
		Power:      r.PowerIn,
		Export:     r.PowerOut,
		Energy:     Energy{In: list(r.EnergyIn), Out: list(r.EnergyOut)},
		Phases:     make([]Phase, len(r.Phases)),
	}
	if out.ID == "" {
		out.ID = r.Identifier[1:]
	}
	for i, p := range r.Phases {
		out.Phases[i] = Phase{Voltage: thousandths(p.Voltage), Current: thousandths(p.Current), Power: p.PowerIn, Export: p.PowerOut}
	}
	for _, a := range r.Attached {
		b := Attached{ID: a.MeterID(), Kind: a.Kind, Time: a.Time, Unit: a.Unit}
		if !a.Time.IsZero() {
			b.Value = thousandths(&a.Thousandths)
		}
		out.Attached = append(out.Attached, b)
	}
	return out
}

// list is a copy that is written as a list even where it is empty.
func list(tariffs []p1.Energy) []p1.Energy { return append([]p1.Energy{}, tariffs...) }

// thousandths gives the number whose shortest decimal form is exactly n/1000.
func thousandths[T ~int64](n *T) *float64 {
	if n == nil {
		return nil
	}
	return new(float64(*n) / 1000)
}
