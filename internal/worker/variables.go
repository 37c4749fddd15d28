package worker

import (
	"strconv"
	"strings"

	"hearth/internal/function"
)

// platformEnv is the variables that Hearth sets for a function's runtime.
// Reserved ones win over the customer's; the others only fill gaps. Names and
// values are those of AWS's documentation, "Defined runtime environment
// variables".
func platformEnv(rec *function.Record, region, group, stream string) map[string]string {
	cfg := rec.Serving
	env := map[string]string{
		"_HANDLER":                        cfg.Handler,
		"AWS_REGION":                      region,
		"AWS_DEFAULT_REGION":              region,
		"AWS_LAMBDA_FUNCTION_NAME":        rec.Name,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(cfg.MemorySize),
		"AWS_LAMBDA_FUNCTION_VERSION":     function.LatestVersion,
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME":       group,
		"AWS_LAMBDA_LOG_STREAM_NAME":      stream,
		"LAMBDA_TASK_ROOT":                "/var/task",
		"LAMBDA_RUNTIME_DIR":              "/var/runtime",
	}
	if !strings.HasPrefix(cfg.Runtime, "provided") {
		env["AWS_EXECUTION_ENV"] = "AWS_Lambda_" + cfg.Runtime
	}
	if cfg.LogFormat == "JSON" {
		env["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
		if cfg.ApplicationLogLevel != "" {
			env["AWS_LAMBDA_LOG_LEVEL"] = cfg.ApplicationLogLevel
		}
	}
	for name, value := range map[string]string{
		"LANG":                     "en_US.UTF-8",
		"TZ":                       ":UTC",
		"PATH":                     "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"LD_LIBRARY_PATH":          "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
		"AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
	} {
		if _, ok := cfg.Environment[name]; !ok {
			env[name] = value
		}
	}
	return env
}
