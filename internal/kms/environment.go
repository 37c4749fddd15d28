package kms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"hearth/internal/awserr"
	"hearth/internal/sigv4"
)

// contextName is the name of the function's ARN in the encryption context that
// an environment is bound to, as AWS's Lambda has it.
const contextName = "aws:lambda:FunctionArn"

// maxEnvironment is more than any environment has, sealed or not: AWS allows
// 4 KB, and a byte may take six in JSON.
const maxEnvironment = 64 << 10

// SealEnvironment seals a function's variables by the key of an ARN, or by the
// account's own for Lambda if it is empty. They open for the same function
// only. An *awserr.Error says in Lambda's words what is wrong with the key.
func (s *Service) SealEnvironment(ctx context.Context, account, functionARN, keyARN string, variables map[string]string) ([]byte, error) {
	k, err := s.environmentKey(ctx, account, keyARN)
	if err != nil {
		return nil, cannotSeal(err)
	}
	plaintext, err := json.Marshal(variables)
	if err != nil {
		return nil, fmt.Errorf("seal an environment: %w", err)
	}
	if len(plaintext) > maxEnvironment {
		return nil, fmt.Errorf("seal an environment: %d bytes", len(plaintext))
	}
	return s.encrypt(ctx, k, forEnvironment, map[string]string{contextName: functionARN}, plaintext)
}

// environmentKey finds the key that seals an account's environments.
func (s *Service) environmentKey(ctx context.Context, account, keyARN string) (*key, error) {
	if keyARN == "" {
		return s.managedKey(ctx, account)
	}
	owner := sigv4.Identity{Credential: sigv4.Credential{AccountID: account, PrincipalARN: "arn:aws:iam::" + account + ":root"}}
	c := &call{Identity: owner, s: s, now: s.now(), action: "kms:CreateGrant"}
	k, err := c.findKey(keyARN)
	if err != nil {
		return nil, err
	}
	if k.Account != account {
		return nil, denied(owner, c.action, k.arn())
	}
	return k, mustBeEnabled(k)
}

// OpenEnvironment opens what SealEnvironment sealed for the same function. An
// *awserr.Error says in Lambda's words why that is not possible.
func (s *Service) OpenEnvironment(ctx context.Context, account, functionARN string, sealed []byte) (map[string]string, error) {
	variables, err := s.openEnvironment(ctx, account, functionARN, sealed)
	if err != nil {
		if _, ok := awserr.As(err); !ok {
			s.cfg.Log.LogAttrs(ctx, slog.LevelError, "kms: an environment cannot be opened",
				slog.String("function", functionARN), slog.Any("error", err))
		}
		return nil, cannotOpen(err)
	}
	return variables, nil
}

func (s *Service) openEnvironment(ctx context.Context, account, functionARN string, sealed []byte) (map[string]string, error) {
	h, ok := readHeader(sealed)
	if !ok || len(sealed) > overhead+maxEnvironment {
		return nil, badCiphertext()
	}
	if h.account != account {
		return nil, inaccessible()
	}
	k, ok := s.keys.Lookup(tableKey(h.account, h.id))
	if !ok || k.gone(s.now()) {
		return nil, keyNotFound(keyARN(s.cfg.Region, h.account, h.id))
	}
	if err := mustBeEnabled(k); err != nil {
		return nil, err
	}
	plaintext, err := s.decrypt(ctx, k, forEnvironment, map[string]string{contextName: functionARN}, sealed)
	if err != nil {
		return nil, err
	}
	variables := map[string]string{}
	if err := json.Unmarshal(plaintext, &variables); err != nil {
		return nil, errors.New("the environment was opened and is not one") // its text stays out of the log
	}
	return variables, nil
}

// EnvironmentStale says that an environment was sealed by material of its key
// that is not the current one, so that it should be sealed anew when its
// function is next written.
func (s *Service) EnvironmentStale(sealed []byte) bool {
	h, ok := readHeader(sealed)
	if !ok {
		return false
	}
	k, ok := s.keys.Lookup(tableKey(h.account, h.id))
	return ok && h.version < k.current().Version
}

// AuthorizeEnvironment says whether a caller may do something with a function's
// environment under the key of an ARN: kms:Encrypt and kms:CreateGrant to set
// one, kms:Decrypt to see one. Nothing is asked for the account's own key: who
// may use Lambda may use it. An *awserr.Error refuses in Lambda's words.
func (s *Service) AuthorizeEnvironment(ctx context.Context, caller sigv4.Identity, d Describe, action, functionARN, keyARN string) error {
	if keyARN == "" {
		return nil
	}
	say := cannotSeal
	if action == "kms:Decrypt" {
		say = cannotOpen
	}
	c := &call{Identity: caller, s: s, now: s.now(), action: action}
	k, err := c.findKey(keyARN)
	if err != nil {
		return say(err)
	}
	access := c.using(action, k, keyARN, map[string]string{contextName: functionARN})
	access.Conditions["kms:ViaService"] = "lambda." + s.cfg.Region + ".amazonaws.com"
	if err := s.authorize(ctx, caller, d, access); err != nil {
		return say(err)
	}
	return nil
}

// cannotSeal is what Lambda says when a function is to have a key that it
// cannot use.
func cannotSeal(err error) error {
	e, ok := awserr.As(err)
	if !ok {
		return err
	}
	return awserr.New("InvalidParameterValueException", "Lambda was unable to configure access to your environment variables "+
		"because the KMS key is invalid for CreateGrant. Please check your KMS key settings. KMS Exception: %s KMS Message: %s", e.Code, e.Message)
}

// cannotOpen is what Lambda says when it cannot open an environment.
func cannotOpen(err error) error {
	e, ok := awserr.As(err)
	if !ok {
		e = awserr.New("KMSInternalException", "The key service failed; its log tells more.")
	}
	code, why := "KMSAccessDeniedException", "KMS access was denied"
	switch e.Code {
	case "NotFoundException":
		code, why = "KMSNotFoundException", "the KMS key was not found"
	case "DisabledException":
		code, why = "KMSDisabledException", "the KMS key used is disabled"
	case "KMSInvalidStateException":
		code, why = "KMSInvalidStateException", "the KMS key used is in an invalid state for Decrypt"
	}
	return awserr.New(code, "Lambda was unable to decrypt the environment variables because %s. "+
		"Please check the function's KMS key settings. KMS Exception: %s KMS Message: %s", why, e.Code, e.Message)
}
