package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/spf13/cobra"

	"hearth/internal/cluster"
)

func (a *app) image() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Bring container images to Hearth, and see how they are stored",
	}
	cmd.AddCommand(a.pushImage(), a.inspectImage())
	return cmd
}

func (a *app) pushImage() *cobra.Command {
	return &cobra.Command{
		Use:   "push PATH NAME[:TAG]",
		Short: "Push an image that lies on this machine to Hearth's registry",
		Long: `Pushes an OCI layout (a directory) or an archive of docker save, and prints the
ImageUri to make functions of. Of a layout with several images, all are pushed,
and the one for the function's architecture is used.`,
		Example: `  hearth image push build/image team/app:v1
  docker save -o app.tar app && hearth image push app.tar team/app:v1`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := a.connect()
			if err != nil {
				return err
			}
			at, err := url.Parse(to.url)
			if err != nil {
				return err
			}
			ref, err := name.NewTag(at.Host+"/"+args[1], name.Insecure)
			if err != nil {
				return fmt.Errorf("%q is no NAME[:TAG] of an image: %w", args[1], err)
			}
			login := &authn.Basic{Username: to.creds.AccessKeyID, Password: to.creds.SecretAccessKey}
			if err := push(cmd.Context(), cmd.ErrOrStderr(), args[0], ref, remote.WithAuth(login)); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), ref.Name())
			return nil
		},
	}
}

func (a *app) inspectImage() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FUNCTION[:VERSION]",
		Short: "Show how a function's code, layers and runtime are stored",
		Long: `Shows each volume that a function is made of: its size, how many chunks it has,
how many different ones of them are stored, and how many are fetched ahead of a
start, as earlier starts have taught.`,
		Example: `  hearth image inspect app
  hearth image inspect app:3 -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			function, version, _ := strings.Cut(args[0], ":")
			var all []cluster.Inspected
			if err := a.operate(cmd.Context(), "InspectFunction", cluster.InspectRequest{FunctionName: function, Qualifier: version}, &all); err != nil {
				return err
			}
			var rows [][]string
			for _, v := range all {
				rows = append(rows, []string{
					v.Kind, v.Name, fmt.Sprintf("%.1f MB", float64(v.Size)/(1<<20)), strconv.Itoa(v.Chunks), strconv.Itoa(v.Unique),
					fmt.Sprintf("%d (%d starts)", v.Profile, v.Recordings),
				})
			}
			return a.print(cmd, all, []string{"KIND", "NAME", "SIZE", "CHUNKS", "UNIQUE", "FETCHED AHEAD"}, rows)
		},
	}
}

// push pushes what is at a path, and tells how far it is.
func push(ctx context.Context, out io.Writer, path string, ref name.Tag, login remote.Option) error {
	updates := make(chan v1.Update, 16) // closed by whoever sends
	done := make(chan struct{})
	go func() {
		defer close(done)
		told := int64(0)
		for u := range updates {
			if tenths := u.Complete * 10 / max(u.Total, 1); tenths > told {
				told = tenths
				fmt.Fprintf(out, "%d of %d MB\n", u.Complete>>20, u.Total>>20)
			}
		}
	}()
	options := []remote.Option{remote.WithContext(ctx), login, remote.WithProgress(updates)}
	send, err := opened(path)
	if err != nil {
		close(updates)
		<-done
		return err
	}
	err = send(ref, options)
	<-done
	if err != nil {
		return fmt.Errorf("push %s: %w", path, err)
	}
	return nil
}

// opened finds out what is at a path and how to push it.
func opened(path string) (func(name.Tag, []remote.Option) error, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		image, err := tarball.ImageFromPath(path, nil)
		if err != nil {
			return nil, fmt.Errorf("%s is no archive of one image, as docker save makes it: %w", path, err)
		}
		return func(ref name.Tag, o []remote.Option) error { return remote.Write(ref, image, o...) }, nil
	}
	index, err := layout.ImageIndexFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("%s is no OCI layout: %w", path, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case len(manifest.Manifests) == 0:
		return nil, errors.New(path + ": the layout has no image")
	case len(manifest.Manifests) > 1:
		return func(ref name.Tag, o []remote.Option) error { return remote.WriteIndex(ref, index, o...) }, nil
	}
	// A layout of one image, or of one index, which is its content.
	only := manifest.Manifests[0]
	if only.MediaType.IsIndex() {
		inner, err := index.ImageIndex(only.Digest)
		return func(ref name.Tag, o []remote.Option) error { return remote.WriteIndex(ref, inner, o...) }, err
	}
	image, err := index.Image(only.Digest)
	return func(ref name.Tag, o []remote.Option) error { return remote.Write(ref, image, o...) }, err
}
