package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/peer"
)

// forwardsRow tells what the home's router forwards to the gateway; nil if it is not asked.
func forwardsRow(forwards *control.Forwards, relays bool) []string {
	if forwards == nil || !forwards.Asked {
		return nil
	}
	if len(forwards.Ports) == 0 {
		return []string{"forwarded", "nothing: no router there does as the gateway asks"}
	}
	untried := "which nobody has tried: \"kindred up --relay ADDRESS\" has a relay try it"
	if relays {
		untried = "which no relay has tried yet"
	}
	var told []string
	for _, d := range []struct{ door, says, so string }{
		{peer.DoorOpen, "", "and callers from outside get in"},
		{peer.DoorShut, "says that it ", "but no relay gets in there: another router may be in front of it"},
		{peer.DoorUnknown, "says that it ", untried},
	} {
		for _, f := range []struct{ family, does string }{
			{"/ip4/", "forwards %s to the gateway"}, {"/ip6/", "opens its firewall to the gateway's %s of IPv6"},
		} {
			if ports, by := portsOf(forwards.Ports, f.family, d.door); len(ports) > 0 {
				does := fmt.Sprintf(f.does, strings.Join(ports, " and "))
				told = append(told, fmt.Sprintf("the router there %s%s (%s), %s", d.says, does, by, d.so))
			}
		}
	}
	return []string{"forwarded", strings.Join(told, "; ")}
}

// portsOf returns the ports of a family at which relays found a door so, for people, and how the router was asked.
func portsOf(all []control.Forwarded, family, door string) (ports []string, by string) {
	for _, p := range all {
		if p.Door != door || !strings.HasPrefix(p.Address, family) {
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
