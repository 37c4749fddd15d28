package origin

import (
	"context"
	"errors"
	"iter"
	"net/url"
	"path"
	"strings"

	"hearth/internal/chunk"
	"hearth/internal/s3"
)

// Origin is a Dir or an S3.
type Origin interface {
	chunk.Source
	Roots
	NewBatch() chunk.Batch
	// Touch says that chunks of a root are in use that a cache had: if the root
	// has expired, the alarm is raised as by a read. It waits for nothing that
	// is far.
	Touch(root chunk.Root)
	// Distrust is told of a copy that was not the chunk.
	Distrust(ctx context.Context, ref chunk.Ref) (set bool, err error)
	Close() error
}

// Roots is a store whose roots are collected.
type Roots interface {
	// Roots lists the roots that have not expired, Expired those that have, and
	// Alarms those of them that were read since.
	Roots(ctx context.Context) ([]chunk.Root, error)
	Expired(ctx context.Context) ([]chunk.Root, error)
	Alarms(ctx context.Context) ([]chunk.Root, error)
	// Expire has reads of a root raise the alarm. It may be repeated.
	Expire(ctx context.Context, root chunk.Root) error
	// Raise raises the alarm for an expired root, Calm takes it back.
	Raise(ctx context.Context, root chunk.Root) error
	Calm(ctx context.Context, root chunk.Root) error
	// DeleteExpired deletes a root, never one with an alarm. It may be repeated.
	DeleteExpired(ctx context.Context, root chunk.Root) (Freed, error)
	// Chunks lists the chunks of a root. It ends after an error.
	Chunks(ctx context.Context, root chunk.Root) iter.Seq2[Info, error]
}

var (
	_ Origin = (*Dir)(nil)
	_ Origin = (*S3)(nil)
)

// Location says where an origin is. It has no secrets, and can be a part of a
// command line.
type Location struct {
	// Dir is a directory, if there is no bucket.
	Dir string `json:"dir,omitempty"`
	// Bucket is the URL of a bucket, or of a prefix in it, on an S3 server:
	// https://HOST[:PORT]/BUCKET[/PREFIX].
	Bucket string `json:"bucket,omitempty"`
	// Region is that of signatures; us-east-1 if empty.
	Region string `json:"region,omitempty"`
	// Credentials is a file with an access key, in the form of
	// ~/.aws/credentials; anonymous if empty.
	Credentials string `json:"credentials,omitempty"`
}

// Far says that each request crosses a network.
func (l Location) Far() bool { return l.Bucket != "" }

// String names the place, so that it can be told whether it is the same one.
func (l Location) String() string {
	if l.Far() {
		return strings.TrimSuffix(l.Bucket, "/")
	}
	return "a directory"
}

// bucketConnections are kept open when idle: as many as there are requests at a
// time.
const bucketConnections = 64

// Validate checks the location, but not whether anything is there.
func (l Location) Validate() error {
	if !l.Far() {
		return nil
	}
	_, err := parseBucket(l.Bucket)
	return err
}

// place is what the URL of a bucket says.
type place struct{ endpoint, bucket, prefix string }

func parseBucket(raw string) (p place, err error) {
	u, err := url.Parse(raw)
	if err == nil {
		p.bucket, p.prefix, _ = strings.Cut(strings.Trim(u.Path, "/"), "/")
		p.endpoint = u.Scheme + "://" + u.Host
		_, err = s3.ParseEndpoint(p.endpoint)
	}
	if err != nil || p.bucket == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return place{}, errors.New("bucket of chunks: want a URL like https://HOST[:PORT]/BUCKET[/PREFIX], without user and query")
	}
	return p, nil
}

// Open opens the origin for the one process that writes to it.
func (l Location) Open() (Origin, error) {
	if l.Far() {
		return l.openBucket()
	}
	return OpenDir(l.Dir)
}

// Attach opens an origin that another process has open, to read from it.
func (l Location) Attach() (Origin, error) {
	if l.Far() {
		return l.openBucket()
	}
	return AttachDir(l.Dir)
}

func (l Location) openBucket() (*S3, error) {
	at, err := parseBucket(l.Bucket)
	if err != nil {
		return nil, err
	}
	cfg := s3.Config{Endpoint: at.endpoint, Region: l.Region, Connections: bucketConnections}
	if l.Credentials != "" {
		if cfg.Credentials, err = s3.LoadCredentials(l.Credentials); err != nil {
			return nil, err
		}
	}
	client, err := s3.New(cfg)
	if err != nil {
		return nil, err
	}
	s, err := NewS3(client, at.bucket, at.prefix)
	if err != nil {
		client.Close()
		return nil, err
	}
	s.owned = true
	return s, nil
}

// s3Batch is a Batch each of whose puts is durable.
type s3Batch struct{ *S3 }

func (s3Batch) Flush(context.Context) error { return nil }
func (s3Batch) Close()                      {}

// NewBatch begins a build.
func (s *S3) NewBatch() chunk.Batch { return s3Batch{s} }

// Touch implements Origin.
func (s *S3) Touch(root chunk.Root) { s.watchRead(root) }

// Touch implements Origin.
func (d *Dir) Touch(root chunk.Root) {
	// One that cannot be renamed cannot be deleted either. Most are not there.
	from, to := path.Join(expiredDir, root.String()), path.Join(alarmDir, root.String())
	if d.disk.Rename(from, to) == nil {
		_ = d.syncMove(from, to)
	}
}
