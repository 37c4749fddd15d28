package worker

import (
	"strconv"
	"strings"

	"hearth/internal/controlstream"
	"hearth/internal/environment"
)

// platformEnv is the variables that tell a runtime which function it is to
// serve. Names and values are those of AWS's documentation, "Defined runtime
// environment variables"; hearth-init adds those that are the same for every
// function, and knows which of them the customer's own may replace.
func (w *Worker) platformEnv(start *environment.Start, group, stream string) map[string]string {
	rec, cfg, region := start.Record, start.Record.Serving, w.cfg.Region
	env := map[string]string{
		"AWS_REGION":                      region,
		"AWS_DEFAULT_REGION":              region,
		"AWS_LAMBDA_FUNCTION_NAME":        rec.Name,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(cfg.MemorySize),
		"AWS_LAMBDA_FUNCTION_VERSION":     rec.VersionName(),
		"AWS_LAMBDA_INITIALIZATION_TYPE":  initialization(start),
		"AWS_LAMBDA_LOG_GROUP_NAME":       group,
		"AWS_LAMBDA_LOG_STREAM_NAME":      stream,
	}
	if keys := start.Secrets.Keys; keys.AccessKeyID != "" {
		env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"] = keys.AccessKeyID, keys.SecretAccessKey
		env["AWS_SESSION_TOKEN"] = keys.SessionToken
	}
	if w.endpoint != nil {
		env["AWS_ENDPOINT_URL"] = controlstream.EndpointURL
	}
	env["AWS_XRAY_CONTEXT_MISSING"] = "LOG_ERROR"
	if cfg.Image == nil && !strings.HasPrefix(cfg.Runtime, "provided") {
		env["AWS_EXECUTION_ENV"] = "AWS_Lambda_" + cfg.Runtime
	}
	if cfg.LogFormat == formatJSON {
		env["AWS_LAMBDA_LOG_FORMAT"] = formatJSON
		if cfg.ApplicationLogLevel != "" {
			env["AWS_LAMBDA_LOG_LEVEL"] = cfg.ApplicationLogLevel
		}
	}
	return env
}

// initialization is AWS's word for why an environment was started.
func initialization(start *environment.Start) string {
	if start.Provisioned {
		return "provisioned-concurrency"
	}
	return "on-demand"
}
