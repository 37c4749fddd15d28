package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/arn"
	"hearth/internal/awserr"
	"hearth/internal/layer"
)

// layerPath begins the paths of links to layers' archives: the version's ARN
// and the archive's digest follow.
const layerPath = "/_hearth/layer/"

// layerContent describes a version's archive, with a link to it that works as
// those of functions' code do.
func (s *Server) layerContent(ctx context.Context, c *call, v *layer.Version) (*types.LayerVersionContentOutput, error) {
	link, err := s.presign(ctx, c, layerPath+v.ARN()+"/"+digest(v.Code))
	if err != nil {
		return nil, err
	}
	return &types.LayerVersionContentOutput{CodeSha256: &v.Code.SHA256, CodeSize: v.Code.Size, Location: &link}, nil
}

// serveLayer answers a link to a layer's archive. Who has one was allowed to
// get the version when it was made, and its signature covers what it names.
func (s *Server) serveLayer(c *call) error {
	name, sum, ok := strings.Cut(strings.TrimPrefix(c.r.URL.Path, layerPath), "/")
	ref, err := arn.ParseLayer(name)
	if !ok || err != nil || c.r.Method != http.MethodGet {
		return awserr.New("UnknownOperationException", "This is not a link to a layer's archive.")
	}
	v, err := s.cfg.Functions.LayerVersion(c.r.Context(), ref.Account, ref.Name, ref.Version)
	if err != nil {
		return err
	}
	if digest(v.Code) != sum {
		return awserr.New("ResourceNotFoundException", "The resource you requested does not exist.")
	}
	code, err := s.cfg.Functions.OpenLayer(c.r.Context(), v)
	if err != nil {
		return err
	}
	defer code.Close()
	c.w.Header().Set("Content-Type", "application/zip")
	http.ServeContent(c.w, c.r, "", v.Created, code)
	return nil
}
