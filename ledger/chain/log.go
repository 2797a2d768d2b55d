package chain

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/cometbft/cometbft/libs/log"
)

// logger is CometBFT's log on an [slog.Logger]. What CometBFT calls information is far more than anyone wants to
// know, and what it calls an error is not always one, least of all while it starts after a crash or is stopped on
// purpose. What ends the chain is reported by Chain itself.
type logger struct {
	to      *slog.Logger
	settled *atomic.Bool // between start and stop
}

const levelTrace = slog.LevelDebug - 4

func (l logger) Debug(msg string, keyvals ...any) { l.log(levelTrace, msg, keyvals) }
func (l logger) Info(msg string, keyvals ...any)  { l.log(levelTrace, msg, keyvals) }
func (l logger) Warn(msg string, keyvals ...any)  { l.log(slog.LevelDebug, msg, keyvals) }

func (l logger) Error(msg string, keyvals ...any) {
	level := slog.LevelDebug
	if l.settled.Load() {
		level = slog.LevelWarn
	}
	l.log(level, msg, keyvals)
}

func (l logger) With(keyvals ...any) log.Logger {
	return logger{to: l.to.With(plain(keyvals)...), settled: l.settled}
}

func (l logger) log(level slog.Level, msg string, keyvals []any) {
	if ctx := context.Background(); l.to.Enabled(ctx, level) {
		l.to.Log(ctx, level, "cometbft: "+msg, plain(keyvals)...)
	}
}

// plain returns keyvals with every value that has a text as that text, made when it is needed.
func plain(keyvals []any) []any {
	out := make([]any, len(keyvals))
	for i, v := range keyvals {
		if s, ok := v.(fmt.Stringer); ok && i%2 == 1 {
			v = text{s}
		}
		out[i] = v
	}
	return out
}

type text struct{ fmt.Stringer }

func (t text) LogValue() slog.Value { return slog.StringValue(t.String()) }
