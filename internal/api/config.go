package api

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/awserr"
	"hearth/internal/function"
)

// Limits of a function's configuration that AWS's model does not carry, or
// carries for Managed Instances only.
const (
	maxTimeout     = 900   // seconds
	maxMemory      = 10240 // MB
	maxEnvironment = 4096  // bytes, in JSON
	maxZip         = 52428800
)

// change is what a request says about a function's configuration; a nil field
// was not in it.
type change struct {
	description, runtime, role, handler *string
	kmsKey                              *string // empty for the account's own
	timeout, memory                     *int32
	environment                         *types.Environment
	storage                             *types.EphemeralStorage
	tracing                             *types.TracingConfig
	logging                             *types.LoggingConfig
	vpc                                 *types.VpcConfig
	files                               []types.FileSystemConfig // empty and not nil takes them away
	deadLetter                          *types.DeadLetterConfig
	snapStart                           *types.SnapStart
	layers                              []string // ARNs; empty and not nil takes them away
	image                               *types.ImageConfig
}

func changeOf(in *lambda.UpdateFunctionConfigurationInput) *change {
	return &change{
		description: in.Description, runtime: optional(string(in.Runtime)), role: in.Role, handler: in.Handler,
		kmsKey: in.KMSKeyArn, timeout: in.Timeout, memory: in.MemorySize, environment: in.Environment, storage: in.EphemeralStorage,
		tracing: in.TracingConfig, logging: in.LoggingConfig,
		vpc: in.VpcConfig, files: in.FileSystemConfigs, deadLetter: in.DeadLetterConfig, snapStart: in.SnapStart, layers: in.Layers, image: in.ImageConfig,
	}
}

