package main

import (
	"testing"

	"github.com/kindred-iot/kindred/peer"
)

func TestSentenceOfPath(t *testing.T) {
	for kind, want := range map[string]string{
		peer.Loopback: "You talk to home/lock directly on this machine: nothing leaves it.",
		peer.LAN:      "You talk to home/lock directly on this network: nobody in between can read anything.",
		peer.Direct:   "You talk to home/lock directly across the internet: who carries it sees that you talk, and can read nothing.",
		"pigeon":      `You talk to home/lock over a connection of the kind "pigeon", and only the two of you can read what is said.`,
	} {
		if got := sentenceOf("home/lock", kind); got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
}
