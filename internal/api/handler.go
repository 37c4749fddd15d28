package api

import (
	"context"
	"maps"
	"strings"
	"sync"

	"github.com/aws/smithy-go"

	"hearth/internal/arn"
	"hearth/internal/awserr"
	"hearth/internal/function"
)

// handler serves one operation, on a decoded and validated input.
type handler func(ctx context.Context, c *call, in any) (smithy.Serializable, error)

// on makes a handler of a method that takes its own input type.
func on[In any](serve func(ctx context.Context, c *call, in In) (smithy.Serializable, error)) handler {
	return func(ctx context.Context, c *call, in any) (smithy.Serializable, error) {
		return serve(ctx, c, in.(In))
	}
}

// prepareOperations reads the traits of the operations, once.
var prepareOperations = sync.OnceFunc(func() {
	for _, op := range operations {
		op.prepare()
	}
})

// lambdaHandlers are the operations that are served; Invoke and its streaming
// sister have a way of their own.
func (s *Server) lambdaHandlers() map[string]handler {
	all := make(map[string]handler)
	for _, some := range []map[string]handler{
		s.functionHandlers(), s.versionHandlers(), s.aliasHandlers(), s.concurrencyHandlers(), s.permissionHandlers(),
		s.eventInvokeHandlers(), s.layerHandlers(), s.settingHandlers(), s.tagHandlers(),
		s.eventSourceHandlers(), s.codeSigningHandlers(), s.urlHandlers(),
	} {
		maps.Copy(all, some)
	}
	return all
}

// resolve reads a function reference and the qualifier beside it, and makes
// sure that they are of this region. Account is the caller's and Qualifier
// empty in the result if none was given.
func (s *Server) resolve(c *call, reference, qualifier string) (arn.Function, error) {
	f, err := arn.Parse(reference)
	if err != nil {
		return f, validationError("ValidationException", problem("'"+reference+"'", "functionName",
			"Member must satisfy regular expression pattern: "+constraints["NamespacedFunctionName"].pattern))
	}
	if len(f.Name) > arn.MaxName {
		return f, validationError("InvalidParameterValueException", problem("'"+f.Name+"'", "functionName",
			"Member must have length less than or equal to 64"))
	}
	if f.Region != "" && f.Region != s.cfg.Region {
		return f, awserr.New("ResourceNotFoundException", "Functions from '%s' are not reachable in this region ('%s')", f.Region, s.cfg.Region)
	}
	f.Partition, f.Region = "", s.cfg.Region
	if f.Account == "" {
		f.Account = c.AccountID
	}
	if qualifier != "" {
		if f.Qualifier != "" && f.Qualifier != qualifier {
			return f, badValue("The derived qualifier from the function name does not match the specified qualifier.")
		}
		f.Qualifier = qualifier
	}
	return f, nil
}

// action is the IAM action of an operation.
func action(op *operation) string {
	switch op.name {
	case "Invoke", streamOperation:
		return "InvokeFunction"
	case "GetLayerVersionByArn":
		return "GetLayerVersion"
	}
	return op.name
}

// unqualified is resolve for operations on a function as a whole.
func (s *Server) unqualified(c *call, reference string) (arn.Function, error) {
	f, err := s.resolve(c, reference, "")
	if err == nil && f.Qualifier != "" {
		err = badValue("This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. " +
			"Please specify either a function name or an unqualified function ARN.")
	}
	return f, err
}

// whole is unqualified with the function's record.
func (s *Server) whole(ctx context.Context, c *call, reference string) (arn.Function, *function.Record, error) {
	f, err := s.unqualified(c, reference)
	if err != nil {
		return f, nil, err
	}
	record, err := s.cfg.Functions.Get(ctx, f.Account, f.Name)
	return f, record, err
}

// isVersion says whether a qualifier is the number of a version.
func isVersion(qualifier string) bool {
	return qualifier != "" && strings.Trim(qualifier, "0123456789") == ""
}

// onlyLatest refuses qualifiers other than $LATEST: published versions never
// change.
func onlyLatest(f arn.Function) error {
	if f.Qualifier == "" || f.Qualifier == function.LatestVersion {
		return nil
	}
	return awserr.New("ResourceNotFoundException", "Function not found: %s", f)
}

// badValue is the error of a member whose value will not do.
func badValue(format string, args ...any) *awserr.Error {
	return awserr.New("InvalidParameterValueException", format, args...)
}

// str reads an optional string.
func str(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
