package thing

import (
	"context"
	"math"
)

// A Position is a place on Earth (WGS 84).
type Position struct {
	Latitude  float64 `json:"latitude" unit:"degree"`
	Longitude float64 `json:"longitude" unit:"degree"`
}

// An Area is a circle with a name.
type Area struct {
	Name   string
	Center Position
	Radius float64 // metres
}

// Elsewhere is the name of what is in no area.
const Elsewhere = "elsewhere"

// AreaOf names the smallest area that a position is in.
func AreaOf(p Position, areas []Area) string {
	name, smallest := Elsewhere, math.Inf(1)
	for _, a := range areas {
		if a.Radius < smallest && distance(p, a.Center) <= a.Radius {
			name, smallest = a.Name, a.Radius
		}
	}
	return name
}

// earth is the mean radius in metres.
const earth = 6_371_008.8

// distance gives the metres between two positions on a sphere.
func distance(a, b Position) float64 {
	rad := func(degrees float64) float64 { return degrees * math.Pi / 180 }
	sinLat := math.Sin(rad(b.Latitude-a.Latitude) / 2)
	sinLong := math.Sin(rad(b.Longitude-a.Longitude) / 2)
	h := sinLat*sinLat + math.Cos(rad(a.Latitude))*math.Cos(rad(b.Latitude))*sinLong*sinLong
	return 2 * earth * math.Asin(math.Min(1, math.Sqrt(h)))
}

// A Whereabouts is how those see a position who are to see no more than the area.
type Whereabouts struct {
	Area string `json:"area"`
}

// Place declares a property that is a position. Those who may see the area alone (see [View]) are given a [Whereabouts].
func Place(t *Thing, name, description string, areas []Area, read func(context.Context) (Position, error)) Prop[Position] {
	return Property(t, name, description, read).Coarse(func(ctx context.Context, v View) (any, error) {
		if v.Step != Each { // where something was, once an hour, is no area
			return nil, errDetail(name)
		}
		at, err := read(ctx)
		if err != nil {
			return nil, err
		}
		return Whereabouts{AreaOf(at, areas)}, nil
	})
}
