package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"hearth/internal/cluster"
	"hearth/internal/datadir"
	"hearth/internal/garbage"
	"hearth/internal/osthread"
	"hearth/internal/zones"
)

func (a *app) up() *cobra.Command {
	var cfg cluster.Config
	var s3Keys string
	var detach, verbose bool
	var azs int
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start Hearth on this machine",
		Long: `Starts every role of Hearth in one process and serves until it is told to stop
(SIGTERM or Ctrl-C), which lets invokes under way finish first.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.DataDir, cfg.KMSCredentials = a.data, environmentCredentials()
			if detach {
				return a.detached(cmd.Context())
			}
			if err := s3Credentials(&cfg.S3.Credentials, s3Keys); err != nil {
				return err
			}
			switch azs {
			case 1:
				return serve(cmd.Context(), cfg, verbose)
			case len(zones.Zones):
				return serveZones(cmd.Context(), cfg, verbose)
			default:
				return fmt.Errorf("--azs %d: want 1, or %d for a cluster in as many processes as it has roles", azs, len(zones.Zones))
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Listen, "listen", cluster.DefaultListen, "address to serve at, HOST:PORT")
	f.StringVar(&cfg.Region, "region", cluster.DefaultRegion, "AWS region to be")
	f.StringVar(&cfg.URLDomain, "url-domain", cluster.DefaultURLDomain, "domain of function URLs, or its base behind a proxy: https://DOMAIN")
	f.IntVar(&cfg.AccountConcurrency, "concurrency", 1000, "concurrent invokes of an account")
	f.IntVar(&cfg.MemoryMB, "memory", 0, "MB of memory for all environments (default four fifths of the machine's)")
	f.IntVar(&cfg.Pool, "pool", 2, "sandboxes kept booted ahead of demand per runtime; 0 keeps none")
	f.DurationVar(&cfg.IdleTimeout, "idle", 10*time.Minute, "how long an unused environment is kept")
	f.DurationVar(&cfg.Lease, "lease", 2*time.Hour, "how long an environment lives at most")
	f.DurationVar(&cfg.Drain, "drain", 30*time.Second, "how long a stop waits for invokes under way")
	f.BoolVar(&cfg.WebIdentity, "web-identity", false, "ask identity providers that IAM knows for their keys (AssumeRoleWithWebIdentity)")
	f.BoolVar(&cfg.AuditData, "audit-data", false, "have the audit log keep allowed invokes and reads too")
	f.BoolVar(&cfg.Egress, "egress", false, "let functions reach the outside world (never this host or its networks)")
	f.StringArrayVar(&cfg.RegistryAllow, "registry-allow", nil,
		"host or network that images may be pulled from though it is not public: HOST[:PORT], CIDR, http://HOST for plain HTTP; may be repeated")
	f.StringVar(&cfg.RegistryAuth, "registry-auth", "", "file with credentials for registries, in the form of ~/.docker/config.json")
	f.DurationVar(&cfg.GCRotation, "gc-rotation", garbage.DefaultRotation,
		"how long one root of chunks is written to, until all that is live moves to a new one")
	f.DurationVar(&cfg.GCExpiry, "gc-expiry", garbage.DefaultExpiry, "how long a root that nothing needs is kept before its chunks are deleted")
	chunksFlags(f, &cfg.Chunks)
	s3Flags(f, &cfg.S3, &s3Keys)
	f.StringVar(&cfg.KMSKey, "kms-key", "", "ARN of an AWS KMS key that wraps the master keys (credentials from AWS_ACCESS_KEY_ID and the like)")
	f.StringVar(&cfg.KMSEndpoint, "kms-endpoint", "", "URL of the KMS of --kms-key (default AWS's own)")
	runtimeCacheFlag(f, &cfg.RuntimeCache)
	f.StringVar(&cfg.Runsc, "runsc", "", "the sandbox runtime (default runsc beside this program)")
	f.StringVar(&cfg.Init, "init", "", "process 1 of sandboxes (default hearth-init beside this program)")
	f.IntVar(&azs, "azs", 1, "availability zones: 1, or 3 to run each role of each zone as a process of its own")
	f.BoolVar(&detach, "detach", false, "serve in the background and return when ready")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more")
	return cmd
}

// serve runs Hearth until ctx ends.
func serve(ctx context.Context, cfg cluster.Config, verbose bool) error {
	if os.Geteuid() != 0 {
		return errors.New("hearth up makes sandboxes and must run as root; try: sudo hearth up")
	}
	cfg = prepared(cfg, verbose)
	if err := osthread.SetTimerSlack(timerSlack); err != nil {
		return err
	}
	h, err := cluster.Start(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "hearth ready on", h.URL())
	fmt.Fprintf(os.Stderr, "for AWS tools: eval \"$(hearth env%s)\"\n", dataFlag(cfg.DataDir))
	<-ctx.Done()
	fmt.Fprintln(os.Stderr, "hearth stopping: waiting for invokes under way")
	return h.Stop(context.WithoutCancel(ctx))
}

// timerSlack is that of a serving Hearth, which shares its cores with sandboxes.
// No timer of Hearth's is finer.
const timerSlack = 500 * time.Microsecond

// dataFlag is the --data flag that a suggested command needs.
func dataFlag(data string) string {
	if data == defaultData || data == os.Getenv("HEARTH_DATA") {
		return ""
	}
	return " --data " + data
}

// detached starts the same command in the background and waits until it is
// ready or has failed.
func (a *app) detached(ctx context.Context) error {
	if url, err := datadir.Endpoint(a.data); err == nil {
		fmt.Fprintln(os.Stderr, "hearth ready on", url, "(it was running already)")
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(a.data), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(a.data+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	start, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(s string) bool { return s == "--detach" || s == "--detach=true" })
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, args...) //nolint:gosec // this very command again
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if url, err := datadir.Endpoint(a.data); err == nil {
				fmt.Fprintln(os.Stderr, "hearth ready on", url)
				return nil
			}
		case err := <-ended:
			return fmt.Errorf("hearth did not come up (%w); its last words, from %s:\n%s", err, log.Name(), tailOf(log.Name(), start))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tailOf returns the end of what was written to a log since an offset.
func tailOf(name string, since int64) string {
	b, err := os.ReadFile(name)
	if err != nil || int64(len(b)) < since {
		return ""
	}
	b = b[since:]
	if len(b) > 4<<10 {
		b = b[len(b)-4<<10:]
	}
	return string(b)
}

func (a *app) down() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the Hearth that serves from the data directory",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pid, err := datadir.Holder(a.data)
			if err != nil {
				return err
			}
			if pid == 0 {
				fmt.Fprintln(os.Stderr, "hearth is not running from", a.data)
				return nil
			}
			if err := unix.Kill(pid, unix.SIGTERM); err != nil {
				return fmt.Errorf("stop process %d: %w", pid, err)
			}
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					if now, err := datadir.Holder(a.data); err != nil || now != pid {
						fmt.Fprintln(os.Stderr, "hearth stopped")
						return err
					}
				case <-cmd.Context().Done():
					return context.Cause(cmd.Context())
				}
			}
		},
	}
}
