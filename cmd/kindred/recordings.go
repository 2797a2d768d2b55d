package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/vault"
)

func newRecordings(s *session) *cobra.Command {
	var store, file, since string
	c := &cobra.Command{
		Use:   "recordings PATH [FILE] --store STORE",
		Short: "List what a thing recorded for you in a store, or open a recording",
		Long: `List what a thing recorded for you in a store, newest first, or open one of its recordings.
The thing need not be on, nor the gateway: what "kindred device … --store" keeps is sealed to
those who could see it when it was recorded, and is opened with this machine's own key.

STORE is a folder, on any disk, or a bucket of an S3-like server:
s3://BUCKET[/PREFIX]?endpoint=URL&region=NAME, with credentials in AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY. Whoever keeps it sees when something is stored, and roughly how large
it is. What they alter is noticed; that they hide something is not.`,
		Example: "  kindred recordings home/porch/doorbell --store /mnt/nas/sealed\n" +
			"  kindred recordings home/porch/doorbell 2026-11-27T08-00-00Z.mjpeg --store /mnt/nas/sealed -o visit.mjpeg",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: s.completePaths,
	}
	c.Flags().StringVar(&store, "store", "", storeHelp)
	c.Flags().StringVar(&since, "since", "", "only what ended at or after this `moment`, such as 2d, 18:00 or 2026-12-24")
	c.Flags().StringVarP(&file, "output", "o", "", "write the recording to a `file`, as a whole or not at all")
	return s.does(c, func(ctx context.Context, args []string) error {
		if store == "" {
			return usage("--store says where to look")
		}
		if file != "" && len(args) < 2 {
			return usage("-o takes a recording to open")
		}
		var from time.Time
		var err error
		if since != "" {
			if from, err = parsePast(since, s.now()); err != nil {
				return usage("--since: %s", err)
			}
		}
		if !strings.Contains(store, "://") && !exists(store) { // to look into it is no reason to make it
			return notFound("there is no folder %s", store)
		}
		at, err := openStore(store)
		if err != nil {
			return err
		}
		return s.with(ctx, func(n *kindred.Node) error {
			shelf, err := s.shelf(ctx, n, at, args[0], from)
			if err != nil {
				return err
			}
			if len(args) < 2 {
				return s.printShelf(shelf)
			}
			return s.openRecording(ctx, n.Sealed(at), shelf, args[1], file)
		})
	})
}

// shelf finds what a store has of a thing for this member.
func (s *session) shelf(ctx context.Context, n *kindred.Node, at vault.Store, arg string, since time.Time) (vault.Shelf, error) {
	p, err := path(n, arg)
	if err != nil {
		return vault.Shelf{}, err
	}
	if n.SealedKey() == (vault.Key{}) {
		return vault.Shelf{}, refused("this directory is %s, of kind %s: only apps and services are sealed to", n.Self().ID.Path, n.Self().Kind())
	}
	member, err := n.Recorded(ctx, p)
	if err != nil {
		return vault.Shelf{}, err
	}
	shelf, err := n.Sealed(at).Of(ctx, member, since)
	if err != nil {
		return vault.Shelf{}, err
	}
	for _, err := range shelf.Damaged {
		s.say("A list in the store is not what was stored: %s", own(err))
	}
	return shelf, nil
}

// printShelf lists recordings, newest first. What is damaged makes the command fail, after the list.
func (s *session) printShelf(shelf vault.Shelf) error {
	list, rows := []map[string]any{}, [][]string{}
	now := s.now()
	for _, f := range slices.Backward(shelf.Found) {
		from, until := time.UnixMilli(f.From), time.UnixMilli(f.Until)
		list = append(list, map[string]any{
			"file": f.Title, "property": f.Affordance, "contentType": f.Type, "size": f.Size, "from": from.UTC(), "until": until.UTC(),
		})
		rows = append(rows, []string{f.Title, f.Affordance, stamp(from, now), until.Sub(from).Round(time.Second).String(), size(f.Size)})
	}
	if err := s.print(list, table(rows)); err != nil {
		return err
	}
	if n := len(shelf.Damaged); n > 0 {
		return altered("%d of the lists in the store cannot be believed, and what they list is missing here", n)
	}
	if len(shelf.Found) == 0 {
		s.say("There is nothing for you in this store.")
	}
	return nil
}

// altered says that a store has something else than what was put there.
func altered(format string, args ...any) error {
	return &failure{
		Code: "altered", Message: fmt.Sprintf(format, args...), exit: exitFailed, cause: vault.ErrDamaged,
		Hint: "whoever keeps the store, or its disk, has changed it",
	}
}

// openRecording opens the newest recording of a name.
func (s *session) openRecording(ctx context.Context, r vault.Reader, shelf vault.Shelf, title, file string) error {
	for _, f := range slices.Backward(shelf.Found) {
		if f.Title != title {
			continue
		}
		content, err := r.Open(ctx, f)
		if errors.Is(err, fs.ErrNotExist) {
			return notFound("%s is not in the store any more", title)
		}
		if errors.Is(err, vault.ErrDamaged) {
			s.log(levelSilent).Debug("a recording was altered", "error", err)
			return altered("%s is not what was stored", title)
		}
		if err != nil {
			return err
		}
		return s.printValue(thing.Value{ContentType: f.Type, Body: content}, file)
	}
	return hinted(notFound("there is no recording %q for you in this store", title), `without a name, "kindred recordings" lists them`)
}
