// Package catalog holds what functions are: the records of functions and of
// their published versions, in tables that the invoke path reads from memory.
//
// The design is in docs/control.md, the stored form in docs/formats/records.md.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"hearth/internal/function"
	"hearth/internal/table"
)

// Where records lie in etcd.
const (
	functionsPrefix = "hearth/functions/"
	versionsPrefix  = "hearth/versions/"
)

// Catalog is the tables of functions and versions.
type Catalog struct {
	// Functions are keyed by name.
	Functions *table.Table[function.Record]
	// Versions are keyed by VersionKey.
	Versions *table.Table[function.Record]

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
	}
	c.Functions.Subscribe(c.urls.changed)
	return c
}

// Start reads every record and then follows etcd until Stop.
func (c *Catalog) Start(ctx context.Context) error {
	if err := c.Versions.Start(ctx); err != nil {
		return err
	}
	if err := c.Functions.Start(ctx); err != nil {
		c.Versions.Stop()
		return err
	}
	return nil
}

// Stop stops following etcd. The catalog can still be read.
func (c *Catalog) Stop() {
	c.Functions.Stop()
	c.Versions.Stop()
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
func (c *Catalog) Refused() int { return c.Functions.Refused() + c.Versions.Refused() }

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
