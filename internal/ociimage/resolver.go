package ociimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"hearth/internal/ociname"
	"hearth/internal/outbound"
)

// Options say how a Resolver works.
type Options struct {
	// Guard decides what may be dialled; public addresses only if nil.
	Guard *outbound.Guard
	// Keychain has the credentials for registries; none if nil. Whoever may
	// name an image can have read what they can read.
	Keychain authn.Keychain
	// Own says whether a registry's host, HOST or HOST:PORT, is Hearth's own,
	// and whose part of it is meant: an account, or nothing for that of the
	// caller. It may be nil.
	Own func(host string) (account string, own bool)
	// Store is Hearth's own registry; needed with Own.
	Store  Store
	Limits Limits
	// Stall is how long a registry may send nothing; 30 s if zero.
	Stall time.Duration
}

// Store is Hearth's own registry. Errors for what is not there wrap
// fs.ErrNotExist.
type Store interface {
	// Manifest returns a manifest of a repository by its tag or digest.
	Manifest(ctx context.Context, account, repository, reference string) (data []byte, mediaType string, err error)
	// Blob opens a blob of a repository by its digest.
	Blob(ctx context.Context, account, repository, digest string) (io.ReadSeekCloser, int64, error)
}

// Resolver finds images. It may be used concurrently.
type Resolver struct {
	o         Options
	transport *http.Transport
	base      http.RoundTripper
	// pause waits between two attempts.
	pause func(ctx context.Context, attempt int) error
}

// NewResolver makes a resolver. It asks nobody anything.
func NewResolver(o Options) (*Resolver, error) {
	if (o.Own == nil) != (o.Store == nil) {
		return nil, errors.New("ociimage: of Own and Store one is missing")
	}
	if o.Guard == nil {
		o.Guard = &outbound.Guard{}
	}
	if o.Keychain == nil {
		o.Keychain = authn.NewMultiKeychain() // anonymous
	}
	if o.Stall == 0 {
		o.Stall = defaultStall
	}
	o.Limits.fill()
	t := o.Guard.Transport()
	t.ResponseHeaderTimeout = o.Stall
	// Layers are wanted as they are stored.
	t.DisableCompression = true
	return &Resolver{
		o: o, transport: t, pause: backOff,
		base: &bounded{next: o.Guard.Secure(t), stall: o.Stall},
	}, nil
}

// Close ends connections that are kept open.
func (r *Resolver) Close() { r.transport.CloseIdleConnections() }

// Request names an image.
type Request struct {
	// Reference is HOST/NAME:TAG or HOST/NAME@DIGEST. The host must be given,
	// the tag is latest if neither is.
	Reference string
	// Architecture is amd64 or arm64, or x86_64 as Lambda calls the first,
	// which is meant if it is empty.
	Architecture string
	// Account is whose repositories of Hearth's own registry may be read.
	Account string
	// Keychain is used instead of the resolver's, if it is not nil.
	Keychain authn.Keychain
}

// Resolve finds an image.
func (r *Resolver) Resolve(ctx context.Context, q Request) (*Image, error) {
	arch, err := architecture(q.Architecture)
	if err != nil {
		return nil, err
	}
	ref, err := r.parse(q.Reference)
	if err != nil {
		return nil, err
	}
	s, err := r.source(q, ref)
	if err != nil {
		return nil, err
	}
	f := finder{source: s, limits: r.o.Limits, arch: arch, pause: r.pause}
	return f.find(ctx, ref.Context().Name(), ref.Identifier())
}

// Own says whether a reference names an image in Hearth's own registry, and
// in which repository of which account: whether that may be read is to be
// asked before it is resolved.
func (r *Resolver) Own(reference, caller string) (account, repository string, own bool) {
	ref, err := r.parse(reference)
	if err != nil || r.o.Own == nil {
		return "", "", false
	}
	account, own = r.o.Own(ref.Context().RegistryStr())
	if account == "" {
		account = caller
	}
	return account, ref.Context().RepositoryStr(), own
}

func (r *Resolver) source(q Request, ref name.Reference) (source, error) {
	if account, repository, own := r.Own(q.Reference, q.Account); own {
		if account != q.Account || account == "" {
			return nil, fmt.Errorf("%w: it is another account's; push it to a repository of this account", ErrUnauthorized)
		}
		return &ownSource{store: r.o.Store, account: account, repository: repository}, nil
	}
	keychain := q.Keychain
	if keychain == nil {
		keychain = r.o.Keychain
	}
	return &remoteSource{resolver: r, repository: ref.Context(), keychain: keychain}, nil
}

// maxReference bounds a reference; the longest name has 255 bytes, as has the
// longest host.
const maxReference = 1024

var hostPattern = regexp.MustCompile(`^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// parse reads a reference. No registry is the default one: a name without a
// host would be an image of whoever owns it there.
func (r *Resolver) parse(reference string) (name.Reference, error) {
	if len(reference) > maxReference {
		return nil, fmt.Errorf("%w: its name has %d bytes, more than %d", ErrInvalid, len(reference), maxReference)
	}
	host, _, ok := strings.Cut(reference, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return nil, fmt.Errorf("%w: %q does not begin with a registry's host; want HOST/NAME:TAG, as in docker.io/library/debian:12",
			ErrInvalid, printable(reference))
	}
	ref, err := name.ParseReference(reference, r.insecure(host)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is not a reference; want HOST/NAME:TAG or HOST/NAME@sha256:DIGEST, in lower case",
			ErrInvalid, printable(reference))
	}
	// The library lets through what could be a path's dots, or another host.
	id := ref.Identifier()
	if !hostPattern.MatchString(ref.Context().RegistryStr()) || !ociname.IsRepository(ref.Context().RepositoryStr()) ||
		!ociname.IsTag(id) && !ociname.IsDigest(id) {
		return nil, fmt.Errorf("%w: %q has a host, repository, tag or digest that registries do not have; digests are sha256's",
			ErrInvalid, printable(reference))
	}
	return ref, nil
}

// insecure lets the client library try plain HTTP, which it does for some
// hosts anyway; the guard is what decides.
func (r *Resolver) insecure(host string) []name.Option {
	if r.o.Guard.Plain(host) {
		return []name.Option{name.Insecure}
	}
	return nil
}

func architecture(a string) (string, error) {
	switch a {
	case "", "amd64", "x86_64":
		return "amd64", nil
	case "arm64":
		return "arm64", nil
	}
	return "", fmt.Errorf("%w: architecture %q: want x86_64 or arm64", ErrInvalid, printable(a))
}

// backOff waits 0.2, 0.4, 0.8, … seconds, at most 5.
func backOff(ctx context.Context, attempt int) error {
	const first, longest = 200 * time.Millisecond, 5 * time.Second
	t := time.NewTimer(min(first<<min(attempt, 10), longest))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
