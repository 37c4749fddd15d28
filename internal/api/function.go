package api

import (
	"context"
	"math"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"hearth/internal/function"
)

// timestamp is the form of LastModified.
const timestamp = "2006-01-02T15:04:05.000-0700"

func (s *Server) functionHandlers() map[string]handler {
	return map[string]handler{
		"CreateFunction":              on(s.createFunction),
		"DeleteFunction":              on(s.deleteFunction),
		"GetAccountSettings":          on(s.getAccountSettings),
		"GetFunction":                 on(s.getFunction),
		"GetFunctionConfiguration":    on(s.getFunctionConfiguration),
		"ListFunctions":               on(s.listFunctions),
		"UpdateFunctionCode":          on(s.updateFunctionCode),
		"UpdateFunctionConfiguration": on(s.updateFunctionConfiguration),
	}
}

func (s *Server) createFunction(ctx context.Context, c *call, in *lambda.CreateFunctionInput) (smithy.Serializable, error) {
	ref, err := s.resolve(c, *in.FunctionName, "")
	if err != nil {
		return nil, err
	}
	if ref.Qualifier != "" {
		return nil, validationError("ValidationException", problem("'"+*in.FunctionName+"'", "functionName",
			"Member must not have a qualifier"))
	}
	if err := unsupportedInCreate(in); err != nil {
		return nil, err
	}
	cfg, err := s.newConfig(ref.Name, in)
	if err != nil {
		return nil, err
	}
	code, err := sourceOf(cfg.PackageType, in.Code)
	if err != nil {
		return nil, err
	}
	if err := checkTags(nil, in.Tags); err != nil {
		return nil, err
	}
	none := &function.Record{Account: ref.Account, Region: s.cfg.Region, Name: ref.Name, Latest: &function.Config{}}
	if err := s.mayRekey(ctx, c, none, in.KMSKeyArn, in.Environment); err != nil {
		return nil, err
	}
	record, err := s.cfg.Functions.Create(ctx, function.CreateRequest{
		Account: ref.Account, Name: ref.Name, Config: *cfg, Zip: code.zip, S3: code.object, Image: code.image, Tags: in.Tags, Publish: in.Publish,
		CodeSigningConfig: str(in.CodeSigningConfigArn),
	})
	if err != nil {
		return nil, err
	}
	return s.configuration(ctx, c, record, record.Version), nil
}

func (s *Server) getFunction(ctx context.Context, c *call, in *lambda.GetFunctionInput) (smithy.Serializable, error) {
	record, qualifier, err := s.find(ctx, c, *in.FunctionName, str(in.Qualifier))
	if err != nil {
		return nil, err
	}
	location, err := s.location(ctx, c, record)
	if err != nil {
		return nil, err
	}
	return &lambda.GetFunctionOutput{
		Code:          location,
		Configuration: s.configuration(ctx, c, record, qualifier),
		Tags:          record.Tags,
		Concurrency:   s.shownConcurrency(record),
	}, nil
}

// shownConcurrency is GetFunction's view of reserved concurrency.
func (s *Server) shownConcurrency(r *function.Record) *types.Concurrency {
	if r.Reserved == nil {
		return nil
	}
	return &types.Concurrency{ReservedConcurrentExecutions: reservedOf(r)}
}

func (s *Server) getFunctionConfiguration(ctx context.Context, c *call, in *lambda.GetFunctionConfigurationInput) (smithy.Serializable, error) {
	record, qualifier, err := s.find(ctx, c, *in.FunctionName, str(in.Qualifier))
	if err != nil {
		return nil, err
	}
	return s.configuration(ctx, c, record, qualifier), nil
}

// find resolves a reference to a function and gets its record.
func (s *Server) find(ctx context.Context, c *call, reference, qualifier string) (*function.Record, string, error) {
	ref, err := s.resolve(c, reference, qualifier)
	if err != nil {
		return nil, "", err
	}
	record, err := s.cfg.Functions.Resolve(ctx, ref.Account, ref.Name, ref.Qualifier)
	return record, ref.Qualifier, err
}

