// Package eventsource holds the record of an event source mapping, and what
// each kind of source allows a mapping to say: its defaults, bounds and
// required settings. It is plain data and rules, without I/O: the control
// plane stores mappings, and an engine will poll what they name.
//
// Sources of the rules: the API reference of CreateEventSourceMapping and the
// developer guide's page of each source; words of errors that were recorded
// from AWS are kept to the letter.
package eventsource

import (
	"maps"
	"slices"
	"time"
)

// State is where a mapping is in its life, in AWS's words.
type State string

// The states AWS reports.
const (
	Creating  State = "Creating"
	Enabling  State = "Enabling"
	Enabled   State = "Enabled"
	Disabling State = "Disabling"
	Disabled  State = "Disabled"
	Updating  State = "Updating"
	Deleting  State = "Deleting"
)

// Settled says whether a state is one that lasts until the next change.
func (s State) Settled() bool { return s == Enabled || s == Disabled }

// Valid says whether a state is one of AWS's.
func (s State) Valid() bool {
	switch s {
	case Creating, Enabling, Enabled, Disabling, Disabled, Updating, Deleting:
		return true
	}
	return false
}

// NoRecords is what a mapping shows of its last batch before there was one.
const NoRecords = "No records processed"

// Mapping is an event source mapping. Records that have been handed out are
// never changed: a change makes a new one.
type Mapping struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	UUID    string `json:"uuid"`
	// Version counts the changes of the record that its owner asked for.
	Version uint64 `json:"version"`

	State State `json:"state"`
	// Reason says what the last transition came from.
	Reason string `json:"reason"`
	// LastResult is about the last batch; empty for sources that do not show it.
	LastResult   string            `json:"lastResult,omitempty"`
	LastModified time.Time         `json:"lastModified"`
	Tags         map[string]string `json:"tags,omitempty"`

	Source
	Settings
}

// Source is what a mapping reads. It never changes.
type Source struct {
	// ARN is empty for self-managed Kafka.
	ARN string `json:"arn,omitempty"`
	// Servers are the bootstrap servers of self-managed Kafka, as host:port.
	Servers []string `json:"servers,omitempty"`
	Topics  []string `json:"topics,omitempty"`
	Queues  []string `json:"queues,omitempty"`
	// Position is where reading begins, in AWS's words; Timestamp belongs to
	// AT_TIMESTAMP.
	Position  string     `json:"position,omitempty"`
	Timestamp *time.Time `json:"timestamp,omitempty"`
}

// Settings is what can be changed. A nil pointer or slice is a setting that
// was not given, that the source does not have, or that has no default; it is
// not shown.
type Settings struct {
	// Function is its ARN, with the qualifier if one was given.
	Function string `json:"function"`
	// Enabled is what the owner wants; State follows.
	Enabled         bool  `json:"enabled"`
	BatchSize       *int  `json:"batchSize"`
	BatchingWindow  *int  `json:"batchingWindow,omitempty"` // seconds
	Parallelization *int  `json:"parallelization,omitempty"`
	TumblingWindow  *int  `json:"tumblingWindow,omitempty"` // seconds
	MaximumAge      *int  `json:"maximumAge,omitempty"`     // seconds, -1 for no limit
	MaximumRetries  *int  `json:"maximumRetries,omitempty"` // -1 for no limit
	Bisect          *bool `json:"bisect,omitempty"`         // split a batch that fails
	MaxConcurrency  *int  `json:"maximumConcurrency,omitempty"`
	// OnFailure is an ARN, or empty for none.
	OnFailure     *string     `json:"onFailure,omitempty"`
	ResponseTypes []string    `json:"responseTypes"`
	Filters       []string    `json:"filters,omitempty"` // patterns
	KMSKey        string      `json:"kmsKey,omitempty"`
	Access        []Access    `json:"access,omitempty"`
	Pollers       *Pollers    `json:"pollers,omitempty"`
	Kafka         *Kafka      `json:"kafka,omitempty"`
	DocumentDB    *DocumentDB `json:"documentDb,omitempty"`
	Metrics       []string    `json:"metrics,omitempty"`
	LogLevel      string      `json:"logLevel,omitempty"`
}

// Access is a way to authenticate to a source, or a part of its network.
type Access struct {
	Type string `json:"type"`
	URI  string `json:"uri"`
}

// Pollers bounds how many pollers a source gets.
type Pollers struct {
	Minimum *int   `json:"minimum,omitempty"`
	Maximum *int   `json:"maximum,omitempty"`
	Group   string `json:"group,omitempty"`
}

// Kafka is what only Kafka has.
type Kafka struct {
	ConsumerGroup string    `json:"consumerGroup"`
	Registry      *Registry `json:"registry,omitempty"`
}

// Registry is a schema registry.
type Registry struct {
	URI    string   `json:"uri,omitempty"`
	Format string   `json:"format,omitempty"`
	Access []Access `json:"access,omitempty"`
	// Validate are the parts of a record to validate: KEY, VALUE.
	Validate []string `json:"validate,omitempty"`
}

// DocumentDB is what only DocumentDB has.
type DocumentDB struct {
	Database     string `json:"database,omitempty"`
	Collection   string `json:"collection,omitempty"`
	FullDocument string `json:"fullDocument,omitempty"`
}

// MappingARN is the name of the mapping itself.
func (m *Mapping) MappingARN() string { return ARN(m.Region, m.Account, m.UUID) }

// ARN makes the name of a mapping.
func ARN(region, account, uuid string) string {
	return "arn:aws:lambda:" + region + ":" + account + ":event-source-mapping:" + uuid
}

// Clone returns a copy of which any field can be set without changing m. What
// pointers point to is shared: it is replaced, never changed.
func (m *Mapping) Clone() *Mapping {
	n := *m
	n.Tags = maps.Clone(m.Tags)
	n.ResponseTypes = slices.Clone(m.ResponseTypes)
	return &n
}
