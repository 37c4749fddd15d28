package cluster

import (
	"context"
	"encoding/json"

	"hearth/internal/artifact"
	"hearth/internal/awserr"
	"hearth/internal/function"
	"hearth/internal/worker"
)

// InspectRequest names a function of the operator's account.
type InspectRequest struct {
	FunctionName string `json:"FunctionName"`
	Qualifier    string `json:"Qualifier"` // a version; empty for $LATEST
}

// Inspected is a volume of a function.
type Inspected struct {
	// Kind is code, layer or runtime, and Name the image, archive, layer or
	// runtime.
	Kind string `json:"kind"`
	Name string `json:"name"`
	artifact.Info
}

// inspect tells how what a function is made of is stored.
func (h *Hearth) inspect(ctx context.Context, body []byte) (any, error) {
	var req InspectRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, awserr.New("SerializationException", "The request is not valid JSON.")
	}
	version := req.Qualifier
	if version == function.LatestVersion {
		version = ""
	}
	r, ok := h.catalog.Version(h.creds.AccountID, req.FunctionName, version)
	if !ok {
		return nil, awserr.New("ResourceNotFoundException", "There is no function %.64q, or no such version of it.", req.FunctionName)
	}
	if r.Serving == nil {
		return nil, awserr.New("ResourceConflictException", "Function %.64q is not ready yet: %s %s",
			req.FunctionName, r.StateReason, h.progress(r.Latest.Code.Object))
	}
	var all []Inspected
	add := func(kind, name, object string) error {
		info, err := h.artifacts.Inspect(ctx, object)
		if err == nil {
			all = append(all, Inspected{kind, name, *info})
		}
		return err
	}
	cfg := r.Serving
	name := cfg.Code.SHA256
	if cfg.Image != nil {
		name = cfg.Image.Resolved
	}
	if err := add("code", name, cfg.Code.Object); err != nil {
		return nil, err
	}
	for i := range cfg.Layers {
		if err := add("layer", cfg.Layers[i].ARN, cfg.Layers[i].Code.Object); err != nil {
			return nil, err
		}
	}
	if img, ok := h.runtimes.Lookup(cfg.Runtime); ok {
		if err := add("runtime", img.Version, worker.RuntimePrefix+img.Digest); err != nil {
			return nil, err
		}
	}
	return all, nil
}
