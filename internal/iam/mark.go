package iam

import (
	"errors"
	"time"

	"hearth/internal/table"
)

// mark remembers that something was done once for an account.
type mark struct {
	Made time.Time `json:"made"`
}

// defaultRoleMark says that the default role has been made.
const defaultRoleMark = "default-role"

func checkMark(_ table.Key, m *mark) error {
	if m.Made.IsZero() {
		return errors.New("the time is missing")
	}
	return nil
}
