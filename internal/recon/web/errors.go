package web

import (
	"errors"
	"net/http"

	"o3/internal/errs"
)

// Error is the body of an answer that is an error.
type Error struct {
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	Detail  string `json:"detail"`
	Status  int    `json:"status"`
}

// codes are the statuses of kinds. Others are faults of ours.
var codes = map[errs.Kind]int{
	errs.Invalid:          http.StatusBadRequest,
	errs.NoSuchVolume:     http.StatusNotFound,
	errs.NoSuchBucket:     http.StatusNotFound,
	errs.NoSuchKey:        http.StatusNotFound,
	errs.NoSuchSnapshot:   http.StatusNotFound,
	errs.Unauthenticated:  http.StatusUnauthorized,
	errs.Denied:           http.StatusForbidden,
	errs.TooMany:          http.StatusUnprocessableEntity,
	errs.Unavailable:      http.StatusServiceUnavailable,
	errs.SlowDown:         http.StatusServiceUnavailable,
	errs.NotImplemented:   http.StatusNotImplemented,
	errs.DeadlineExceeded: http.StatusGatewayTimeout,
}

// statusOf returns the status that an error is answered with.
func statusOf(err error) int {
	if status, ok := codes[errs.KindOf(err)]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// bodyOf returns what a user sees of an error.
func bodyOf(err error, status int) Error {
	body := Error{Kind: errs.KindOf(err).String(), Status: status}
	if e, ok := errors.AsType[*errs.Error](err); ok {
		body.Subject, body.Detail = e.Subject, e.Detail
	}
	return body
}
