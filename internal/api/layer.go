package api

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"hearth/internal/arn"
	"hearth/internal/awserr"
	"hearth/internal/function"
	"hearth/internal/layer"
	"hearth/internal/policy"
)

// maxLayers is the most layers of a function.
const maxLayers = 5

// Layers is what the control plane does with layers.
type Layers interface {
	PublishLayer(ctx context.Context, req layer.PublishRequest) (*layer.Version, error)
	LayerVersion(ctx context.Context, account, name string, number int64) (*layer.Version, error)
	// Layers returns the newest version of each layer, in order of name.
	Layers(ctx context.Context, account string, f layer.Filter, after string, limit int) (newest []*layer.Version, next string, err error)
	// LayerVersions returns a layer's versions, the newest first.
	LayerVersions(ctx context.Context, account, name string, f layer.Filter, before int64, limit int) (versions []*layer.Version, next int64, err error)
	DeleteLayerVersion(ctx context.Context, account, name string, number int64) error
	OpenLayer(ctx context.Context, v *layer.Version) (io.ReadSeekCloser, error)
	PermitLayer(ctx context.Context, account, name string, number int64, revisionID string, p policy.Permission) (policy.Statement, string, error)
	ForbidLayer(ctx context.Context, account, name string, number int64, revisionID, statementID string) error
	LayerPolicy(ctx context.Context, account, name string, number int64) (*function.Policy, error)
}

func (s *Server) layerHandlers() map[string]handler {
	return map[string]handler{
		"AddLayerVersionPermission":    on(s.addLayerVersionPermission),
		"DeleteLayerVersion":           on(s.deleteLayerVersion),
		"GetLayerVersion":              on(s.getLayerVersion),
		"GetLayerVersionByArn":         on(s.getLayerVersionByArn),
		"GetLayerVersionPolicy":        on(s.getLayerVersionPolicy),
		"ListLayers":                   on(s.listLayers),
		"ListLayerVersions":            on(s.listLayerVersions),
		"PublishLayerVersion":          on(s.publishLayerVersion),
		"RemoveLayerVersionPermission": on(s.removeLayerVersionPermission),
	}
}

// resolveLayer reads a layer's name or ARN and makes sure that it is of this
// region. A name is of the caller's account.
func (s *Server) resolveLayer(c *call, reference string) (arn.Layer, error) {
	l, err := arn.ParseLayer(reference)
	switch {
	case err != nil:
		return l, validationError("ValidationException", problem("'"+clip(reference)+"'", "layerName",
			"Member must satisfy regular expression pattern: "+constraints["LayerName"].pattern))
	case l.Account == "":
		l.Account, l.Region = c.AccountID, s.cfg.Region
	case l.Region != s.cfg.Region:
		return l, awserr.New("ResourceNotFoundException", "Layers from '%s' are not reachable in this region ('%s')", l.Region, s.cfg.Region)
	}
	return l, nil
}

func (s *Server) publishLayerVersion(ctx context.Context, c *call, in *lambda.PublishLayerVersionInput) (smithy.Serializable, error) {
	ref, err := s.resolveLayer(c, *in.LayerName)
	if err != nil {
		return nil, err
	}
	runtimes := texts(in.CompatibleRuntimes)
	if err := checkRuntimes("compatibleRuntimes", "["+strings.Join(runtimes, ", ")+"]", runtimes...); err != nil {
		return nil, err
	}
	zip, object, err := checkCode(in.Content.ZipFile, in.Content.S3Bucket, in.Content.S3Key, in.Content.S3ObjectVersion, nil)
	if err != nil {
		return nil, err
	}
	v, err := s.cfg.Functions.PublishLayer(ctx, layer.PublishRequest{
		Account: ref.Account, Name: ref.Name, Description: str(in.Description), LicenseInfo: str(in.LicenseInfo),
		Runtimes: runtimes, Architectures: texts(in.CompatibleArchitectures), Zip: zip, S3: object,
	})
	if err != nil {
		return nil, err
	}
	content, err := s.layerContent(ctx, c, v)
	if err != nil {
		return nil, err
	}
	item := layerItem(v)
	return &lambda.PublishLayerVersionOutput{
		CompatibleArchitectures: item.CompatibleArchitectures, CompatibleRuntimes: item.CompatibleRuntimes, Content: content,
		CreatedDate: item.CreatedDate, Description: item.Description, LayerArn: new(v.LayerARN()), LayerVersionArn: item.LayerVersionArn,
		LicenseInfo: item.LicenseInfo, Version: v.Number,
	}, nil
}

