package worker

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/environment"
	"hearth/internal/function"
)

// report writes the platform's lines into a function's log: AWS's text, or
// its JSON where the function asks for it.
type report struct {
	rec   *function.Record
	image Image
	sink  *sink
	json  bool
	// least is the level below which the platform's lines are left out.
	least level
	// initialization is AWS's word for why the environment was started.
	initialization string
}

// usage is what REPORT tells about an invoke.
type usage struct {
	duration time.Duration
	init     time.Duration // 0 but for the first invoke
	memoryMB int
	outcome  environment.Outcome
	errType  string
}

// billed is the duration rounded up to a millisecond; AWS bills the init
// phase too since August 2025.
func (u usage) billed() int64 {
	return int64(math.Ceil(millis(u.duration) + millis(u.init)))
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// status is the word and error type of an invoke that did not go well.
func (u usage) status() (string, string) {
	switch u.outcome {
	case environment.OutcomeOK:
		if u.errType == "" {
			return "success", ""
		}
		return "error", u.errType
	case environment.OutcomeTimeout:
		return "timeout", ""
	case environment.OutcomeOutOfMemory:
		return "error", outOfMemory
	case environment.OutcomeCrash, environment.OutcomeInitError, environment.OutcomeFault:
	}
	return "error", u.errType
}

func (r *report) initStart(at time.Time) {
	managed := r.image.ARN != "" // a container image has no runtime of ours
	if r.json {
		record := map[string]any{
			"initializationType": r.initialization, "phase": "init",
			"functionName": r.rec.Name, "functionVersion": r.rec.VersionName(),
		}
		if managed {
			record["runtimeVersion"], record["runtimeVersionArn"] = r.image.Version, r.image.ARN
		}
		r.event(levelInfo, at, "", "platform.initStart", record)
		return
	}
	if !managed {
		return
	}
	r.textf(at, "", "INIT_START Runtime Version: %s\tRuntime Version ARN: %s\n", r.image.Version, r.image.ARN)
}

func (r *report) initFailed(at time.Time, phase, requestID string, rep *controlstream.InitReport) {
	status := "error"
	if rep.Status == controlstream.StatusTimeout {
		status = "timeout"
	}
	if r.json {
		r.initEvents(levelWarn, at, requestID, phase, status, rep.ErrorType, rep.Duration)
		return
	}
	suffix := ""
	if rep.ErrorType != "" && status == "error" {
		suffix = "\tError Type: " + rep.ErrorType
	}
	r.textf(at, requestID, "INIT_REPORT Init Duration: %.2f ms\tPhase: %s\tStatus: %s%s\n", millis(rep.Duration), phase, status, suffix)
}

// initDone tells of an init that went well. The text format has no line for
// it: REPORT of the first invoke has its duration.
func (r *report) initDone(at time.Time, duration time.Duration) {
	if r.json {
		r.initEvents(levelDebug, at, "", "init", "success", "", duration)
	}
}

// initEvents is the two events of the end of an init. The report of one that
// no invoke waited for is worth more: no other event tells its duration.
func (r *report) initEvents(l level, at time.Time, requestID, phase, status, errType string, duration time.Duration) {
	record := map[string]any{"initializationType": r.initialization, "phase": phase, "status": status}
	if errType != "" {
		record["errorType"] = errType
	}
	r.event(l, at, requestID, "platform.initRuntimeDone", record)
	if r.initialization != "on-demand" {
		l = max(l, levelInfo)
	}
	record["metrics"] = map[string]any{"durationMs": round(duration)}
	r.event(l, at, requestID, "platform.initReport", record)
}

func (r *report) start(at time.Time, requestID string) {
	if r.json {
		r.event(levelInfo, at, requestID, "platform.start", map[string]any{"requestId": requestID, "version": r.rec.VersionName()})
		return
	}
	buf := make([]byte, 0, 96)
	buf = append(buf, "START RequestId: "...)
	buf = append(buf, requestID...)
	buf = append(buf, " Version: "...)
	buf = append(buf, r.rec.VersionName()...)
	buf = append(buf, '\n')
	r.sink.line(at, requestID, buf)
}

func (r *report) timedOut(at time.Time, requestID string) {
	if !r.json {
		r.textf(at, requestID, "%s %s Task timed out after %.2f seconds\n\n",
			at.UTC().Format("2006-01-02T15:04:05.000Z"), requestID, float64(r.rec.Serving.Timeout))
	}
}

func (r *report) end(at time.Time, requestID string, u usage) {
	status, errType := u.status()
	if r.json {
		r.endEvents(at, requestID, status, errType, u)
		return
	}
	buf := make([]byte, 0, 320)
	buf = append(buf, "END RequestId: "...)
	buf = append(buf, requestID...)
	buf = append(buf, '\n')
	r.sink.line(at, requestID, buf)
	buf = fmt.Appendf(buf[:0], "REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %d ms\tMemory Size: %d MB\tMax Memory Used: %d MB\t",
		requestID, millis(u.duration), u.billed(), r.rec.Serving.MemorySize, u.memoryMB)
	if u.init > 0 {
		buf = fmt.Appendf(buf, "Init Duration: %.2f ms\t", millis(u.init))
	}
	if status != "success" {
		buf = fmt.Appendf(buf, "Status: %s\t", status)
	}
	if errType != "" {
		buf = fmt.Appendf(buf, "Error Type: %s\t", errType)
	}
	r.sink.line(at, requestID, append(buf, '\n'))
}

// endEvents is the JSON of END and REPORT.
func (r *report) endEvents(at time.Time, requestID, status, errType string, u usage) {
	done := map[string]any{"requestId": requestID, "status": status, "metrics": map[string]any{"durationMs": round(u.duration)}}
	metrics := map[string]any{
		"durationMs": round(u.duration), "billedDurationMs": u.billed(),
		"memorySizeMB": r.rec.Serving.MemorySize, "maxMemoryUsedMB": u.memoryMB,
	}
	if u.init > 0 {
		metrics["initDurationMs"] = round(u.init)
	}
	record := map[string]any{"requestId": requestID, "status": status, "metrics": metrics}
	if errType != "" {
		done["errorType"], record["errorType"] = errType, errType
	}
	doneLevel, recordLevel := levelDebug, levelInfo
	if status != "success" {
		doneLevel, recordLevel = levelWarn, levelWarn
	}
	r.event(doneLevel, at, requestID, "platform.runtimeDone", done)
	r.event(recordLevel, at, requestID, "platform.report", record)
}

func (r *report) textf(at time.Time, requestID, format string, args ...any) {
	r.sink.line(at, requestID, fmt.Appendf(nil, format, args...))
}

func (r *report) event(l level, at time.Time, requestID, kind string, record map[string]any) {
	if l < r.least {
		return
	}
	b, err := json.Marshal(struct { // in AWS's order
		Time   string         `json:"time"`
		Type   string         `json:"type"`
		Record map[string]any `json:"record"`
	}{at.UTC().Format("2006-01-02T15:04:05.000Z"), kind, record})
	if err != nil {
		panic("worker: log event: " + err.Error()) // strings and numbers only
	}
	r.sink.line(at, requestID, append(b, '\n'))
}

// round gives milliseconds with three digits, as AWS's events have them.
func round(d time.Duration) float64 { return math.Round(millis(d)*1000) / 1000 }
