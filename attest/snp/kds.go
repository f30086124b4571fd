package snp

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/opencocoon/cocoon/attest/collateral"
)

// kdsAddress is AMD's Key Distribution Service.
const kdsAddress = "https://kdsintf.amd.com"

// KDS fetches collateral from AMD's Key Distribution Service, or from a
// caching service with the same paths: base is its address, such as
// https://localhost:8082. An empty base is AMD. AMD answers few requests of
// one address, so wrap it in [Cached].
func KDS(base string, client *http.Client) Collateral {
	if base == "" {
		base = kdsAddress
	}
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second}
	}
	return &service{base: strings.TrimSuffix(base, "/"), client: client, chips: rate.NewLimiter(rate.Every(chipEvery), chipBurst)}
}

// A peer that sends no certificate makes us ask for whatever chip it invents.
const (
	chipEvery = 10 * time.Second
	chipBurst = 16
)

type service struct {
	base   string
	client *http.Client
	chips  *rate.Limiter

	mu    sync.Mutex
	quiet time.Time // guarded by mu: until when the service wants to be left in peace
}

func (s *service) Get(ctx context.Context, path string) ([]byte, error) {
	it, err := locate(path)
	if err != nil {
		return nil, err
	}
	if err := s.mayAsk(it); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		retry := retryAfter(resp.Header.Get("Retry-After"))
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
			s.pause(max(retry, minRetry))
		}
		return nil, &StatusError{path, resp.Status, retry}
	}
	return collateral.Read(resp.Body)
}

// mayAsk keeps to what the service bears.
func (s *service) mayAsk(it item) error {
	s.mu.Lock()
	wait := time.Until(s.quiet)
	s.mu.Unlock()
	switch {
	case wait > 0:
		return &StatusError{it.file, "not asked: the service is busy", wait}
	case it.chip && !s.chips.Allow():
		return &StatusError{it.file, "not asked: too many chips at a time", 0}
	}
	return nil
}

func (s *service) pause(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quiet = time.Now().Add(d)
}

// StatusError is an answer of the service that is none.
type StatusError struct {
	Path, Status string
	Retry        time.Duration // how long it wants to be left in peace; zero: it does not say
}

func (e *StatusError) Error() string { return fmt.Sprintf("snp: %s: %s", e.Path, e.Status) }

// retryAfter reads the header in seconds; a date in it says nothing to us.
func retryAfter(header string) time.Duration {
	n, err := strconv.Atoi(header)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxRetry)
}
