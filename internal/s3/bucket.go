package s3

import (
	"context"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Put stores an object that is small enough to be sent at once. sum is the
// SHA-256 of its bytes: the server refuses others, if it checks signatures.
func (c *Client) Put(ctx context.Context, bucket, key string, b []byte, sum [sha256.Size]byte) error {
	path, err := objectPath(bucket, key)
	if err != nil {
		return err
	}
	if b == nil {
		b = []byte{}
	}
	return c.finish(ctx, request{method: http.MethodPut, path: path, body: b, sum: sum})
}

// Copy has the server copy an object within a bucket.
func (c *Client) Copy(ctx context.Context, bucket, from, to string) error {
	source, err := objectPath(bucket, from)
	if err != nil {
		return err
	}
	path, err := objectPath(bucket, to)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	resp, err := c.send(ctx, request{method: http.MethodPut, path: path, source: source})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	// The status is sent before the server has copied: an error may follow.
	if e, ok := parseError(b); ok {
		e.Status = resp.StatusCode
		return e
	}
	var doc struct {
		XMLName xml.Name `xml:"CopyObjectResult"`
	}
	if err := xml.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("%w: not the result of a copy: %w", ErrUnreachable, err)
	}
	return nil
}

// Delete removes an object. One that is not there is no error.
func (c *Client) Delete(ctx context.Context, bucket, key string) error {
	path, err := objectPath(bucket, key)
	if err != nil {
		return err
	}
	err = c.finish(ctx, request{method: http.MethodDelete, path: path, want: http.StatusNoContent})
	if e, ok := errors.AsType[*Error](err); ok && e.Code == "NoSuchKey" {
		return nil
	}
	return err
}

// finish sends a request whose answer says only that it succeeded.
func (c *Client) finish(ctx context.Context, r request) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// The connection can be used again once the answer has been read.
	_, _ = io.CopyN(io.Discard, resp.Body, maxError)
	return nil
}

// Listed is an object in a list.
type Listed struct {
	Key      string
	Size     int64
	Modified time.Time
}

// Page is a part of a list.
type Page struct {
	Objects []Listed
	// Prefixes are what keys have in common up to the delimiter.
	Prefixes []string
	// Next gets the next page; empty: this is the last.
	Next string
}

// maxPage bounds what is read of a page, of at most 1,000 keys.
const maxPage = 8 << 20

// List returns a page of the objects whose keys begin with prefix, or with a
// delimiter of what their keys have in common up to it. next is empty, or from
// the page before.
func (c *Client) List(ctx context.Context, bucket, prefix, delimiter, next string) (Page, error) {
	path, err := objectPath(bucket, "x") // checks the bucket
	if err != nil {
		return Page{}, err
	}
	query := "list-type=2&prefix=" + escape(prefix, false)
	if delimiter != "" {
		query += "&delimiter=" + escape(delimiter, false)
	}
	if next != "" {
		query += "&continuation-token=" + escape(next, false)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	resp, err := c.send(ctx, request{method: http.MethodGet, path: path[:len(path)-len("/x")], query: query})
	if err != nil {
		return Page{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxPage+1))
	if err != nil {
		return Page{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return parsePage(b)
}

func parsePage(b []byte) (Page, error) {
	if len(b) > maxPage {
		return Page{}, fmt.Errorf("%w: a list of more than %d bytes", ErrUnreachable, maxPage)
	}
	var doc struct {
		XMLName  xml.Name `xml:"ListBucketResult"`
		Contents []struct {
			Key          string    `xml:"Key"`
			Size         int64     `xml:"Size"`
			LastModified time.Time `xml:"LastModified"`
		} `xml:"Contents"`
		CommonPrefixes []struct {
			Prefix string `xml:"Prefix"`
		} `xml:"CommonPrefixes"`
		IsTruncated           bool   `xml:"IsTruncated"`
		NextContinuationToken string `xml:"NextContinuationToken"`
	}
	if err := xml.Unmarshal(b, &doc); err != nil {
		return Page{}, fmt.Errorf("%w: not a list: %w", ErrUnreachable, err)
	}
	var page Page
	for _, o := range doc.Contents {
		page.Objects = append(page.Objects, Listed{Key: o.Key, Size: o.Size, Modified: o.LastModified})
	}
	for _, p := range doc.CommonPrefixes {
		page.Prefixes = append(page.Prefixes, p.Prefix)
	}
	if doc.IsTruncated {
		if doc.NextContinuationToken == "" {
			return Page{}, fmt.Errorf("%w: a list that goes on without saying where", ErrUnreachable)
		}
		page.Next = doc.NextContinuationToken
	}
	return page, nil
}

// Size returns the size of an object, or -1 if there is none.
func (c *Client) Size(ctx context.Context, bucket, key string) (int64, error) {
	path, err := objectPath(bucket, key)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	resp, err := c.send(ctx, request{method: http.MethodHead, path: path})
	if err != nil {
		// An answer to HEAD has no body that could say more. A bucket that is
		// missing shows when something is put there.
		if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusNotFound {
			return -1, nil
		}
		return 0, err
	}
	defer resp.Body.Close()
	return resp.ContentLength, nil
}
