package worker

import (
	"bytes"
	"encoding/json"
	"strings"

	"hearth/internal/function"
)

// level is how important a log line is. The levels and which of the
// platform's lines has which are those of AWS's page "Log-level filtering",
// section "System log level event mapping".
type level uint8

const (
	levelTrace level = iota
	levelDebug
	levelInfo
	levelWarn
	levelError
	levelFatal
)

var levels = map[string]level{
	"TRACE": levelTrace, "DEBUG": levelDebug, "INFO": levelInfo, "WARN": levelWarn, "WARNING": levelWarn,
	"ERROR": levelError, "FATAL": levelFatal, "CRITICAL": levelFatal,
}

// levelOf reads a level; what is none, or is absent, is INFO as on AWS.
func levelOf(name string) level {
	if l, ok := levels[strings.ToUpper(name)]; ok {
		return l
	}
	return levelInfo
}

// systemLevel is the least level of the platform's lines that are logged.
// Only JSON has levels: text is all logged.
func systemLevel(cfg *function.Config) level {
	if cfg.LogFormat != formatJSON {
		return levelTrace
	}
	return levelOf(cfg.SystemLogLevel)
}

// appLevel is the least level of the function's own lines, where it is for the
// platform to look: the managed runtimes filter in their loggers.
func appLevel(cfg *function.Config) level {
	if cfg.LogFormat != formatJSON || !strings.HasPrefix(cfg.Runtime, "provided") {
		return levelTrace
	}
	return levelOf(cfg.ApplicationLogLevel)
}

const formatJSON = "JSON"

// below says that a line is a JSON object of a level below the least. Other
// lines are never below: who wants them filtered logs JSON.
func below(line []byte, least level) bool {
	if least == levelTrace {
		return false
	}
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' {
		return false
	}
	var has struct {
		Level any `json:"level"`
	}
	if json.Unmarshal(line, &has) != nil {
		return false
	}
	name, _ := has.Level.(string)
	return levelOf(name) < least
}
