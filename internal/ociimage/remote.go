package ociimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// remoteSource is a repository of a registry in the network. The client
// library logs in; what is fetched, how much of it and how often, is decided
// here.
type remoteSource struct {
	resolver   *Resolver
	repository name.Repository
	keychain   authn.Keychain

	mu     sync.Mutex
	client *http.Client
}

const (
	// smallTimeout bounds logging in, and fetching a manifest.
	smallTimeout = 2 * time.Minute
	maxRedirects = 5
	// maxAttempts is how often a manifest is asked for.
	maxAttempts = 4
)

// manifestAccept is what a registry is asked for: one that is given no choice
// may convert.
var manifestAccept = strings.Join([]string{
	string(types.OCIImageIndex), string(types.DockerManifestList),
	string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
}, ", ")

// blobAccept also marks requests whose answers may be longer than maxSmall.
const blobAccept = "application/octet-stream"

func (s *remoteSource) manifest(ctx context.Context, reference string) ([]byte, string, error) {
	for attempt := 0; ; attempt++ {
		data, kind, err := s.manifestOnce(ctx, reference)
		if err == nil || !errors.Is(err, ErrUnavailable) || attempt+1 == maxAttempts {
			return data, kind, err
		}
		if err := s.resolver.pause(ctx, attempt); err != nil {
			return nil, "", err
		}
	}
}

func (s *remoteSource) manifestOnce(ctx context.Context, reference string) ([]byte, string, error) {
	parent := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, smallTimeout, errStalled)
	defer cancel()
	resp, err := s.get(ctx, "manifests/"+reference, http.Header{"Accept": {manifestAccept}})
	if err != nil {
		return nil, "", s.failure(parent, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return nil, "", s.failure(parent, err)
	}
	if len(data) > maxManifest {
		return nil, "", fmt.Errorf("%w: its manifest has more than %d bytes", ErrTooLarge, maxManifest)
	}
	return data, resp.Header.Get("Content-Type"), nil
}

func (s *remoteSource) blob(ctx context.Context, d descriptor, offset int64) (io.ReadCloser, error) {
	header := http.Header{"Accept": {blobAccept}}
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := s.get(ctx, "blobs/"+d.digest, header) //nolint:bodyclose // the body that is returned closes it
	if err != nil {
		return nil, s.failure(ctx, err)
	}
	body := &remoteBody{ReadCloser: resp.Body, s: s, ctx: ctx}
	if err := body.seek(resp, d, offset); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return body, nil
}

// remoteBody gives errors of reading this package's form.
type remoteBody struct {
	io.ReadCloser
	s   *remoteSource
	ctx context.Context //nolint:containedctx // the request's
}

func (b *remoteBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // Read returns io.EOF itself
		err = b.s.failure(b.ctx, err)
	}
	return n, err
}

// seek makes sure that the body begins at the offset, and that it has the
// length that was promised if it says one.
func (b *remoteBody) seek(resp *http.Response, d descriptor, offset int64) error {
	length := d.size
	if resp.StatusCode == http.StatusPartialContent {
		length -= offset
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(offset, 10)+"-") {
			return fmt.Errorf("%w: %s answered with another part of %s than was asked for", ErrInvalid, b.s.host(), d.digest)
		}
		offset = 0
	}
	if resp.ContentLength >= 0 && resp.ContentLength != length {
		return fmt.Errorf("%w: %s sends %d bytes of %s, where the manifest promises %d; push the image again",
			ErrInvalid, b.s.host(), resp.ContentLength, d.digest, length)
	}
	_, err := io.CopyN(io.Discard, b, offset)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: an answer of %s ended too early", ErrUnavailable, b.s.host())
	}
	return err
}

// get asks for something below the repository. The answer is a success.
func (s *remoteSource) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	client, err := s.login(ctx)
	if err != nil {
		return nil, err
	}
	// The transport turns https into what it found the registry to speak.
	url := "https://" + s.host() + "/v2/" + s.repository.RepositoryStr() + "/" + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: no URL can be made of its name", ErrInvalid)
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK && (resp.StatusCode != http.StatusPartialContent || header.Get("Range") == "") {
		return nil, errors.Join(status(s.host(), resp.StatusCode), resp.Body.Close())
	}
	return resp, nil
}

func (s *remoteSource) host() string { return s.repository.RegistryStr() }

// login finds out how the registry wants to be asked, once.
func (s *remoteSource) login(ctx context.Context) (*http.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, smallTimeout, errStalled)
	defer cancel()
	auth, err := authn.Resolve(ctx, s.keychain, s.repository)
	if err != nil {
		// Whatever it is about, it is about credentials.
		return nil, fmt.Errorf("%w: the credentials for %s cannot be read; have the operator look at the file", ErrUnauthorized, s.host())
	}
	t, err := transport.NewWithContext(ctx, s.repository.Registry, auth, s.resolver.base, []string{s.repository.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	s.client = &http.Client{Transport: t, CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("%w: %s redirects more than %d times", ErrInvalid, s.host(), maxRedirects)
		}
		return nil
	}}
	return s.client, nil
}

func (s *remoteSource) failure(ctx context.Context, err error) error {
	return failure(ctx, s.host(), err)
}
