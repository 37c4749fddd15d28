package logsapi

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"hearth/internal/awserr"
	"hearth/internal/logstore"
)

// scope is whose logs a request is about.
type scope struct{ region, account string }

func (sc scope) group(name string) logstore.Group {
	return logstore.Group{Account: sc.account, Name: name}
}

func (sc scope) prefix() string {
	return "arn:aws:logs:" + sc.region + ":" + sc.account + ":log-group:"
}

// groupARN names a group; policies and tags use this form.
func (sc scope) groupARN(name string) string { return sc.prefix() + name }

// streamARN names a stream. IAM checks actions on a whole group against the
// ARN of its stream without a name, so that policies for GROUP:* allow them.
func (sc scope) streamARN(group, stream string) string {
	return sc.prefix() + group + ":log-stream:" + stream
}

// resolve finds the name of the group that a request names in one of two ways:
// by its name, or by a name or ARN.
func (sc scope) resolve(name, identifier string) (string, error) {
	switch {
	case name != "" && identifier != "":
		return "", invalid("LogGroup name and LogGroup identifier are mutually exclusive parameters.")
	case name != "":
		return name, nil
	case identifier != "":
		return sc.identified(identifier)
	}
	return "", invalid("At least one of logGroupName or logGroupIdentifier must be specified.")
}

// identified finds the name of the group of an identifier. An ARN of another
// account or region names a group that does not exist here.
func (sc scope) identified(identifier string) (string, error) {
	if !strings.HasPrefix(identifier, "arn:") {
		return identifier, nil
	}
	name, ok := strings.CutPrefix(identifier, sc.prefix())
	if !ok {
		parts := strings.SplitN(identifier, ":", 7)
		if len(parts) < 7 || parts[2] != "logs" || parts[5] != "log-group" {
			return "", invalid("Invalid ARN: %.256s", identifier)
		}
		return "", errNoGroup
	}
	return strings.TrimSuffix(name, ":*"), nil
}

func invalid(format string, args ...any) error {
	return awserr.New("InvalidParameterException", format, args...)
}

// checks collects what is wrong with the members of a request, in AWS's words.
type checks struct{ problems []string }

func (c *checks) add(value, member, constraint string) {
	c.problems = append(c.problems, fmt.Sprintf("Value %.256s at '%s' failed to satisfy constraint: %s", value, member, constraint))
}

// text bounds a string; one that is not there is only a problem if it must be.
func (c *checks) text(member, value string, required bool, most int, pattern *regexp.Regexp) {
	switch {
	case value == "":
		if required {
			c.add("null", member, "Member must not be null")
		}
	case len(value) > most:
		c.add("'"+value+"'", member, "Member must have length less than or equal to "+strconv.Itoa(most))
	case pattern != nil && !pattern.MatchString(value):
		s := strings.TrimSuffix(strings.TrimPrefix(pattern.String(), "^(?:"), ")$")
		c.add("'"+value+"'", member, "Member must satisfy regular expression pattern: "+s)
	}
}

// number bounds an optional number.
func (c *checks) number(member string, value *int64, least, most int64) {
	switch {
	case value == nil:
	case *value < least:
		c.add(fmt.Sprintf("'%d'", *value), member, fmt.Sprintf("Member must have value greater than or equal to %d", least))
	case *value > most:
		c.add(fmt.Sprintf("'%d'", *value), member, fmt.Sprintf("Member must have value less than or equal to %d", most))
	}
}

// length bounds a list.
func (c *checks) length(member string, n, most int) {
	if n > most {
		c.add("'["+strconv.Itoa(n)+" members]'", member, "Member must have length less than or equal to "+strconv.Itoa(most))
	}
}

// enum checks an optional word.
func (c *checks) enum(member, value string, of ...string) {
	for _, v := range of {
		if value == "" || value == v {
			return
		}
	}
	c.add("'"+value+"'", member, "Member must satisfy enum value set: ["+strings.Join(of, ", ")+"]")
}

func (c *checks) err() error {
	n := len(c.problems)
	if n == 0 {
		return nil
	}
	s := ""
	if n > 1 {
		s = "s"
	}
	return invalid("%s", fmt.Sprintf("%d validation error%s detected: %s", n, s, strings.Join(c.problems, "; ")))
}

// Bounds and patterns of names, from the API's model.
const (
	maxName       = 512
	maxIdentifier = 2048
	maxTagARN     = 1011
	maxToken      = 4096
)

var (
	groupPattern      = regexp.MustCompile(`^(?:[\.\-_/#A-Za-z0-9]+)$`)
	streamPattern     = regexp.MustCompile(`^(?:[^:*]*)$`)
	identifierPattern = regexp.MustCompile(`^(?:[\w#+=/:,.@-]*(?::\*)?)$`)
	tagARNPattern     = regexp.MustCompile(`^(?:[\w+=/:,.@#-]*(?::\*)?)$`)
)

func (c *checks) group(name string, required bool) {
	c.text("logGroupName", name, required, maxName, groupPattern)
}

func (c *checks) stream(name string, required bool) {
	c.text("logStreamName", name, required, maxName, streamPattern)
}

func (c *checks) identifier(identifier string) {
	c.text("logGroupIdentifier", identifier, false, maxIdentifier, identifierPattern)
}

func (c *checks) token(token string) { c.text("nextToken", token, false, maxToken, nil) }
