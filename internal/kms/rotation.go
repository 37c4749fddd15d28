package kms

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"hearth/internal/awserr"
)

// AWS's bounds of automatic rotation, in days, and of rotations on demand.
const (
	usualRotation = 365
	minRotation   = 90
	maxRotation   = 2560
	maxOnDemand   = 25
)

// nextMaterial returns a key's materials with a new one behind them.
func (s *Service) nextMaterial(ctx context.Context, k *key, now time.Time, onDemand bool) ([]material, error) {
	m := material{Version: uint32(len(k.Materials)) + 1, Created: now, OnDemand: onDemand} //nolint:gosec // at most maxMaterials
	if m.Version > maxMaterials {
		return nil, awserr.New("LimitExceededException", "%s was rotated %d times, which is the most.", k.arn(), maxMaterials)
	}
	raw := make([]byte, chacha20poly1305.KeySize)
	rand.Read(raw) // never fails: it ends the program instead
	var err error
	if m.Sealed, err = s.cfg.Keeper.Seal(ctx, materialBinding(k.Account, k.ID, m.Version), raw); err != nil {
		return nil, fmt.Errorf("seal the material of %s: %w", k.arn(), err)
	}
	return append(slices.Clone(k.Materials), m), nil
}

// rotate adds material to a key, and counts its next rotation from now.
func (s *Service) rotate(ctx context.Context, k *key, now time.Time, onDemand bool) (err error) {
	if k.Materials, err = s.nextMaterial(ctx, k, now, onDemand); err != nil {
		return err
	}
	if k.Rotation.Enabled && !onDemand {
		k.Rotation.Next = now.Add(time.Duration(k.Rotation.Days) * day)
	}
	return nil
}

type rotationInput struct {
	KeyID string `json:"KeyId"`
	Days  *int   `json:"RotationPeriodInDays"`
}

func enableKeyRotation(_ context.Context, c *call, in *rotationInput) (*request, error) {
	days := usualRotation
	if in.Days != nil {
		days = *in.Days
	}
	if days < minRotation || days > maxRotation {
		return nil, constraint(strconv.Itoa(days), "rotationPeriodInDays",
			fmt.Sprintf("Member must have value between %d and %d", minRotation, maxRotation))
	}
	return c.change(in.KeyID, func(now *key) (*key, error) {
		now.Rotation = rotation{Enabled: true, Days: days, Next: c.now.Add(time.Duration(days) * day)}
		return now, mustBeEnabled(now)
	}, nil)
}

func disableKeyRotation(_ context.Context, c *call, in *keyInput) (*request, error) {
	return c.change(in.KeyID, func(now *key) (*key, error) {
		now.Rotation = rotation{}
		return now, mustBeEnabled(now)
	}, nil)
}

func getKeyRotationStatus(_ context.Context, c *call, in *keyInput) (*request, error) {
	k, err := c.findKey(in.KeyID)
	if err != nil {
		return nil, err
	}
	return &request{access: []Access{c.on(k, nil)}, run: func(context.Context) (any, error) {
		out := struct {
			KeyID    string `json:"KeyId"`
			Enabled  bool   `json:"KeyRotationEnabled"`
			Days     int    `json:"RotationPeriodInDays,omitempty"`
			NextDate *epoch `json:"NextRotationDate,omitempty"`
		}{KeyID: k.arn(), Enabled: k.Rotation.Enabled, Days: k.Rotation.Days}
		if k.Rotation.Enabled {
			next := epoch(k.Rotation.Next)
			out.NextDate = &next
		}
		return out, nil
	}}, nil
}

func rotateKeyOnDemand(_ context.Context, c *call, in *keyInput) (*request, error) {
	k, err := c.findKey(in.KeyID)
	if err != nil {
		return nil, err
	}
	if k.Manager == managedByAWS {
		return nil, denied(c.Identity, c.action, k.arn())
	}
	return &request{access: []Access{c.on(k, nil)}, run: func(ctx context.Context) (any, error) {
		k, err := c.s.edit(ctx, c, k, func(now *key) (*key, error) {
			if err := mustBeEnabled(now); err != nil {
				return nil, err
			}
			asked := 0
			for _, m := range now.Materials {
				if m.OnDemand {
					asked++
				}
			}
			if asked >= maxOnDemand {
				return nil, awserr.New("LimitExceededException", "On-demand rotations quota exceeded limit of %d for keyId %s.", maxOnDemand, now.arn())
			}
			return now, c.s.rotate(ctx, now, c.now, true)
		})
		if err != nil {
			return nil, err
		}
		return map[string]string{"KeyId": k.arn()}, nil
	}}, nil
}

type listRotationsInput struct {
	listInput
	KeyID string `json:"KeyId"`
}

func listKeyRotations(_ context.Context, c *call, in *listRotationsInput) (*request, error) {
	p, err := in.page(maxPage, defaultPage)
	if err != nil {
		return nil, err
	}
	k, err := c.findKey(in.KeyID)
	if err != nil {
		return nil, err
	}
	type entry struct {
		KeyID string `json:"KeyId"`
		Date  epoch  `json:"RotationDate"`
		Type  string `json:"RotationType"`
	}
	begin, err := strconv.Atoi("0" + p.after)
	if err != nil {
		return nil, awserr.New("InvalidMarkerException", "The marker is not one that this operation returned.")
	}
	return &request{access: []Access{c.on(k, nil)}, run: func(context.Context) (any, error) {
		// The first material came with the key, and is no rotation.
		rotations := k.Materials[1:]
		list, next := []entry{}, ""
		for i := min(begin, len(rotations)); i < len(rotations); i++ {
			if len(list) == p.limit {
				next = strconv.Itoa(i)
				break
			}
			kind := "AUTOMATIC"
			if rotations[i].OnDemand {
				kind = "ON_DEMAND"
			}
			list = append(list, entry{k.arn(), epoch(rotations[i].Created), kind})
		}
		return struct {
			Rotations []entry `json:"Rotations"`
			pageAnswer
		}{list, answerPage(next)}, nil
	}}, nil
}
