package snp

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/linuxtsm"
	"github.com/google/go-configfs-tsm/report"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// ErrNotGuest means that this machine cannot make SEV-SNP reports: it is no
// such guest, or its kernel is older than 6.7, or the process lacks the rights.
var ErrNotGuest = errors.New("snp: this machine makes no SEV-SNP reports (no guest with /sys/kernel/config/tsm/report)")

// Guest asks the kernel of a SEV-SNP guest for reports.
type Guest struct {
	tsm configfsi.Client
	src Collateral
}

// NewGuest opens the kernel's interface, or returns ErrNotGuest. Certificates
// come from the host; where it gives none, from src, which may be nil.
func NewGuest(src Collateral) (*Guest, error) {
	tsm, err := linuxtsm.MakeClient()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotGuest, err)
	}
	return &Guest{tsm, src}, nil
}

// Kind returns evidence.SEVSNP.
func (g *Guest) Kind() evidence.Kind { return evidence.SEVSNP }

// Quote returns evidence that carries reportData: a report made now and the
// certificate of the key that signed it, with the intermediate and root that
// the host gave. The kernel takes a few milliseconds and cannot be interrupted;
// ctx is looked at before it is asked, and bounds what is asked of src.
func (g *Guest) Quote(ctx context.Context, reportData [64]byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	resp, err := report.Get(g.tsm, &report.Request{InBlob: reportData[:], GetAuxBlob: true})
	if err != nil {
		return nil, fmt.Errorf("snp: report from the kernel: %w", err)
	}
	if provider := strings.TrimSpace(resp.Provider); provider != "sev_guest" {
		return nil, fmt.Errorf("%w: the kernel's provider is %q", ErrNotGuest, provider)
	}
	return g.certified(ctx, resp.OutBlob, resp.AuxBlob)
}

// certified puts report and certificates together. The host chose the
// certificates and may have chosen badly: one that does not fit the report, as
// after a firmware update, is fetched anew.
func (g *Guest) certified(ctx context.Context, raw, table []byte) ([]byte, error) {
	r, err := ParseReport(raw)
	if err != nil {
		return nil, err
	}
	e := &Evidence{Report: r}
	certs, failed := parseTable(table, r.KeyInfo.Signer())
	if failed == nil && len(certs) > 0 && r.VerifySignature(certs[0]) == nil {
		return Join(raw, certs...), nil
	}
	leaf, err := e.leaf(ctx, g.src)
	if err != nil {
		return nil, fmt.Errorf("snp: no certificate from the host (%s): %w", word(failed == nil, "none that fits the report", fmt.Sprint(failed)), err)
	}
	return Join(raw, leaf), nil
}

// Names of certificates in the host's table (56421, MSG_REPORT_REQ). ASK and
// ASVK share one.
const (
	guidVCEK = "63da758de6644564adc5f4b93be8accd"
	guidVLEK = "a8074bc2a25a483eaae639c045a0b8a1"
	guidASK  = "4ab7b379bbac4fe4a02f05aef327c782"
	guidARK  = "c0b406a4a803495297433fb6014cd0ae"
)

// parseTable takes the certificates out of the host's table in the order of a
// chain. Entries of 24 bytes, name 16, offset 4, length 4, end with one that is
// all zero; offsets count from the start of the table. An empty table has none.
func parseTable(table []byte, s Signer) ([]*x509.Certificate, error) {
	found := map[string][]byte{}
	for rest := table; len(rest) > 0; rest = rest[24:] {
		if len(rest) < 24 {
			return nil, errors.New("snp: certificate table without an end")
		}
		if bytes.Equal(rest[:24], make([]byte, 24)) {
			break
		}
		offset, size := uint64(binary.LittleEndian.Uint32(rest[16:])), uint64(binary.LittleEndian.Uint32(rest[20:]))
		if offset+size > uint64(len(table)) {
			return nil, fmt.Errorf("snp: certificate of %d bytes at %d in a table of %d", size, offset, len(table))
		}
		found[hex.EncodeToString(rest[:16])] = table[offset : offset+size]
	}
	order := []string{guidVCEK, guidASK, guidARK}
	if s == VLEK {
		order[0] = guidVLEK
	}
	var certs []*x509.Certificate
	for _, name := range order {
		body, ok := found[name]
		if !ok {
			break // what follows a gap leads nowhere
		}
		one, err := readCertificates(body)
		if err != nil {
			return nil, err
		}
		certs = append(certs, one[0])
	}
	return certs, nil
}
