package control

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/google/uuid"

	"hearth/internal/catalog"
	"hearth/internal/function"
	"hearth/internal/table"
)

// change applies an edit to a function's record, which gets a new revision id.
func (s *Service) change(ctx context.Context, account, name string, f table.Edit[function.Record]) (*function.Record, error) {
	return s.changeWith(ctx, account, name, func(now *function.Record) (*function.Record, []table.Op, error) {
		next, err := f(now)
		return next, nil, err
	})
}

// recordEdit is an edit that comes with further operations.
type recordEdit func(now *function.Record) (*function.Record, []table.Op, error)

// changeWith is change with further operations in the same transaction.
func (s *Service) changeWith(ctx context.Context, account, name string, f recordEdit) (*function.Record, error) {
	r, err := s.cfg.Catalog.Functions.ChangeWith(ctx, functionKey(account, name), func(now *function.Record) (*function.Record, []table.Op, error) {
		next, ops, err := f(now)
		if next != nil {
			next.RevisionID = newRevisionID()
		}
		return next, ops, err
	})
	if err != nil {
		return nil, storeError(err)
	}
	return r, nil
}

// changeVersion applies an edit to the record of a version, which gets a new
// revision id.
func (s *Service) changeVersion(ctx context.Context, t target, f table.Edit[function.Record]) error {
	_, err := s.cfg.Catalog.Versions.Change(ctx, catalog.VersionKey(t.account, t.name, t.version), func(now *function.Record) (*function.Record, error) {
		next, err := f(now)
		if next != nil {
			next.RevisionID = newRevisionID()
		}
		return next, err
	})
	return storeError(err)
}

// newRevisionID returns a random UUID, the form AWS gives revision ids.
func newRevisionID() string { return uuid.NewString() }

// newUID returns what tells a function from all others of its name.
func newUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: it ends the program instead
	return fmt.Sprintf("%x", b)
}
