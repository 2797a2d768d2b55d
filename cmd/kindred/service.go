package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/device/speech"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

func newService(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "service",
		Short: "Run this directory's member as a ready-made service",
		Long: `Run this directory's member, a service that has joined, as a ready-made service until
stopped. It accepts what an owner agrees on with it, is shown that and nothing else, and
deletes what it got when that is demanded. A line on standard output says when it is ready.`,
	}
	c.AddCommand(newSpeech(s))
	return c
}

type speechOptions struct {
	listening
	path, event, answer, purpose string
}

func newSpeech(s *session) *cobra.Command {
	var o speechOptions
	c := &cobra.Command{
		Use:   "speech PATH",
		Short: "A service that tells what is said at a doorbell",
		Long: `A service that listens to the sound of the thing at PATH and tells it what was said. It
understands no words, but the tones of a telephone's keypad. What it hears it keeps for as
long as was agreed, or until it is to be deleted.`,
		Example: "  kindred share home/doorbell audio --with sam/speech --clear audio --purpose speech --keep 1h\n" +
			"  kindred share home/doorbell understand --with sam/speech --allow invoke\n  kindred service speech home/doorbell",
		Args: cobra.ExactArgs(1),
	}
	o.listenFlag(c, "all interfaces")
	f := c.Flags()
	f.StringVar(&o.event, "event", "audio", "the `event` that tells the sound")
	f.StringVar(&o.answer, "answer", "understand", "the `action` by which the text is told")
	f.StringVar(&o.purpose, "for", "speech", "the `purpose` that it listens for")
	return s.does(c, func(ctx context.Context, args []string) error {
		o.path = args[0]
		return s.speech(ctx, o)
	})
}

// A listener is the speech service at work.
type listener struct {
	o       speechOptions
	service *speech.Service
	node    *kindred.Node
	log     *slog.Logger

	mu      sync.Mutex // held while something is kept or deleted
	deleted int        // counts the deletions: what was begun before one is not kept any more
}

// listenAgain is how long a listener waits before it asks again for what it was refused.
const listenAgain = time.Second

// forgetOld is how often is deleted what has been kept for as long as was agreed.
const forgetOld = time.Minute

func sourceOf(thing identity.MemberID, event string) string { return thing.String() + "-" + event }

func (s *session) speech(ctx context.Context, o speechOptions) (err error) {
	l := &listener{o: o, service: speech.New(filepath.Join(s.dir, "heard"), nil), log: s.log(slog.LevelWarn)}
	n, err := s.runAs(ctx, identity.Service, o.listening, kindred.Config{Agree: l.agree, Delete: l.delete})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	l.node = n
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	running.Go(func() { l.forget(ctx) })
	if err := s.announce(ctx, n); err != nil {
		return err
	}
	l.listen(ctx, o.path)
	return nil
}

// agree accepts what is for the purpose that the service listens for, and notes for how long it may be kept.
func (l *listener) agree(t grant.Terms) error {
	if t.Purpose != "" && t.Purpose != l.o.purpose {
		return fmt.Errorf("it is for %s, and not for %s", t.Purpose, l.o.purpose)
	}
	if len(t.Agreement.Clear) == 0 {
		return nil // nothing is shown
	}
	return l.service.Agree(sourceOf(t.Thing.Member, t.Thing.Affordance), time.Duration(t.Retention)*time.Second)
}

// delete deletes what was heard by an agreement.
func (l *listener) delete(_ context.Context, a agreement.Agreement) (agreement.Deletion, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deleted++
	d := agreement.Deletion{Done: true}
	if len(a.Terms.Agreement.Clear) == 0 {
		return d, nil
	}
	count, bytes, err := l.service.Delete(sourceOf(a.Terms.Thing.Member, a.Terms.Thing.Affordance))
	if count > 0 {
		d.Items = []agreement.Item{{What: "pieces of " + a.Terms.Thing.Affordance, Count: count, Bytes: bytes}}
	}
	return d, err
}

func (l *listener) forget(ctx context.Context) {
	every := time.NewTicker(forgetOld)
	defer every.Stop()
	for {
		if err := l.service.Forget(); err != nil {
			l.log.Error("what is old is not deleted", "error", err)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// listen hears what it may until ctx ends. What it may not yet it asks for again.
func (l *listener) listen(ctx context.Context, arg string) {
	for ctx.Err() == nil {
		if err := l.hearAll(ctx, arg); err != nil && ctx.Err() == nil {
			l.log.Info("listening is not possible now", "error", err)
		}
		select {
		case <-time.After(listenAgain):
		case <-ctx.Done():
		}
	}
}

// hearAll hears the sound of the thing until that ends.
func (l *listener) hearAll(ctx context.Context, arg string) error {
	p, err := path(l.node, arg)
	if err != nil {
		return err
	}
	who, err := l.node.Resolve(ctx, p)
	if err != nil {
		return err
	}
	l.mu.Lock()
	begun := l.deleted
	l.mu.Unlock()
	source := sourceOf(who.Member(), l.o.event)
	return l.node.Use(ctx, p, func(t *thing.Client) error {
		t.Purpose = l.o.purpose
		events, err := t.Subscribe(ctx, l.o.event, "")
		if err != nil {
			return err
		}
		defer events.Close()
		for {
			e, err := events.Next()
			if err != nil {
				return err
			}
			var c speech.Chunk
			if err := json.Unmarshal(e.Data, &c); err != nil {
				return fmt.Errorf("reading what was heard: %w", err)
			}
			text, done, err := l.hear(source, begun, c)
			if err != nil {
				return err
			}
			if !done {
				continue
			}
			said, err := json.Marshal(map[string]string{"text": text})
			if err != nil {
				return err
			}
			if _, err := t.Invoke(ctx, l.o.answer, said); err != nil {
				l.log.Warn("what was said cannot be told", "error", err)
			}
		}
	})
}

var errWithdrawn = errors.New("what was agreed is withdrawn")

// hear keeps a piece of sound, unless it was to be deleted meanwhile.
func (l *listener) hear(source string, begun int, c speech.Chunk) (string, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted != begun {
		return "", false, errWithdrawn
	}
	return l.service.Hear(source, c)
}
