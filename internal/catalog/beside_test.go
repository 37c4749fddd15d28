package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/codesigning"
	"hearth/internal/eventsource"
	"hearth/internal/table"
)

const uuid = "12345678-1234-1234-1234-123456789012"

func mapping() *eventsource.Mapping {
	modified := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	m := &eventsource.Mapping{
		Account: account, Region: "us-east-1", UUID: uuid, Version: 3, State: eventsource.Enabled, LastModified: modified, Tags: map[string]string{"k": "v"},
		Source: eventsource.Source{Servers: []string{"kafka:9092"}, Topics: []string{"t"}, Position: "AT_TIMESTAMP", Timestamp: &modified},
		Settings: eventsource.Settings{
			Function: "arn:aws:lambda:us-east-1:000000000000:function:hi", Enabled: true, BatchSize: new(5), BatchingWindow: new(1),
			MaximumAge: new(60), MaximumRetries: new(2), Bisect: new(true), OnFailure: new("kafka://t"), ResponseTypes: []string{"ReportBatchItemFailures"},
			Filters: []string{`{"a":[1]}`}, KMSKey: "arn:aws:kms:us-east-1:000000000000:key/k", Access: []eventsource.Access{{Type: "BASIC_AUTH", URI: "arn"}},
			Pollers: &eventsource.Pollers{Minimum: new(1), Maximum: new(2), Group: "g"},
			Kafka: &eventsource.Kafka{ConsumerGroup: "g", Registry: &eventsource.Registry{
				URI: "https://r", Format: "JSON", Access: []eventsource.Access{{Type: "BASIC_AUTH", URI: "arn"}}, Validate: []string{"KEY"},
			}},
			Metrics: []string{"EventCount"}, LogLevel: "INFO",
		},
	}
	m.Complete()
	return m
}

func signing() *codesigning.Config {
	return &codesigning.Config{
		Account: account, Region: "us-east-1", ID: "csc-abcdefghijklmnopq", Description: "d", Publishers: []string{"arn"}, Untrusted: codesigning.Warn,
		LastModified: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC), Tags: map[string]string{"k": "v"},
	}
}

// golden compares a stored form with its file.
func golden(t *testing.T, name string, got []byte, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the stored form changed:\ngot  %s\nwant %s", got, want)
	}
}

// TestGoldenBeside fails when the stored form of what is beside functions
// changes: then its version must, too.
func TestGoldenBeside(t *testing.T) {
	c := New(Config{})
	got, err := c.EventSources.Encode(table.Key{Account: account, Name: uuid}, mapping())
	golden(t, "event-source-mapping-v1.json", got, err)
	got, err = c.CodeSigning.Encode(table.Key{Account: account, Name: signing().ID}, signing())
	golden(t, "code-signing-config-v1.json", got, err)
}

func TestRefusesBeside(t *testing.T) {
	c := New(Config{})
	key := table.Key{Account: account, Name: uuid}
	for words, damage := range map[string]func(*eventsource.Mapping){
		"it is the mapping": func(m *eventsource.Mapping) { m.UUID = "other" },
		"no event source":   func(m *eventsource.Mapping) { m.Servers = nil },
		"is missing":        func(m *eventsource.Mapping) { m.BatchSize = nil },
		"state":             func(m *eventsource.Mapping) { m.State = "On" },
	} {
		m := mapping()
		damage(m)
		if _, err := c.EventSources.Encode(key, m); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
	value, err := c.CodeSigning.Encode(table.Key{Account: account, Name: signing().ID}, signing())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, with string }{{`"Warn"`, `"Allow"`}, {account, "111111111111"}, {`"version":1`, `"version":2`}} {
		damaged := strings.Replace(string(value), tt.old, tt.with, 1)
		if _, _, err := c.CodeSigning.Decode(codeSigningPrefix+account+"/"+signing().ID, []byte(damaged)); !errors.Is(err, table.ErrBadRecord) {
			t.Errorf("%s for %s: %v", tt.with, tt.old, err)
		}
	}
}
