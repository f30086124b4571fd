package nvidia

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// NVIDIAIssuer is the name of NVIDIA's attestation service in its tokens, and
// its address.
const NVIDIAIssuer = "https://nras.attestation.nvidia.com"

const (
	maxToken     = 256 << 10
	tokenSubject = "NVIDIA-PLATFORM-ATTESTATION"
	tokenVersion = "3." // of the claims; what comes after does not matter
)

// Names of checks that only tokens have.
const (
	CheckIssuer  = "issuer"
	CheckTime    = "time"    // the token holds now
	CheckResult  = "result"  // the service's own
	CheckModules = "modules" // the GPUs' tokens are those that the first one names
	CheckClaims  = "claims"  // each thing that the service looked at is in order
)

// TokenVerifier judges the tokens that NVIDIA's attestation service signs
// about GPUs, instead of the GPUs' own evidence. The service then says what
// [Verifier] would find out, and must be believed.
type TokenVerifier struct {
	// Keys has the service's keys; only its Keys is asked. What it returns is
	// believed, so it must be a bundle of the operator's or come over TLS.
	Keys Collateral
	// Issuer is the service; empty: NVIDIA's.
	Issuer string
	// Count is how many GPUs there must be; 0 is any number.
	Count int
}

var _ evidence.Verifier = (*TokenVerifier)(nil)

// common are the claims of every token; times in seconds since 1970.
type common struct {
	Issuer    string `json:"iss"`
	NotBefore int64  `json:"nbf"`
	IssuedAt  int64  `json:"iat"`
	Expires   int64  `json:"exp"`
	Nonce     string `json:"eat_nonce"`
}

type wholeClaims struct {
	common
	Subject string                        `json:"sub"`
	Version string                        `json:"x-nvidia-ver"`
	Result  bool                          `json:"x-nvidia-overall-att-result"`
	Modules map[string][2]json.RawMessage `json:"submods"`
}

// gpuClaims are those that name a GPU; the others are looked up by name.
type gpuClaims struct {
	common
	UEID   string `json:"ueid"` // number of the first certificate, decimal
	Model  string `json:"hwmodel"`
	Driver string `json:"x-nvidia-gpu-driver-version"`
	VBIOS  string `json:"x-nvidia-gpu-vbios-version"`
}

// wantedClaims are what each GPU's token must say, in JSON. The last two the
// reference does not ask for.
var wantedClaims = map[string]string{
	"measres":                                               `"success"`,
	"x-nvidia-gpu-arch-check":                               "true",
	"x-nvidia-gpu-attestation-report-parsed":                "true",
	"x-nvidia-gpu-attestation-report-nonce-match":           "true",
	"x-nvidia-gpu-attestation-report-signature-verified":    "true",
	"x-nvidia-gpu-attestation-report-cert-chain-fwid-match": "true",
	"x-nvidia-gpu-driver-rim-fetched":                       "true",
	"x-nvidia-gpu-driver-rim-schema-validated":              "true",
	"x-nvidia-gpu-driver-rim-signature-verified":            "true",
	"x-nvidia-gpu-driver-rim-measurements-available":        "true",
	"x-nvidia-gpu-driver-rim-version-match":                 "true",
	"x-nvidia-gpu-vbios-rim-fetched":                        "true",
	"x-nvidia-gpu-vbios-rim-schema-validated":               "true",
	"x-nvidia-gpu-vbios-rim-signature-verified":             "true",
	"x-nvidia-gpu-vbios-rim-measurements-available":         "true",
	"x-nvidia-gpu-vbios-rim-version-match":                  "true",
	"x-nvidia-gpu-vbios-index-no-conflict":                  "true",
	"secboot":                                               "true",
	"dbgstat":                                               `"disabled"`,
}

// wantedChains must be valid, and nothing in them revoked.
var wantedChains = []string{
	"x-nvidia-gpu-attestation-report-cert-chain", "x-nvidia-gpu-driver-rim-cert-chain", "x-nvidia-gpu-vbios-rim-cert-chain",
}

// Verify implements evidence.Verifier. Any nonce will do: the finding's report
// data is the nonce and 32 zeros. See [TokenVerifier.VerifyFor].
func (v *TokenVerifier) Verify(ctx context.Context, token []byte, now time.Time) *evidence.Finding {
	return v.verify(ctx, token, nil, now)
}

