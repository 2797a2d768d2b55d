package chain

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/kindred-iot/kindred/ledger"
)

// maxWaiting is how many transactions may be on their way at once; more wait for a block. The mempool holds as many,
// so that it is never full.
const maxWaiting = 4096

// Submit hands the ledger a transaction and returns once a block proves it: from then on Prove gives what it
// recorded or something newer, after any crash. Submitting again what is recorded already succeeds and changes
// nothing.
//
// A transaction that may not follow is refused with an error of package ledger. Any other error (the context's,
// ErrStopped, a halted ledger) leaves open whether it is recorded: submit the same bytes again.
func (c *Chain) Submit(ctx context.Context, tx []byte) error {
	if err := c.submit(ctx, tx); err != nil {
		return fmt.Errorf("chain: submitting a transaction: %w", err)
	}
	return nil
}

func (c *Chain) submit(ctx context.Context, tx []byte) error {
	for {
		v := c.view()
		switch err := v.state.Check(tx); {
		case errors.Is(err, ledger.ErrAlready):
			if errors.Is(v.proved.Check(tx), ledger.ErrAlready) {
				return nil
			}
			_, err = c.after(ctx, v.height) // the block that proves it is being made
			return err
		case err != nil:
			return err
		}
		if err := c.Err(); err != nil {
			return err
		}
		s, err := c.enqueue(tx)
		if err != nil {
			return err
		}
		if s != nil {
			return c.await(ctx, s)
		}
		if _, err := c.after(ctx, v.height); err != nil {
			return err
		}
	}
}

// enqueue gives tx to the mempool, or finds it there. It returns no submission if a newer block must be waited for:
// there is no room, or tx was overtaken by a block that the caller had not seen.
func (c *Chain) enqueue(tx []byte) (*submission, error) {
	hash := sha256.Sum256(tx)
	c.mu.Lock()
	if s := c.waiting[hash]; s != nil {
		c.mu.Unlock()
		return s, nil
	}
	if len(c.waiting) >= c.room {
		c.mu.Unlock()
		return nil, nil
	}
	s := &submission{done: make(chan struct{})}
	c.waiting[hash] = s
	c.mu.Unlock()

	admitted, err := c.node.admit(tx)
	if admitted {
		return s, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[hash] == s { // others may have joined
		delete(c.waiting, hash)
		s.err = err
		close(s.done)
	}
	return nil, err
}

// await waits until a block proves s.
func (c *Chain) await(ctx context.Context, s *submission) error {
	select {
	case <-s.done:
	case <-c.Done():
		return c.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if s.err != nil {
		return s.err
	}
	_, err := c.after(ctx, s.provable-1)
	return err
}