func (s *Server) listFunctions(ctx context.Context, c *call, in *lambda.ListFunctionsInput) (smithy.Serializable, error) {
	after, err := readMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	if in.FunctionVersion == types.FunctionVersionAll {
		return s.listAll(ctx, c, after, pageSize(in.MaxItems))
	}
	records, next, err := s.cfg.Functions.List(ctx, c.AccountID, after, pageSize(in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &lambda.ListFunctionsOutput{Functions: make([]types.FunctionConfiguration, 0, len(records)), NextMarker: marker(next)}
	for _, record := range records {
		out.Functions = append(out.Functions, *s.listed(ctx, c, record, ""))
	}
	return out, nil
}

// listAll lists functions with their versions. A marker is name:version.
func (s *Server) listAll(ctx context.Context, c *call, after string, page int) (smithy.Serializable, error) {
	var from function.Ref
	from.Name, from.Version, _ = strings.Cut(after, ":")
	records, next, err := s.cfg.Functions.ListVersions(ctx, c.AccountID, from, page)
	if err != nil {
		return nil, err
	}
	out := &lambda.ListFunctionsOutput{Functions: make([]types.FunctionConfiguration, 0, len(records))}
	for _, record := range records {
		out.Functions = append(out.Functions, *s.listed(ctx, c, record, record.VersionName()))
	}
	if next.Name != "" {
		out.NextMarker = marker(next.Name + ":" + next.Version)
	}
	return out, nil
}

func (s *Server) updateFunctionCode(ctx context.Context, c *call, in *lambda.UpdateFunctionCodeInput) (smithy.Serializable, error) {
	ref, err := s.resolve(c, *in.FunctionName, "")
	if err != nil {
		return nil, err
	}
	if err := onlyLatest(ref); err != nil {
		return nil, err
	}
	if err := unsupportedInCodeUpdate(in); err != nil {
		return nil, err
	}
	architecture, err := s.checkArchitecture(in.Architectures, "")
	if err != nil {
		return nil, err
	}
	now, err := s.cfg.Functions.Get(ctx, ref.Account, ref.Name)
	if err != nil {
		return nil, err
	}
	code, err := sourceOf(now.Latest.PackageType, &types.FunctionCode{
		ZipFile: in.ZipFile, S3Bucket: in.S3Bucket, S3Key: in.S3Key, S3ObjectVersion: in.S3ObjectVersion, ImageUri: in.ImageUri,
	})
	if err != nil {
		return nil, err
	}
	record, err := s.cfg.Functions.UpdateCode(ctx, function.CodeUpdate{
		Account: ref.Account, Name: ref.Name, RevisionID: str(in.RevisionId),
		Zip: code.zip, S3: code.object, Image: code.image, Architecture: architecture, Publish: in.Publish, DryRun: in.DryRun,
	})
	if err != nil {
		return nil, err
	}
	return s.configuration(ctx, c, record, record.Version), nil
}

func (s *Server) updateFunctionConfiguration(ctx context.Context, c *call, in *lambda.UpdateFunctionConfigurationInput) (smithy.Serializable, error) {
	ref, err := s.resolve(c, *in.FunctionName, "")
	if err != nil {
		return nil, err
	}
	if err := onlyLatest(ref); err != nil {
		return nil, err
	}
	if err := unsupportedInConfigUpdate(in); err != nil {
		return nil, err
	}
	change := changeOf(in)
	if err := s.checkChange(change); err != nil {
		return nil, err
	}
	now, err := s.cfg.Functions.Get(ctx, ref.Account, ref.Name)
	if err != nil {
		return nil, err
	}
	if err := s.mayRekey(ctx, c, now, in.KMSKeyArn, in.Environment); err != nil {
		return nil, err
	}
	record, err := s.cfg.Functions.UpdateConfig(ctx, function.ConfigUpdate{
		Account: ref.Account, Name: ref.Name, RevisionID: str(in.RevisionId),
		Apply: change.apply,
	})
	if err != nil {
		return nil, err
	}
	return s.configuration(ctx, c, record, ""), nil
}

func (s *Server) deleteFunction(ctx context.Context, c *call, in *lambda.DeleteFunctionInput) (smithy.Serializable, error) {
	ref, err := s.resolve(c, *in.FunctionName, str(in.Qualifier))
	if err != nil {
		return nil, err
	}
	if ref.Qualifier == function.LatestVersion {
		return nil, badValue("$LATEST version cannot be deleted without deleting the function.")
	}
	out := &lambda.DeleteFunctionOutput{}
	if ref.Qualifier == "" {
		return out, s.cfg.Functions.Delete(ctx, ref.Account, ref.Name)
	}
	if !isVersion(ref.Qualifier) {
		return nil, badValue("Deletion of aliases is not currently supported.")
	}
	return out, s.cfg.Functions.DeleteVersion(ctx, ref.Account, ref.Name, ref.Qualifier)
}

func (s *Server) getAccountSettings(ctx context.Context, c *call, _ *lambda.GetAccountSettingsInput) (smithy.Serializable, error) {
	usage, err := s.cfg.Functions.Usage(ctx, c.AccountID)
	if err != nil {
		return nil, err
	}
	concurrency, unreserved := clamp32(s.cfg.Concurrency), clamp32(s.cfg.Concurrency-usage.SetAside)
	return &lambda.GetAccountSettingsOutput{
		AccountLimit: &types.AccountLimit{
			TotalCodeSize:                  80530636800, // 75 GB, AWS's default
			CodeSizeUnzipped:               262144000,
			CodeSizeZipped:                 maxZip,
			ConcurrentExecutions:           concurrency,
			UnreservedConcurrentExecutions: &unreserved,
		},
		AccountUsage: &types.AccountUsage{TotalCodeSize: usage.CodeBytes, FunctionCount: int64(usage.Functions)},
	}, nil
}

// clamp32 is a setting in the API's width; none comes near its end.
func clamp32(n int) int32 { return int32(max(math.MinInt32, min(n, math.MaxInt32))) }

// configuration is a record as the API shows it. All operations that answer a
// configuration share this shape's schema.
func (s *Server) configuration(ctx context.Context, c *call, r *function.Record, qualifier string) *types.FunctionConfiguration {
	cfg := r.Latest
	arn, version := r.ARN(), r.VersionName()
	if qualifier != "" {
		arn += ":" + qualifier
	}
	modified := r.LastModified.UTC().Format(timestamp)
	memory, timeout, storage := clamp32(cfg.MemorySize), clamp32(cfg.Timeout), clamp32(cfg.EphemeralStorage)
	out := &types.FunctionConfiguration{
		Architectures:       []types.Architecture{types.Architecture(cfg.Architecture)},
		CodeSha256:          &cfg.Code.SHA256,
		CodeSize:            cfg.Code.Size,
		Description:         &cfg.Description,
		EphemeralStorage:    &types.EphemeralStorage{Size: &storage},
		FunctionArn:         &arn,
		FunctionName:        &r.Name,
		Handler:             optional(cfg.Handler),
		ImageConfigResponse: shownImageConfig(cfg.Image),
		KMSKeyArn:           optional(cfg.KMSKey),
		LastModified:        &modified,
		LoggingConfig: &types.LoggingConfig{
			LogFormat: types.LogFormat(cfg.LogFormat), LogGroup: &cfg.LogGroup,
			ApplicationLogLevel: types.ApplicationLogLevel(cfg.ApplicationLogLevel),
			SystemLogLevel:      types.SystemLogLevel(cfg.SystemLogLevel),
		},
		MemorySize:    &memory,
		PackageType:   types.PackageType(cfg.PackageType),
		RevisionId:    &r.RevisionID,
		Role:          &cfg.Role,
		Runtime:       types.Runtime(cfg.Runtime),
		SnapStart:     shownSnapStart(r),
		State:         types.State(r.State),
		Timeout:       &timeout,
		TracingConfig: &types.TracingConfigResponse{Mode: types.TracingMode(cfg.TracingMode)},
		Version:       &version,

		StateReasonCode:            types.StateReasonCode(r.StateReasonCode),
		LastUpdateStatus:           types.LastUpdateStatus(r.LastUpdateStatus),
		LastUpdateStatusReasonCode: types.LastUpdateStatusReasonCode(r.LastUpdateStatusReasonCode),
		StateReason:                optional(r.StateReason),
		LastUpdateStatusReason:     optional(r.LastUpdateStatusReason),
	}
	s.showProgress(out, r)
	for i := range cfg.Layers {
		l := &cfg.Layers[i]
		out.Layers = append(out.Layers, types.Layer{Arn: &l.ARN, CodeSize: l.Code.Size})
	}
	out.Environment = s.environment(ctx, c, r)
	showConnections(out, cfg)
	if arn := s.runtimeVersionARN(r); arn != "" {
		out.RuntimeVersionConfig = &types.RuntimeVersionConfig{RuntimeVersionArn: &arn}
	}
	return out
}

// showProgress says how far the code is that a function waits for.
func (s *Server) showProgress(out *types.FunctionConfiguration, r *function.Record) {
	if s.cfg.Progress == nil || r.State != function.Pending && r.LastUpdateStatus != function.UpdateInProgress {
		return
	}
	progress := s.cfg.Progress(r.Latest.Code.Object)
	if progress == "" {
		return
	}
	if r.State == function.Pending {
		out.StateReason = optional(strings.TrimSpace(r.StateReason + " " + progress))
		return
	}
	out.LastUpdateStatusReason = &progress
}

// runtimeVersionARN names the version of a function's runtime, or nothing
// while that has not been built.
func (s *Server) runtimeVersionARN(r *function.Record) string {
	if s.cfg.RuntimeVersion == nil {
		return ""
	}
	id := s.cfg.RuntimeVersion(r.Latest.Runtime)
	if id == "" {
		return ""
	}
	return "arn:aws:lambda:" + r.Region + "::runtime:" + id
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
