// Package audit keeps who asked for what, and whether and why that was allowed:
// one line of JSON for each decision, in a file for each day.
//
// What only reads or runs (AWS calls it a data event: an invoke, a decryption)
// is kept when it was refused, and when it was allowed only if the log is told
// so: a busy Hearth makes gigabytes of them in a day.
//
// Invariants:
//
//  1. Record never waits for the disk. When more comes than the disk takes,
//     lines are dropped and their number is the next line.
//  2. Lines are on disk a second after their decision, and at Stop.
//  3. No secret, payload or session token is in a line.
//
// The form of the files is in docs/formats/audit.md.
package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Event is one decision.
type Event struct {
	Time      time.Time `json:"time"`
	RequestID string    `json:"requestId,omitempty"`
	Account   string    `json:"account,omitempty"`   // of the resource
	Principal string    `json:"principal,omitempty"` // ARN
	AccessKey string    `json:"accessKey,omitempty"` // its id
	Action    string    `json:"action,omitempty"`
	Resource  string    `json:"resource,omitempty"`
	SourceIP  string    `json:"sourceIp,omitempty"`
	Allowed   bool      `json:"allowed"`
	// By is the statement that decided, what would have had to allow, or the
	// error of a request that was not authenticated.
	By string `json:"by,omitempty"`
	// Dropped is the number of lines that are missing before this one.
	Dropped int64 `json:"dropped,omitempty"`
}

// dataActions are the actions that run or read, rather than change anything.
var dataActions = map[string]bool{
	"lambda:InvokeFunction": true, "lambda:InvokeFunctionUrl": true, "lambda:InvokeAsync": true,
	"kms:Decrypt": true, "kms:Encrypt": true, "kms:GenerateDataKey": true, "kms:GenerateDataKeyWithoutPlaintext": true,
	"kms:GenerateRandom": true, "kms:ReEncryptFrom": true, "kms:ReEncryptTo": true,
	"logs:PutLogEvents": true, "logs:GetLogEvents": true, "logs:FilterLogEvents": true, "logs:StartLiveTail": true,
	"sts:GetCallerIdentity":           true,
	"ecr:BatchCheckLayerAvailability": true, "ecr:BatchGetImage": true, "ecr:GetDownloadUrlForLayer": true, "ecr:UploadLayerPart": true,
}

const (
	queued    = 4096
	flushTime = time.Second
	maxDays   = 90
	// maxBytes bounds one day's file.
	maxBytes = 1 << 30
	suffix   = ".jsonl"
)

// Config is what a log needs.
type Config struct {
	// Dir holds the files; it must be there and be the owner's alone.
	Dir string
	Log *slog.Logger
	// Data has allowed data events kept too.
	Data bool
}

// Log is the audit log.
type Log struct {
	cfg     Config
	events  chan Event
	dropped atomic.Int64
	done    chan struct{}
	stop    sync.Once

	// only the writer uses these
	day   string
	file  *os.File
	out   *bufio.Writer
	bytes int64
}

// Open makes a log and begins to write.
func Open(cfg Config) (*Log, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if info, err := os.Stat(cfg.Dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("audit: %s is not a directory: %w", cfg.Dir, errors.Join(err, os.ErrNotExist))
	}
	l := &Log{cfg: cfg, events: make(chan Event, queued), done: make(chan struct{})}
	go l.run()
	return l, nil
}

// Keeps says whether a decision is one that is recorded.
func (l *Log) Keeps(action string, allowed bool) bool {
	return !allowed || l.cfg.Data || !dataActions[action]
}

// Record takes a decision.
func (l *Log) Record(e Event) {
	if !l.Keeps(e.Action, e.Allowed) {
		return
	}
	select {
	case l.events <- e:
	default:
		l.dropped.Add(1)
	}
}

// Stop writes what has been recorded. Nothing may be recorded after it.
func (l *Log) Stop() {
	l.stop.Do(func() { close(l.events) })
	<-l.done
}

func (l *Log) run() {
	defer close(l.done)
	tick := time.NewTicker(flushTime)
	defer tick.Stop()
	for {
		select {
		case e, ok := <-l.events:
			if !ok {
				l.report(l.closeFile())
				return
			}
			l.report(l.write(e))
		case <-tick.C:
			l.report(l.flush())
		}
	}
}

func (l *Log) report(err error) {
	if err != nil {
		l.cfg.Log.Error("audit log: lines are lost", "error", err)
	}
}

func (l *Log) write(e Event) error {
	e.Dropped = l.dropped.Swap(0)
	line, err := json.Marshal(e) //nolint:gosec // an access key's id is no secret
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if day := e.Time.UTC().Format(time.DateOnly); day != l.day || l.file == nil {
		if err := errors.Join(l.closeFile(), l.openFile(day)); err != nil {
			l.dropped.Add(1)
			return err
		}
	}
	if l.bytes += int64(len(line)) + 1; l.bytes > maxBytes {
		l.dropped.Add(1)
		return nil
	}
	if _, err = l.out.Write(append(line, '\n')); err != nil {
		l.dropped.Add(1)
	}
	return err
}

func (l *Log) openFile(day string) error {
	f, err := os.OpenFile(filepath.Join(l.cfg.Dir, day+suffix), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.day, l.file, l.out, l.bytes = day, f, bufio.NewWriter(f), info.Size()
	if err := l.endLine(); err != nil {
		return err
	}
	return l.expire()
}

// endLine ends the line that a crash has cut short, so that the next one is
// not lost with it.
func (l *Log) endLine() error {
	if l.bytes == 0 {
		return nil
	}
	var last [1]byte
	if _, err := l.file.ReadAt(last[:], l.bytes-1); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if last[0] != '\n' {
		l.bytes++
		return l.out.WriteByte('\n')
	}
	return nil
}

// expire deletes the files of days that are too long ago.
func (l *Log) expire() error {
	days, err := days(l.cfg.Dir)
	for len(days) > maxDays {
		err = errors.Join(err, os.Remove(filepath.Join(l.cfg.Dir, days[0]+suffix)))
		days = days[1:]
	}
	return err
}

// days lists the days that there are files of, oldest first.
func days(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	var all []string
	for _, e := range entries {
		if day, ok := strings.CutSuffix(e.Name(), suffix); ok {
			all = append(all, day)
		}
	}
	slices.Sort(all)
	return all, nil
}

func (l *Log) flush() error {
	if l.file == nil || l.out.Buffered() == 0 {
		return nil
	}
	return errors.Join(l.out.Flush(), l.file.Sync())
}

func (l *Log) closeFile() error {
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.flush(), l.file.Close())
	l.file = nil
	return err
}
