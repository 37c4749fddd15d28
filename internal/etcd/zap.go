package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapBridge passes etcd's log entries of level warning and above on to slog,
// and decides what a fatal entry does: etcd reports what it cannot go on after
// by logging it at a level that ends the process.
type zapBridge struct {
	log     *slog.Logger
	onFatal func(error)

	mu      sync.Mutex
	running bool
	fatal   error
}

func newZapBridge(cfg Config) *zapBridge {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &zapBridge{log: log, onFatal: cfg.OnFatal}
}

func (b *zapBridge) logger() *zap.Logger {
	return zap.New(&zapCore{bridge: b}, zap.WithFatalHook(fatalHook{b}))
}

// started ends the phase in which a fatal entry is Start's error.
func (b *zapBridge) started() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = true
}

func (b *zapBridge) lastFatal() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fatal
}

func (b *zapBridge) setFatal(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fatal = err
}

// zapCore implements zapcore.Core.
type zapCore struct {
	bridge *zapBridge
	fields []zapcore.Field
}

func (c *zapCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{bridge: c.bridge, fields: append(slices.Clip(c.fields), fields...)}
}

// beside are warnings that say nothing here: the member has no listener and
// no users to give tokens to.
var beside = []string{
	"Running http and grpc server on single port. This is not recommended for production.",
	"simple token is not cryptographically signed",
}

func (c *zapCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) || slices.Contains(beside, e.Message) {
		return ce
	}
	return ce.AddCore(e, c)
}

func (c *zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	var cause error
	for _, group := range [][]zapcore.Field{c.fields, fields} {
		for _, f := range group {
			f.AddTo(enc)
			if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
				cause = err
			}
		}
	}
	if e.Level > zapcore.ErrorLevel {
		if cause == nil {
			cause = fmt.Errorf("%s %v", e.Message, enc.Fields)
		} else {
			cause = fmt.Errorf("%s: %w", e.Message, cause)
		}
		c.bridge.setFatal(cause)
	}
	level := slog.LevelWarn
	if e.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	c.bridge.log.LogAttrs(context.Background(), level, "etcd",
		slog.String("entry", e.Message), slog.Any("fields", enc.Fields))
	return nil
}

func (c *zapCore) Sync() error { return nil }

// fatalHook takes the place of zap's call of os.Exit.
type fatalHook struct{ bridge *zapBridge }

func (h fatalHook) OnWrite(*zapcore.CheckedEntry, []zapcore.Field) {
	b := h.bridge
	err := b.lastFatal()
	if err == nil {
		err = errors.New("etcd reported a fatal error")
	}
	b.mu.Lock()
	running := b.running
	b.mu.Unlock()
	if running && b.onFatal != nil {
		b.onFatal(fmt.Errorf("etcd cannot go on: %w; acknowledged writes are safe: mend the cause (often a full or failing disk) and start again", err))
	}
	// The goroutine that called must not go on as if it had succeeded.
	panic(err)
}