// newConfig checks the configuration of a new function and fills in AWS's
// defaults.
func (s *Server) newConfig(name string, in *lambda.CreateFunctionInput) (*function.Config, error) {
	ch := &change{
		description: in.Description, runtime: optional(string(in.Runtime)), role: in.Role, handler: in.Handler,
		kmsKey: in.KMSKeyArn, timeout: in.Timeout, memory: in.MemorySize, environment: in.Environment, storage: in.EphemeralStorage,
		tracing: in.TracingConfig, logging: in.LoggingConfig,
		vpc: in.VpcConfig, files: in.FileSystemConfigs, deadLetter: in.DeadLetterConfig, snapStart: in.SnapStart, layers: in.Layers, image: in.ImageConfig,
	}
	packaged := types.PackageTypeZip
	if in.PackageType == types.PackageTypeImage {
		packaged = in.PackageType
	} else if ch.runtime == nil || str(ch.handler) == "" {
		return nil, badValue("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	}
	if err := s.checkChange(ch); err != nil {
		return nil, err
	}
	architecture, err := s.checkArchitecture(in.Architectures, s.cfg.Architecture)
	if err != nil {
		return nil, err
	}
	cfg := &function.Config{
		Timeout: 3, MemorySize: 128, EphemeralStorage: 512,
		Architecture: architecture,
		PackageType:  string(packaged),
		TracingMode:  string(types.TracingModePassThrough),
		LogFormat:    string(types.LogFormatText),
		LogGroup:     "/aws/lambda/" + name,
	}
	return cfg, ch.apply(cfg)
}

// apply makes the change to a configuration.
func (ch *change) apply(cfg *function.Config) error {
	set(&cfg.Description, ch.description)
	set(&cfg.Runtime, ch.runtime)
	set(&cfg.Role, ch.role)
	set(&cfg.Handler, ch.handler)
	set(&cfg.KMSKey, ch.kmsKey)
	setInt(&cfg.Timeout, ch.timeout)
	setInt(&cfg.MemorySize, ch.memory)
	if ch.storage != nil {
		setInt(&cfg.EphemeralStorage, ch.storage.Size)
	}
	if ch.environment != nil && ch.environment.Variables != nil { // without Variables it says nothing, as on AWS
		cfg.Environment = map[string]string{}
		maps.Copy(cfg.Environment, ch.environment.Variables)
	}
	if ch.tracing != nil && ch.tracing.Mode != "" {
		cfg.TracingMode = string(ch.tracing.Mode)
	}
	if ch.layers != nil {
		cfg.Layers = nil
		for _, name := range ch.layers {
			cfg.Layers = append(cfg.Layers, function.Layer{ARN: name})
		}
	}
	if err := ch.applyImage(cfg); err != nil {
		return err
	}
	if err := ch.applyConnections(cfg); err != nil {
		return err
	}
	return ch.applyLogging(cfg)
}

// applyLogging sets the log format and levels. Levels exist in JSON only.
func (ch *change) applyLogging(cfg *function.Config) error {
	l := ch.logging
	if l == nil {
		return nil
	}
	set(&cfg.LogGroup, l.LogGroup)
	if l.LogFormat != "" {
		cfg.LogFormat = string(l.LogFormat)
	}
	if cfg.LogFormat != string(types.LogFormatJson) {
		if l.ApplicationLogLevel != "" || l.SystemLogLevel != "" {
			return badValue("To set ApplicationLogLevel or SystemLogLevel, set LogFormat to JSON.")
		}
		cfg.ApplicationLogLevel, cfg.SystemLogLevel = "", ""
		return nil
	}
	level := func(dst *string, v string) {
		if v != "" {
			*dst = v
		} else if *dst == "" {
			*dst = "INFO"
		}
	}
	level(&cfg.ApplicationLogLevel, string(l.ApplicationLogLevel))
	level(&cfg.SystemLogLevel, string(l.SystemLogLevel))
	return nil
}

func set(dst *string, v *string) {
	if v != nil {
		*dst = *v
	}
}

func setInt(dst *int, v *int32) {
	if v != nil {
		*dst = int(*v)
	}
}

// checkChange checks what the model's constraints do not.
func (s *Server) checkChange(ch *change) error {
	if ch.runtime != nil {
		if err := s.checkRuntime(*ch.runtime); err != nil {
			return err
		}
	}
	if err := atMost("timeout", ch.timeout, maxTimeout); err != nil {
		return err
	}
	if err := atMost("memorySize", ch.memory, maxMemory); err != nil {
		return err
	}
	if err := ch.checkConnections(); err != nil {
		return err
	}
	if ch.environment != nil {
		return checkEnvironment(ch.environment.Variables)
	}
	return nil
}

func atMost(path string, v *int32, limit int32) error {
	if v == nil || *v <= limit {
		return nil
	}
	return validationError("ValidationException", problem("'"+strconv.Itoa(int(*v))+"'", path,
		"Member must have value less than or equal to "+strconv.Itoa(int(limit))))
}

// reserved are the variables that Lambda sets itself (AWS's developer guide,
// "Defined runtime environment variables").
var reserved = []string{
	"_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV",
	"AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION",
	"AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME",
	"AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
	"AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR",
}

// badEnvironment is how AWS begins what it says of an environment.
const badEnvironment = "Lambda was unable to configure your environment variables because the environment variables you have provided"

func checkEnvironment(variables map[string]string) error {
	var used []string
	for _, name := range reserved {
		if _, ok := variables[name]; ok {
			used = append(used, name)
		}
	}
	if used != nil {
		return badValue("%s contains reserved keys that are currently not supported for modification. Reserved keys used in this request: %s",
			badEnvironment, strings.Join(used, ", "))
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(variables); err != nil {
		return err
	}
	if measured := strings.TrimSuffix(b.String(), "\n"); len(variables) > 0 && len(measured) > maxEnvironment {
		return badValue("%s exceeded the 4KB limit. String measured: %s", badEnvironment, shorten(measured, 2*maxEnvironment))
	}
	return nil
}

// deprecated are the runtimes that AWS no longer lets functions be created
// with.
var deprecated = []string{
	"nodejs", "nodejs4.3", "nodejs4.3-edge", "nodejs6.10", "nodejs8.10", "nodejs10.x", "nodejs12.x", "nodejs14.x", "nodejs16.x",
	"java8", "python2.7", "python3.6", "python3.7", "python3.8",
	"dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1", "dotnetcore3.1", "dotnet6",
	"go1.x", "ruby2.5", "ruby2.7", "provided",
}

func (s *Server) checkRuntime(runtime string) error {
	switch {
	case slices.Contains(s.cfg.Runtimes, runtime):
		return nil
	case slices.Contains(deprecated, runtime):
		return badValue("The runtime parameter of %s is no longer supported for creating or updating AWS Lambda functions. "+
			"We recommend you use a supported runtime while creating or updating functions.", runtime)
	case slices.Contains(types.Runtime("").Values(), types.Runtime(runtime)):
		return badValue("The runtime %s is not built on this Hearth. Use one of: %s.", runtime, strings.Join(s.cfg.Runtimes, ", "))
	}
	return badValue("Value %s at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [%s] or be a valid ARN",
		clip(runtime), strings.Join(s.cfg.Runtimes, ", "))
}

// checkArchitecture returns the architecture asked for, or the fallback.
func (s *Server) checkArchitecture(asked []types.Architecture, fallback string) (string, error) {
	if len(asked) == 0 {
		return fallback, nil
	}
	if a := string(asked[0]); a != s.cfg.Architecture {
		return "", badValue("This machine runs %[1]s functions, not %[2]s. Build the function for %[1]s, or deploy it to a Hearth with an %[2]s worker.",
			s.cfg.Architecture, a)
	}
	return s.cfg.Architecture, nil
}

// checkCode checks that there is an archive, of a size that may be sent
// inline, or the name of one in S3. What is in it is the control plane's
// business.
func checkCode(zip []byte, bucket, key, version, image *string) ([]byte, *function.S3Object, error) {
	inS3 := str(bucket) != "" || str(key) != "" || str(version) != ""
	switch {
	case image != nil:
		return nil, nil, badValue("Please don't provide ImageUri when the intended function PackageType is Zip.")
	case inS3 && zip != nil:
		return nil, nil, badValue("Please do not provide other FunctionCode parameters when providing a ZipFile.")
	case inS3 && (str(bucket) == "" || str(key) == ""):
		return nil, nil, badValue("Please provide both S3Bucket and S3Key.")
	case inS3:
		return nil, &function.S3Object{Bucket: *bucket, Key: *key, Version: str(version)}, nil
	case zip == nil:
		return nil, nil, badValue("Please provide a source for function code.")
	case len(zip) == 0:
		return nil, nil, badValue("Uploaded file must be a non-empty zip")
	case len(zip) > maxZip:
		return nil, nil, awserr.New("RequestEntityTooLargeException", "Zipped size must be smaller than %d bytes", maxZip)
	}
	return zip, nil, nil
}
