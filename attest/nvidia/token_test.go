package nvidia_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/nvidia"
)

// keySource has nothing but keys.
type keySource []byte

func (k keySource) Keys(context.Context) ([]byte, error) { return k, nil }

func (keySource) Manifest(context.Context, string) ([]byte, error) {
	return nil, nvidia.ErrNotPublished
}

func (keySource) Status(context.Context, *x509.Certificate, *x509.Certificate) ([]byte, error) {
	return nil, nvidia.ErrNotPublished
}

var tokenDay = time.Unix(1749601858, 0).Add(time.Minute)

// A genuine token of NVIDIA's service about the H100 of the other tests.
func TestGenuineToken(t *testing.T) {
	v := &nvidia.TokenVerifier{Keys: keySource(read(t, "nras-keys.json")), Count: 1}
	nonce, _ := hex.DecodeString("931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb")
	f := v.VerifyFor(t.Context(), read(t, "nras-token.json"), [32]byte(nonce), tokenDay)
	if c, bad := f.Checks.Failed(); bad {
		t.Errorf("%s: %s, want %s", c.Name, c.Got, c.Want)
	}
	if got, want := f.Expires, time.Unix(1749605458, 0); !got.Equal(want) {
		t.Errorf("expires %s, want %s", got, want)
	}
	if got := f.Platforms(); !slices.Equal(got, []string{"53c22ba15e5d68088282da074ed9fb37aa585771"}) {
		t.Errorf("platforms are %q", got)
	}
	if !slices.Equal(f.ReportData[:32], nonce) {
		t.Errorf("report data is %x", f.ReportData)
	}
	f = v.Verify(t.Context(), read(t, "nras-token.json"), tokenDay.Add(time.Hour))
	if got := failed(f); !slices.Equal(got, []string{"time"}) {
		t.Errorf("an hour later failed %v, want time", got)
	}
}

// tokens makes bundles like the service's.
type tokens struct {
	key    *ecdsa.PrivateKey
	header map[string]any
	whole  map[string]any
	gpus   map[string]map[string]any
}

