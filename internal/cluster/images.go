package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"hearth/internal/artifact"
	"hearth/internal/awserr"
	"hearth/internal/control"
	"hearth/internal/flatten"
	"hearth/internal/function"
	"hearth/internal/ociimage"
	"hearth/internal/outbound"
	"hearth/internal/registry"
)

// openImages opens the container registry, and what reads images from it and
// from others.
func (h *Hearth) openImages(ctx context.Context) (err error) {
	if h.registry, err = registry.OpenStore(ctx, h.kept(h.dir.Registry()), registry.StoreOptions{}); err != nil {
		return err
	}
	h.stopLast(func() { h.stopped("registry", h.registry.Close()) })
	guard, err := outbound.NewGuard(h.cfg.RegistryAllow)
	if err != nil {
		return fmt.Errorf("--registry-allow: %w", err)
	}
	options := ociimage.Options{Guard: guard, Own: h.ownRegistry, Store: h.registry}
	if h.cfg.RegistryAuth != "" {
		if options.Keychain, err = ociimage.LoadKeychain(h.cfg.RegistryAuth); err != nil {
			return fmt.Errorf("--registry-auth: %w", err)
		}
	}
	if h.resolver, err = ociimage.NewResolver(options); err != nil {
		return err
	}
	h.stopLast(h.resolver.Close)
	h.wg.Go(h.collectImages)
	return nil
}

// collectEvery is how often the registry is rid of what nothing names.
const collectEvery = 6 * time.Hour

func (h *Hearth) collectImages() {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-h.ctx.Done():
			return
		}
		switch got, err := h.registry.Collect(h.ctx); {
		case err != nil && h.ctx.Err() == nil:
			h.cfg.Log.Error("registry: garbage is not collected", "error", err)
		case len(got.Damaged) > 0:
			h.cfg.Log.Error("registry: repositories with damaged manifests keep their blobs", "repositories", got.Damaged)
		}
	}
}

// ecrHost is how ECR names an account's registry.
var ecrHost = regexp.MustCompile(`^([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.(.+)$`)

// ownRegistry says whether a host, as images are named by it, is this Hearth:
// by where it listens, by the domain of its URLs, or as ECR names registries,
// ACCOUNT.dkr.ecr.REGION.DOMAIN.
func (h *Hearth) ownRegistry(host string) (account string, own bool) {
	if m := ecrHost.FindStringSubmatch(host); m != nil && m[2] == h.cfg.Region {
		account, host = m[1], m[3]
	}
	_, port, err := net.SplitHostPort(h.listen)
	if err != nil {
		return "", false
	}
	_, base, _ := strings.Cut(h.cfg.urlBase(port), "://")
	if !slices.Contains([]string{h.listen, "localhost:" + port, "127.0.0.1:" + port, base}, host) {
		return "", false
	}
	return account, true
}

// functionImages finds the images of functions.
type functionImages struct{ h *Hearth }

// Resolve implements control.Images.
func (f functionImages) Resolve(ctx context.Context, account, uri, architecture string) (control.Image, error) {
	image, err := f.find(ctx, account, uri, architecture)
	if err != nil {
		return control.Image{}, imageError(uri, err)
	}
	return control.Image{Resolved: image.Reference, Digest: image.Digest}, nil
}

// find reads what describes an image. Other accounts' repositories in the own
// registry are not for this one: there are no repository policies.
func (f functionImages) find(ctx context.Context, account, uri, architecture string) (*ociimage.Image, error) {
	if owner, repository, own := f.h.resolver.Own(uri, account); own && owner != account {
		return nil, fmt.Errorf("%w: repository %s is another account's", ociimage.ErrUnauthorized, repository)
	}
	return f.h.resolver.Resolve(ctx, ociimage.Request{Reference: uri, Account: account, Architecture: architecture})
}

// imageError says in AWS's words why an image cannot be had.
func imageError(uri string, err error) error {
	var e error
	switch {
	case errors.Is(err, ociimage.ErrNotFound):
		e = awserr.New("InvalidParameterValueException", "Source image %s does not exist. Provide a valid source image.", uri)
	case errors.Is(err, ociimage.ErrUnauthorized):
		e = awserr.New("AccessDeniedException", "Lambda does not have permission to access the ECR image. Check the ECR permissions.")
	case errors.Is(err, ociimage.ErrInvalid), errors.Is(err, ociimage.ErrTooLarge):
		e = awserr.New("InvalidParameterValueException",
			"The image manifest, config or layer media type for the source image %s is not supported. Cause: %v", uri, err)
	case errors.Is(err, ociimage.ErrUnavailable):
		e = awserr.New("ServiceException", "The registry of the source image %s gives no usable answer: %v. Try again later.", uri, err)
	default:
		return err
	}
	return fmt.Errorf("%w: %w", e, err)
}

// Open implements artifact.Images.
func (f functionImages) Open(ctx context.Context, account, resolved string, read func(n int)) (*artifact.Image, error) {
	image, err := f.find(ctx, account, resolved, "")
	if err != nil {
		return nil, refusedImage(resolved, err)
	}
	made := &artifact.Image{Size: image.Size, Config: function.ImageConfig{
		EntryPoint: image.Config.Entrypoint, Command: image.Config.Cmd, WorkingDirectory: image.Config.WorkingDir, Env: image.Config.Env,
	}}
	for _, layer := range image.Layers {
		made.Layers = append(made.Layers, flatten.Tar{Open: func() (io.ReadCloser, error) {
			r, err := layer.Open(ctx)
			if err != nil {
				return nil, refusedImage(resolved, err)
			}
			return counted{r, read}, nil
		}})
	}
	return made, nil
}

// counted tells what is read.
type counted struct {
	io.ReadCloser
	read func(n int)
}

// Read implements io.Reader.
func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.read(n)
	return n, err
}

// refusedImage tells what is wrong with an image from what is wrong here.
func refusedImage(resolved string, err error) error {
	refused := artifact.Refuse(err, "The image %s cannot be used: %v.", resolved, err)
	switch {
	case errors.Is(err, ociimage.ErrNotFound):
		refused.NotFound = true
	case errors.Is(err, ociimage.ErrUnauthorized):
		refused.NoAccess = true
	case errors.Is(err, ociimage.ErrInvalid), errors.Is(err, ociimage.ErrTooLarge), errors.Is(err, ociimage.ErrUnavailable):
	default:
		return err
	}
	return refused
}

// withRegistry serves the container registry beside the API.
func (h *Hearth) withRegistry(rest http.Handler) (http.Handler, error) {
	server, err := registry.NewServer(registry.Config{
		Store: h.registry, Keys: h.people, Access: h.people, Region: h.cfg.Region, Log: h.cfg.Log, Audit: h.audit.Record,
	})
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path+"/", registry.Prefix) {
			server.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	}), nil
}
