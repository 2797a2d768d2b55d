package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// newRoot returns the command "kindred" with all its sub-commands.
func newRoot(s *session) *cobra.Command {
	root := &cobra.Command{
		Use:   "kindred",
		Short: "A tree of trust for a home and all that is in it",
		Long: `Kindred gives every person, place, device and app of a home an identity on a tree
whose root you hold. They talk to each other directly and encrypted, what each may
do you decide, and what you gave you can take back.

Begin with "kindred init NAME" and "kindred up"; let the first device in with
"kindred add device home/lock", and on the device "kindred join" and
"kindred device lock".`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&s.dir, "dir", "", "the member's `directory` (else KINDRED_DIR, else "+filepath.Join("$XDG_DATA_HOME", "kindred")+")")
	flags.BoolVar(&s.json, "json", false, "print JSON, one object a line")
	flags.BoolVar(&s.verbose, "verbose", false, "log to standard error")
	flags.StringVar(&s.at, "at", "", "the thing's `address`, a multiaddr")
	hide(flags.MarkHidden("verbose"), flags.MarkHidden("at"))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%s", err) })
	for _, make := range []func(*session) *cobra.Command{
		newInit, newUp, newDemo, newAdd, newConfirm, newJoin, newDevice, newService, newTree, newDescribe, newGet, newRecordings, newSet, newDo, newWatch,
		newShare, newLimit, newUnshare, newPause, newResume, newGrants, newWhoCan, newWhatCan, newWhy, newReport, newRequest, newRequests, newAllow, newDeny, newRemove,
		newApprove, newNever, newPrivate, newAgreement, newWithdraw, newDeleted, newLog, newProxy, newExpose, newForward, newRelay, newKey,
		newRecognize, newStatus, newVersion,
	} {
		root.AddCommand(make(s))
	}
	return root
}

// hide panics where a flag to hide is not there.
func hide(errs ...error) {
	for _, err := range errs {
		if err != nil {
			panic(err)
		}
	}
}

// does has a command run f. What fails before that, in flags and arguments, is wrong usage.
func (s *session) does(c *cobra.Command, f func(ctx context.Context, args []string) error) *cobra.Command {
	c.RunE = func(c *cobra.Command, args []string) error {
		s.running = true
		if err := s.begin(); err != nil {
			return err
		}
		return f(c.Context(), args)
	}
	return c
}

// begin settles which directory the command is about.
func (s *session) begin() (err error) {
	if s.dir == "" {
		s.dir = os.Getenv("KINDRED_DIR")
	}
	if s.dir == "" {
		if s.dir, err = defaultDir(); err != nil {
			return err
		}
		if s.beside != "" {
			s.dir = filepath.Join(filepath.Dir(s.dir), s.beside)
		}
	}
	s.dir, err = filepath.Abs(s.dir)
	return err
}

// defaultDir is where the XDG Base Directory Specification has a user's data.
func defaultDir() (string, error) {
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "kindred"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", usage("no directory: give --dir, or set KINDRED_DIR")
	}
	return filepath.Join(home, ".local", "share", "kindred"), nil
}
