package control

import (
	"errors"
	"fmt"

	"hearth/internal/archive"
	"hearth/internal/arn"
	"hearth/internal/awserr"
	"hearth/internal/catalog"
	"hearth/internal/function"
	"hearth/internal/layer"
	"hearth/internal/table"
)

// maxLayers is the most layers of a function.
const maxLayers = 5

// useLayers finds the layers that a configuration names and has not found yet.
// The operations demand, in the transaction that stores the configuration,
// that they are still there: so no archive that a record names was garbage
// before.
func (s *Service) useLayers(cfg *function.Config) ([]table.Op, error) {
	if len(cfg.Layers) > maxLayers {
		return nil, awserr.New("InvalidParameterValueException", "Cannot reference more than %d layers.", maxLayers)
	}
	var ops []table.Op
	used := make(map[string]string, len(cfg.Layers))
	for i := range cfg.Layers {
		l := &cfg.Layers[i]
		if l.Code.Object != "" {
			continue // it was found when it was set
		}
		v, err := s.findLayer(l.ARN)
		if err != nil {
			return nil, err
		}
		if other, ok := used[v.LayerARN()]; ok {
			return nil, awserr.New("InvalidParameterValueException",
				"Two different versions of the same layer are not allowed to be referenced in the same function. %s and %s are versions of the same layer.",
				other, l.ARN)
		}
		used[v.LayerARN()] = l.ARN
		l.ARN, l.Code = v.ARN(), v.Code
		ops = append(ops, s.cfg.Catalog.LayerVersions.Exists(catalog.LayerVersionKey(v.Account, v.Name, v.Number)))
	}
	return ops, checkUnpacked(cfg, s.cfg.Limits.Archive)
}

// findLayer finds a version for a function, with words other than those of
// LayerVersion. Whether the caller may use it has been asked before.
func (s *Service) findLayer(name string) (*layer.Version, error) {
	ref, err := arn.ParseLayer(name)
	if err == nil && ref.Region != s.cfg.Region {
		return nil, awserr.New("InvalidParameterValueException",
			"Layers are not in the same region as the function. Layers are expected to be in region %s.", s.cfg.Region)
	}
	v, ok := s.cfg.Catalog.LayerVersion(ref.Account, ref.Name, ref.Version)
	if err != nil || !ok {
		return nil, awserr.New("InvalidParameterValueException", "Layer version %s does not exist.", name)
	}
	return v, nil
}

// checkUnpacked bounds what a function's code and layers are together when
// they are unpacked.
func checkUnpacked(cfg *function.Config, l archive.Limits) error {
	if len(cfg.Layers) == 0 {
		return nil // the archive alone is bounded already
	}
	var layers int64
	for i := range cfg.Layers {
		layers += cfg.Layers[i].Code.Unpacked
	}
	if layers > l.Bytes {
		return awserr.New("InvalidParameterValueException", "Layers consume more than the available size of %d bytes", l.Bytes)
	}
	if all := layers + cfg.Code.Unpacked; all > l.Bytes {
		return awserr.New("InvalidParameterValueException",
			"Function code combined with layers exceeds the maximum allowed size of %d bytes. The actual size is %d bytes.", l.Bytes, all)
	}
	return nil
}

// layerGone words the failure of a change whose layers were deleted while it
// was made.
func layerGone(err error, asked *function.Config) error {
	if !errors.Is(err, table.ErrConflict) || asked == nil || len(asked.Layers) == 0 {
		return err
	}
	return fmt.Errorf("%w: %w", awserr.New("ResourceConflictException",
		"A layer of the function was deleted while the function was changed. Look which are there, then try again."), err)
}
