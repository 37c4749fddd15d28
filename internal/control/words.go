package control

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"hearth/internal/archive"
	"hearth/internal/awserr"
	"hearth/internal/function"
	"hearth/internal/objectstore"
	"hearth/internal/table"
)

// errStopped is the cause of what ends because of Stop.
var errStopped = errors.New("the control plane is stopping")

// Reasons of a function's state, in AWS's words.
const (
	creatingReason = "The function is being created."
	creatingCode   = "Creating"
	internalReason = "Hearth could not prepare the function; the server's log tells why. Update the function to try again."
	internalCode   = "InternalError"
)

// PrepareError is a failure to prepare that the function's owner is to see.
type PrepareError struct {
	// Code is one of AWS's StateReasonCodes.
	Code string
	// Reason says what is wrong and what to do.
	Reason string
}

func (e *PrepareError) Error() string { return e.Code + ": " + e.Reason }

func (s *Service) arn(account, name string) string {
	r := function.Record{Region: s.cfg.Region, Account: account, Name: name}
	return r.ARN()
}

func (s *Service) notFound(account, name string) error {
	return awserr.New("ResourceNotFoundException", "Function not found: %s", s.arn(account, name))
}

// notQualified is notFound for a name with a qualifier.
func (s *Service) notQualified(account, name, qualifier string) error {
	if qualifier == "" {
		return s.notFound(account, name)
	}
	return awserr.New("ResourceNotFoundException", "Function not found: %s:%s", s.arn(account, name), qualifier)
}

// checkUpdatable refuses changes of code and configuration that AWS refuses.
func checkUpdatable(r *function.Record, revisionID string) error {
	if revisionID != "" && revisionID != r.RevisionID {
		return staleRevision()
	}
	if r.State == function.Pending {
		return awserr.New("ResourceConflictException",
			"The operation cannot be performed at this time. The function is currently in the following state: Pending")
	}
	if r.LastUpdateStatus == function.UpdateInProgress {
		return awserr.New("ResourceConflictException",
			"The operation cannot be performed at this time. An update is in progress for resource: %s", r.ARN())
	}
	return nil
}

// archiveError says in AWS's words why an archive was refused.
func archiveError(err error, l archive.Limits) error {
	const words = "Could not unzip uploaded file. Please check your file, then try to upload again."
	switch {
	case errors.Is(err, archive.ErrTooLarge):
		return fmt.Errorf("%w: %w", awserr.New("InvalidParameterValueException", "Unzipped size must be smaller than %d bytes", l.Bytes), err)
	case errors.Is(err, archive.ErrEmpty):
		return fmt.Errorf("%w: %w", awserr.New("InvalidParameterValueException", "Uploaded file must be a non-empty zip"), err)
	case errors.Is(err, archive.ErrInvalid):
		return fmt.Errorf("%w: %w", awserr.New("InvalidParameterValueException", "%s Cause: %v", words, err), err)
	}
	return err
}

// storeError says what a caller can do about a store that fails.
func storeError(err error) error {
	switch {
	case errors.Is(err, table.ErrTooLarge):
		return fmt.Errorf("%w: %w", awserr.New("ServiceQuotaExceededException",
			"What belongs to the function does not fit into its record (1 MiB). Remove aliases, policies or URLs that are not needed."), err)
	case errors.Is(err, objectstore.ErrFull), errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: %w", awserr.New("ServiceException",
			"Hearth's disk is full; nothing was changed. Free some space where its data directory is, then try again."), err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, rpctypes.ErrTimeout):
		return fmt.Errorf("%w: %w", awserr.New("ServiceException",
			"The control plane's store does not answer. Look whether the change was made, then try again."), err)
	}
	return err
}
