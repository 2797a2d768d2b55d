package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/vault"
)

const storeHelp = "the `store`: a folder, or s3://BUCKET[/PREFIX]?endpoint=URL"

// storing keeps what a device records in a store, sealed.
//
//	         stored                       not stored: said once
//	going ───────────▶ going      going ─────────────────────────▶ failing ──▶ (what is recorded is lost, and it goes on)
//	                                ▲       stored: said              │
//	                                └─────────────────────────────────┘
type storing struct {
	s     *session
	name  string        // of the store; "": nothing is kept
	every time.Duration // how long a recording is
	keep  time.Duration // how long recordings are kept; 0: for ever

	store    vault.Store
	recorder *kindred.Recorder
	failing  error // what was said last; nil: going
}

func (k *storing) flags(c *cobra.Command, every time.Duration) {
	c.Flags().StringVar(&k.name, "store", "", "seal what is recorded to those who may read it, and keep it in "+storeHelp)
	durationVar(c, &k.every, "record-every", every, "how long a recording is")
	durationVar(c, &k.keep, "record-keep", 0, "delete recordings that are older than this, such as 30d (default: none)")
}

// open opens the store, if there is to be one.
func (k *storing) open(c *cobra.Command) (err error) {
	switch {
	case k.name == "" && (c.Flags().Changed("record-every") || c.Flags().Changed("record-keep")):
		return usage("nothing is recorded without --store")
	case k.name == "":
		return nil
	case k.every < time.Second:
		return usage("--record-every: %v is less than a second", k.every)
	}
	k.store, err = openStore(k.name)
	return err
}

// openStore opens a store, with credentials from the environment.
func openStore(name string) (vault.Store, error) {
	store, err := vault.OpenStore(name, os.Getenv)
	if err != nil {
		return nil, usage("--store: %s", strings.TrimPrefix(err.Error(), "vault: opening a store: "))
	}
	return store, nil
}

// run records, and deletes what is old, until ctx ends.
func (k *storing) run(ctx context.Context, n *kindred.Node, record func(context.Context)) error {
	k.recorder = n.Recorder(k.store)
	var wait sync.WaitGroup
	defer wait.Wait()
	if k.keep > 0 {
		wait.Go(func() { k.forget(ctx) })
	}
	record(ctx)
	return nil
}

// record stores a recording. What cannot be stored is lost: the user is told once, and when it goes again.
func (k *storing) record(ctx context.Context, rec thing.Recording) {
	err := k.recorder.Record(ctx, rec)
	if err != nil {
		k.s.log(levelSilent).Debug("a recording was not stored", "recording", rec.Title, "error", err)
	}
	was := k.failing
	switch k.failing = err; {
	case err == nil && was != nil:
		k.s.say("What is recorded is stored again.")
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, vault.ErrFull) && !errors.Is(was, vault.ErrFull):
		k.s.say("There is no room in %s. What is recorded is lost until there is some.", k.name)
	case errors.Is(err, kindred.ErrNoReaders) && !errors.Is(was, kindred.ErrNoReaders):
		k.s.say("Nobody is known who may read what is recorded. It is lost until the gateway names somebody.")
	case was == nil:
		k.s.say("What is recorded cannot be stored, and is lost until it can: %s", own(err))
	}
}

// forgetEvery is how often what is old is looked for, at most.
const forgetEvery = time.Hour

func (k *storing) forget(ctx context.Context) {
	tick := time.NewTicker(min(forgetEvery, k.keep))
	defer tick.Stop()
	for {
		if _, err := k.recorder.Forget(ctx, time.Now().Add(-k.keep)); err != nil && ctx.Err() == nil {
			k.s.log(slog.LevelWarn).Warn("old recordings are not deleted", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
