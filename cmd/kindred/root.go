package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// groups are the commands, by what they are about.
var groups = []struct {
	id, title string
	commands  []func(*session) *cobra.Command
}{
	{"home", "A home, and who and what is in it:", []func(*session) *cobra.Command{
		newInit, newUp, newAdd, newConfirm, newJoin, newTree, newRemove, newRecognize, newStatus, newNews,
	}},
	{"use", "Using things:", []func(*session) *cobra.Command{
		newDescribe, newGet, newSet, newDo, newWatch, newRecordings, newForward, newProxy, newKey,
	}},
	{"share", "Who may do what:", []func(*session) *cobra.Command{
		newShare, newExtend, newUnshare, newPause, newResume, newGrants, newWhoCan, newWhatCan, newWhy, newLimit,
		newRequest, newRequests, newAllow, newDeny,
	}},
	{"agree", "What services are shown in clear:", []func(*session) *cobra.Command{
		newAgreement, newNever, newApprove, newWithdraw, newDeleted,
	}},
	{"past", "What happened:", []func(*session) *cobra.Command{newLog, newReport, newPrivate}},
	{"run", "Ready-made things, and what runs beside a home:", []func(*session) *cobra.Command{
		newDevice, newService, newExpose, newRelay, newDemo,
	}},
	{"other", "Other:", []func(*session) *cobra.Command{newVersion}},
}

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
		Args:          cobra.ArbitraryArgs, // a command that there is not: see unknown
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       versionLine(), // as cobra says it: a template of one's own makes the binary 6 MB larger
	}
	flags := root.PersistentFlags()
	flags.StringVar(&s.dir, "dir", "", "the member's `directory` (else KINDRED_DIR, else "+filepath.Join("$XDG_DATA_HOME", "kindred")+")")
	flags.BoolVar(&s.json, "json", false, "print JSON, one object a line")
	flags.BoolVar(&s.verbose, "verbose", false, "log to standard error")
	flags.StringVar(&s.at, "at", "", "the thing's `address`, a multiaddr")
	hide(flags.MarkHidden("verbose"), flags.MarkHidden("at"))
	root.SetFlagErrorFunc(badFlag)
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		if s.unknown = unknown(c); s.unknown == nil {
			help(c, args)
		}
	})
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, make := range g.commands {
			c := make(s)
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	root.SetHelpCommandGroupID("other")
	root.SetCompletionCommandGroupID("other")
	return root
}

// unknown says, as an error, that a command which only gathers others has none of the name that it was called with.
func unknown(c *cobra.Command) error {
	if c.Runnable() || len(c.Flags().Args()) == 0 {
		return nil
	}
	arg := c.Flags().Arg(0)
	err := usage("there is no command %q", c.CommandPath()+" "+arg)
	c.SuggestionsMinimumDistance = (len(arg) + 1) / 3
	if near := c.SuggestionsFor(arg); len(near) > 0 {
		return hinted(err, fmt.Sprintf("did you mean %q?", c.CommandPath()+" "+near[0]))
	}
	return err
}

// hide panics where a flag to hide, or to complete, is not there.
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
