package logsapi

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"

	"hearth/internal/awserr"
	"hearth/internal/logstore"
)

// maxDescribe is the most groups or streams of a page, and the default.
const maxDescribe = 50

// standardClass is the one class of groups there is.
const standardClass = "STANDARD"

// retentions are the days that AWS allows.
var retentions = []int64{
	1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
}

// groupRequest is a request that only names a group.
type groupRequest struct {
	LogGroupName string `json:"logGroupName"`
}

func (r *groupRequest) resources(sc scope) ([]string, error) {
	var c checks
	c.group(r.LogGroupName, true)
	return []string{sc.streamARN(r.LogGroupName, "")}, c.err()
}

type createLogGroupRequest struct {
	groupRequest

	KMSKeyID      string            `json:"kmsKeyId"`
	Tags          map[string]string `json:"tags"`
	LogGroupClass string            `json:"logGroupClass"`
	Protected     bool              `json:"deletionProtectionEnabled"`
}

func (r *createLogGroupRequest) resources(sc scope) ([]string, error) {
	var c checks
	c.group(r.LogGroupName, true)
	c.enum("logGroupClass", r.LogGroupClass, standardClass, "INFREQUENT_ACCESS", "DELIVERY")
	c.tags(r.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	switch {
	case r.KMSKeyID != "":
		return nil, invalid("kmsKeyId is not supported yet by this version of Hearth: encrypt the disk that holds the data directory.")
	case r.LogGroupClass != "" && r.LogGroupClass != standardClass:
		return nil, invalid("logGroupClass %s is not supported by Hearth: leave it away.", r.LogGroupClass)
	case r.Protected:
		return nil, invalid("deletionProtectionEnabled is not supported by Hearth: leave it away.")
	}
	return []string{sc.streamARN(r.LogGroupName, "")}, nil
}

func (s *Service) createLogGroup(_ context.Context, sc scope, in *createLogGroupRequest) (any, error) {
	err := s.cfg.Store.CreateGroup(sc.group(in.LogGroupName), in.Tags)
	if errors.Is(err, logstore.ErrExists) {
		return nil, awserr.New("ResourceAlreadyExistsException", "The specified log group already exists")
	}
	return nil, err
}

func (s *Service) deleteLogGroup(_ context.Context, sc scope, in *groupRequest) (any, error) {
	return nil, s.cfg.Store.DeleteGroup(sc.group(in.LogGroupName))
}

type putRetentionPolicyRequest struct {
	groupRequest

	RetentionInDays *int64 `json:"retentionInDays"`
}

func (r *putRetentionPolicyRequest) resources(sc scope) ([]string, error) {
	var c checks
	c.group(r.LogGroupName, true)
	if r.RetentionInDays == nil {
		c.add("null", "retentionInDays", "Member must not be null")
	} else if !slices.Contains(retentions, *r.RetentionInDays) {
		var days []string
		for _, d := range retentions {
			days = append(days, strconv.FormatInt(d, 10))
		}
		c.add("'"+strconv.FormatInt(*r.RetentionInDays, 10)+"'", "retentionInDays", "Member must satisfy enum value set: ["+strings.Join(days, ", ")+"]")
	}
	return []string{sc.streamARN(r.LogGroupName, "")}, c.err()
}

func (s *Service) putRetentionPolicy(_ context.Context, sc scope, in *putRetentionPolicyRequest) (any, error) {
	return nil, s.cfg.Store.SetRetention(sc.group(in.LogGroupName), int(*in.RetentionInDays))
}

func (s *Service) deleteRetentionPolicy(_ context.Context, sc scope, in *groupRequest) (any, error) {
	return nil, s.cfg.Store.SetRetention(sc.group(in.LogGroupName), 0)
}

type describeLogGroupsRequest struct {
	AccountIdentifiers   []string `json:"accountIdentifiers"`
	Prefix               string   `json:"logGroupNamePrefix"`
	Pattern              string   `json:"logGroupNamePattern"`
	NextToken            string   `json:"nextToken"`
	Limit                *int64   `json:"limit"`
	LogGroupClass        string   `json:"logGroupClass"`
	LogGroupIdentifiers  []string `json:"logGroupIdentifiers"`
	IncludeLinkedAccount bool     `json:"includeLinkedAccounts"`
}

func (r *describeLogGroupsRequest) resources(sc scope) ([]string, error) {
	var c checks
	c.text("logGroupNamePrefix", r.Prefix, false, maxName, groupPattern)
	c.text("logGroupNamePattern", r.Pattern, false, maxName, groupPattern)
	c.number("limit", r.Limit, 1, maxDescribe)
	c.token(r.NextToken)
	c.enum("logGroupClass", r.LogGroupClass, standardClass, "INFREQUENT_ACCESS", "DELIVERY")
	c.length("accountIdentifiers", len(r.AccountIdentifiers), 20)
	c.length("logGroupIdentifiers", len(r.LogGroupIdentifiers), 50)
	for _, id := range r.LogGroupIdentifiers {
		c.identifier(id)
	}
	if r.Prefix != "" && r.Pattern != "" {
		return nil, invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	}
	return []string{sc.streamARN("", "")}, c.err()
}

type describeLogGroupsResponse struct {
	LogGroups []logGroup `json:"logGroups"`
	NextToken string     `json:"nextToken,omitempty"`
}

type logGroup struct {
	LogGroupName      string `json:"logGroupName"`
	CreationTime      int64  `json:"creationTime"`
	RetentionInDays   int    `json:"retentionInDays,omitempty"`
	MetricFilterCount int    `json:"metricFilterCount"`
	ARN               string `json:"arn"`
	StoredBytes       int64  `json:"storedBytes"`
	LogGroupClass     string `json:"logGroupClass"`
	LogGroupARN       string `json:"logGroupArn"`
}

func (s *Service) describeLogGroups(_ context.Context, sc scope, in *describeLogGroupsRequest) (any, error) {
	after, err := decodeName(in.NextToken)
	if err != nil {
		return nil, err
	}
	wanted, err := in.filter(sc)
	if err != nil {
		return nil, err
	}
	out := &describeLogGroupsResponse{LogGroups: []logGroup{}}
	limit := int(orDefault(in.Limit, maxDescribe))
	more := false
	groups := s.cfg.Store.Groups(sc.account, func(name string) bool {
		// Names come in order: what is behind the page is not looked at.
		if name <= after || !wanted(name) {
			return false
		}
		limit--
		more = limit < 0
		return limit >= 0
	})
	for _, g := range groups {
		arn := sc.groupARN(g.Name)
		out.LogGroups = append(out.LogGroups, logGroup{
			LogGroupName: g.Name, CreationTime: g.Created.UnixMilli(), RetentionInDays: g.Retention,
			ARN: arn + ":*", LogGroupARN: arn, StoredBytes: g.Bytes, LogGroupClass: standardClass,
		})
	}
	if more {
		out.NextToken = encodeName(groups[len(groups)-1].Name)
	}
	return out, nil
}

// filter returns which names are wanted.
func (r *describeLogGroupsRequest) filter(sc scope) (func(name string) bool, error) {
	if r.LogGroupClass != "" && r.LogGroupClass != standardClass ||
		len(r.AccountIdentifiers) > 0 && !slices.Contains(r.AccountIdentifiers, sc.account) {
		return func(string) bool { return false }, nil
	}
	var names []string
	for _, id := range r.LogGroupIdentifiers {
		name, err := sc.identified(id)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return func(name string) bool {
		return strings.HasPrefix(name, r.Prefix) && strings.Contains(name, r.Pattern) && (names == nil || slices.Contains(names, name))
	}, nil
}

// Tokens of lists are the last name of the page.

func encodeName(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }

func decodeName(token string) (string, error) {
	name, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", errToken
	}
	return string(name), nil
}

var errToken = awserr.New("InvalidParameterException", "The specified nextToken is invalid.")

func orDefault(v *int64, otherwise int64) int64 {
	if v == nil {
		return otherwise
	}
	return *v
}
