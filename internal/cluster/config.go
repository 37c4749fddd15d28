package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"hearth/internal/s3"
)

// Config is what an operator may set; zero fields take their defaults.
type Config struct {
	// DataDir holds everything that Hearth keeps.
	DataDir string
	// StoreDir holds what all processes of a cluster have in common: objects,
	// chunks, pushed images and logs. Empty for the data directory.
	StoreDir string
	// Listen is HOST:PORT; port 0 takes a free one.
	Listen string
	Region string
	// WebIdentity has tokens of identity providers believed, whose keys are
	// fetched from them.
	WebIdentity bool
	// AuditData has the audit log keep allowed invokes and reads too.
	AuditData bool
	// URLDomain is the domain that function URLs are below: DOMAIN, which gets
	// the port of Listen, or a base such as https://DOMAIN or
	// https://DOMAIN:PORT where a proxy publishes them.
	URLDomain string
	// AccountConcurrency is the concurrency limit of an account.
	AccountConcurrency int
	// MemoryMB is what environments may use together; default four fifths of
	// the machine's memory.
	MemoryMB int
	// Egress lets functions reach the outside world (never the host).
	Egress bool
	// Pool is the most sandboxes kept booted ahead of demand per runtime.
	Pool int
	// IdleTimeout ends environments that no invoke has used.
	IdleTimeout time.Duration
	// Lease is how long an environment lives at most.
	Lease time.Duration
	// Drain bounds how long a stop waits for invokes under way.
	Drain time.Duration

	// GCRotation is how long builds write to one root of chunks, GCExpiry how
	// long a root that nothing needs is kept; package garbage has the defaults.
	GCRotation, GCExpiry time.Duration

	// Chunks says where chunks of volumes are kept, if that is not the data
	// directory, and what caches there are.
	Chunks ChunksConfig

	// KMSKey is the ARN of a key of an external KMS that wraps the master keys;
	// empty to keep them in the data directory. KMSEndpoint is where that KMS
	// is; empty for AWS's own.
	KMSKey, KMSEndpoint string
	// KMSCredentials sign what the external KMS is asked.
	KMSCredentials aws.CredentialsProvider `json:"-"`

	// Runsc and Init are the sandbox runtime and the program that is process
	// 1 of every sandbox; default beside this program.
	Runsc, Init string
	// Program is this program, of which blockfs is a process; default the one
	// that runs.
	Program string
	// RuntimeCache keeps built runtime images; default in the data directory.
	RuntimeCache string
	// RegistryAllow are hosts and networks that images may be pulled from though
	// they are not public, as package outbound reads them, and RegistryAuth a
	// file with credentials for registries, in the form of
	// ~/.docker/config.json.
	RegistryAllow []string
	RegistryAuth  string
	// S3 is where code is fetched from that requests name in a bucket; nowhere
	// if its Endpoint is empty.
	S3 s3.Config `json:"-"`

	Log *slog.Logger `json:"-"`
	// Progress is told what takes long, for a person; may be nil.
	Progress func(string) `json:"-"`
	// Fatal is called when the process must end: etcd cannot keep its
	// promises any more.
	Fatal func(error) `json:"-"`
}

// ChunksConfig says where chunks are kept and cached.
type ChunksConfig struct {
	// Bucket, BucketRegion and BucketCredentials are of an origin.Location;
	// without a bucket chunks are in the data directory.
	Bucket, BucketRegion, BucketCredentials string
	// Moved says that all chunks were copied to where they are said to be now.
	Moved bool
	// Zone are the nodes of the zone's cache, and ZoneKey is the file with their
	// key.
	Zone    []string
	ZoneKey string
	// CacheMB is how much of the machine's disk is for copies of chunks that are
	// kept in a bucket.
	CacheMB int64
}

// DefaultCacheMB is ChunksConfig.CacheMB unless told otherwise.
const DefaultCacheMB = 20 << 10

var (
	regionName = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)
	urlDomain  = regexp.MustCompile(`^(https?://)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[0-9]{1,5})?$`)
)

// Fill sets defaults and reports every problem at once.
func (c *Config) Fill() error {
	var problems []error
	if c.DataDir == "" {
		problems = append(problems, errors.New("no data directory is given"))
	}
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		problems = append(problems, fmt.Errorf("listen address %q: want HOST:PORT, for example %s", c.Listen, DefaultListen))
	}
	if c.Region == "" {
		c.Region = DefaultRegion
	}
	if !regionName.MatchString(c.Region) {
		problems = append(problems, fmt.Errorf("region %q does not look like one, for example %s", c.Region, DefaultRegion))
	}
	if c.URLDomain == "" {
		c.URLDomain = DefaultURLDomain
	}
	if !urlDomain.MatchString(c.URLDomain) {
		problems = append(problems, fmt.Errorf("URL domain %q: want DOMAIN or https://DOMAIN[:PORT], for example %s", c.URLDomain, DefaultURLDomain))
	}
	if c.AccountConcurrency == 0 {
		c.AccountConcurrency = 1000
	}
	if c.AccountConcurrency < 1 {
		problems = append(problems, fmt.Errorf("account concurrency %d must be at least 1", c.AccountConcurrency))
	}
	if c.Pool < 0 {
		problems = append(problems, fmt.Errorf("pool size %d must not be negative", c.Pool))
	}
	if c.MemoryMB == 0 {
		total, err := machineMemoryMB()
		if err != nil {
			problems = append(problems, err)
		}
		c.MemoryMB = total * 4 / 5
	}
	if c.Drain == 0 {
		c.Drain = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if c.S3.Endpoint != "" {
		if _, err := s3.New(c.S3); err != nil {
			problems = append(problems, err)
		}
	}
	if c.Chunks.CacheMB == 0 {
		c.Chunks.CacheMB = DefaultCacheMB
	}
	if c.Chunks.CacheMB < 0 {
		problems = append(problems, fmt.Errorf("a cache of chunks of %d MB: its size must not be negative", c.Chunks.CacheMB))
	}
	problems = append(problems, c.chunks("chunks", "cache").Validate())
	problems = append(problems, program(&c.Runsc, "runsc"), program(&c.Init, "hearth-init"), c.self())
	return errors.Join(problems...)
}

// Defaults of the settings that other programs rely on.
const (
	DefaultListen = "127.0.0.1:4566"
	DefaultRegion = "us-east-1"
	// DefaultURLDomain is resolved to this machine by browsers, curl and most
	// systems, with everything below it.
	DefaultURLDomain = "localhost"
)

// urlBase is what function URLs are below, for a server at a port.
func (c *Config) urlBase(port string) string {
	if strings.Contains(c.URLDomain, "://") {
		return c.URLDomain
	}
	base := "http://" + c.URLDomain
	if !strings.Contains(c.URLDomain, ":") {
		base += ":" + port
	}
	return base
}

// program finds one of Hearth's own programs: where the setting says, or
// beside this program.
func program(path *string, name string) error {
	if *path == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		*path = filepath.Join(filepath.Dir(self), name)
	}
	info, err := os.Stat(*path)
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not an executable program; build it with: make build", *path)
	}
	return nil
}

// self finds this program.
func (c *Config) self() (err error) {
	if c.Program == "" {
		c.Program, err = os.Executable()
	}
	return err
}

// machineMemoryMB reads the machine's memory from the kernel.
func machineMemoryMB() (int, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("find the machine's memory: %w; set it with --memory", err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err == nil {
				return kb >> 10, nil
			}
		}
	}
	return 0, errors.New("/proc/meminfo does not tell the machine's memory; set it with --memory")
}