func newTokens(t *testing.T, key *ecdsa.PrivateKey, nonce [32]byte) *tokens {
	t.Helper()
	var real []json.RawMessage
	var gpus map[string]string
	if json.Unmarshal(read(t, "nras-token.json"), &real) != nil || json.Unmarshal(real[1], &gpus) != nil {
		t.Fatal("the sample is not a bundle")
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(gpus["GPU-0"], ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	common := map[string]any{"iss": nvidia.NVIDIAIssuer, "nbf": now, "iat": now, "exp": now + 3600, "eat_nonce": hex.EncodeToString(nonce[:])}
	b := &tokens{key: key, header: map[string]any{"alg": "ES384", "kid": "test"}, whole: maps.Clone(common), gpus: map[string]map[string]any{}}
	b.whole["sub"], b.whole["x-nvidia-ver"], b.whole["x-nvidia-overall-att-result"] = "NVIDIA-PLATFORM-ATTESTATION", "3.0", true
	for i, name := range []string{"GPU-0", "GPU-1"} {
		claims := map[string]any{}
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		maps.Copy(claims, common)
		claims["ueid"] = fmt.Sprint(1000 + i)
		b.gpus[name] = claims
	}
	return b
}

func (b *tokens) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	h, err1 := json.Marshal(b.header)
	c, err2 := json.Marshal(claims)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	text := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	digest := sha512.Sum384([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, b.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 96)
	r.FillBytes(out[:48])
	s.FillBytes(out[48:])
	return text + "." + base64.RawURLEncoding.EncodeToString(out)
}

// bundle signs everything; change may still change what is sent.
func (b *tokens) bundle(t *testing.T, change func(gpus map[string]string)) []byte {
	t.Helper()
	gpus, digests := map[string]string{}, map[string]any{}
	for name, claims := range b.gpus {
		gpus[name] = b.sign(t, claims)
		d := sha256.Sum256([]byte(gpus[name]))
		digests[name] = []any{"DIGEST", []string{"SHA-256", hex.EncodeToString(d[:])}}
	}
	b.whole["submods"] = digests
	whole := b.sign(t, b.whole)
	if change != nil {
		change(gpus)
	}
	out, err := json.Marshal([]any{[]string{"JWT", whole}, gpus})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func jwks(key *ecdsa.PrivateKey) []byte {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return fmt.Appendf(nil, `{"keys":[{"kid":"other","kty":"RSA","n":"AQAB","e":"AQAB"},{"kid":"test","kty":"EC","crv":"P-384","x":%q,"y":%q}]}`, b64(point[1:49]), b64(point[49:]))
}

func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	nonce := nonceOf("token")
	whole := func(claim string, value any) func(*tokens) { return func(b *tokens) { b.whole[claim] = value } }
	gpu := func(claim string, value any) func(*tokens) { return func(b *tokens) { b.gpus["GPU-1"][claim] = value } }
	header := func(name string, value any) func(*tokens) { return func(b *tokens) { b.header[name] = value } }
	for _, c := range []struct {
		name string
		make func(b *tokens)
		send func(gpus map[string]string)
		want []string
	}{
		{"in order", nil, nil, nil},
		{"another's key", func(b *tokens) { b.key = stranger }, nil, []string{"signature"}},
		{"algorithm none", header("alg", "none"), nil, []string{"signature"}},
		{"algorithm of a shared key", header("alg", "HS384"), nil, []string{"signature"}},
		{"another algorithm", header("alg", "ES256"), nil, []string{"signature"}},
		{"unknown key id", header("kid", "?"), nil, []string{"signature"}},
		{"extensions", header("crit", []string{"b64"}), nil, []string{"signature"}},
		{"another service", whole("iss", "https://example.org"), nil, []string{"issuer"}},
		{"a GPU's token of another service", gpu("iss", "https://example.org"), nil, []string{"issuer"}},
		{"a GPU's token of nobody", func(b *tokens) { delete(b.gpus["GPU-0"], "iss") }, nil, []string{"issuer"}},
		{"expired", whole("exp", time.Now().Unix()-1), nil, []string{"time"}},
		{"no end", gpu("exp", 0), nil, []string{"time"}},
		{"from the future", whole("nbf", time.Now().Unix()+3600), nil, []string{"time"}},
		{"overall result", whole("x-nvidia-overall-att-result", false), nil, []string{"result"}},
		{"overall result left out", func(b *tokens) { delete(b.whole, "x-nvidia-overall-att-result") }, nil, []string{"result"}},
		{"other claims' version", whole("x-nvidia-ver", "2.0"), nil, []string{"result"}},
		{"about something else", whole("sub", "NVIDIA-SWITCH"), nil, []string{"result"}},
		{"measurements differ", gpu("measres", "failure"), nil, []string{"claims"}},
		{"debug mode", gpu("dbgstat", "enabled"), nil, []string{"claims"}},
		{"no secure boot", gpu("secboot", nil), nil, []string{"claims"}},
		{"a claim left out", func(b *tokens) { delete(b.gpus["GPU-0"], "x-nvidia-gpu-arch-check") }, nil, []string{"claims"}},
		{"a claim as text", gpu("x-nvidia-gpu-arch-check", "true"), nil, []string{"claims"}},
		{"a revoked chain", gpu("x-nvidia-gpu-driver-rim-cert-chain", map[string]any{"x-nvidia-cert-status": "valid", "x-nvidia-cert-ocsp-status": "revoked"}), nil, []string{"claims"}},
		{"a GPU's token left out", nil, func(g map[string]string) { delete(g, "GPU-1") }, []string{"modules", "boards"}},
		{"a GPU's token twice", nil, func(g map[string]string) { g["GPU-1"] = g["GPU-0"] }, []string{"modules", "boards"}},
		{"one GPU under two names", gpu("ueid", "1000"), nil, []string{"boards"}},
		{"a GPU without a number", gpu("ueid", ""), nil, []string{"boards"}},
		{"another nonce", func(b *tokens) { *b = *newTokens(t, b.key, nonceOf("other")) }, nil, []string{"nonce"}},
		{"a GPU's other nonce", gpu("eat_nonce", strings.Repeat("00", 32)), nil, []string{"nonce"}},
		{"token cut", nil, func(g map[string]string) { g["GPU-0"] = g["GPU-0"][:len(g["GPU-0"])-2] }, []string{"signature"}},
		{"not base64", nil, func(g map[string]string) { g["GPU-0"] = "=" + g["GPU-0"][1:] }, []string{"signature"}},
	} {
		b := newTokens(t, key, nonce)
		if c.make != nil {
			c.make(b)
		}
		v := &nvidia.TokenVerifier{Keys: keySource(jwks(key)), Count: 2}
		f := v.VerifyFor(t.Context(), b.bundle(t, c.send), nonce, time.Now())
		if got := failed(f); !slices.Equal(got, c.want) {
			t.Errorf("%s: failed %v, want %v", c.name, got, c.want)
		}
	}
	for name, text := range map[string]string{"empty": "", "null": "null", "an object": "{}", "one part": `[["JWT","x"]]`, "no GPU": `[["JWT","x"],{}]`, "not a JWT": `[["JWE","x"],{"GPU-0":"x"}]`} {
		f := (&nvidia.TokenVerifier{Keys: keySource(jwks(key))}).Verify(t.Context(), []byte(text), time.Now())
		if got := failed(f); !slices.Equal(got, []string{"format"}) {
			t.Errorf("%s: failed %v, want format", name, got)
		}
	}
	f := (&nvidia.TokenVerifier{}).Verify(t.Context(), newTokens(t, key, nonce).bundle(t, nil), time.Now())
	if got := failed(f); !slices.Equal(got, []string{"signature"}) {
		t.Errorf("without keys failed %v, want signature", got)
	}
}

// Key sets hold keys as points, or only as certificates, as NVIDIA's does.
func TestKeySets(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	token := newTokens(t, key, [32]byte{}).bundle(t, nil)
	good := fmt.Sprintf(`{"kid":"test","kty":"EC","x5c":[%q]}`, base64.StdEncoding.EncodeToString(der))
	for set, want := range map[string]bool{
		`{"keys":[` + good + `]}`:                                              true,
		`{"keys":[` + good + `,` + good + `]}`:                                 false,
		`{"keys":[{"kid":"test","kty":"EC","crv":"P-384","x":"AA","y":"AA"}]}`: false,
		`{"keys":[{"kid":"test","kty":"EC","crv":"P-384","x":"` + strings.Repeat("A", 64) + `","y":"` + strings.Repeat("A", 64) + `"}]}`: false,
		`{"keys":[{"kid":"test","kty":"EC","x5c":["AA"]}]}`: false,
		`{"keys":[{"kid":"test","kty":"oct","k":"AA"}]}`:    false,
		`{}`: false, `[]`: false,
	} {
		f := (&nvidia.TokenVerifier{Keys: keySource(set)}).Verify(t.Context(), token, time.Now())
		if got := failed(f) == nil; got != want {
			t.Errorf("%.60s: believed %t, want %t: %v", set, got, want, failed(f))
		}
	}
}
