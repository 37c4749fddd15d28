// Package catalog holds what functions are: the records of functions, of
// their published versions and of layers, in tables that the invoke path reads
// from memory; and beside them what functions are fed by and whose code they
// trust.
//
// The design is in docs/control.md, the stored form in docs/formats/records.md.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"hearth/internal/codesigning"
	"hearth/internal/eventsource"
	"hearth/internal/function"
	"hearth/internal/layer"
	"hearth/internal/table"
)

// Where records lie in etcd.
const (
	functionsPrefix = "hearth/functions/"
	versionsPrefix  = "hearth/versions/"

	eventSourcesPrefix = "hearth/event-source-mappings/"
	codeSigningPrefix  = "hearth/code-signing-configs/"
)

// Catalog is the tables of functions and versions, and of what belongs to
// several functions or outlives them.
type Catalog struct {
	// Functions are keyed by name.
	Functions *table.Table[function.Record]
	// Versions are keyed by VersionKey.
	Versions *table.Table[function.Record]
	// EventSources are the event source mappings, keyed by UUID.
	EventSources *table.Table[eventsource.Mapping]
	// CodeSigning are the code signing configurations, keyed by ID.
	CodeSigning *table.Table[codesigning.Config]
	// Layers are keyed by LayerKey, their versions by LayerVersionKey.
	Layers        *table.Table[layer.Layer]
	LayerVersions *table.Table[layer.Version]

	urls urls
}

// Config is what a catalog needs.
type Config struct {
	Client *clientv3.Client
	Log    *slog.Logger
	// WriteTimeout bounds one change of a record; 10 seconds if zero.
	WriteTimeout time.Duration
}

// New makes a catalog; Start fills it.
func New(cfg Config) *Catalog {
	c := &Catalog{
		urls: urls{of: make(map[string]urlOwner)},
		Functions: table.New(table.Config[function.Record]{
			Client: cfg.Client, Log: cfg.Log, Prefix: functionsPrefix, Check: checkFunction, WriteTimeout: cfg.WriteTimeout,
		}),
		Versions: table.New(table.Config[function.Record]{
			Client: cfg.Client, Log: cfg.Log, Prefix: versionsPrefix, Check: checkVersion, WriteTimeout: cfg.WriteTimeout,
		}),
		EventSources: table.New(table.Config[eventsource.Mapping]{
			Client: cfg.Client, Log: cfg.Log, Prefix: eventSourcesPrefix, Check: checkMapping, WriteTimeout: cfg.WriteTimeout,
		}),
		CodeSigning: table.New(table.Config[codesigning.Config]{
			Client: cfg.Client, Log: cfg.Log, Prefix: codeSigningPrefix, Check: checkCodeSigning, WriteTimeout: cfg.WriteTimeout,
		}),
		Layers: table.New(table.Config[layer.Layer]{
			Client: cfg.Client, Log: cfg.Log, Prefix: layersPrefix, Check: checkLayer, WriteTimeout: cfg.WriteTimeout,
		}),
		LayerVersions: table.New(table.Config[layer.Version]{
			Client: cfg.Client, Log: cfg.Log, Prefix: layerVersionsPrefix, Check: checkLayerVersion, WriteTimeout: cfg.WriteTimeout,
		}),
	}
	c.Functions.Subscribe(c.urls.changed)
	return c
}

// Start reads every record and then follows etcd until Stop.
func (c *Catalog) Start(ctx context.Context) error {
	for i, t := range c.tables() {
		if err := t.Start(ctx); err != nil {
			for _, started := range c.tables()[:i] {
				started.Stop()
			}
			return err
		}
	}
	return nil
}

// Stop stops following etcd. The catalog can still be read.
func (c *Catalog) Stop() {
	for _, t := range slices.Backward(c.tables()) {
		t.Stop()
	}
}

