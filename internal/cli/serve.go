package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hearth/internal/ca"
	"hearth/internal/cluster"
	"hearth/internal/osthread"
	"hearth/internal/zones"
)

// serveNode is hearth serve.
func (a *app) serveNode() *cobra.Command {
	var untilEOF, verbose bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run this machine's part in a cluster",
		Long: `Runs the roles that this node's certificate gives it, as the data directory says,
until it is told to stop (SIGTERM or Ctrl-C).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if untilEOF {
				var stop context.CancelFunc
				ctx, stop = context.WithCancel(ctx)
				defer stop()
				go func() {
					_, _ = io.Copy(io.Discard, os.Stdin) // until whoever started this is gone
					stop()
				}()
			}
			return runNode(ctx, a.data, verbose)
		},
	}
	cmd.Flags().BoolVar(&untilEOF, "until-eof", false, "stop when the standard input ends")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log more")
	return cmd
}

func runNode(ctx context.Context, data string, verbose bool) error {
	if os.Geteuid() != 0 {
		return errors.New("hearth serve must run as root; try: sudo hearth serve")
	}
	cfg, err := cluster.LoadNode(data)
	if err != nil {
		return err
	}
	cfg.Config = prepared(cfg.Config, verbose)
	cfg.KMSCredentials = environmentCredentials()
	if err := osthread.SetTimerSlack(timerSlack); err != nil {
		return err
	}
	n, err := cluster.StartNode(ctx, cfg)
	if err != nil {
		return err
	}
	id := n.Identity()
	fmt.Fprintf(os.Stderr, "hearth node %s ready: %v in %s\n", id.Name, id.Roles, id.Zone)
	<-ctx.Done()
	fmt.Fprintln(os.Stderr, "hearth node stopping")
	return n.Stop(context.WithoutCancel(ctx))
}

// prepared adds to a configuration what every server has.
func prepared(cfg cluster.Config, verbose bool) cluster.Config {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	cfg.Progress = func(line string) { fmt.Fprintln(os.Stderr, line) }
	cfg.Fatal = func(err error) {
		fmt.Fprintln(os.Stderr, "hearth: cannot go on:", err)
		os.Exit(1)
	}
	return cfg
}

// serveZones is hearth up with several zones.
func serveZones(ctx context.Context, cfg cluster.Config, verbose bool) error {
	cfg = prepared(cfg, verbose)
	if err := cfg.Fill(); err != nil {
		return err
	}
	c, err := zones.Start(ctx, zones.Config{Node: cfg, Program: cfg.Program, Log: cfg.Log})
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "hearth ready on", c.URL())
	fmt.Fprintln(os.Stderr, "zones:", strings.Join(zones.Zones, ", ")+"; break one with: hearth chaos --help")
	fmt.Fprintf(os.Stderr, "for AWS tools: eval \"$(hearth env%s)\"\n", dataFlag(cfg.DataDir))
	<-ctx.Done()
	fmt.Fprintln(os.Stderr, "hearth stopping")
	c.Stop()
	return nil
}

// chaos is hearth chaos.
func (a *app) chaos() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Break zones of a hearth up --azs 3, and heal them",
		Long: `Breaks a zone (az1, az2, az3) of the Hearth that serves from the data directory, or
one role of it (state, frontend, assignment, worker), to see what happens to what
you run on it.`,
	}
	for _, o := range []struct{ use, do, short string }{
		{"kill-az AZ [ROLE]", "kill", "Kill all processes of a zone, or one role's, at once (SIGKILL)"},
		{"pause-az AZ [ROLE]", "pause", "Have them stand still (SIGSTOP)"},
		{"cut-az AZ", "cut", "Cut a zone off: nothing that is sent arrives, and nobody is told"},
		{"lose-az AZ", "lose", "Lose some of a zone's packets: --out and --in, of a hundred"},
		{"restart-az AZ [ROLE]", "restart", "Stop them in an orderly way, and start them again"},
		{"heal AZ [ROLE]", "heal", "Undo all of that"},
	} {
		order := zones.Order{Do: o.do}
		sub := &cobra.Command{
			Use: o.use, Short: o.short, Args: cobra.RangeArgs(1, 2),
			RunE: func(cmd *cobra.Command, args []string) error {
				order.Zone = args[0]
				if len(args) > 1 {
					order.Role = ca.Role(args[1])
				}
				return zones.Send(cmd.Context(), a.data, order)
			},
		}
		if o.do == "lose" {
			sub.Flags().IntVar(&order.Out, "out", 0, "of a hundred packets that the zone sends, how many are lost")
			sub.Flags().IntVar(&order.In, "in", 0, "of a hundred packets that are sent to it")
		}
		cmd.AddCommand(sub)
	}
	return cmd
}
