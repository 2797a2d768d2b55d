// Command reader is an app of one's own: it opens the directory of a member that has joined, reads a property of a
// thing, and prints it.
//
//	kindred --dir phone join INVITATION --app phone
//	go run ./examples/reader phone home/meter power
package main

import (
	"context"
	"errors"
	"log"
	"os"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: reader DIR PATH PROPERTY")
	}
	ctx, dir, path, property := context.Background(), os.Args[1], identity.Path(os.Args[2]), os.Args[3]
	node, err := kindred.Open(ctx, kindred.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	err = node.Use(ctx, path, func(t *thing.Client) error {
		value, err := t.Read(ctx, property)
		if err == nil {
			_, err = os.Stdout.Write(value.Body)
		}
		return err
	})
	if err = errors.Join(err, node.Close()); err != nil {
		log.Fatal(err)
	}
}
