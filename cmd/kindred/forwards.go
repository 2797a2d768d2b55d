package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/peer"
)

// forwardsRow tells what the home's router forwards to the gateway; nil if it is not asked.
func forwardsRow(f *control.Forwards, relays bool) []string {
	if f == nil || !f.Asked {
		return nil
	}
	if len(f.Ports) == 0 {
		return []string{"forwarded", "nothing: no router there does as the gateway asks"}
	}
	untried := "which nobody has tried: \"kindred up --relay ADDRESS\" has a relay try it"
	if relays {
		untried = "which no relay has tried yet"
	}
	var told []string
	for _, d := range []struct{ door, verb, so string }{
		{peer.DoorOpen, "forwards", "and callers from outside get in"},
		{peer.DoorShut, "says that it forwards", "but no relay gets in there: another router may be in front of it"},
		{peer.DoorUnknown, "says that it forwards", untried},
	} {
		if ports, by := portsOf(f.Ports, d.door); len(ports) > 0 {
			told = append(told, fmt.Sprintf("the router there %s %s to the gateway (%s), %s", d.verb, strings.Join(ports, " and "), by, d.so))
		}
	}
	return []string{"forwarded", strings.Join(told, "; ")}
}

// portsOf returns the ports at which relays found a door so, for people, and how the router was asked.
func portsOf(all []control.Forwarded, door string) (ports []string, by string) {
	for _, p := range all {
		if p.Door != door {
			continue
		}
		by = p.By
		if part := strings.Split(p.Address, "/"); len(part) > 4 { // /ip4/IP/udp/PORT
			if port := strings.ToUpper(part[3]) + " port " + part[4]; !slices.Contains(ports, port) {
				ports = append(ports, port)
			}
		}
	}
	return ports, by
}
