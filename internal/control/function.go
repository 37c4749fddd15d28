package control

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"time"

	"hearth/internal/archive"
	"hearth/internal/awserr"
	"hearth/internal/catalog"
	"hearth/internal/function"
	"hearth/internal/table"
)

// maxTags is AWS's quota of tags on a function.
const maxTags = 50

// Create creates a function; it is Pending until it is prepared.
func (s *Service) Create(ctx context.Context, req function.CreateRequest) (*function.Record, error) {
	if err := s.mustNotExist(req.Account, req.Name); err != nil {
		return nil, err
	}
	if err := s.checkSigned(req.Account, req.Name, req.CodeSigningConfig); err != nil {
		return nil, err
	}
	uid, from := newUID(), source{req.Zip, req.S3, req.Image, req.Config.Architecture}
	up, err := s.receive(ctx, req.Account, objectKey(req.Account, uid, from), from, function.Usage{Functions: 1})
	if err != nil {
		return nil, err
	}
	defer up.close()
	record := s.newRecord(req, uid, up)
	if err := s.seal(ctx, record, record.Latest); err != nil {
		return nil, up.drop(ctx, err)
	}
	layers, err := s.useLayers(record.Latest)
	if err != nil {
		return nil, up.drop(ctx, err)
	}
	if req.DryRun {
		record.RevisionID = newRevisionID()
		return record, up.drop(ctx, nil)
	}
	return keep(ctx, up, func() (*function.Record, error) {
		s.signingMu.RLock()
		defer s.signingMu.RUnlock()
		var version *function.Record
		r, err := s.changeWith(ctx, req.Account, req.Name, func(now *function.Record) (*function.Record, []table.Op, error) {
			if now != nil {
				return nil, nil, alreadyExists(req.Name)
			}
			if err := s.checkSigned(req.Account, req.Name, req.CodeSigningConfig); err != nil {
				return nil, nil, err
			}
			next := record.Clone()
			if !req.Publish {
				return next, layers, nil
			}
			var ops []table.Op
			version, ops = s.publish(next, nil)
			return next, append(ops, layers...), nil
		})
		if err == nil && version != nil {
			return version, nil
		}
		return r, layerGone(err, record.Latest)
	})
}

func (s *Service) newRecord(req function.CreateRequest, uid string, up *upload) *function.Record {
	latest := req.Config.Clone()
	up.use(latest)
	return &function.Record{
		Account:         req.Account,
		Region:          s.cfg.Region,
		Name:            req.Name,
		UID:             uid,
		LastModified:    s.now(),
		State:           function.Pending,
		StateReason:     creatingReason,
		StateReasonCode: creatingCode,
		Tags:            maps.Clone(req.Tags),
		Latest:          latest,
		Attached:        function.Attached{CodeSigningConfig: req.CodeSigningConfig},
	}
}

// UpdateCode replaces a function's code; what it serves changes once the new
// code is prepared.
func (s *Service) UpdateCode(ctx context.Context, req function.CodeUpdate) (*function.Record, error) {
	now, err := s.Get(ctx, req.Account, req.Name)
	if err != nil {
		return nil, err
	}
	if err := s.checkCodeUpdate(now, req.RevisionID); err != nil {
		return nil, err
	}
	uid, from := now.UID, source{req.Zip, req.S3, req.Image, cmp.Or(req.Architecture, now.Latest.Architecture)}
	up, err := s.receive(ctx, req.Account, objectKey(req.Account, uid, from), from, function.Usage{})
	if err != nil {
		return nil, err
	}
	defer up.close()
	update := func(now *function.Record) (*function.Record, error) {
		if now == nil || now.UID != uid {
			return nil, s.notFound(req.Account, req.Name)
		}
		if err := s.checkCodeUpdate(now, req.RevisionID); err != nil {
			return nil, err
		}
		next := s.beginUpdate(now)
		up.use(next.Latest)
		if err := checkUnpacked(next.Latest, s.cfg.Limits.Archive); err != nil {
			return nil, err
		}
		if req.Architecture != "" {
			next.Latest.Architecture = req.Architecture
		}
		return next, nil
	}
	if req.DryRun {
		next, err := update(now)
		if err != nil {
			return nil, up.drop(ctx, err)
		}
		// Nothing was started, so the answer must not say so.
		next.LastUpdateStatus, next.LastUpdateStatusReason, next.LastUpdateStatusReasonCode =
			now.LastUpdateStatus, now.LastUpdateStatusReason, now.LastUpdateStatusReasonCode
		next.LastModified = now.LastModified
		return next, up.drop(ctx, nil)
	}
	return keep(ctx, up, func() (*function.Record, error) {
		var version *function.Record
		r, err := s.changeWith(ctx, req.Account, req.Name, func(now *function.Record) (*function.Record, []table.Op, error) {
			next, err := update(now)
			if err != nil || !req.Publish {
				return next, nil, err
			}
			var ops []table.Op
			version, ops = s.publish(next, nil)
			return next, ops, nil
		})
		if err == nil && version != nil {
			return version, nil
		}
		return r, err
	})
}

