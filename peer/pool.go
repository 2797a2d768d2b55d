package peer

import (
	"bytes"
	"context"
	"crypto"
	"slices"
	"sync"
	"time"
)

// maxIdle is how many calls to one host are kept though nothing is asked on them.
const maxIdle = 16

// A pool has the calls to one HOST of a transport's URLs.
type pool struct {
	mu    sync.Mutex
	hello func() []byte    // of the target that the HOST resolved to last; nil: it shows none
	key   crypto.PublicKey // its key; nil: it was never resolved
	idle  []*call          // for further requests, used last at the end
	epoch int              // counts the times that what there was was not to be used again
	open  int              // in use, idle, and being opened; at most maxStreams
	line  []chan struct{}  // who waits for one of them to become free, first come first served
}

// take returns a call that is kept for further requests; nil if a new one may be made, which is counted. It waits while
// there are as many as may be. Anew says that none is wanted that was kept.
func (p *pool) take(ctx context.Context, anew bool) (*call, error) {
	if anew {
		p.renew()
	}
	var hello []byte
	p.mu.Lock()
	show := p.hello
	p.mu.Unlock()
	if show != nil {
		hello = show()
	}
	for {
		c, turn := p.try(hello)
		if turn == nil {
			return c, nil
		}
		select {
		case <-turn:
		case <-ctx.Done():
			p.giveUp(turn)
			return nil, context.Cause(ctx)
		}
	}
}

// try returns a call that is kept, or nil where one may be made; or a channel that is closed when it is worth another try.
func (p *pool) try(hello []byte) (*call, chan struct{}) {
	p.mu.Lock()
	var gone []*call
	defer func() { closeAll(gone) }() // once mu is free
	defer p.mu.Unlock()
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		if c.good(hello, p.key) {
			return c, nil
		}
		gone = append(gone, c)
	}
	if p.open-len(gone) < maxStreams {
		p.open++
		return nil, nil
	}
	turn := make(chan struct{})
	p.line = append(p.line, turn)
	return nil, turn
}

// giveUp takes who waits out of the line, or hands its turn on.
func (p *pool) giveUp(turn chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.line, turn); i >= 0 {
		p.line = slices.Delete(p.line, i, i+1)
		return
	}
	p.next()
}

// next lets the first who waits try. p.mu is held.
func (p *pool) next() {
	if len(p.line) > 0 {
		close(p.line[0])
		p.line = p.line[1:]
	}
}

// resolved notes whom the HOST is: calls to another than before are not used again. It returns the epoch of those that
// are made now.
func (p *pool) resolved(t Target) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hello, p.key = t.Hello, t.Key
	return p.epoch
}

// leadsTo reports whether its calls are with the holder of key.
func (p *pool) leadsTo(key crypto.PublicKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return sameKey(p.key, key)
}

// keep keeps a call for further requests; false if it is not wanted.
func (p *pool) keep(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= maxIdle || c.epoch != p.epoch {
		return false
	}
	c.idle = time.Now()
	p.idle = append(p.idle, c)
	p.next()
	return true
}

// leave counts a call out that was closed, or not made after all: then c is nil.
func (p *pool) leave(c *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.idle, c); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.open--
	p.next()
}

// renew has the calls that there are not be used again.
func (p *pool) renew() {
	p.mu.Lock()
	gone := p.idle
	p.idle = nil
	p.epoch++
	p.mu.Unlock()
	closeAll(gone)
}

// expire closes the calls that were idle since before a moment, and those whose connection has ended.
func (p *pool) expire(before time.Time) {
	var gone []*call
	p.mu.Lock()
	p.idle = slices.DeleteFunc(p.idle, func(c *call) bool {
		over := c.idle.Before(before) || c.link.ctx.Err() != nil
		if over {
			gone = append(gone, c)
		}
		return over
	})
	p.mu.Unlock()
	closeAll(gone)
}

func closeAll(calls []*call) {
	for _, c := range calls {
		c.Close()
	}
}

// good reports whether a call that is kept still leads to who is meant, by the best way, and shows what is to be shown.
func (c *call) good(hello []byte, key crypto.PublicKey) bool {
	return c.link.ctx.Err() == nil && !c.link.superseded() && bytes.Equal(c.hello.hello, hello) && sameKey(c.link.key, key)
}

// keep keeps the call for further requests, or closes it.
func (c *call) keep() {
	if c.pool == nil || !c.pool.keep(c) {
		c.Close()
	}
}
