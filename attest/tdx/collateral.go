package tdx

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-tdx-guest/pcs"
)

// Collateral gives what Intel publishes to judge quotes: TCB levels, the
// quoting enclave's identity, revocation lists.
//
// Get must answer for the addresses of Intel's service, whatever it really
// asks; must return the issuer chain under Intel's header name, in canonical
// form; must honour ctx; and may be called from several goroutines. What it
// returns need not be authentic: it is signed, and the verifier checks.
type Collateral interface {
	Get(ctx context.Context, url string) (header map[string][]string, body []byte, err error)
}

// maxCollateral bounds one answer. Intel's largest today is under 100 kB.
const maxCollateral = 1 << 20

// getter makes a Collateral the library's for one verification. It asks for
// each address once, so that whatever is read later is what was verified.
type getter struct {
	ctx    context.Context
	src    Collateral
	had    map[string]fetched
	failed error // why the answer asked for last is missing; nil if it is there
}

type fetched struct {
	header map[string][]string
	body   []byte
	err    error
}

func (g *getter) Get(url string) (map[string][]string, []byte, error) {
	f, ok := g.had[url]
	if !ok {
		f.header, f.body, f.err = g.src.Get(g.ctx, url)
		g.had[url] = f
	}
	if g.failed = f.err; f.err != nil {
		return nil, nil, f.err
	}
	return f.header, f.body, onlySigned(url, f.body)
}

// expires is the earliest end of what was fetched. It means something only
// once that was verified: a part that does not say when it ends is refused.
func (g *getter) expires() (first time.Time) {
	for _, f := range g.had {
		if end := nextUpdate(f.body); first.IsZero() || end.Before(first) {
			first = end
		}
	}
	return first
}

func nextUpdate(body []byte) time.Time {
	if list, err := x509.ParseRevocationList(body); err == nil {
		return list.NextUpdate
	}
	var document map[string]json.RawMessage
	var signed struct{ NextUpdate time.Time }
	json.Unmarshal(body, &document)
	for name, value := range document {
		if name != "signature" {
			json.Unmarshal(value, &signed)
		}
	}
	return signed.NextUpdate
}

// onlySigned refuses a document that holds anything besides the signed object
// and its signature. The library checks the signature of the member of exactly
// that name and then reads values with encoding/json, which also takes a
// second member of that name, and other spellings of it: unsigned ones.
func onlySigned(address string, body []byte) error {
	it, err := locate(address)
	signed := map[string]string{"Tcb-Info-Issuer-Chain": "tcbInfo", "Sgx-Enclave-Identity-Issuer-Chain": "enclaveIdentity"}[it.header]
	if err != nil || signed == "" {
		return nil // a revocation list, signed as a whole
	}
	names, err := members(body)
	if err != nil {
		return fmt.Errorf("tdx: %s: unmarshal: %w", it.file, err)
	}
	if len(names) != 2 || !slices.Contains(names, signed) || !slices.Contains(names, "signature") {
		return fmt.Errorf("tdx: %s has %d members, want %s and signature alone", it.file, len(names), signed)
	}
	return nil
}

// members are the names in a JSON object, as often as they occur.
func members(body []byte) (names []string, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		names = append(names, name.(string))
	}
	_, err = d.Token()
	return names, err
}

// item is one of the four answers, as a file in a directory.
type item struct {
	path   string // of Intel's service
	file   string
	header string // that holds the issuer chain; empty: none
}

