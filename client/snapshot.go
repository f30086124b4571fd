package client

import (
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/stats"
	"github.com/opencocoon/cocoon/tl"
)

// counts is what happened since the start.
type counts struct {
	queries, success, failed, cancelled, retried, resumed, late, inflated *stats.Counter
	bytesReceived, bytesSent                                              *stats.Counter
	tokens                                                                [4]*stats.Counter // adjusted: prompt, cached, completion, reasoning
	time, proxyTime, workerTime                                           *stats.Timer
}

func newCounts(now func() time.Time) *counts {
	c := &counts{time: stats.NewTimer(now), proxyTime: stats.NewTimer(now), workerTime: stats.NewTimer(now)}
	for _, counter := range []**stats.Counter{
		&c.queries, &c.success, &c.failed, &c.cancelled, &c.retried, &c.resumed, &c.late, &c.inflated, &c.bytesReceived, &c.bytesSent,
		&c.tokens[0], &c.tokens[1], &c.tokens[2], &c.tokens[3],
	} {
		*counter = stats.NewCounter(now)
	}
	return c
}

func (c *counts) addTokens(used *tl.TokensUsed) {
	for i, n := range []int64{used.PromptTokensUsed, used.CachedTokensUsed, used.CompletionTokensUsed, used.ReasoningTokensUsed} {
		if n > 0 { // a peer's word
			c.tokens[i].Add(n)
		}
	}
}

func (c *counts) addTimes(info *tl.ClientQueryFinalInfo) {
	c.proxyTime.Add(span(info.ProxyStartTime, info.ProxyEndTime))
	c.workerTime.Add(span(info.WorkerStartTime, info.WorkerEndTime))
}

// span is end − start of a peer's clock, or 0 if that makes no sense.
func span(start, end float64) time.Duration {
	if seconds := end - start; seconds > 0 && seconds < 86400 {
		return time.Duration(seconds * float64(time.Second))
	}
	return 0
}

// Snapshot is the state of a client at one moment. JSON names are the
// reference's (roles.md §3.7) where it has them.
type Snapshot struct {
	Status      StatusInfo       `json:"status"`
	Stats       StatsInfo        `json:"stats"`
	Local       LocalInfo        `json:"localconf"`
	Root        RootInfo         `json:"root_contract_config"`
	Connections []ConnectionInfo `json:"proxy_connections"`
	Accounts    []AccountInfo    `json:"proxies"`
	Spending    SpendingInfo     `json:"spending"`
	// Chain is how the chain is seen; nil without one.
	Chain *contract.View `json:"chain,omitempty"`
	// Settlement is the money on the chain, if there is one.
	Settlement any `json:"settlement,omitempty"`
}

// SpendingInfo is what the last 60 minutes cost, running requests with what
// they may cost, and what the operator allows; nanoTON, 0 is no limit.
type SpendingInfo struct {
	Hour       coin.Nano            `json:"hour"`
	ByKey      map[string]coin.Nano `json:"hour_by_key"`
	MaxRequest coin.Nano            `json:"max_request"`
	MaxHour    coin.Nano            `json:"max_hour"`
	MaxKeyHour coin.Nano            `json:"max_key_hour"`
}

func (c *Client) spending() SpendingInfo {
	all, by := c.cfg.Tally.Hour()
	l := c.cfg.Tally.Limits()
	return SpendingInfo{Hour: all, ByKey: by, MaxRequest: l.Request, MaxHour: l.Hour, MaxKeyHour: l.KeyHour}
}

// StatusInfo says how the client is.
type StatusInfo struct {
	Enabled     bool  `json:"enabled"`
	Ready       int   `json:"ready_proxies"`
	Running     int64 `json:"running_queries"`
	MemoryUsed  int64 `json:"memory_used"`
	MemoryLimit int64 `json:"memory_limit"`
}

// StatsInfo is what happened, each as total and rates.
type StatsInfo struct {
	Queries       stats.Values `json:"queries"`
	Success       stats.Values `json:"success"`
	Failed        stats.Values `json:"failed"`
	Cancelled     stats.Values `json:"cancelled"`
	Retried       stats.Values `json:"retried"`
	Resumed       stats.Values `json:"resumed"`
	LateParts     stats.Values `json:"late_parts"`
	Inflated      stats.Values `json:"inflated_reports"` // of usage, beyond what the answer can cost
	BytesReceived stats.Values `json:"bytes_received"`   // request bodies
	BytesSent     stats.Values `json:"bytes_sent"`       // answer bodies
	Time          stats.Values `json:"time"`             // seconds, summed over queries
	ProxyTime     stats.Values `json:"proxy_time"`
	WorkerTime    stats.Values `json:"worker_time"`
	// Adjusted tokens of finished answers, as the proxies counted them.
	PromptTokens     stats.Values `json:"prompt_tokens_used"`
	CachedTokens     stats.Values `json:"cached_tokens_used"`
	CompletionTokens stats.Values `json:"completion_tokens_used"`
	ReasoningTokens  stats.Values `json:"reasoning_tokens_used"`
}

// LocalInfo is who the client is.
type LocalInfo struct {
	RootAddress  string `json:"root_address"`
	OwnerAddress string `json:"owner_address"`
	CheckImages  bool   `json:"check_image_hashes"`
	Encryption   string `json:"encryption"`
	// KeysKept is how the secrets of this node lie on disk, for people.
	KeysKept string `json:"keys_kept,omitempty"`
}

// RootInfo is the registry snapshot in use.
type RootInfo struct {
	Version           uint32 `json:"version"`
	ParamsVersion     uint32 `json:"params_version"`
	StructVersion     uint8  `json:"struct_version"`
	IsTest            bool   `json:"is_test"`
	PricePerToken     uint64 `json:"price_per_token"`
	WorkerFeePerToken uint64 `json:"worker_fee_per_token"`
	Proxies           int    `json:"registered_proxies_cnt"`
	CanEncrypt        bool   `json:"can_encrypt"` // it lists a key that fields can be encrypted for
}

// ConnectionInfo is one proxy that the client wants to be connected to.
type ConnectionInfo struct {
	Address     string          `json:"address"`
	Ready       bool            `json:"is_ready"`
	Phase       string          `json:"phase"`
	Error       string          `json:"error,omitempty"` // why it is not ready
	Contract    string          `json:"proxy_sc_address,omitempty"`
	Version     int32           `json:"proto_version"`
	CanCancel   bool            `json:"can_cancel"`
	Running     int64           `json:"running_queries"`
	Attestation string          `json:"attestation,omitempty"`
	Verdict     *attest.Verdict `json:"verdict,omitempty"`
	Since       int64           `json:"since,omitempty"` // Unix seconds
}

// AccountInfo is what one proxy says we owe it, in adjusted tokens.
type AccountInfo struct {
	Contract  string `json:"sc_address"` // ours with that proxy
	PublicKey string `json:"proxy_public_key"`
	Signed    int64  `json:"tokens_used_proxy_committed_to_blockchain"` // verified
	Stored    int64  `json:"tokens_used_proxy_committed_to_db"`
	Counted   int64  `json:"tokens_used_proxy_max"`
	Fell      int64  `json:"totals_that_fell"`
	// Own is what we have counted ourselves.
	Own ledger.Counted `json:"own_count"`
}
