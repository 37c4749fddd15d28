package api

import (
	"context"
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

// lambdaHandlers are the operations that are served so far; Invoke has a way
// of its own.
func (s *Server) lambdaHandlers() map[string]handler {
	return map[string]handler{
		"CreateFunction":              on(s.createFunction),
		"DeleteFunction":              on(s.deleteFunction),
		"GetAccountSettings":          on(s.getAccountSettings),
		"GetFunction":                 on(s.getFunction),
		"GetFunctionConfiguration":    on(s.getFunctionConfiguration),
		"ListFunctions":               on(s.listFunctions),
		"ListTags":                    on(s.listTags),
		"TagResource":                 on(s.tagResource),
		"UntagResource":               on(s.untagResource),
		"UpdateFunctionCode":          on(s.updateFunctionCode),
		"UpdateFunctionConfiguration": on(s.updateFunctionConfiguration),
	}
}

// resolve reads a function reference and the qualifier beside it, and makes
// sure that they are of this region and the caller's account. Qualifier is
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
	if f.Account != "" && f.Account != c.AccountID {
		return f, awserr.New("AccessDeniedException",
			"User: %s is not authorized to perform: lambda:%s on resource: %s because no resource-based policy allows the lambda:%s action",
			c.PrincipalARN, action(c.op), f, action(c.op))
	}
	f.Account = c.AccountID
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
	if op.name == "Invoke" || op.name == streamOperation {
		return "InvokeFunction"
	}
	return op.name
}

// onlyLatest refuses qualifiers other than $LATEST: there are no versions and
// aliases yet, so none can exist.
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
