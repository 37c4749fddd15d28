package guest

import (
	"maps"
	"slices"
	"strings"

	"hearth/internal/controlstream"
)

// defaultEnv are the variables that a runtime has unless its function or the
// worker says otherwise: the values of AWS's environment.
var defaultEnv = map[string]string{
	"LANG":            "en_US.UTF-8",
	"PATH":            "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
	"LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
	"TZ":              ":UTC",
}

// overridable are the platform's variables that a function's own win over.
// Every other one of the platform's is reserved.
var overridable = map[string]bool{
	"LANG": true, "PATH": true, "LD_LIBRARY_PATH": true, "NODE_PATH": true, "PYTHONPATH": true,
	"GEM_PATH": true, "TZ": true, "AWS_XRAY_CONTEXT_MISSING": true, "AWS_XRAY_DAEMON_ADDRESS": true,
	"AWS_LAMBDA_LOG_FORMAT": true, "AWS_LAMBDA_LOG_LEVEL": true, "AWS_LAMBDA_EXEC_WRAPPER": true,
	"AWS_LAMBDA_DOTNET_PREJIT": true, "AWS_ENDPOINT_URL": true,
}

// bootEnv is the environment of a prewarmed runtime, which has no function.
func (c *Config) bootEnv() map[string]string {
	env := maps.Clone(defaultEnv)
	maps.Copy(env, c.fixedEnv())
	return env
}

// fixedEnv are the variables that hearth-init itself decides.
func (c *Config) fixedEnv() map[string]string {
	return map[string]string{
		"AWS_LAMBDA_RUNTIME_API": c.API,
		"LAMBDA_TASK_ROOT":       c.TaskDir,
		"LAMBDA_RUNTIME_DIR":     c.RuntimeDir,
	}
}

// imageEnv is where a container image's variables begin: its own, and AWS's
// for those that it does not have. Where its libraries are is its own affair.
func (c *Config) imageEnv(image *controlstream.Image) map[string]string {
	env := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TZ": defaultEnv["TZ"],
		"LAMBDA_TASK_ROOT": c.TaskDir, "LAMBDA_RUNTIME_DIR": c.RuntimeDir,
	}
	maps.Copy(env, image.Env)
	return env
}

// functionEnv is the environment of the runtime of an assigned function.
func (c *Config) functionEnv(a *controlstream.Assignment) map[string]string {
	env := maps.Clone(defaultEnv)
	if a.Image != nil {
		env = c.imageEnv(a.Image)
	}
	for name, value := range a.PlatformEnv {
		if overridable[name] {
			env[name] = value
		}
	}
	maps.Copy(env, a.CustomerEnv)
	for name, value := range a.PlatformEnv {
		if !overridable[name] {
			env[name] = value
		}
	}
	if a.Handler != "" {
		env["_HANDLER"] = a.Handler
	}
	if a.Image != nil {
		env["AWS_LAMBDA_RUNTIME_API"] = c.API
	} else {
		maps.Copy(env, c.fixedEnv())
	}
	// Names and values that cannot be passed to a process would make every
	// start fail. The API refuses them; this is the second line.
	maps.DeleteFunc(env, func(name, value string) bool {
		return name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0)
	})
	return env
}

// environ is the form in which a process gets its environment, in a fixed
// order.
func environ(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// freshNames and freshPrefixes name the variables that a process reads once,
// before any of its own code runs or as its libraries are loaded. If one of
// them differs from what a prewarmed runtime was started with, it cannot take
// the function and another is started.
var (
	freshNames = map[string]bool{
		"AWS_LAMBDA_EXEC_WRAPPER": true, // runs instead of the runtime
		"PATH":                    true,
		"HOME":                    true, // site directories
		"TMPDIR":                  true,
		"TZ":                      true, // libc reads it once
		"LANG":                    true,
		"LANGUAGE":                true,
		"GLIBC_TUNABLES":          true,
		"LOCPATH":                 true, // libc's locales
		"NLSPATH":                 true, // and message catalogues
		"RES_OPTIONS":             true, // libc's resolver
		"LOCALDOMAIN":             true,
		"HOSTALIASES":             true,
		"GODEBUG":                 true, // Go's runtime
		"GOGC":                    true,
		"GOMEMLIMIT":              true,
		"GOMAXPROCS":              true,
		"GOTRACEBACK":             true,
		"OPENSSL_CONF":            true,
		"OPENSSL_MODULES":         true,
		"NO_COLOR":                true, // node, at its start
		"FORCE_COLOR":             true,
	}
	freshPrefixes = []string{
		"LD_",               // the dynamic linker
		"LC_",               // locale
		"MALLOC_", "GCONV_", // libc
		"PYTHON",                                            // the interpreter
		"NODE_", "UV_", "V8_", "ICU_", "AWS_LAMBDA_NODEJS_", // node and its libraries
		"JAVA_TOOL_", "_JAVA_", "JDK_JAVA_", // …_OPTIONS of the JVM
		"RUBY", "GEM_", // RUBYOPT, GEM_PATH
		"DOTNET_",
		"SSL_CERT_",                 // certificates are loaded once
		"OMP_", "OPENBLAS_", "MKL_", // threads of numerical libraries
	}
)

// needsFresh says whether a runtime started with the variables boot cannot
// take over a function with the variables want.
func needsFresh(boot, want map[string]string) bool {
	differs := func(a, b map[string]string) bool {
		for name, value := range a {
			other, ok := b[name]
			if (!ok || other != value) && isFresh(name) {
				return true
			}
		}
		return false
	}
	return differs(want, boot) || differs(boot, want)
}

func isFresh(name string) bool {
	return freshNames[name] || slices.ContainsFunc(freshPrefixes, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}
