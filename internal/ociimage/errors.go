package ociimage

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"hearth/internal/outbound"
)

// What can be wrong with an image. Each error that wraps one of these says
// what happened and what to do.
var (
	// ErrNotFound says that the registry has no such repository, tag or digest.
	ErrNotFound = errors.New("the image does not exist")
	// ErrUnauthorized says that the registry does not let Hearth read it.
	ErrUnauthorized = errors.New("the image may not be read")
	// ErrInvalid says that the reference or what it names cannot be used.
	ErrInvalid = errors.New("the image cannot be used")
	// ErrTooLarge says that the image is over a limit.
	ErrTooLarge = errors.New("the image is too large")
	// ErrUnavailable says that the registry gives no usable answer now.
	ErrUnavailable = errors.New("the registry is not available")
)

var errStalled = errors.New("it sent nothing for too long")

// failure turns what a request to a registry ended with into an error of this
// package. Nothing that the registry wrote is passed on, and no URL.
func failure(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, known := range []error{ErrNotFound, ErrUnauthorized, ErrInvalid, ErrTooLarge, ErrUnavailable} {
		if errors.Is(err, known) {
			return err
		}
	}
	var refused *transport.Error
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, outbound.ErrRefused):
		return fmt.Errorf("%w: its registry %s leads to an address that is not public; use a public registry or Hearth's own, "+
			"or have the operator allow the host", ErrInvalid, host)
	case errors.As(err, &refused):
		return status(host, refused.StatusCode)
	case errors.As(err, &certificate):
		return fmt.Errorf("%w: the certificate of %s is not one that this machine trusts; "+
			"have the operator add its authority to the system's", ErrUnavailable, host)
	case errors.As(err, &dns):
		return fmt.Errorf("%w: the name %s cannot be looked up; check its spelling", ErrUnavailable, host)
	case errors.Is(err, outbound.ErrPlain): // perhaps after an attempt at TLS, which may have said more
		return fmt.Errorf("%w: its registry %s does not speak TLS; set TLS up there, "+
			"or have the operator allow the host in the clear", ErrInvalid, host)
	case errors.Is(err, errStalled):
		return fmt.Errorf("%w: %s: %w; try again", ErrUnavailable, host, errStalled)
	default:
		return fmt.Errorf("%w: %s: %s; try again", ErrUnavailable, host, reason(err))
	}
}

// reason is what is behind an error of a request, without its URL.
func reason(err error) string {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	var op *net.OpError
	switch {
	case errors.As(err, &op):
		return op.Op + ": " + printable(op.Err.Error())
	case errors.As(err, new(*url.Error)), strings.Contains(err.Error(), "://"):
		return "the request failed"
	default:
		return printable(err.Error())
	}
}

// printable cuts and cleans words that may come from outside.
func printable(s string) string {
	const longest = 200
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), longest)]
}

// status is what a registry means by a status that is no success.
func status(host string, code int) error {
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %s answered %d: the repository is private or not there; "+
			"check its name, or have the operator add credentials for this registry", ErrUnauthorized, host, code)
	case http.StatusNotFound:
		return fmt.Errorf("%w: %s answered %d; check the name and the tag, and that it was pushed", ErrNotFound, host, code)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s answered %d, too many requests; try again later", ErrUnavailable, host, code)
	case http.StatusRequestTimeout:
		return fmt.Errorf("%w: %s answered %d; try again", ErrUnavailable, host, code)
	}
	if code >= http.StatusInternalServerError {
		return fmt.Errorf("%w: %s answered %d; try again", ErrUnavailable, host, code)
	}
	return fmt.Errorf("%w: %s answered %d, which registries do not; check that it is a container registry", ErrInvalid, host, code)
}
