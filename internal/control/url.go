package control

import (
	"context"
	"crypto/rand"

	"hearth/internal/awserr"
	"hearth/internal/function"
)

// CreateURL gives a function (qualifier $LATEST) or an alias a URL.
func (s *Service) CreateURL(ctx context.Context, account, name, qualifier string, u function.URL) (*function.URL, error) {
	if _, ok := s.cfg.Catalog.Lookup(account, name); !ok {
		return nil, noURLTarget()
	}
	u.ID, u.CreationTime = newURLID(), s.now()
	u.LastModifiedTime = u.CreationTime
	r, err := s.attach(ctx, account, name, func(next *function.Record) error {
		if qualifier != function.LatestVersion && next.Aliases[qualifier] == nil {
			return noURLTarget()
		}
		if next.URLs[qualifier] != nil {
			arn := next.ARN()
			if qualifier != function.LatestVersion {
				arn += ":" + qualifier
			}
			return awserr.New("ResourceConflictException",
				"Failed to create function url config for [functionArn = %s]. Error message:  FunctionUrlConfig exists for this Lambda function", arn)
		}
		if next.URLs == nil {
			next.URLs = make(map[string]*function.URL)
		}
		created := u
		next.URLs[qualifier] = &created
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.URLs[qualifier], nil
}

// UpdateURL changes a URL; its address stays.
func (s *Service) UpdateURL(ctx context.Context, account, name, qualifier string, up function.URLUpdate) (*function.URL, error) {
	if _, err := s.URL(ctx, account, name, qualifier); err != nil {
		return nil, err
	}
	r, err := s.attach(ctx, account, name, func(next *function.Record) error {
		u := next.URLs[qualifier]
		if u == nil {
			return noURL()
		}
		u.LastModifiedTime = s.now()
		if up.AuthType != "" {
			u.AuthType = up.AuthType
		}
		if up.InvokeMode != "" {
			u.InvokeMode = up.InvokeMode
		}
		if up.CORS != nil {
			u.CORS = up.CORS
			if u.CORS.IsZero() {
				u.CORS = nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.URLs[qualifier], nil
}

// DeleteURL takes a URL away for good: a later one has another address.
func (s *Service) DeleteURL(ctx context.Context, account, name, qualifier string) error {
	if _, err := s.URL(ctx, account, name, qualifier); err != nil {
		return err
	}
	_, err := s.attach(ctx, account, name, func(next *function.Record) error {
		if next.URLs[qualifier] == nil {
			return noURL()
		}
		delete(next.URLs, qualifier)
		return nil
	})
	return err
}

// URL returns the URL of a function or alias.
func (s *Service) URL(_ context.Context, account, name, qualifier string) (*function.URL, error) {
	r, ok := s.cfg.Catalog.Lookup(account, name)
	if !ok || r.URLs[qualifier] == nil {
		return nil, noURL()
	}
	return r.URLs[qualifier], nil
}

func noURL() error {
	return awserr.New("ResourceNotFoundException", "The resource you requested does not exist.")
}

func noURLTarget() error { return awserr.New("ResourceNotFoundException", "Function does not exist") }

// newURLID returns the first label of a URL's host: 32 letters and digits at
// random, which are too many to guess or to meet twice.
func newURLID() string {
	const (
		letters = "abcdefghijklmnopqrstuvwxyz0123456789"
		length  = 32
		fair    = 256 - 256%len(letters) // bytes from here on would favour some letters
	)
	id := make([]byte, 0, length)
	var random [2 * length]byte
	for {
		rand.Read(random[:]) // never fails: it ends the program instead
		for _, b := range random {
			if int(b) < fair {
				id = append(id, letters[int(b)%len(letters)])
			}
			if len(id) == length {
				return string(id)
			}
		}
	}
}
