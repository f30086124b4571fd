package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Values of [Error.Type].
const (
	TypeInvalidRequest    = "invalid_request_error"
	TypeAuthentication    = "authentication_error"
	TypePermission        = "permission_error"
	TypeInsufficientQuota = "insufficient_quota"
	TypeRateLimit         = "rate_limit_error"
	TypeServer            = "server_error"
	TypeAPI               = "api_error"
)

// Values of [Error.Code]. The lower ones are the network's own.
const (
	CodeInvalidAPIKey     = "invalid_api_key"
	CodeModelNotFound     = "model_not_found"
	CodeMethod            = "method_not_supported"
	CodeRateLimit         = "rate_limit_exceeded"
	CodeInsufficientQuota = "insufficient_quota"
	CodeInvalidJSON       = "invalid_json"
	CodeInvalidType       = "invalid_type"
	CodeInvalidValue      = "invalid_value"
	CodeMissing           = "missing_required_parameter"
	CodeDuplicate         = "duplicate_parameter"
	CodeUnsupportedMedia  = "unsupported_media_type"

	CodeTooLarge       = "request_too_large"
	CodeTimeout        = "timeout"
	CodeNoProxy        = "no_proxy"
	CodeNoWorker       = "no_worker"
	CodeChainAway      = "chain_away"
	CodePriceCeiling   = "price_above_ceiling"
	CodeConnectionLost = "connection_lost"
	CodeBadAnswer      = "bad_answer"
	CodeRefused        = "refused"
	CodeSlowReader     = "slow_reader"
	CodeSpendingLimit  = "spending_limit"
	CodeCancelled      = "cancelled"
	CodeInternal       = "internal_error"
)

// StatusClientClosed is the status, borrowed from nginx, of a request whose
// caller went away. Nobody is left to read it; statistics are.
const StatusClientClosed = 499

// Error is the API's error object and the HTTP status it travels with. It must
// never carry a prompt, an answer or a key.
type Error struct {
	// Status is the HTTP status; 0 means 500.
	Status int
	// Message is for people.
	Message string
	// Type and Code are for programs; an empty Code is written as null.
	Type, Code string
	// Param names the request member at fault; empty is written as null.
	Param string
	// RetryAfter, if above 0, becomes a Retry-After header in whole seconds,
	// rounded up.
	RetryAfter time.Duration
	// Header holds more headers for the answer, or is nil.
	Header http.Header
}

// Error returns the message with its code.
func (e *Error) Error() string {
	if e.Code == "" {
		return e.Message
	}
	return e.Code + ": " + e.Message
}

// StatusCode returns Status, or 500 if that cannot be written as an answer.
func (e *Error) StatusCode() int {
	if e.Status < 400 || e.Status > 599 {
		return http.StatusInternalServerError
	}
	return e.Status
}

type errorBody struct {
	Error errorFields `json:"error"`
}

type errorFields struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// JSON returns {"error":{…}} on one line, without a line feed.
func (e *Error) JSON() []byte {
	body := errorBody{errorFields{Message: e.Message, Type: e.Type}}
	if body.Error.Type == "" {
		body.Error.Type = TypeServer
	}
	if e.Param != "" {
		body.Error.Param = &e.Param
	}
	if e.Code != "" {
		body.Error.Code = &e.Code
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.Encode(body) // strings only: cannot fail
	return bytes.TrimRight(out.Bytes(), "\n")
}

// SetHeader writes the error's headers, content type and length for a body of
// n bytes into h.
func (e *Error) SetHeader(h http.Header, n int) {
	for name, values := range e.Header {
		h[name] = values
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(n))
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(e.RetryAfter.Seconds())), 10))
	}
}

// WriteError answers a request with e.
func WriteError(w http.ResponseWriter, e *Error) {
	body := e.JSON()
	e.SetHeader(w.Header(), len(body))
	w.WriteHeader(e.StatusCode())
	w.Write(body)
}

// AsError finds the [Error] in err's chain. A deadline becomes 504, a
// cancellation 499. Anything else becomes "internal", and its text, which may
// hold what the caller must not see, is left to the log.
func AsError(err error) *Error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout("the request ran out of time")
	case errors.Is(err, context.Canceled):
		return &Error{Status: StatusClientClosed, Type: TypeInvalidRequest, Code: CodeCancelled, Message: "the caller went away"}
	}
	return &Error{Status: 500, Type: TypeServer, Code: CodeInternal, Message: "internal error; the log has the details"}
}

