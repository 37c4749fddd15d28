package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/spf13/cobra"

	"hearth/internal/artifact"
	"hearth/internal/cluster"
	"hearth/internal/ociimage"
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
	var q ociimage.LocalRequest
	cmd := &cobra.Command{
		Use:   "push PATH NAME[:TAG]",
		Short: "Push an image that lies on this machine to Hearth's registry",
		Long: `Pushes an image of an OCI layout (a directory, or a tar of one) or of an archive
of docker save, and prints the ImageUri to make functions of.`,
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
			q.Path = args[0]
			login := &authn.Basic{Username: to.creds.AccessKeyID, Password: to.creds.SecretAccessKey}
			if err := push(cmd.Context(), cmd.ErrOrStderr(), q, ref, remote.WithAuth(login)); err != nil {
				return fmt.Errorf("push %s: %w", q.Path, err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), ref.Name())
			return nil
		},
	}
	cmd.Flags().StringVar(&q.Name, "name", "", "which image of PATH, if there are several: NAME:TAG, or a tag alone")
	cmd.Flags().StringVar(&q.Architecture, "architecture", "", "which one of an image for several: x86_64 or arm64 (default x86_64)")
	return cmd
}

func (a *app) inspectImage() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FUNCTION[:VERSION]",
		Short: "Show how a function's code, layers and runtime are stored",
		Long: `Shows each volume that a function is made of: its size, how many chunks it has,
how many different ones of them are stored, how many its build found stored
already and had to add, and how many are fetched ahead of a start, as earlier
starts have taught. What was there already is of this account, or of what all share.`,
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
					stored(v.Built), fmt.Sprintf("%d (%d starts)", v.Profile, v.Recordings),
				})
			}
			return a.print(cmd, all, []string{"KIND", "NAME", "SIZE", "CHUNKS", "UNIQUE", "STORED", "FETCHED AHEAD"}, rows)
		},
	}
}

// stored says what a build has added.
func stored(b *artifact.Built) string {
	if b == nil {
		return "-"
	}
	return fmt.Sprintf("%d of %d (%.1f MB)", b.Stored, b.Chunks, float64(b.StoredBytes)/(1<<20))
}

// push pushes an image of this machine, and tells how far it is.
func push(ctx context.Context, out io.Writer, q ociimage.LocalRequest, ref name.Tag, login remote.Option) (err error) {
	local, err := ociimage.OpenLocal(ctx, q)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, local.Close()) }()
	manifest, err := v1.ParseManifest(bytes.NewReader(local.Manifest))
	if err != nil {
		return err
	}
	image, err := partial.CompressedToImage(localImage{ctx, local.Image, manifest})
	if err != nil {
		return err
	}
	updates := make(chan v1.Update, 16) // closed by remote.Write
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
	err = remote.Write(ref, image, remote.WithContext(ctx), login, remote.WithProgress(updates))
	<-done
	return err
}

// localImage offers an image to the library that pushes.
type localImage struct {
	ctx      context.Context //nolint:containedctx // lives for one push
	image    *ociimage.Image
	manifest *v1.Manifest
}

// RawConfigFile implements partial.CompressedImageCore.
func (l localImage) RawConfigFile() ([]byte, error) { return l.image.ConfigFile, nil }

// RawManifest implements partial.CompressedImageCore.
func (l localImage) RawManifest() ([]byte, error) { return l.image.Manifest, nil }

// MediaType implements partial.CompressedImageCore.
func (l localImage) MediaType() (types.MediaType, error) {
	return types.MediaType(l.image.MediaType), nil
}

// LayerByDigest implements partial.CompressedImageCore.
func (l localImage) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	for i, d := range l.manifest.Layers {
		if d.Digest == digest {
			return localLayer{d, l.ctx, l.image.Layers[i]}, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", digest)
}

// localLayer is one of its layers.
type localLayer struct {
	descriptor v1.Descriptor
	ctx        context.Context //nolint:containedctx // lives for one push
	layer      ociimage.Layer
}

// Digest implements partial.CompressedLayer.
func (l localLayer) Digest() (v1.Hash, error) { return l.descriptor.Digest, nil }

// Compressed implements partial.CompressedLayer.
func (l localLayer) Compressed() (io.ReadCloser, error) { return l.layer.Open(l.ctx) }

// Size implements partial.CompressedLayer.
func (l localLayer) Size() (int64, error) { return l.descriptor.Size, nil }

// MediaType implements partial.CompressedLayer.
func (l localLayer) MediaType() (types.MediaType, error) { return l.descriptor.MediaType, nil }
