package api

import (
	"context"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"hearth/internal/function"
)

// Versions is what the control plane does with versions.
type Versions interface {
	Publish(ctx context.Context, req function.PublishRequest) (*function.Record, error)
	// Versions returns up to limit published versions, from the one behind
	// after on; next is empty at the end, or the after of the next page.
	Versions(ctx context.Context, account, name, after string, limit int) (versions []*function.Record, next string, err error)
	// ListVersions is List with the published versions behind each function.
	// The version in after is empty for the function itself.
	ListVersions(ctx context.Context, account string, after function.Ref, limit int) (records []*function.Record, next function.Ref, err error)
	// Resolve returns what a qualifier names: the function itself, a version,
	// or the version that an alias points to.
	Resolve(ctx context.Context, account, name, qualifier string) (*function.Record, error)
	DeleteVersion(ctx context.Context, account, name, version string) error
}

func (s *Server) versionHandlers() map[string]handler {
	return map[string]handler{
		"ListVersionsByFunction": on(s.listVersions),
		"PublishVersion":         on(s.publishVersion),
	}
}

func (s *Server) publishVersion(ctx context.Context, c *call, in *lambda.PublishVersionInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	if err := refuse(field{"PublishTo", in.PublishTo != ""}); err != nil {
		return nil, err
	}
	version, err := s.cfg.Functions.Publish(ctx, function.PublishRequest{
		Account: ref.Account, Name: ref.Name, CodeSHA256: str(in.CodeSha256), RevisionID: str(in.RevisionId), Description: in.Description,
	})
	if err != nil {
		return nil, err
	}
	return s.configuration(ctx, c, version, version.Version), nil
}

// listVersions lists $LATEST first, as AWS does.
func (s *Server) listVersions(ctx context.Context, c *call, in *lambda.ListVersionsByFunctionInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	after, err := readMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	out := &lambda.ListVersionsByFunctionOutput{Versions: []types.FunctionConfiguration{}}
	page := pageSize(in.MaxItems)
	if after == "" {
		latest, err := s.cfg.Functions.Get(ctx, ref.Account, ref.Name)
		if err != nil {
			return nil, err
		}
		out.Versions = append(out.Versions, *s.listed(ctx, c, latest, function.LatestVersion))
		page--
		after = "0"
	}
	if _, err := strconv.ParseUint(after, 10, 64); err != nil {
		return nil, badMarker()
	}
	if page == 0 {
		out.NextMarker = marker("0")
		return out, nil
	}
	versions, next, err := s.cfg.Functions.Versions(ctx, ref.Account, ref.Name, after, page)
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		out.Versions = append(out.Versions, *s.listed(ctx, c, v, v.Version))
	}
	out.NextMarker = marker(next)
	return out, nil
}

// listed is a configuration as lists show it: AWS leaves the state to
// GetFunction.
func (s *Server) listed(ctx context.Context, c *call, r *function.Record, qualifier string) *types.FunctionConfiguration {
	cfg := s.configuration(ctx, c, r, qualifier)
	cfg.State, cfg.StateReason, cfg.StateReasonCode = "", nil, ""
	cfg.LastUpdateStatus, cfg.LastUpdateStatusReason, cfg.LastUpdateStatusReasonCode = "", nil, ""
	cfg.RuntimeVersionConfig = nil
	return cfg
}
