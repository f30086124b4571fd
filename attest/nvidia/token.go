package nvidia

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
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

// bundle is the form of several tokens (a detached EAT bundle): one about
// the whole, and one for each GPU.
//
//	[["JWT", "…"], {"GPU-0": "…", "GPU-1": "…"}]
type bundle struct {
	whole   string
	modules map[string]string
}

func parseBundle(text []byte) (*bundle, error) {
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, err
	}
	if len(parts) != 2 {
		return nil, fmt.Errorf("%d parts, want 2", len(parts))
	}
	var first []string
	b := &bundle{}
	if err := errors.Join(json.Unmarshal(parts[0], &first), json.Unmarshal(parts[1], &b.modules)); err != nil {
		return nil, err
	}
	if len(first) != 2 || first[0] != "JWT" || len(b.modules) == 0 || len(b.modules) > maxBoards {
		return nil, fmt.Errorf("%d tokens of GPUs, want 1 to %d beside a JWT", len(b.modules), maxBoards)
	}
	b.whole = first[1]
	return b, nil
}

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
		f.Status = StatusMatches
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

// checkCommon checks issuer and times of all tokens.
func (v *TokenVerifier) checkCommon(f *evidence.Finding, w *wholeClaims, modules []module, now time.Time) {
	issuer := address(v.Issuer, NVIDIAIssuer)
	all := map[string]common{"the first token": w.common}
	for _, m := range modules {
		all[m.name] = m.common
	}
	badIssuer, badTime := "", ""
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c := all[name]
		if c.Issuer != issuer {
			badIssuer = c.Issuer
		}
		from, to := time.Unix(max(c.NotBefore, c.IssuedAt), 0), time.Unix(c.Expires, 0)
		if (span{from, to}).at(now) != nil {
			badTime = fmt.Sprintf("%s holds from %s to %s", name, from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339))
		}
		f.Expires = earlier(f.Expires, to)
	}
	got := issuer
	if badIssuer != "" || w.Issuer == "" {
		got = badIssuer
	}
	f.Checks.Add(CheckIssuer, got == issuer, got, issuer)
	f.Checks.Add(CheckTime, badTime == "", orOK(badTime), "now")
}

func orOK(s string) string {
	if s == "" {
		return "ok"
	}
	return s
}

// checkClaims asks of each GPU what the reference asks, and more. What is not
// there is wrong.
func checkClaims(f *evidence.Finding, modules []module) {
	var wrong []string
	for _, m := range modules {
		for _, claim := range slices.Sorted(maps.Keys(wantedClaims)) {
			if string(m.all[claim]) != wantedClaims[claim] {
				wrong = append(wrong, fmt.Sprintf("%s: %s is %s", m.name, claim, m.all[claim]))
			}
		}
		for _, claim := range wantedChains {
			var chain map[string]json.RawMessage
			if json.Unmarshal(m.all[claim], &chain) != nil || string(chain["x-nvidia-cert-status"]) != `"valid"` || string(chain["x-nvidia-cert-ocsp-status"]) != `"good"` {
				wrong = append(wrong, fmt.Sprintf("%s: %s is %s", m.name, claim, m.all[claim]))
			}
		}
	}
	f.Checks.Add(CheckClaims, len(wrong) == 0, orOK(strings.Join(wrong, "; ")), fmt.Sprintf("%d of each GPU", len(wantedClaims)+len(wantedChains)))
}

// checkGPUs counts the GPUs and gives each a finding of its own. A token names
// a GPU by the number of the certificate of its firmware's key, not by the
// factory's as [Verifier] does.
func (v *TokenVerifier) checkGPUs(f *evidence.Finding, modules []module) {
	want := "any number"
	if v.Count > 0 {
		want = fmt.Sprint(v.Count)
	}
	got, ok := fmt.Sprint(len(modules)), v.Count == 0 || v.Count == len(modules)
	seen := map[string]bool{}
	for _, m := range modules {
		id, number := new(big.Int).SetString(m.UEID, 10)
		if !number || id.Sign() <= 0 || seen[m.UEID] {
			got, ok, want = fmt.Sprintf("%s is GPU %q", m.name, m.UEID), false, "a number for each GPU, none twice"
			continue
		}
		seen[m.UEID] = true
		f.Parts = append(f.Parts, &evidence.Finding{
			Kind: evidence.NVIDIA, Platform: hex.EncodeToString(id.Bytes()), Status: evidence.Unknown, Expires: f.Expires,
			Registers: []evidence.Register{{Name: "model", Value: []byte(m.Model)}, {Name: "driver", Value: []byte(m.Driver)}, {Name: "vbios", Value: []byte(m.VBIOS)}},
		})
	}
	f.Checks.Add(CheckBoards, ok, got, want)
}

func checkTokenNonce(f *evidence.Finding, w *wholeClaims, modules []module, nonce *[32]byte) {
	want := w.Nonce
	if nonce != nil {
		want = hex.EncodeToString(nonce[:])
	}
	got := w.Nonce
	for _, m := range modules {
		if !strings.EqualFold(m.Nonce, want) {
			got = m.Nonce
		}
	}
	raw, err := hex.DecodeString(w.Nonce)
	if err == nil && len(raw) == 32 {
		copy(f.ReportData[:], raw)
	}
	f.Checks.Add(CheckNonce, strings.EqualFold(got, want) && strings.EqualFold(w.Nonce, want) && len(raw) == 32, got, want)
}
