package control

import (
	"context"
	"reflect"
	"strconv"

	"hearth/internal/awserr"
	"hearth/internal/catalog"
	"hearth/internal/function"
	"hearth/internal/table"
)

// Publish makes a version of what a function is now. If nothing but the
// description has changed since the last version was published, that one is
// returned instead.
func (s *Service) Publish(ctx context.Context, req function.PublishRequest) (*function.Record, error) {
	var version *function.Record
	_, err := s.cfg.Catalog.Functions.ChangeWith(ctx, functionKey(req.Account, req.Name),
		func(now *function.Record) (*function.Record, []table.Op, error) {
			if now == nil {
				return nil, nil, s.notFound(req.Account, req.Name)
			}
			if err := checkPublishable(now, req); err != nil {
				return nil, nil, err
			}
			next := now.Clone()
			var ops []table.Op
			if version, ops = s.publish(next, req.Description); ops == nil {
				return now, nil, nil
			}
			next.RevisionID = newRevisionID()
			return next, ops, nil
		})
	if err != nil {
		return nil, storeError(err)
	}
	return version, nil
}

// publish counts up the function's versions and makes the next one of it, or
// returns the last one, and no operation, if that is the same.
func (s *Service) publish(next *function.Record, description *string) (*function.Record, []table.Op) {
	if last, ok := s.lastVersion(next); ok && sameConfig(last.Latest, next.Latest) {
		return last, nil
	}
	next.LastVersion++
	version := next.Clone()
	version.Version = strconv.FormatUint(next.LastVersion, 10)
	version.UID, version.RevisionID = newUID(), newRevisionID()
	version.Tags, version.Attached = nil, function.Attached{}
	version.LastModified = s.now()
	if description != nil {
		version.Latest.Description = *description
	}
	if !reflect.DeepEqual(next.Serving, next.Latest) {
		// What is published is not what serves: it is prepared by itself.
		version.State, version.StateReason, version.StateReasonCode = function.Pending, creatingReason, creatingCode
		version.LastUpdateStatus, version.LastUpdateStatusReason, version.LastUpdateStatusReasonCode = "", "", ""
		version.Serving, version.Generation = nil, 0
	} else {
		version.State, version.StateReason, version.StateReasonCode = function.Active, "", ""
		version.LastUpdateStatus, version.LastUpdateStatusReason, version.LastUpdateStatusReasonCode = function.UpdateSuccessful, "", ""
		version.Serving, version.Generation = version.Latest.Clone(), 1
	}
	return version, []table.Op{s.cfg.Catalog.Versions.Create(catalog.VersionKey(version.Account, version.Name, version.Version), version)}
}

func checkPublishable(now *function.Record, req function.PublishRequest) error {
	if err := checkUpdatable(now, req.RevisionID); err != nil {
		return err
	}
	if now.State == function.Failed {
		return awserr.New("ResourceConflictException",
			"The operation cannot be performed at this time. The function is currently in the following state: Failed")
	}
	if req.CodeSHA256 != "" && req.CodeSHA256 != now.Latest.Code.SHA256 {
		return awserr.New("InvalidParameterValueException",
			"CodeSHA256 (%.100s) is different from current CodeSHA256 in $LATEST (%s). Please try again with the CodeSHA256 in $LATEST.",
			req.CodeSHA256, now.Latest.Code.SHA256)
	}
	return nil
}

// lastVersion is the version published last, if it is still there.
func (s *Service) lastVersion(r *function.Record) (*function.Record, bool) {
	if r.LastVersion == 0 {
		return nil, false
	}
	return s.cfg.Catalog.Version(r.Account, r.Name, strconv.FormatUint(r.LastVersion, 10))
}

// sameConfig says whether two configurations differ in their description at
// most. Uploads of the same bytes are the same.
func sameConfig(a, b *function.Config) bool {
	x, y := *a, *b
	x.Description, y.Description = "", ""
	x.Code.Object, y.Code.Object = "", ""
	return reflect.DeepEqual(&x, &y)
}

// Versions returns up to limit published versions of a function, beginning
// after the version after. If there are more, next is what to give as after
// for them.
func (s *Service) Versions(_ context.Context, account, name, after string, limit int) (versions []*function.Record, next string, err error) {
	if _, ok := s.cfg.Catalog.Lookup(account, name); !ok {
		return nil, "", s.notFound(account, name)
	}
	from := ""
	if after != "" {
		from = catalog.VersionKey(account, name, after).Name
	}
	versions = s.cfg.Catalog.Versions.List(account, catalog.VersionsOf(name), from, limit+1)
	if len(versions) > limit {
		versions = versions[:limit]
		next = versions[limit-1].Version
	}
	return versions, next, nil
}

// Resolve returns what a qualifier names: a version, or the function itself
// for $LATEST and nothing. An alias is resolved to the version it points to.
func (s *Service) Resolve(_ context.Context, account, name, qualifier string) (*function.Record, error) {
	r, ok := s.cfg.Catalog.Lookup(account, name)
	if !ok {
		return nil, s.notQualified(account, name, qualifier)
	}
	version := r.VersionOf(qualifier)
	if r, ok = s.cfg.Catalog.Version(account, name, version); !ok {
		return nil, s.notQualified(account, name, version)
	}
	return r, nil
}

// DeleteVersion deletes a published version that no alias points to. One that
// is not there is no error, as with AWS.
func (s *Service) DeleteVersion(ctx context.Context, account, name, version string) error {
	_, err := s.cfg.Catalog.Functions.ChangeWith(ctx, functionKey(account, name),
		func(now *function.Record) (*function.Record, []table.Op, error) {
			if now == nil {
				return nil, nil, s.notFound(account, name)
			}
			for _, alias := range now.SortedAliases() {
				if _, weighted := alias.Weights[version]; weighted || alias.Version == version {
					return nil, nil, awserr.New("ResourceConflictException",
						"Version %s of %s cannot be deleted: alias %s points to it. Point the alias to another version first.", version, now.ARN(), alias.Name)
				}
			}
			next := now
			if hasQualifier(now, version) {
				next = now.Clone()
				next.Attached = withoutQualifier(next.Attached, version)
			}
			return next, []table.Op{s.cfg.Catalog.Versions.Delete(catalog.VersionKey(account, name, version))}, nil
		})
	return storeError(err)
}

func functionKey(account, name string) table.Key { return table.Key{Account: account, Name: name} }