// BadRequest is a 400 that blames the request member param (may be empty).
func BadRequest(param, code, format string, args ...any) *Error {
	return &Error{Status: 400, Type: TypeInvalidRequest, Param: param, Code: code, Message: fmt.Sprintf(format, args...)}
}

// ModelNotFound is the 404 for a model that nobody serves.
func ModelNotFound(model string) *Error {
	return &Error{Status: 404, Type: TypeInvalidRequest, Param: "model", Code: CodeModelNotFound,
		Message: fmt.Sprintf("the model '%s' does not exist or nobody serves it; GET /v1/models lists what is served", model)}
}

// UnknownURL is the 404 for a route that does not exist.
func UnknownURL(method, path string) *Error {
	return &Error{Status: 404, Type: TypeInvalidRequest, Message: fmt.Sprintf("Invalid URL (%s %s)", method, path)}
}

// MethodNotAllowed is the 405; allow goes into the Allow header.
func MethodNotAllowed(method, path, allow string) *Error {
	return &Error{Status: 405, Type: TypeInvalidRequest, Code: CodeMethod, Header: http.Header{"Allow": {allow}},
		Message: fmt.Sprintf("Not allowed to %s on %s (want %s)", method, path, allow)}
}

// InvalidAPIKey is the 401 for a missing or wrong key. The type is the one
// that the API itself uses.
func InvalidAPIKey() *Error {
	return &Error{Status: 401, Type: TypeInvalidRequest, Code: CodeInvalidAPIKey, Header: http.Header{"Www-Authenticate": {"Bearer"}},
		Message: "missing or incorrect API key; send one of this gateway's keys as 'Authorization: Bearer KEY'"}
}

// TooLarge is the 413 for a body above limit bytes. size < 0 means unknown.
func TooLarge(limit, size int64) *Error {
	got := fmt.Sprintf("%d bytes", size)
	if size < 0 {
		got = "more"
	}
	return &Error{Status: 413, Type: TypeInvalidRequest, Code: CodeTooLarge,
		Message: fmt.Sprintf("request body too large: limit %d bytes, got %s; send a smaller request", limit, got)}
}

// Timeout is the 504.
func Timeout(format string, args ...any) *Error {
	return &Error{Status: 504, Type: TypeServer, Code: CodeTimeout, Message: fmt.Sprintf(format, args...)}
}

// Unavailable is the 503 that asks for a retry.
func Unavailable(code string, retry time.Duration, format string, args ...any) *Error {
	return &Error{Status: 503, Type: TypeServer, Code: code, RetryAfter: retry, Message: fmt.Sprintf(format, args...)}
}

// BadGateway is the 502: the network, not the request, is at fault.
func BadGateway(code, format string, args ...any) *Error {
	return &Error{Status: 502, Type: TypeServer, Code: code, Message: fmt.Sprintf(format, args...)}
}

// TooManyRequests is the 429: capacity exists and is busy.
func TooManyRequests(retry time.Duration, format string, args ...any) *Error {
	return &Error{Status: 429, Type: TypeRateLimit, Code: CodeRateLimit, RetryAfter: retry, Message: fmt.Sprintf(format, args...)}
}

// PaymentRequired is the 402: the balance does not cover the request.
func PaymentRequired(format string, args ...any) *Error {
	return &Error{Status: 402, Type: TypeInsufficientQuota, Code: CodeInsufficientQuota, Message: fmt.Sprintf(format, args...)}
}

// SpendingLimit is the 402 for a request beyond what the operator lets the
// gateway spend.
func SpendingLimit(why string) *Error {
	return &Error{Status: 402, Type: TypeInsufficientQuota, Code: CodeSpendingLimit, Message: why}
}

// PriceAboveCeiling is the 409: workers exist, all dearer than the caller's
// max_coefficient.
func PriceAboveCeiling(cheapest, ceiling int32) *Error {
	return &Error{Status: 409, Type: TypeInvalidRequest, Param: "max_coefficient", Code: CodePriceCeiling,
		Message: fmt.Sprintf("cheapest worker now has coefficient %d, the request allows %d; raise max_coefficient or wait", cheapest, ceiling)}
}
