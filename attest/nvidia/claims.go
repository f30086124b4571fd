package nvidia

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// checkCommon checks issuer and times of all tokens.
func (v *TokenVerifier) checkCommon(f *evidence.Finding, w *wholeClaims, modules []module, now time.Time) {
	issuer := address(v.Issuer, NVIDIAIssuer)
	all := map[string]common{"the first token": w.common}
	for _, m := range modules {
		all[m.name] = m.common
	}
	got, badTime := issuer, ""
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c := all[name]
		if c.Issuer != issuer {
			got = cmp.Or(c.Issuer, "none")
		}
		from, to := time.Unix(max(c.NotBefore, c.IssuedAt), 0), time.Unix(c.Expires, 0)
		if (span{from, to}).at(now) != nil {
			badTime = fmt.Sprintf("%s holds from %s to %s", name, from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339))
		}
		f.Expires = earlier(f.Expires, to)
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
