package api

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/function"
)

// source is where a function's code is.
type source struct {
	zip    []byte
	object *function.S3Object
	image  string // URI
}

// sourceOf checks that a request has code of the kind that the function is
// packaged as, and no other.
func sourceOf(packageType string, code *types.FunctionCode) (source, error) {
	if packageType != string(types.PackageTypeImage) {
		zip, object, err := checkCode(code.ZipFile, code.S3Bucket, code.S3Key, code.S3ObjectVersion, code.ImageUri)
		return source{zip: zip, object: object}, err
	}
	if code.ZipFile != nil || code.S3Bucket != nil || code.S3Key != nil || code.S3ObjectVersion != nil {
		return source{}, badValue("Please don't provide ZipFile or S3Bucket or S3Key when the intended function PackageType is Image.")
	}
	if str(code.ImageUri) == "" {
		return source{}, badValue("Please provide ImageUri when the intended function PackageType is Image.")
	}
	return source{image: *code.ImageUri}, nil
}

// applyImage sets what only one kind of package has, and refuses what the
// function's has not.
func (ch *change) applyImage(cfg *function.Config) error {
	if cfg.PackageType != string(types.PackageTypeImage) {
		if ch.image != nil && (len(ch.image.EntryPoint)+len(ch.image.Command) > 0 || str(ch.image.WorkingDirectory) != "") {
			return badValue("Please don't provide ImageConfig when the intended function PackageType is Zip.")
		}
		return nil
	}
	if ch.runtime != nil || ch.handler != nil || len(ch.layers) > 0 {
		return badValue("Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.")
	}
	if cfg.Image == nil {
		cfg.Image = &function.Image{}
	}
	if ch.image != nil { // as a whole: what is not in it goes back to the image's own
		cfg.Image.EntryPoint, cfg.Image.Command = slices.Clone(ch.image.EntryPoint), slices.Clone(ch.image.Command)
		cfg.Image.WorkingDirectory = str(ch.image.WorkingDirectory)
	}
	return nil
}

// shownImageConfig is what a function says instead of its image; nil if
// nothing.
func shownImageConfig(image *function.Image) *types.ImageConfigResponse {
	if image == nil || len(image.EntryPoint)+len(image.Command) == 0 && image.WorkingDirectory == "" {
		return nil
	}
	return &types.ImageConfigResponse{ImageConfig: &types.ImageConfig{
		EntryPoint: image.EntryPoint, Command: image.Command, WorkingDirectory: optional(image.WorkingDirectory),
	}}
}

// location is where a function's code can be had.
func (s *Server) location(ctx context.Context, c *call, r *function.Record) (*types.FunctionCodeLocation, error) {
	if image := r.Latest.Image; image != nil {
		return &types.FunctionCodeLocation{RepositoryType: new("ECR"), ImageUri: &image.URI, ResolvedImageUri: &image.Resolved}, nil
	}
	link, err := s.codeLink(ctx, c, r)
	if err != nil {
		return nil, err
	}
	return &types.FunctionCodeLocation{RepositoryType: new("S3"), Location: &link}, nil
}
