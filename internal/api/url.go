package api

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"hearth/internal/arn"
	"hearth/internal/awserr"
	"hearth/internal/function"
)

// URLs is what the control plane does with function URLs.
type URLs interface {
	CreateURL(ctx context.Context, account, name, qualifier string, u function.URL) (*function.URL, error)
	UpdateURL(ctx context.Context, account, name, qualifier string, up function.URLUpdate) (*function.URL, error)
	DeleteURL(ctx context.Context, account, name, qualifier string) error
	URL(ctx context.Context, account, name, qualifier string) (*function.URL, error)
}

func (s *Server) urlHandlers() map[string]handler {
	return map[string]handler{
		"CreateFunctionUrlConfig": on(s.createURL),
		"DeleteFunctionUrlConfig": on(s.deleteURL),
		"GetFunctionUrlConfig":    on(s.getURL),
		"ListFunctionUrlConfigs":  on(s.listURLs),
		"UpdateFunctionUrlConfig": on(s.updateURL),
	}
}

// urlOwner resolves a reference to what can have a URL: a function, which is
// $LATEST, or an alias. The member Qualifier has been checked; here is about
// one in the name.
func (s *Server) urlOwner(c *call, reference string, qualifier *string) (arn.Function, error) {
	ref, err := s.targeted(c, reference, qualifier)
	if err == nil && isVersion(ref.Qualifier) {
		err = validationError("ValidationException", problem("'"+ref.Qualifier+"'", "qualifier",
			"Member must satisfy regular expression pattern: "+constraints["FunctionUrlQualifier"].pattern))
	}
	return ref, err
}

func (s *Server) createURL(ctx context.Context, c *call, in *lambda.CreateFunctionUrlConfigInput) (smithy.Serializable, error) {
	ref, err := s.urlOwner(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	cors := corsOf(in.Cors)
	if cors != nil && cors.IsZero() {
		cors = nil
	}
	u, err := s.cfg.Functions.CreateURL(ctx, ref.Account, ref.Name, ref.Qualifier, function.URL{
		AuthType: string(in.AuthType), InvokeMode: string(in.InvokeMode), CORS: cors,
	})
	if err != nil {
		return nil, err
	}
	shown := s.shownURL(ref, u)
	return &lambda.CreateFunctionUrlConfigOutput{
		AuthType: shown.AuthType, Cors: shown.Cors, CreationTime: shown.CreationTime,
		FunctionArn: shown.FunctionArn, FunctionUrl: shown.FunctionUrl, InvokeMode: shown.InvokeMode,
	}, nil
}

func (s *Server) getURL(ctx context.Context, c *call, in *lambda.GetFunctionUrlConfigInput) (smithy.Serializable, error) {
	ref, err := s.urlOwner(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	u, err := s.cfg.Functions.URL(ctx, ref.Account, ref.Name, ref.Qualifier)
	if err != nil {
		return nil, err
	}
	return s.shownURL(ref, u), nil
}

func (s *Server) updateURL(ctx context.Context, c *call, in *lambda.UpdateFunctionUrlConfigInput) (smithy.Serializable, error) {
	ref, err := s.urlOwner(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	u, err := s.cfg.Functions.UpdateURL(ctx, ref.Account, ref.Name, ref.Qualifier, function.URLUpdate{
		AuthType: string(in.AuthType), InvokeMode: string(in.InvokeMode), CORS: corsOf(in.Cors),
	})
	if err != nil {
		return nil, err
	}
	return s.shownURL(ref, u), nil
}

func (s *Server) deleteURL(ctx context.Context, c *call, in *lambda.DeleteFunctionUrlConfigInput) (smithy.Serializable, error) {
	ref, err := s.urlOwner(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Functions.DeleteURL(ctx, ref.Account, ref.Name, ref.Qualifier)
}

func (s *Server) listURLs(ctx context.Context, c *call, in *lambda.ListFunctionUrlConfigsInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	record, err := s.cfg.Functions.Get(ctx, ref.Account, ref.Name)
	if e, ok := awserr.As(err); ok && e.Code == "ResourceNotFoundException" {
		return nil, awserr.New(e.Code, "Function does not exist")
	}
	if err != nil {
		return nil, err
	}
	qualifiers, next, err := pageOf(record.URLs, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &lambda.ListFunctionUrlConfigsOutput{FunctionUrlConfigs: []types.FunctionUrlConfig{}, NextMarker: next}
	for _, q := range qualifiers {
		ref.Qualifier = q
		out.FunctionUrlConfigs = append(out.FunctionUrlConfigs, *s.shownURL(ref, record.URLs[q]))
	}
	return out, nil
}

// shownURL is a URL as the API shows it. All operations that answer one share
// this shape's schema, but for creation, which has no time of change.
func (s *Server) shownURL(ref arn.Function, u *function.URL) *types.FunctionUrlConfig {
	shown := func(at time.Time) *string { return new(at.UTC().Format("2006-01-02T15:04:05.000Z")) }
	out := &types.FunctionUrlConfig{
		AuthType: types.FunctionUrlAuthType(u.AuthType), InvokeMode: types.InvokeMode(u.InvokeMode),
		CreationTime: shown(u.CreationTime), LastModifiedTime: shown(u.LastModifiedTime),
		FunctionArn: shownTarget(ref), FunctionUrl: new(s.site.url(u.ID)),
	}
	if c := u.CORS; c != nil {
		out.Cors = &types.Cors{
			AllowCredentials: c.AllowCredentials, AllowHeaders: c.AllowHeaders, AllowMethods: c.AllowMethods,
			AllowOrigins: c.AllowOrigins, ExposeHeaders: c.ExposeHeaders,
		}
		if c.MaxAge != nil {
			out.Cors.MaxAge = new(clamp32(*c.MaxAge))
		}
	}
	return out
}

func corsOf(in *types.Cors) *function.CORS {
	if in == nil {
		return nil
	}
	c := &function.CORS{
		AllowCredentials: in.AllowCredentials, AllowHeaders: in.AllowHeaders, AllowMethods: in.AllowMethods,
		AllowOrigins: in.AllowOrigins, ExposeHeaders: in.ExposeHeaders,
	}
	if in.MaxAge != nil {
		c.MaxAge = new(int(*in.MaxAge))
	}
	return c
}