// locate says which answer an address of Intel's service stands for.
func locate(address string) (item, error) {
	u, err := url.Parse(address)
	if err != nil {
		return item{}, fmt.Errorf("tdx: collateral address: %w", err)
	}
	switch {
	case strings.HasSuffix(u.Path, "/tcb"):
		fmspc, err := hex.DecodeString(u.Query().Get("fmspc"))
		if err != nil || len(fmspc) != 6 {
			return item{}, fmt.Errorf("tdx: FMSPC is %q, want 6 bytes in hex", u.Query().Get("fmspc"))
		}
		return item{u.Path, fmt.Sprintf("tcb-%x.json", fmspc), "Tcb-Info-Issuer-Chain"}, nil
	case strings.HasSuffix(u.Path, "/qe/identity"):
		return item{u.Path, "qe-identity.json", "Sgx-Enclave-Identity-Issuer-Chain"}, nil
	case strings.HasSuffix(u.Path, "/pckcrl"):
		return item{u.Path, "pck-crl.der", "Sgx-Pck-Crl-Issuer-Chain"}, nil
	case strings.HasSuffix(u.Path, "/IntelSGXRootCA.der"):
		return item{u.Path, "root-crl.der", ""}, nil
	}
	return item{}, fmt.Errorf("tdx: %s is no collateral address", u.Path)
}

// Dir reads collateral from the files of a directory, as [Save] writes them:
// tcb-<FMSPC>.json, qe-identity.json, pck-crl.der, root-crl.der, and the issuer
// chain of each of the first three beside it as <file>.chain.pem.
func Dir(path string) Collateral { return dir(path) }

type dir string

func (d dir) Get(_ context.Context, address string) (map[string][]string, []byte, error) {
	it, err := locate(address)
	if err != nil {
		return nil, nil, err
	}
	body, err := readFile(filepath.Join(string(d), it.file))
	if err != nil || it.header == "" {
		return nil, body, err
	}
	chain, err := readFile(filepath.Join(string(d), it.file+".chain.pem"))
	if err != nil {
		return nil, nil, err
	}
	return map[string][]string{it.header: {url.QueryEscape(string(chain))}}, body, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f)
}

func readBounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxCollateral+1))
	if len(b) > maxCollateral {
		return nil, fmt.Errorf("tdx: collateral of more than %d bytes", maxCollateral)
	}
	return b, err
}

// Save fetches the collateral of the platform that made q and writes it to a
// directory for [Dir], for judging where there is no network.
func (q *Quote) Save(ctx context.Context, src Collateral, path string) error {
	certs, err := q.certificates()
	if err != nil {
		return err
	}
	pck, err := pcs.PckCertificateExtensions(certs[0])
	if err != nil {
		return fmt.Errorf("tdx: PCK certificate: %w", err)
	}
	for _, address := range []string{pcs.TcbInfoURL(pck.FMSPC), pcs.QeIdentityURL(), pcs.PckCrlURL("platform"), rootCRLURL} {
		if err := save(ctx, src, address, path); err != nil {
			return fmt.Errorf("tdx: collateral %s: %w", address, err)
		}
	}
	return nil
}

const rootCRLURL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"

func save(ctx context.Context, src Collateral, address, path string) error {
	it, err := locate(address)
	if err != nil {
		return err
	}
	header, body, err := src.Get(ctx, address)
	if err != nil {
		return err
	}
	if it.header != "" {
		chain, err := url.QueryUnescape(strings.Join(header[it.header], ""))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(path, it.file+".chain.pem"), []byte(chain), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(path, it.file), body, 0o644)
}

var errNoCollateral = errors.New("tdx: no collateral here")

// Answers is collateral kept in memory, by address of Intel's service.
type Answers map[string]Answer

// Answer is one of them.
type Answer struct {
	Chain string // PEM of the issuers, signer first; empty for the root's list
	Body  []byte
}

// Get implements [Collateral].
func (a Answers) Get(_ context.Context, address string) (map[string][]string, []byte, error) {
	it, err := locate(address)
	if err != nil {
		return nil, nil, err
	}
	answer, ok := a[address]
	if !ok {
		return nil, nil, fmt.Errorf("%w: %s", errNoCollateral, it.file)
	}
	return map[string][]string{it.header: {url.QueryEscape(answer.Chain)}}, answer.Body, nil
}
