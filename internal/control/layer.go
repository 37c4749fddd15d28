package control

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math"
	"slices"

	"hearth/internal/awserr"
	"hearth/internal/catalog"
	"hearth/internal/function"
	"hearth/internal/layer"
	"hearth/internal/table"
)

// layerPrefix begins the keys of layers' archives.
const layerPrefix = "layers/"

// PublishLayer makes a new version of a layer, and the layer if it is the
// first. The number comes from the layer's record, which outlives its
// versions: no number is ever used again.
func (s *Service) PublishLayer(ctx context.Context, req layer.PublishRequest) (*layer.Version, error) {
	key := layerPrefix + req.Account + "/" + req.Name + "/" + rand.Text() + ".zip"
	up, err := s.receive(ctx, req.Account, key, source{zip: req.Zip, s3: req.S3}, function.Usage{})
	if err != nil {
		return nil, err
	}
	defer up.close()
	return keep(ctx, up, func() (*layer.Version, error) {
		var version *layer.Version
		_, err := s.cfg.Catalog.Layers.ChangeWith(ctx, catalog.LayerKey(req.Account, req.Name), func(now *layer.Layer) (*layer.Layer, []table.Op, error) {
			next := &layer.Layer{Account: req.Account, Name: req.Name, LastVersion: 1}
			if now != nil {
				next.LastVersion = now.LastVersion + 1
			}
			version = &layer.Version{
				Account: req.Account, Region: s.cfg.Region, Name: req.Name, Number: next.LastVersion, Created: s.now(),
				Description: req.Description, LicenseInfo: req.LicenseInfo,
				Runtimes: req.Runtimes, Architectures: req.Architectures, Code: up.code,
			}
			create := s.cfg.Catalog.LayerVersions.Create(catalog.LayerVersionKey(req.Account, req.Name, next.LastVersion), version)
			return next, []table.Op{create}, nil
		})
		return version, storeError(err)
	})
}

// LayerVersion returns a version of a layer.
func (s *Service) LayerVersion(_ context.Context, account, name string, number int64) (*layer.Version, error) {
	v, ok := s.cfg.Catalog.LayerVersion(account, name, number)
	if !ok {
		return nil, awserr.New("ResourceNotFoundException", "The resource you requested does not exist.")
	}
	return v, nil
}

// OpenLayer returns the archive of a version. The caller closes it.
func (s *Service) OpenLayer(ctx context.Context, v *layer.Version) (io.ReadSeekCloser, error) {
	f, _, err := s.cfg.Objects.Open(ctx, v.Code.Object)
	if err != nil {
		return nil, fmt.Errorf("open layer %s: %w", v.ARN(), err)
	}
	return f, nil
}

// Layers returns the newest version that the filter picks of each of up to
// limit layers of an account, in the order of their names, beginning after the
// layer after. If there are more, next is what to give as after for them.
func (s *Service) Layers(_ context.Context, account string, f layer.Filter, after string, limit int) (newest []*layer.Version, next string, err error) {
	if limit < 1 {
		return nil, "", fmt.Errorf("list layers: limit %d", limit)
	}
	for {
		layers := s.cfg.Catalog.Layers.List(account, "", after, limit+1)
		for _, l := range layers {
			after = l.Name
			versions := s.layerVersions(account, l.Name, f)
			if len(versions) == 0 {
				continue
			}
			if len(newest) == limit {
				return newest, newest[limit-1].Name, nil
			}
			newest = append(newest, versions[0])
		}
		if len(layers) <= limit {
			return newest, "", nil
		}
	}
}

// LayerVersions returns up to limit versions of a layer that the filter picks,
// the newest first, from below the number before on (0: from the newest). If
// there are more, next is what to give as before for them.
func (s *Service) LayerVersions(_ context.Context, account, name string, f layer.Filter, before int64, limit int,
) (versions []*layer.Version, next int64, err error) {
	if limit < 1 {
		return nil, 0, fmt.Errorf("list versions of layer %s: limit %d", name, limit)
	}
	versions = s.layerVersions(account, name, f)
	if before > 0 {
		versions = slices.DeleteFunc(versions, func(v *layer.Version) bool { return v.Number >= before })
	}
	if len(versions) > limit {
		versions = versions[:limit]
		next = versions[limit-1].Number
	}
	return versions, next, nil
}

// layerVersions returns the versions of a layer that the filter picks, the
// newest first.
func (s *Service) layerVersions(account, name string, f layer.Filter) []*layer.Version {
	versions := s.cfg.Catalog.LayerVersions.List(account, catalog.VersionsOf(name), "", math.MaxInt)
	versions = slices.DeleteFunc(versions, func(v *layer.Version) bool { return !f.Matches(v) })
	slices.Reverse(versions)
	return versions
}

// DeleteLayerVersion deletes a version of a layer. Functions that use it go
// on; its archive stays as long as one does. A version that is not there is no
// error, as with AWS.
func (s *Service) DeleteLayerVersion(ctx context.Context, account, name string, number int64) error {
	_, err := s.cfg.Catalog.LayerVersions.Change(ctx, catalog.LayerVersionKey(account, name, number),
		func(*layer.Version) (*layer.Version, error) { return nil, nil })
	return storeError(err)
}

// observeLayer sees every change of a layer's versions.
func (s *Service) observeLayer(_ table.Key, before, after *layer.Version) {
	s.garbage.replace(layerObjects(before), layerObjects(after), false)
}

// layerObjects returns the archive that a version of a layer names, in the
// form of objects.
func layerObjects(v *layer.Version) map[string]bool {
	if v == nil {
		return nil
	}
	return map[string]bool{v.Code.Object: false}
}
