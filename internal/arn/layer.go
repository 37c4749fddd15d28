package arn

import (
	"errors"
	"strconv"
	"strings"
)

// ErrMalformedLayer is returned for text that no form of a layer's name
// matches.
var ErrMalformedLayer = errors.New("arn: not a layer name or ARN")

// Layer names a layer, or with a Version one version of it. Region and Account
// are empty if only a name was given.
type Layer struct {
	Region  string
	Account string
	Name    string
	// Version counts from 1; 0 if none was given.
	Version int64
}

// ParseLayer reads a layer's name as AWS's API model defines it:
//
//	[arn:PARTITION:lambda:REGION:ACCOUNT:layer:]NAME
//
// and, only as an ARN, the name of a version of it, with :VERSION at its end.
// It does not check the length of the name.
func ParseLayer(s string) (Layer, error) {
	if !strings.Contains(s, ":") {
		if !isLayerName(s) {
			return Layer{}, ErrMalformedLayer
		}
		return Layer{Name: s}, nil
	}
	part := strings.Split(s, ":")
	if len(part) < 7 || len(part) > 8 || part[0] != "arn" || !isPartition(part[1]) || part[2] != "lambda" ||
		!isRegion(part[3]) || !isAccount(part[4]) || part[5] != "layer" || !isLayerName(part[6]) {
		return Layer{}, ErrMalformedLayer
	}
	l := Layer{Region: part[3], Account: part[4], Name: part[6]}
	if len(part) == 8 {
		// Other ways to write a number would be other names of one thing.
		n, err := strconv.ParseInt(part[7], 10, 64)
		if err != nil || n < 0 || strconv.FormatInt(n, 10) != part[7] {
			return Layer{}, ErrMalformedLayer
		}
		l.Version = n
	}
	return l, nil
}

// String is the ARN of the layer, or of the version if there is one.
func (l Layer) String() string {
	s := "arn:aws:lambda:" + l.Region + ":" + l.Account + ":layer:" + l.Name
	if l.Version != 0 {
		s += ":" + strconv.FormatInt(l.Version, 10)
	}
	return s
}

func isLayerName(s string) bool { return s != "" && all(s, isWord) }