// UpdateConfig changes a function's configuration; what it serves changes once
// that is prepared.
func (s *Service) UpdateConfig(ctx context.Context, req function.ConfigUpdate) (*function.Record, error) {
	var asked *function.Config
	r, err := s.changeWith(ctx, req.Account, req.Name, func(now *function.Record) (*function.Record, []table.Op, error) {
		if now == nil {
			return nil, nil, s.notFound(req.Account, req.Name)
		}
		if err := checkUpdatable(now, req.RevisionID); err != nil {
			return nil, nil, err
		}
		next := s.beginUpdate(now)
		if err := req.Apply(next.Latest); err != nil {
			return nil, nil, err
		}
		next.Latest.Code = now.Latest.Code
		asked = next.Latest
		layers, err := s.useLayers(next.Latest)
		if err == nil {
			err = s.reseal(ctx, next, now.Latest)
		}
		return next, layers, err
	})
	return r, layerGone(err, asked)
}

// checkCodeUpdate says whether a function can get new code now.
func (s *Service) checkCodeUpdate(now *function.Record, revisionID string) error {
	if err := checkUpdatable(now, revisionID); err != nil {
		return err
	}
	return s.checkSigned(now.Account, now.Name, now.CodeSigningConfig)
}

func (s *Service) beginUpdate(now *function.Record) *function.Record {
	next := now.Clone()
	next.LastModified = s.now()
	next.LastUpdateStatus = function.UpdateInProgress
	next.LastUpdateStatusReason = creatingReason
	next.LastUpdateStatusReasonCode = creatingCode
	return next
}

// Delete deletes a function in whatever state it is, with its versions and all
// that is attached to it.
func (s *Service) Delete(ctx context.Context, account, name string) error {
	_, err := s.changeWith(ctx, account, name, func(now *function.Record) (*function.Record, []table.Op, error) {
		if now == nil {
			return nil, nil, s.notFound(account, name)
		}
		return nil, []table.Op{s.cfg.Catalog.Versions.DeleteAll(account, catalog.VersionsOf(name))}, nil
	})
	return err
}

// Tag adds tags to a function, or gives those it has new values.
func (s *Service) Tag(ctx context.Context, account, name string, tags map[string]string) error {
	_, err := s.change(ctx, account, name, func(now *function.Record) (*function.Record, error) {
		if now == nil {
			return nil, s.notFound(account, name)
		}
		next := now.Clone()
		if next.Tags == nil {
			next.Tags = make(map[string]string, len(tags))
		}
		maps.Copy(next.Tags, tags)
		if len(next.Tags) > maxTags {
			return nil, awserr.New("InvalidParameterValueException", "Number of tags exceeds resource tag limit.")
		}
		return next, nil
	})
	return err
}

// Untag removes tags from a function; keys it does not have are ignored.
func (s *Service) Untag(ctx context.Context, account, name string, keys []string) error {
	_, err := s.change(ctx, account, name, func(now *function.Record) (*function.Record, error) {
		if now == nil {
			return nil, s.notFound(account, name)
		}
		next := now.Clone()
		for _, k := range keys {
			delete(next.Tags, k)
		}
		return next, nil
	})
	return err
}

// checkCode checks an archive and describes it; Object is still to be set.
func (s *Service) checkCode(zip []byte) (function.Code, error) {
	content, err := archive.Check(bytes.NewReader(zip), int64(len(zip)), s.cfg.Limits.Archive)
	if err != nil {
		return function.Code{}, archiveError(err, s.cfg.Limits.Archive)
	}
	sum := sha256.Sum256(zip)
	return function.Code{SHA256: base64.StdEncoding.EncodeToString(sum[:]), Size: int64(len(zip)), Unpacked: content.Bytes}, nil
}

func (s *Service) mustNotExist(account, name string) error {
	if _, ok := s.cfg.Catalog.Lookup(account, name); ok {
		return alreadyExists(name)
	}
	return nil
}

func alreadyExists(name string) error {
	return awserr.New("ResourceConflictException", "Function already exist: %s", name)
}

// now is the time as AWS shows it, in milliseconds.
func (s *Service) now() time.Time { return s.cfg.Clock().UTC().Truncate(time.Millisecond) }

// objectKey is a key for an upload, different for each.
func objectKey(account, uid string, from source) string {
	kind := ".zip"
	if from.image != "" {
		kind = ".image"
	}
	return objectPrefix + account + "/" + uid + "/" + rand.Text() + kind
}
