package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"hearth/internal/chunkstore/azcache"
	"hearth/internal/chunkstore/stack"
)

// cacheNode is what hearth cache is told.
type cacheNode struct {
	listen, dir      string
	keys             []string
	memoryMB, diskMB int64
}

func (a *app) cache() *cobra.Command {
	var n cacheNode
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Serve as a node of a zone's cache of chunks",
		Long: `Keeps copies of chunks for the machines of an availability zone, so that an image
is fetched from its bucket once a zone and not once a machine. It needs no root
rights, has no plaintext and no key of a volume, and may lose all that it has at
any time. Give each hearth up of the zone --zone-cache for each node, and
--zone-cache-key.

Requests must be signed with the key. What is sent is encrypted chunks under the
names of their hashes: TLS is not needed for them to be safe.`,
		Example: `  hearth cache key /etc/hearth/zone.key
  hearth cache --listen 10.0.0.7:9400 --dir /var/cache/hearth --disk 100000 --key /etc/hearth/zone.key`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return n.serve(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&n.listen, "listen", "127.0.0.1:9400", "address to serve at, HOST:PORT")
	f.StringVar(&n.dir, "dir", "", "directory for the copies, its own; made if need be")
	f.Int64Var(&n.diskMB, "disk", 20<<10, "MB of copies on disk; 0 keeps them in memory only")
	f.Int64Var(&n.memoryMB, "memory", 512, "MB of copies in memory")
	f.StringArrayVar(&n.keys, "key", nil, "file with the key; two while one replaces the other")
	_ = cmd.MarkFlagRequired("key")
	cmd.AddCommand(&cobra.Command{
		Use:   "key FILE",
		Short: "Make a key for the nodes of a zone and those who ask them",
		Args:  cobra.ExactArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return azcache.NewKeyFile(args[0]) },
	})
	return cmd
}

// drainNode is how long a node that stops waits for what it is sending.
const drainNode = 5 * time.Second

// serve is a node until the context ends.
func (n *cacheNode) serve(ctx context.Context) (err error) {
	if n.diskMB > 0 && n.dir == "" {
		return errors.New("hearth cache: say with --dir where the copies go, or keep them in memory only with --disk 0")
	}
	if n.diskMB < 0 || n.memoryMB < 0 {
		return errors.New("hearth cache: --disk and --memory must not be negative")
	}
	var keys []azcache.Key
	for _, name := range n.keys {
		key, err := azcache.LoadKey(name)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	kept, err := stack.OpenCache(n.memoryMB<<20, n.dir, n.diskMB<<20)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	node, err := azcache.NewServer(azcache.ServerConfig{Cache: kept.Cache, Keys: keys})
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", n.listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; stop what uses the port, or choose another with --listen HOST:PORT", n.listen, err)
	}
	server := &http.Server{
		Handler: node, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(slog.NewTextHandler(os.Stderr, nil), slog.LevelWarn),
	}
	fmt.Fprintln(os.Stderr, "hearth cache ready on http://"+listener.Addr().String())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainNode)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		_ = server.Close() // those that are left fetch elsewhere
	}
	s := node.Stats()
	fmt.Fprintf(os.Stderr, "hearth cache served %d chunks (%d bytes), did not have %d, took %d, refused %d, and turned %d unsigned requests away\n",
		s.Hits, s.Bytes, s.Misses, s.Puts, s.Refused, s.Unauthorized)
	return nil
}
