package cli

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"hearth/internal/datadir"
	"hearth/internal/managedruntime"
)

func (a *app) runtimes() *cobra.Command {
	var cache string
	cmd := &cobra.Command{
		Use:   "runtimes",
		Short: "List managed runtimes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := a.runtimeStore(cache)
			if err != nil {
				return err
			}
			type row struct {
				Name, Version string
				Built         bool
				SizeMB        int64
			}
			all := []row{}
			var rows [][]string
			for _, name := range store.Names() {
				r := row{Name: name}
				built := "no, at first use"
				if img, ok := store.Lookup(name); ok {
					r.Built, r.Version, r.SizeMB = true, img.Version, img.Size>>20
					built = fmt.Sprintf("%d MB", r.SizeMB)
				}
				all = append(all, r)
				rows = append(rows, []string{name, r.Version, built})
			}
			return a.print(cmd, all, []string{"NAME", "VERSION", "BUILT"}, rows)
		},
	}
	runtimeCacheFlag(cmd.PersistentFlags(), &cache)
	cmd.AddCommand(&cobra.Command{
		Use:   "build [NAME...]",
		Short: "Build runtime images ahead of their first use",
		RunE: func(cmd *cobra.Command, names []string) error {
			store, err := a.runtimeStore(cache)
			if err != nil {
				return err
			}
			if len(names) == 0 {
				names = store.Names()
			}
			for _, name := range names {
				if _, err := store.Ensure(cmd.Context(), name, func(line string) { fmt.Fprintln(os.Stderr, line) }); err != nil {
					return err
				}
			}
			return nil
		},
	})
	return cmd
}

// runtimeCacheFlag says where built runtime images are kept.
func runtimeCacheFlag(f flagSet, dir *string) {
	f.StringVar(dir, "runtime-cache", os.Getenv(managedruntime.CacheEnv),
		"directory of built runtime images (env "+managedruntime.CacheEnv+"; default in the data directory)")
}

// runtimeStore opens the directory that a flag names, or that where the Hearth
// of the data directory has its images.
func (a *app) runtimeStore(dir string) (_ *managedruntime.Store, err error) {
	if dir == "" {
		if dir, err = datadir.Images(a.data); err != nil {
			return nil, err
		}
	}
	return managedruntime.Open(dir, slog.New(slog.DiscardHandler))
}