// VerifyFor judges a token about evidence that was asked for with nonce.
func (v *TokenVerifier) VerifyFor(ctx context.Context, token []byte, nonce [32]byte, now time.Time) *evidence.Finding {
	return v.verify(ctx, token, &nonce, now)
}

func (v *TokenVerifier) verify(ctx context.Context, token []byte, nonce *[32]byte, now time.Time) *evidence.Finding {
	f := &evidence.Finding{Kind: evidence.NVIDIA, Status: evidence.Unknown}
	if !f.Checks.Add(evidence.CheckSize, len(token) <= maxToken, fmt.Sprintf("%d bytes", len(token)), fmt.Sprintf("at most %d", maxToken)) {
		return f
	}
	b, err := parseBundle(token)
	if !f.Checks.Passed(evidence.CheckFormat, err, "a token and those of the GPUs") {
		return f
	}
	keys, err := v.keys(ctx, f)
	if err != nil {
		f.Checks.Passed(evidence.CheckSignature, err, "ES384 by a key of the service")
		return f
	}
	w, modules, err := b.open(keys)
	if !f.Checks.Passed(evidence.CheckSignature, err, "ES384 by a key of the service") {
		return f
	}
	v.checkCommon(f, w, modules, now)
	f.Checks.Add(CheckResult, w.Result && w.Subject == tokenSubject && strings.HasPrefix(w.Version, tokenVersion),
		fmt.Sprintf("%t by %q, version %s", w.Result, w.Subject, w.Version), fmt.Sprintf("true by %q, version %sx", tokenSubject, tokenVersion))
	f.Checks.Passed(CheckModules, b.checkDigests(w), "those that the first token names")
	checkClaims(f, modules)
	v.checkGPUs(f, modules)
	checkTokenNonce(f, w, modules, nonce)
	if _, failed := f.Checks.Failed(); !failed {
		f.Status = UpToDate
	}
	return f
}

func (v *TokenVerifier) keys(ctx context.Context, f *evidence.Finding) (keySet, error) {
	if v.Keys == nil {
		return nil, errors.New("unknown: no keys configured")
	}
	set, err := v.Keys.Keys(ctx)
	if err != nil {
		f.Passing = !errors.Is(err, ErrNotPublished)
		return nil, fmt.Errorf("unknown: %w", err)
	}
	return parseKeys(set)
}

// module is one GPU's token, opened.
type module struct {
	name string
	gpuClaims
	all map[string]json.RawMessage
}

// open checks all signatures and reads the claims.
func (b *bundle) open(keys keySet) (*wholeClaims, []module, error) {
	payload, err := keys.open(b.whole)
	if err != nil {
		return nil, nil, err
	}
	w := &wholeClaims{}
	if err := json.Unmarshal(payload, w); err != nil {
		return nil, nil, err
	}
	var modules []module
	for _, name := range slices.Sorted(maps.Keys(b.modules)) {
		m := module{name: name}
		payload, err := keys.open(b.modules[name])
		if err == nil {
			err = errors.Join(json.Unmarshal(payload, &m.gpuClaims), json.Unmarshal(payload, &m.all))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		modules = append(modules, m)
	}
	return w, modules, nil
}

// checkDigests makes sure that exactly the GPUs' tokens are there that the
// first one names, each by its SHA-256.
func (b *bundle) checkDigests(w *wholeClaims) error {
	if len(w.Modules) != len(b.modules) {
		return fmt.Errorf("%d tokens of GPUs, want %d", len(b.modules), len(w.Modules))
	}
	for name, token := range b.modules {
		var kind string
		var digest [2]string
		named := w.Modules[name]
		if json.Unmarshal(named[0], &kind) != nil || json.Unmarshal(named[1], &digest) != nil || kind != "DIGEST" || digest[0] != "SHA-256" {
			return fmt.Errorf("%s is named by %s, want a SHA-256 digest", name, kind)
		}
		if got := sha256.Sum256([]byte(token)); hex.EncodeToString(got[:]) != strings.ToLower(digest[1]) {
			return fmt.Errorf("%s has digest %x, want %s", name, got, digest[1])
		}
	}
	return nil
}
