package kms

import (
	"encoding/base64"
	"strconv"

	"hearth/internal/awserr"
)

// page is the part of a list that a request asks for.
type page struct {
	after string
	limit int
}

func (in *listInput) page(most, usual int) (page, error) {
	p := page{limit: usual}
	if in.Limit != nil {
		if p.limit = *in.Limit; p.limit < 1 || p.limit > most {
			return page{}, constraint(strconv.Itoa(p.limit), "limit", "Member must be between 1 and "+strconv.Itoa(most))
		}
	}
	after, err := base64.RawURLEncoding.DecodeString(in.Marker)
	if err != nil {
		return page{}, awserr.New("InvalidMarkerException", "The marker is not one that this operation returned.")
	}
	p.after = string(after)
	return p, nil
}

type pageAnswer struct {
	NextMarker string `json:"NextMarker,omitempty"`
	Truncated  bool   `json:"Truncated"`
}

// answerPage tells how to go on after the name next, or that this was all.
func answerPage(next string) pageAnswer {
	if next == "" {
		return pageAnswer{}
	}
	return pageAnswer{NextMarker: base64.RawURLEncoding.EncodeToString([]byte(next)), Truncated: true}
}
