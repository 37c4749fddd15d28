package blockfs

import (
	"encoding/json"
	"errors"
	"strings"
)

// minSecret is the length from which on a string of a spec is taken for one
// that must not be told. Shorter ones are words of the format.
const minSecret = 8

// redactor hides the strings of a spec in errors of whoever was given it.
// Sources promise to keep their keys to themselves; this is for the day on
// which one does not.
type redactor []string

func newRedactor(spec json.RawMessage) redactor {
	var v any
	if json.Unmarshal(spec, &v) != nil {
		return nil // nothing: what came in a frame is JSON
	}
	return redactor(nil).with(v)
}

func (r redactor) with(v any) redactor {
	switch v := v.(type) {
	case string:
		if len(v) >= minSecret {
			r = append(r, v)
		}
	case []any:
		for _, e := range v {
			r = r.with(e)
		}
	case map[string]any:
		for _, e := range v {
			r = r.with(e)
		}
	}
	return r
}

func (r redactor) text(s string) string {
	for _, secret := range r {
		s = strings.ReplaceAll(s, secret, "[…]")
	}
	return s
}

// err returns an error of the same known kind whose text tells nothing of the
// spec.
func (r redactor) err(err error) error {
	if err == nil {
		return nil
	}
	text := r.text(err.Error())
	if text == err.Error() {
		return err
	}
	for _, known := range codes {
		if errors.Is(err, known) {
			return &remoteError{known: known, message: text}
		}
	}
	return errors.New(text)
}
