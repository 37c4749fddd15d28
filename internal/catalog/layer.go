package catalog

import (
	"errors"
	"fmt"
	"strconv"

	"hearth/internal/layer"
	"hearth/internal/table"
)

// Where the records of layers lie in etcd.
const (
	layersPrefix        = "hearth/layers/"
	layerVersionsPrefix = "hearth/layer-versions/"
)

// LayerKey names a layer in its table.
func LayerKey(account, name string) table.Key { return table.Key{Account: account, Name: name} }

// LayerVersionKey names a version of a layer in its table. Its order is that
// of the numbers.
func LayerVersionKey(account, name string, number int64) table.Key {
	return VersionKey(account, name, strconv.FormatInt(number, 10))
}

// LayerVersion returns a version of a layer. The record must not be changed.
func (c *Catalog) LayerVersion(account, name string, number int64) (*layer.Version, bool) {
	return c.LayerVersions.Lookup(LayerVersionKey(account, name, number))
}

func checkLayer(key table.Key, l *layer.Layer) error {
	if LayerKey(l.Account, l.Name) != key || l.LastVersion < 1 {
		return fmt.Errorf("it is the record of layer %.100q in account %.20q, version %d", l.Name, l.Account, l.LastVersion)
	}
	return nil
}

func checkLayerVersion(key table.Key, v *layer.Version) error {
	if v.Number < 1 || LayerVersionKey(v.Account, v.Name, v.Number) != key {
		return fmt.Errorf("it is the record of layer %.100q in account %.20q, version %d", v.Name, v.Account, v.Number)
	}
	if v.Code.Object == "" || v.Region == "" {
		return errors.New("its archive or region is missing")
	}
	return nil
}
