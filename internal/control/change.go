package control

import (
	"context"
	"crypto/rand"
	"fmt"

	"hearth/internal/function"
	"hearth/internal/table"
)

// change applies an edit to a function's record, which gets a new revision id.
func (s *Service) change(ctx context.Context, account, name string, f table.Edit[function.Record]) (*function.Record, error) {
	r, err := s.cfg.Catalog.Functions.Change(ctx, table.Key{Account: account, Name: name}, func(now *function.Record) (*function.Record, error) {
		next, err := f(now)
		if next != nil {
			next.RevisionID = newRevisionID()
		}
		return next, err
	})
	if err != nil {
		return nil, storeError(err)
	}
	return r, nil
}

// newRevisionID returns a random UUID, the form AWS gives revision ids.
func newRevisionID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: it ends the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newUID returns what tells a function from all others of its name.
func newUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: it ends the program instead
	return fmt.Sprintf("%x", b)
}
