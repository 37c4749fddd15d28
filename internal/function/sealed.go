package function

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
)

// SealedEnvironment is a function's variables as its record holds them.
//
// In JSON it is the sealed bytes in base64. A reader that knows only variables
// in the clear, which are an object, refuses such a record, and does not serve
// the function without them.
type SealedEnvironment struct {
	Sealed []byte
	// Clear is what a Hearth has stored that did not seal yet. The control
	// plane seals it when it starts; it is read and never written.
	Clear map[string]string
}

var errNotSealed = errors.New("a function's environment is stored sealed only")

// IsZero says that the function never had variables.
func (e SealedEnvironment) IsZero() bool { return e.Sealed == nil && e.Clear == nil }

func (e SealedEnvironment) clone() SealedEnvironment {
	return SealedEnvironment{Sealed: slices.Clone(e.Sealed), Clear: maps.Clone(e.Clear)}
}

// MarshalJSON implements json.Marshaler. It refuses what is not sealed.
func (e SealedEnvironment) MarshalJSON() ([]byte, error) {
	if len(e.Sealed) == 0 || e.Clear != nil {
		return nil, errNotSealed
	}
	return json.Marshal(e.Sealed)
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *SealedEnvironment) UnmarshalJSON(b []byte) error {
	*e = SealedEnvironment{}
	switch {
	case bytes.Equal(b, []byte("null")):
		return nil
	case bytes.HasPrefix(b, []byte("{")):
		e.Clear = map[string]string{}
		return json.Unmarshal(b, &e.Clear)
	}
	if err := json.Unmarshal(b, &e.Sealed); err != nil {
		return err
	}
	if len(e.Sealed) == 0 {
		return errors.New("environment: it is empty")
	}
	return nil
}
