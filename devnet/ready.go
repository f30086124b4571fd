package devnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/openai"
)

const (
	// startTimeout is far beyond what a start takes, proofs of work included.
	startTimeout = time.Minute
	pollEvery    = 50 * time.Millisecond
	// A start that takes longer than this says what it waits for.
	patience = 2 * time.Second
)

// waitReady returns when every worker serves at every proxy, the client has a
// connection to every proxy, and with a key manager requests can be encrypted.
func (n *Network) waitReady(ctx context.Context, p *plan) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("not ready in a minute"))
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	said := ""
	for began := time.Now(); ; {
		missing := n.missing(ctx, client, p)
		if missing == "" {
			return nil
		}
		if time.Since(began) > patience && missing != said {
			n.config.Progress("waiting: " + missing)
			said, began = missing, time.Now()
		}
		select {
		case err := <-n.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("devnet: %w: %s; the logs in %s say why", context.Cause(ctx), missing, p.path(logDir))
		case <-time.After(pollEvery):
		}
	}
}

// missing says what is not there yet, empty if nothing.
func (n *Network) missing(ctx context.Context, client *http.Client, p *plan) string {
	for _, proxy := range p.proxies {
		var stats struct {
			Workers []struct{ Enabled bool } `json:"worker_connections"`
			Local   struct {
				Keys int `json:"encryption_keys"`
			} `json:"localconfig"`
		}
		if err := getJSON(ctx, client, proxy.info.HTTP+"/jsonstats", &stats); err != nil {
			return proxy.info.Name + " does not answer yet"
		}
		enabled := 0
		for _, w := range stats.Workers {
			if w.Enabled {
				enabled++
			}
		}
		if enabled < n.config.Workers {
			return fmt.Sprintf("%d of %d workers are ready at %s", enabled, n.config.Workers, proxy.info.Name)
		}
		if n.config.Keys && stats.Local.Keys == 0 {
			return proxy.info.Name + " has no key of field encryption yet"
		}
	}
	var stats struct {
		Root struct {
			CanEncrypt bool `json:"can_encrypt"`
		} `json:"root_contract_config"`
		Proxies []struct {
			Ready bool `json:"is_ready"`
		} `json:"proxy_connections"`
	}
	if err := getJSON(ctx, client, p.client.info.HTTP+"/jsonstats", &stats); err != nil {
		return "the client does not answer yet"
	}
	if n.config.Keys && !stats.Root.CanEncrypt {
		return "the registry lists no key of field encryption yet"
	}
	ready := 0
	for _, c := range stats.Proxies {
		if c.Ready {
			ready++
		}
	}
	if ready < n.config.Proxies {
		return fmt.Sprintf("the client is connected to %d of %d proxies", ready, n.config.Proxies)
	}
	var models openai.ModelList
	if err := getJSON(ctx, client, p.client.info.HTTP+"/v1/models", &models); err != nil {
		return "the client cannot list models yet"
	}
	if !slices.ContainsFunc(models.Data, func(m openai.Model) bool { return m.ID == n.info.Model }) {
		return "the client does not see the model " + n.info.Model + " yet"
	}
	return ""
}

func getJSON(ctx context.Context, client *http.Client, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %s", url, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 16<<20)).Decode(v)
}
