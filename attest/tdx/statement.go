package tdx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// tcbInfoDocument is what Intel says about a model of processors (PCS API
// version 4, TDX TCB info version 3).
type tcbInfoDocument struct {
	documentHead
	FMSPC            hexBytes
	PCEID            hexBytes
	TDXModule        moduleIdentity
	ModuleIdentities []moduleIdentity `json:"tdxModuleIdentities"`
	TCBLevels        []tcbLevel
}

// qeIdentityDocument is what Intel says about its TD quoting enclave (enclave
// identity version 2).
type qeIdentityDocument struct {
	documentHead
	MiscSelect, MiscSelectMask, Attributes, AttributesMask, MRSigner hexBytes

	ISVProdID uint16
	TCBLevels []tcbLevel
}

type documentHead struct {
	ID                      string
	Version                 int
	IssueDate, NextUpdate   time.Time
	TCBEvaluationDataNumber int // rises whenever Intel's view of what is in order changes
}

type moduleIdentity struct {
	ID                                   string
	MRSigner, Attributes, AttributesMask hexBytes
	TCBLevels                            []tcbLevel
}

// tcbLevel is a level of SVNs and what it is worth. Intel lists the newest
// first.
type tcbLevel struct {
	TCB struct {
		SGX    []component `json:"sgxtcbcomponents"`
		TDX    []component `json:"tdxtcbcomponents"`
		PCESVN int
		ISVSVN int
	}
	TCBDate     string
	TCBStatus   string
	AdvisoryIDs []string
}

type component struct{ SVN int }

type hexBytes []byte

// UnmarshalText reads hexadecimal digits.
func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// clockSkew is how much slower than Intel's our clock may go.
const clockSkew = time.Hour

// openJSON checks that a statement is signed by Intel's TCB signer, up to one
// of roots, and current; and reads the signed member of that name. The
// certificates that vouch for it come back, signer first.
func openJSON(s Statement, member, id string, version int, into any, head *documentHead, roots *x509.CertPool, now time.Time) ([]*x509.Certificate, error) {
	issuers, err := readPEM(s.Chain)
	if err != nil {
		return nil, err
	}
	if len(issuers) != 2 {
		return nil, fmt.Errorf("issuer chain of %d certificates, want signer and root", len(issuers))
	}
	signer, root := issuers[0], issuers[1]
	if err := trusted(root, roots); err != nil {
		return nil, fmt.Errorf("issuer chain: %w", err)
	}
	if err := issued(signer, root, nameSigner); err != nil {
		return nil, fmt.Errorf("issuer chain: %w", err)
	}
	if err := validAt(now, signer, root); err != nil {
		return nil, err
	}
	raw, signature, err := signedMember(s.Body, member)
	if err != nil {
		return nil, err
	}
	err = signatures.once(func() error {
		if !verifyP256(signer.PublicKey.(*ecdsa.PublicKey), raw, signature) {
			return errors.New("not signed by its issuer")
		}
		return nil
	}, []byte("document"), raw, signature, signer.Raw)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return nil, fmt.Errorf("signed, but not of the form we know: %w", err)
	}
	if head.ID != id || head.Version != version {
		return nil, fmt.Errorf("%.20q version %d, want %q version %d", head.ID, head.Version, id, version)
	}
	return issuers, current(head.IssueDate, head.NextUpdate, now)
}

// openList checks that a revocation list is signed by its issuer and current.
func openList(s Statement, issuer *x509.Certificate, now time.Time) (*x509.RevocationList, error) {
	list, err := x509.ParseRevocationList(s.Body)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(list.RawIssuer, issuer.RawSubject) {
		return nil, fmt.Errorf("list of %.60q, want that of %q", list.Issuer.CommonName, issuer.Subject.CommonName)
	}
	err = signatures.once(func() error { return list.CheckSignatureFrom(issuer) }, []byte("list"), list.Raw, issuer.Raw)
	if err != nil {
		return nil, err
	}
	return list, current(list.ThisUpdate, list.NextUpdate, now)
}

func current(from, until, now time.Time) error {
	switch {
	case now.Add(clockSkew).Before(from):
		return fmt.Errorf("issued %s, after now", stamp(from))
	case until.IsZero():
		return errors.New("does not say when it expires")
	case now.After(until):
		return fmt.Errorf("expired %s", stamp(until))
	}
	return nil
}

// signedMember splits a document into the bytes that are signed and their
// signature. It refuses a document that holds anything besides these two:
// encoding/json would also take a second member of that name, and other
// spellings of it, unsigned ones.
func signedMember(body []byte, name string) (raw, signature []byte, err error) {
	members, err := membersOf(body)
	if err != nil {
		return nil, nil, err
	}
	if len(members) != 2 || members[name] == nil || members["signature"] == nil {
		return nil, nil, fmt.Errorf("%d members, want %s and signature alone", len(members), name)
	}
	var text string
	if err := json.Unmarshal(members["signature"], &text); err != nil {
		return nil, nil, fmt.Errorf("signature: %w", err)
	}
	if signature, err = hex.DecodeString(text); err != nil || len(signature) != 64 {
		return nil, nil, errors.New("signature is not 64 bytes in hex")
	}
	return members[name], signature, nil
}

// membersOf reads a JSON object. A name that occurs twice is refused.
func membersOf(body []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	out := map[string]json.RawMessage{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		if _, twice := out[name.(string)]; twice {
			return nil, fmt.Errorf("member %.20q occurs twice", name)
		}
		out[name.(string)] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("something behind the JSON object")
	}
	return out, nil
}

// nextUpdate is when a statement says that it expires; zero if it does not
// say. Nothing is verified: it tells a cache what to keep, and no more.
func nextUpdate(body []byte) time.Time {
	if list, err := x509.ParseRevocationList(body); err == nil {
		return list.NextUpdate
	}
	members, _ := membersOf(body)
	for name, value := range members {
		var head documentHead
		if name != "signature" && json.Unmarshal(value, &head) == nil {
			return head.NextUpdate
		}
	}
	return time.Time{}
}