// CatchUp waits until the catalog holds all that etcd holds now.
func (c *Catalog) CatchUp(ctx context.Context) error {
	var errs []error
	for _, t := range c.tables() {
		errs = append(errs, t.CatchUp(ctx))
	}
	return errors.Join(errs...)
}

// follower is a table of whatever kind.
type follower interface {
	Start(ctx context.Context) error
	Stop()
	CatchUp(ctx context.Context) error
	Refused() int
}

// tables are the tables of the catalog: functions last, as their records name
// those of the others.
func (c *Catalog) tables() []follower {
	return []follower{c.CodeSigning, c.EventSources, c.LayerVersions, c.Layers, c.Versions, c.Functions}
}

// VersionKey names a version in its table. The number is padded, so that the
// table's order is that of the numbers.
func VersionKey(account, name, version string) table.Key {
	const width = 10
	return table.Key{Account: account, Name: VersionsOf(name) + strings.Repeat("0", max(0, width-len(version))) + version}
}

// VersionsOf begins the names of a function's versions in their table.
func VersionsOf(name string) string { return name + ":" }

// Lookup returns a function. The record must not be changed.
func (c *Catalog) Lookup(account, name string) (*function.Record, bool) {
	return c.Functions.Lookup(table.Key{Account: account, Name: name})
}

// Version returns a published version of a function, or for $LATEST and
// nothing the function itself.
func (c *Catalog) Version(account, name, version string) (*function.Record, bool) {
	if version == "" || version == function.LatestVersion {
		return c.Lookup(account, name)
	}
	return c.Versions.Lookup(VersionKey(account, name, version))
}

// All returns every function and version.
func (c *Catalog) All() []*function.Record {
	return append(c.Functions.All(), c.Versions.All()...)
}

// Refused returns how many stored records cannot be read.
func (c *Catalog) Refused() int {
	n := 0
	for _, t := range c.tables() {
		n += t.Refused()
	}
	return n
}

// Subscribe has fn called for every change of a function or version, as
// table.Subscribe does.
func (c *Catalog) Subscribe(fn func(before, after *function.Record)) (cancel func()) {
	tell := func(_ table.Key, before, after *function.Record) { fn(before, after) }
	functions, versions := c.Functions.Subscribe(tell), c.Versions.Subscribe(tell)
	return func() {
		functions()
		versions()
	}
}

func checkFunction(key table.Key, r *function.Record) error {
	if r.Account != key.Account || r.Name != key.Name || r.Version != "" {
		return fmt.Errorf("it is the record of %.100q in account %.20q", r.Name, r.Account)
	}
	return checkRecord(r)
}

func checkVersion(key table.Key, r *function.Record) error {
	if r.Version == "" || VersionKey(r.Account, r.Name, r.Version) != key {
		return fmt.Errorf("it is the record of %.100q in account %.20q, version %.20q", r.Name, r.Account, r.Version)
	}
	return checkRecord(r)
}

// checkRecord checks what other services rely on.
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

func checkMapping(key table.Key, m *eventsource.Mapping) error {
	switch {
	case m.Account != key.Account || m.UUID != key.Name:
		return fmt.Errorf("it is the mapping %.100q in account %.20q", m.UUID, m.Account)
	case m.Kind() == nil:
		return fmt.Errorf("it reads from %.200q, which is no event source", m.ARN)
	case m.Function == "" || m.BatchSize == nil:
		return errors.New("function or batchSize is missing")
	case !m.State.Valid():
		return fmt.Errorf("state %.20q", m.State)
	}
	return nil
}

func checkCodeSigning(key table.Key, c *codesigning.Config) error {
	switch {
	case c.Account != key.Account || c.ID != key.Name:
		return fmt.Errorf("it is the code signing configuration %.100q in account %.20q", c.ID, c.Account)
	case c.Untrusted != codesigning.Warn && c.Untrusted != codesigning.Enforce:
		return fmt.Errorf("untrusted %.20q", c.Untrusted)
	}
	return nil
}
