// Command thermometer is a thing of one's own: it joins a home with an invitation, and serves a temperature to
// whoever has a right to it.
//
//	kindred add device home/thermometer
//	go run ./examples/thermometer INVITATION
package main

import (
	"context"
	"log"
	"math"
	"os"
	"os/signal"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/thing"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	invitation := ""
	if len(os.Args) > 1 {
		invitation = os.Args[1] // needed the first time only
	}
	node, err := kindred.Join(ctx, kindred.Config{Dir: "thermometer", Listen: []string{":0"}}, invitation, "", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()

	t := thing.New("Thermometer")
	thing.Property(t, "temperature", "Air in the hall", func(context.Context) (float64, error) {
		hours := time.Since(time.Now().Truncate(24 * time.Hour)).Hours()
		return math.Round(200+30*math.Sin(hours*math.Pi/12)) / 10, nil
	}).Unit("°C")

	soon, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := node.InTouch(soon); err != nil {
		log.Print("going on without the gateway: ", err)
	}
	log.Print("serving ", node.Self().ID)
	if err := node.Serve(ctx, t); err != nil {
		log.Print(err)
	}
}
