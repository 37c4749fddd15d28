package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hearth/internal/function"
)

// Prefix begins the keys of function records in etcd.
const Prefix = "hearth/functions/"

// recordVersion is the version of the record format that is written and the
// only one that is read; see docs/formats/records.md.
const recordVersion = 1

// maxRecord is the most bytes a record can have: etcd takes no larger request.
const maxRecord = 1 << 20

// ErrBadRecord says that a stored record is not one that this version of
// Hearth can read.
var ErrBadRecord = errors.New("bad function record")

// Key is the key of a function's record in etcd.
func Key(account, name string) string { return Prefix + account + "/" + name }

type envelope struct {
	Version int              `json:"version"`
	Record  *function.Record `json:"record"`
}

// Encode returns the stored form of a record.
func Encode(r *function.Record) ([]byte, error) {
	b, err := json.Marshal(envelope{Version: recordVersion, Record: r})
	if err != nil {
		return nil, fmt.Errorf("encode record of %s: %w", r.Name, err)
	}
	if len(b) > maxRecord {
		return nil, fmt.Errorf("encode record of %s: %d bytes, at most %d can be stored", r.Name, len(b), maxRecord)
	}
	return b, nil
}

// Decode reads the stored form of the record at key. Everything that other
// services rely on is checked, so that a damaged record is an error here and
// not a crash there.
func Decode(key string, value []byte, modRevision int64) (*function.Record, error) {
	bad := func(format string, args ...any) (*function.Record, error) {
		return nil, fmt.Errorf("%w at %.200q: %s", ErrBadRecord, key, fmt.Sprintf(format, args...))
	}
	if len(value) > maxRecord {
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
	var e envelope
	if err := json.Unmarshal(value, &e); err != nil {
		return bad("%v", err)
	}
	r := e.Record
	if r == nil {
		return bad("no record")
	}
	if r.Account == "" || r.Name == "" || strings.Contains(r.Account, "/") || Key(r.Account, r.Name) != key {
		return bad("it is the record of %.100q in account %.20q", r.Name, r.Account)
	}
	if err := checkRecord(r); err != nil {
		return bad("%v", err)
	}
	r.ModRevision = modRevision
	return r, nil
}

func checkRecord(r *function.Record) error {
	if r.UID == "" || r.RevisionID == "" || r.Latest == nil {
		return errors.New("uid, revisionId or latest is missing")
	}
	switch r.State {
	case function.Pending, function.Active, function.Failed:
	default:
		return fmt.Errorf("state %.20q", r.State)
	}
	switch r.LastUpdateStatus {
	case "", function.UpdateSuccessful, function.UpdateInProgress, function.UpdateFailed:
	default:
		return fmt.Errorf("lastUpdateStatus %.20q", r.LastUpdateStatus)
	}
	if (r.State == function.Active) != (r.Serving != nil) {
		return fmt.Errorf("state %s does not fit what it serves", r.State)
	}
	return nil
}
