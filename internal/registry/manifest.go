package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"hearth/internal/ociname"
)

// maxManifest is the longest manifest; the specification asks for no less.
const maxManifest = 4 << 20

// described is what a manifest says of something else.
type described struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// parsed is what the store must know of a manifest.
type parsed struct {
	MediaType string      `json:"mediaType"`
	Config    *described  `json:"config"`
	Layers    []described `json:"layers"`
	Manifests []described `json:"manifests"`
}

// blobs are what an image's manifest needs.
func (p *parsed) blobs() []described {
	if p.Config == nil {
		return p.Layers
	}
	return append([]described{*p.Config}, p.Layers...)
}

func invalidManifest(format string, args ...any) *Error {
	return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "manifest: "+format, args...)
}

// parseManifest reads a manifest of a media type.
func parseManifest(mediaType string, data []byte) (*parsed, error) {
	if len(data) > maxManifest {
		return nil, refuse(http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", "manifest: it has more than %d bytes", maxManifest)
	}
	kind := types.MediaType(mediaType)
	if !kind.IsImage() && !kind.IsIndex() {
		return nil, invalidManifest("its Content-Type %.100q is not an image's or an index's of Docker (version 2) or OCI", mediaType)
	}
	var p parsed
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, invalidManifest("it is not JSON of the right form: %.100s", err.Error())
	}
	if p.MediaType != "" && p.MediaType != mediaType {
		return nil, invalidManifest("it says that it is a %.100q, and its Content-Type that it is a %.100q", p.MediaType, mediaType)
	}
	// Who reads it as one thing must not meet who reads it as another.
	if kind.IsIndex() && (p.Config != nil || p.Layers != nil) || kind.IsImage() && p.Manifests != nil {
		return nil, invalidManifest("it is both an image's and an index")
	}
	if kind.IsImage() && p.Config == nil {
		return nil, invalidManifest("it has no config")
	}
	for _, d := range append(p.blobs(), p.Manifests...) {
		if !ociname.IsDigest(d.Digest) || d.Size < 0 {
			return nil, invalidManifest("it names something by digest %.100q and size %d", d.Digest, d.Size)
		}
	}
	return &p, nil
}

// PutManifest stores a manifest under its digest and, if the reference is a
// tag, has that name it. What the manifest names must be in the repository.
func (s *Store) PutManifest(_ context.Context, id, name, reference, contentType string, data []byte) (digest string, err error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	tag := ociname.IsTag(reference)
	if !tag && !ociname.IsDigest(reference) {
		return "", refuse(http.StatusBadRequest, "TAG_INVALID",
			"reference %.140q: want a tag of at most 128 letters, digits and ._- or a sha256 digest", reference)
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", invalidManifest("its Content-Type %.100q is none", contentType)
	}
	p, err := parseManifest(mediaType, data)
	if err != nil {
		return "", err
	}
	digest = ociname.Digest(data)
	if !tag && digest != reference {
		return "", refuse(http.StatusBadRequest, "DIGEST_INVALID", "the manifest has the digest %s, not %s", digest, reference)
	}
	a, err := s.find(id, true)
	if err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := s.checkParts(a, name, p); err != nil {
		return "", err
	}
	if err := s.needRepository(a, name); err != nil {
		return "", err
	}
	if err := s.write(a, a.manifest(name, digest), append([]byte(mediaType+"\n"), data...)); err != nil {
		return "", err
	}
	if tag {
		err = s.write(a, a.repository(name, tagsDir, reference), []byte(digest+"\n"))
	}
	return digest, err
}

// checkParts says whether all that a manifest names is in the repository. The
// account is locked.
func (s *Store) checkParts(a *account, name string, p *parsed) error {
	for _, d := range p.blobs() {
		known, err := s.has(a, name, d.Digest)
		if err != nil {
			return err
		}
		if !known {
			return refuse(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "repository %s has no blob %s; push it first", name, d.Digest)
		}
		info, err := s.disk.Stat(a.blob(d.Digest))
		if err != nil {
			return fmt.Errorf("registry: blob %s: %w", d.Digest, err)
		}
		if info.Size() != d.Size {
			return refuse(http.StatusBadRequest, "SIZE_INVALID", "the manifest says that %s has %d bytes; it has %d", d.Digest, d.Size, info.Size())
		}
	}
	for _, d := range p.Manifests {
		known, err := s.there(a.manifest(name, d.Digest))
		if err != nil {
			return err
		}
		if !known {
			return refuse(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "repository %s has no manifest %s; push it first", name, d.Digest)
		}
	}
	return nil
}

func unknownManifest(name, reference string) *Error {
	return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "repository %s has no %.140s", name, reference)
}

