package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"hearth/internal/datadir"
)

// configFile is a NodeConfig beside the node's certificate.
const configFile = "config.json"

// SaveNode writes what a node is told to its data directory.
func SaveNode(cfg *NodeConfig) error {
	b, err := json.MarshalIndent(cfg, "", "  ") //nolint:musttag // its fields have good names
	if err != nil {
		return fmt.Errorf("node's configuration: %w", err)
	}
	dir := NodeDir(cfg.DataDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("node's configuration: %w", err)
	}
	if err := datadir.SecretIn(dir, configFile).Save(append(b, '\n')); err != nil {
		return fmt.Errorf("node's configuration: %w", err)
	}
	return nil
}

// LoadNode reads what SaveNode has written to a data directory.
func LoadNode(data string) (NodeConfig, error) {
	var cfg NodeConfig
	name := filepath.Join(NodeDir(data), configFile)
	b, err := os.ReadFile(name)
	if err != nil {
		return cfg, fmt.Errorf("node's configuration: %w; this machine has not joined a cluster yet: hearth cluster join", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&cfg); err != nil { //nolint:musttag // as above
		return cfg, fmt.Errorf("node's configuration: %s: %w", name, err)
	}
	cfg.DataDir = data
	return cfg, nil
}
