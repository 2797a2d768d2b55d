// Command kindred is all of Kindred on a command line: it makes a tree of trust, runs the home's gateway, lets people
// and devices in, uses things and shares them, takes back what was shared, and tells what happened. "kindred help"
// says how.
//
// Each command is made by the member that lives in one directory (--dir, else KINDRED_DIR, else the user's data
// directory), over the network like everybody else's. Results go to standard output; progress, sentences and hints to
// standard error. With --json, results are JSON, one object a line, and an error is one object on standard error. How
// it went is the exit code: 0 done, 1 failed, 2 usage, 3 refused, 4 unreachable.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // hours are by a place's clock, also on machines that know no zones
)

func main() { os.Exit(run(os.Args[1:])) }

// run makes one command and returns the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal does not ask any more
	s := newSession(os.Stdin, os.Stdout, os.Stderr)
	root := newRoot(s)
	root.SetArgs(args)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = s.unknown
	}
	if err == nil {
		return exitDone
	}
	return s.fail(c, err)
}