// Manifest returns a manifest by its tag or digest.
func (s *Store) Manifest(_ context.Context, id, name, reference string) (data []byte, mediaType string, err error) {
	if err := checkName(name); err != nil {
		return nil, "", err
	}
	a, err := s.find(id, false)
	if err != nil {
		return nil, "", err
	}
	digest := reference
	switch {
	case a == nil:
		return nil, "", unknownManifest(name, reference)
	case ociname.IsTag(reference):
		if digest, err = s.tagged(a, name, reference); err != nil {
			return nil, "", err
		}
	case !ociname.IsDigest(reference):
		return nil, "", unknownManifest(name, reference)
	}
	data, mediaType, err = s.readManifest(a, name, digest)
	if errors.Is(err, fs.ErrNotExist) {
		err = unknownManifest(name, reference)
	}
	return data, mediaType, err
}

// tagged returns the digest that a tag names.
func (s *Store) tagged(a *account, name, tag string) (string, error) {
	data, err := s.readSmall(a.repository(name, tagsDir, tag), len(ociname.DigestPrefix)+65)
	if errors.Is(err, fs.ErrNotExist) {
		return "", unknownManifest(name, tag)
	}
	digest := strings.TrimSuffix(string(data), "\n")
	if err == nil && !ociname.IsDigest(digest) {
		err = fmt.Errorf("registry: tag %s of %s is damaged", tag, name)
	}
	return digest, err
}

func (s *Store) readManifest(a *account, name, digest string) ([]byte, string, error) {
	data, err := s.readSmall(a.manifest(name, digest), maxManifest+256)
	if err != nil {
		return nil, "", err
	}
	mediaType, data, _ := bytes.Cut(data, []byte("\n"))
	if ociname.Digest(data) != digest {
		return nil, "", fmt.Errorf("registry: manifest %s of %s is damaged; push it again", digest, name)
	}
	return data, string(mediaType), nil
}

func (s *Store) readSmall(name string, limit int) (_ []byte, err error) {
	f, err := s.disk.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, int64(limit)))
}

// Tags lists a repository's tags in order.
func (s *Store) Tags(_ context.Context, id, name string) ([]string, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	a, err := s.find(id, false)
	if err != nil {
		return nil, err
	}
	unknown := refuse(http.StatusNotFound, "NAME_UNKNOWN", "there is no repository %s", name)
	if a == nil {
		return nil, unknown
	}
	if known, err := s.there(a.repository(name)); err != nil {
		return nil, err
	} else if !known {
		return nil, unknown
	}
	return s.list(a.repository(name, tagsDir))
}

// DeleteManifest removes a tag; or a manifest by its digest, and all tags that
// name it. Its blobs are collected later.
func (s *Store) DeleteManifest(_ context.Context, id, name, reference string) error {
	if err := checkName(name); err != nil {
		return err
	}
	a, err := s.find(id, false)
	if err != nil {
		return err
	}
	tag := ociname.IsTag(reference)
	if a == nil || !tag && !ociname.IsDigest(reference) {
		return unknownManifest(name, reference)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	file := a.manifest(name, reference)
	if tag {
		file = a.repository(name, tagsDir, reference)
	}
	if known, err := s.there(file); err != nil {
		return err
	} else if !known {
		return unknownManifest(name, reference)
	}
	if !tag {
		if err := s.release(a, name, reference); err != nil {
			return err
		}
	}
	return errors.Join(s.remove(a, file), s.disk.SyncDir(a.repository(name, manifestsDir)), s.disk.SyncDir(a.repository(name, tagsDir)))
}

// release makes sure that nothing names a manifest that is to go. The account
// is locked.
func (s *Store) release(a *account, name, digest string) error {
	err := s.eachManifest(a, name, func(other string, p *parsed) error {
		for _, d := range p.Manifests {
			if d.Digest == digest {
				return refuse(http.StatusConflict, "DENIED", "the index %s names the manifest %s; delete the index first", other, digest)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	tags, err := s.list(a.repository(name, tagsDir))
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if named, err := s.tagged(a, name, tag); err != nil || named != digest {
			continue // damaged tags name nothing
		}
		if err := s.remove(a, a.repository(name, tagsDir, tag)); err != nil {
			return err
		}
	}
	// No tag may come back that names nothing.
	return s.disk.SyncDir(a.repository(name, tagsDir))
}

// eachManifest calls f with all manifests of a repository. The account is
// locked.
func (s *Store) eachManifest(a *account, name string, f func(digest string, p *parsed) error) error {
	names, err := s.list(a.repository(name, manifestsDir))
	if err != nil {
		return err
	}
	for _, file := range names {
		data, mediaType, err := s.readManifest(a, name, ociname.DigestPrefix+file)
		if err != nil {
			return err
		}
		p, err := parseManifest(mediaType, data)
		if err != nil {
			return fmt.Errorf("registry: manifest %s of %s: %w", file, name, err)
		}
		if err := f(ociname.DigestPrefix+file, p); err != nil {
			return err
		}
	}
	return nil
}
