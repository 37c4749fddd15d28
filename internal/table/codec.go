package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// recordVersion is the version of the stored form that is written and the
// only one that is read; see docs/formats/records.md.
const recordVersion = 1

// MaxRecord is the most bytes the stored form of a record can have: etcd takes
// no larger request.
const MaxRecord = 1 << 20

// ErrBadRecord says that a stored record is not one that this version of
// Hearth can read.
var ErrBadRecord = errors.New("bad record")

// ErrTooLarge says that a record has more bytes than can be stored.
var ErrTooLarge = errors.New("record too large")

// Key names a record. Neither part is empty, and no account has a slash.
type Key struct{ Account, Name string }

func (k Key) compare(o Key) int {
	if c := strings.Compare(k.Account, o.Account); c != 0 {
		return c
	}
	return strings.Compare(k.Name, o.Name)
}

type envelope[T any] struct {
	Version int `json:"version"`
	Record  *T  `json:"record"`
}

// Path is where a record lies in etcd.
func (t *Table[T]) Path(k Key) string { return t.cfg.Prefix + k.Account + "/" + k.Name }

// parsePath is the reverse of Path.
func (t *Table[T]) parsePath(path string) (Key, bool) {
	rest, ok := strings.CutPrefix(path, t.cfg.Prefix)
	if !ok {
		return Key{}, false
	}
	account, name, ok := strings.Cut(rest, "/")
	return Key{account, name}, ok && account != "" && name != ""
}

// Encode returns the stored form of a record. What could not be read again is
// not written.
func (t *Table[T]) Encode(k Key, r *T) ([]byte, error) {
	if err := t.cfg.Check(k, r); err != nil {
		return nil, fmt.Errorf("encode record %s: %w", t.Path(k), err)
	}
	b, err := json.Marshal(envelope[T]{Version: recordVersion, Record: r})
	if err != nil {
		return nil, fmt.Errorf("encode record %s: %w", t.Path(k), err)
	}
	if len(b) > MaxRecord {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d can be stored", ErrTooLarge, t.Path(k), len(b), MaxRecord)
	}
	return b, nil
}

// Decode reads the stored form of the record at a path. Everything that other
// services rely on is checked, so that a damaged record is an error here and
// not a crash there.
func (t *Table[T]) Decode(path string, value []byte) (Key, *T, error) {
	k, ok := t.parsePath(path)
	bad := func(format string, args ...any) (Key, *T, error) {
		return k, nil, fmt.Errorf("%w at %.200q: %s", ErrBadRecord, path, fmt.Sprintf(format, args...))
	}
	if !ok {
		return bad("the key names no account and record")
	}
	if len(value) > MaxRecord {
		return bad("%d bytes", len(value))
	}
	var version struct {
		Version int `json:"version"`
	}
	// The version first: what follows may have another shape in another one.
	if err := json.Unmarshal(value, &version); err != nil {
		return bad("%v", err)
	}
	if version.Version != recordVersion {
		return bad("version %d, this Hearth reads version %d", version.Version, recordVersion)
	}
	var e envelope[T]
	if err := json.Unmarshal(value, &e); err != nil {
		return bad("%v", err)
	}
	if e.Record == nil {
		return bad("no record")
	}
	if err := t.cfg.Check(k, e.Record); err != nil {
		return bad("%v", err)
	}
	return k, e.Record, nil
}