func (s *Server) getLayerVersion(ctx context.Context, c *call, in *lambda.GetLayerVersionInput) (smithy.Serializable, error) {
	ref, err := s.resolveLayer(c, *in.LayerName)
	if err != nil {
		return nil, err
	}
	if ref.Version = *in.VersionNumber; ref.Version < 1 {
		return nil, tooSmallVersion()
	}
	v, err := s.cfg.Functions.LayerVersion(ctx, ref.Account, ref.Name, ref.Version)
	if err != nil {
		return nil, err
	}
	return s.layerVersion(ctx, c, v)
}

func tooSmallVersion() error { return badValue("Layer Version Cannot be less than 1") }

func (s *Server) getLayerVersionByArn(ctx context.Context, c *call, in *lambda.GetLayerVersionByArnInput) (smithy.Serializable, error) {
	ref, err := s.resolveLayer(c, *in.Arn)
	if err != nil {
		return nil, err
	}
	v, err := s.cfg.Functions.LayerVersion(ctx, ref.Account, ref.Name, ref.Version)
	if err != nil {
		return nil, err
	}
	out, err := s.layerVersion(ctx, c, v)
	if err != nil {
		return nil, err
	}
	return (*lambda.GetLayerVersionByArnOutput)(out), nil
}

func (s *Server) listLayers(ctx context.Context, c *call, in *lambda.ListLayersInput) (smithy.Serializable, error) {
	f, err := layerFilter(in.CompatibleRuntime, in.CompatibleArchitecture)
	if err != nil {
		return nil, err
	}
	after, err := readMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	newest, next, err := s.cfg.Functions.Layers(ctx, c.AccountID, f, after, pageSize(in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &lambda.ListLayersOutput{Layers: make([]types.LayersListItem, 0, len(newest)), NextMarker: marker(next)}
	for _, v := range newest {
		out.Layers = append(out.Layers, types.LayersListItem{
			LayerName: &v.Name, LayerArn: new(v.LayerARN()), LatestMatchingVersion: layerItem(v),
		})
	}
	return out, nil
}

func (s *Server) listLayerVersions(ctx context.Context, c *call, in *lambda.ListLayerVersionsInput) (smithy.Serializable, error) {
	ref, err := s.resolveLayer(c, *in.LayerName)
	if err != nil {
		return nil, err
	}
	f, err := layerFilter(in.CompatibleRuntime, in.CompatibleArchitecture)
	if err != nil {
		return nil, err
	}
	before, err := readMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	number := int64(0)
	if before != "" {
		if number, err = strconv.ParseInt(before, 10, 64); err != nil {
			return nil, badMarker()
		}
	}
	versions, next, err := s.cfg.Functions.LayerVersions(ctx, ref.Account, ref.Name, f, number, pageSize(in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &lambda.ListLayerVersionsOutput{LayerVersions: make([]types.LayerVersionsListItem, 0, len(versions))}
	for _, v := range versions {
		out.LayerVersions = append(out.LayerVersions, *layerItem(v))
	}
	if next != 0 {
		out.NextMarker = marker(strconv.FormatInt(next, 10))
	}
	return out, nil
}

func (s *Server) deleteLayerVersion(ctx context.Context, c *call, in *lambda.DeleteLayerVersionInput) (smithy.Serializable, error) {
	ref, err := s.resolveLayer(c, *in.LayerName)
	if err != nil {
		return nil, err
	}
	if *in.VersionNumber < 1 {
		return nil, tooSmallVersion()
	}
	return nil, s.cfg.Functions.DeleteLayerVersion(ctx, ref.Account, ref.Name, *in.VersionNumber)
}

func (s *Server) addLayerVersionPermission(ctx context.Context, c *call, in *lambda.AddLayerVersionPermissionInput) (smithy.Serializable, error) {
	ref, err := s.resolveLayer(c, *in.LayerName)
	if err != nil {
		return nil, err
	}
	statement, revision, err := s.cfg.Functions.PermitLayer(ctx, ref.Account, ref.Name, *in.VersionNumber, str(in.RevisionId), policy.Permission{
		StatementID: *in.StatementId, Action: *in.Action, Principal: *in.Principal, PrincipalOrgID: str(in.OrganizationId),
	})
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(&statement)
	if err != nil {
		return nil, err
	}
	return &lambda.AddLayerVersionPermissionOutput{Statement: new(string(text)), RevisionId: &revision}, nil
}

func (s *Server) removeLayerVersionPermission(ctx context.Context, c *call, in *lambda.RemoveLayerVersionPermissionInput) (smithy.Serializable, error) {
	ref, err := s.resolveLayer(c, *in.LayerName)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Functions.ForbidLayer(ctx, ref.Account, ref.Name, *in.VersionNumber, str(in.RevisionId), *in.StatementId)
}

func (s *Server) getLayerVersionPolicy(ctx context.Context, c *call, in *lambda.GetLayerVersionPolicyInput) (smithy.Serializable, error) {
	ref, err := s.resolveLayer(c, *in.LayerName)
	if err != nil {
		return nil, err
	}
	p, err := s.cfg.Functions.LayerPolicy(ctx, ref.Account, ref.Name, *in.VersionNumber)
	if err != nil {
		return nil, err
	}
	return &lambda.GetLayerVersionPolicyOutput{Policy: &p.Document, RevisionId: &p.RevisionID}, nil
}

// layerVersion is a version as GetLayerVersion shows it.
func (s *Server) layerVersion(ctx context.Context, c *call, v *layer.Version) (*lambda.GetLayerVersionOutput, error) {
	content, err := s.layerContent(ctx, c, v)
	if err != nil {
		return nil, err
	}
	item := layerItem(v)
	return &lambda.GetLayerVersionOutput{
		CompatibleArchitectures: item.CompatibleArchitectures, CompatibleRuntimes: item.CompatibleRuntimes, Content: content,
		CreatedDate: item.CreatedDate, Description: item.Description, LayerArn: new(v.LayerARN()), LayerVersionArn: item.LayerVersionArn,
		LicenseInfo: item.LicenseInfo, Version: v.Number,
	}, nil
}

// layerItem is a version as lists show it.
func layerItem(v *layer.Version) *types.LayerVersionsListItem {
	item := &types.LayerVersionsListItem{
		CreatedDate: new(v.Created.UTC().Format(timestamp)), Description: &v.Description,
		LayerVersionArn: new(v.ARN()), LicenseInfo: optional(v.LicenseInfo), Version: v.Number,
	}
	for _, r := range v.Runtimes {
		item.CompatibleRuntimes = append(item.CompatibleRuntimes, types.Runtime(r))
	}
	for _, a := range v.Architectures {
		item.CompatibleArchitectures = append(item.CompatibleArchitectures, types.Architecture(a))
	}
	return item
}

func layerFilter(runtime types.Runtime, architecture types.Architecture) (layer.Filter, error) {
	f := layer.Filter{Runtime: string(runtime), Architecture: string(architecture)}
	if f.Runtime == "" {
		return f, nil
	}
	return f, checkRuntimes("compatibleRuntime", f.Runtime, f.Runtime)
}

// checkRuntimes refuses runtimes that AWS does not know. Those that are not
// built here will do: a layer may be published before its runtime is.
func checkRuntimes(path, value string, runtimes ...string) error {
	known := types.Runtime("").Values()
	for _, r := range runtimes {
		if slices.Contains(known, types.Runtime(r)) {
			continue
		}
		return validationError("ValidationException", problem("'"+shorten(value, maxShown)+"'", path,
			"Member must satisfy enum value set: ["+strings.Join(texts(known), ", ")+"] or be a valid ARN"))
	}
	return nil
}

// texts are the plain texts of a list of some kind of name.
func texts[T ~string](list []T) []string {
	var all []string
	for _, v := range list {
		all = append(all, string(v))
	}
	return all
}

// authorizeLayers asks whether the caller may use the layers that a function
// is to have. AWS wants the permission to get each of them.
func (s *Server) authorizeLayers(ctx context.Context, c *call, names []string) error {
	if len(names) > maxLayers {
		return badValue("Cannot reference more than %d layers.", maxLayers)
	}
	for _, name := range names {
		ref, err := arn.ParseLayer(name)
		if err != nil {
			continue // it does not exist, and the control plane says so
		}
		r := s.accessRequest(c, "lambda:GetLayerVersion", subject{resource: name, account: ref.Account})
		if err := s.cfg.Access.Authorize(ctx, &c.Identity, r, s.layerPolicy(ctx, name)); err != nil {
			return err
		}
	}
	return nil
}

// layerPolicy is the resource policy of the version of a layer that an ARN
// names.
func (s *Server) layerPolicy(ctx context.Context, name string) *policy.Document {
	ref, err := arn.ParseLayer(name)
	if err != nil || ref.Region != s.cfg.Region || ref.Version == 0 {
		return nil
	}
	v, err := s.cfg.Functions.LayerVersion(ctx, ref.Account, ref.Name, ref.Version)
	if err != nil || v.Policy == nil {
		return nil
	}
	return s.policies.get(v.ARN(), v.Policy)
}
