package insecure

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/attest/nvidia"
)

// What simulated GPUs run unless they are told otherwise.
const (
	gpuChip   = "GH100"
	gpuDriver = "570.0.1"
	gpuVBIOS  = "96.00.00.00.01"

	gpuOrganization = "Cocoon devnet test authority, NOT NVIDIA"
)

// GPUAuthority plays NVIDIA: the roots, those below them, and the manifests
// and revocation status that they sign. Anyone who holds its files can make
// GPUs that its roots vouch for. It is safe for concurrent use.
type GPUAuthority struct {
	device, identity, provisioner   signatory
	manifest, values, values3, sign signatory

	mu        sync.Mutex // guards what follows
	boards    map[string]*board
	published GPUCollateral
	answers   map[string][]byte // given since; what is asked again is not signed again
}

// board is a GPU's own key, from the factory.
type board struct {
	signatory
	serial string
}

// NewGPUAuthority makes keys and certificates for ten years.
func NewGPUAuthority() (*GPUAuthority, error) {
	a := &GPUAuthority{boards: map[string]*board{}}
	for i, s := range a.signatories() {
		by := s // a root
		if i != 0 && i != 3 {
			by = a.signatories()[i-1]
		}
		t := gpuTemplate(gpuNames[i])
		if t.KeyUsage = x509.KeyUsageDigitalSignature; i < 6 {
			t.IsCA, t.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		}
		if err := s.certify(t, by); err != nil {
			return nil, err
		}
	}
	return a, nil
}

var gpuNames = [7]string{
	"NVIDIA Device Identity CA", "NVIDIA " + gpuChip + " Identity", "NVIDIA " + gpuChip + " Provisioner ICA 1",
	"NVIDIA CoRIM signing Root CA", "NVIDIA Reference Value " + gpuChip + " CA", "NVIDIA Reference Value L3 " + gpuChip, "HCC RIM L4 Signer",
}

// signatories are the two chains, from their roots down.
func (a *GPUAuthority) signatories() [7]*signatory {
	return [7]*signatory{&a.device, &a.identity, &a.provisioner, &a.manifest, &a.values, &a.values3, &a.sign}
}

func gpuTemplate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: []string{gpuOrganization}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		BasicConstraintsValid: true,
	}
}

// certify makes a key and a certificate for it; a root's is by itself.
func (s *signatory) certify(t *x509.Certificate, by *signatory) (err error) {
	if s.key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		return err
	}
	return s.recertify(t, by)
}

// recertify makes a certificate for the key that is there.
func (s *signatory) recertify(t *x509.Certificate, by *signatory) (err error) {
	if t.SerialNumber == nil {
		if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
			return err
		}
	}
	t.SignatureAlgorithm = x509.ECDSAWithSHA384
	parent := by.cert
	if parent == nil {
		parent = t
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &s.key.PublicKey, by.key)
	if err != nil {
		return fmt.Errorf("insecure: certificate of %s: %w", t.Subject.CommonName, err)
	}
	s.cert, err = x509.ParseCertificate(der)
	return err
}

// Anchors are what a verifier's Test names to believe the authority's GPUs.
func (a *GPUAuthority) Anchors() *nvidia.Anchors {
	return &nvidia.Anchors{Device: a.device.cert, Manifest: a.manifest.cert, Collateral: a}
}

// board returns the GPU of that name, which is the same for ever.
func (a *GPUAuthority) board(name string) (*board, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b := a.boards[name]; b != nil {
		return b, nil
	}
	b := &board{serial: gpuSerial(name)}
	id, err := hex.DecodeString("41" + b.serial)
	if err != nil {
		return nil, err
	}
	t := gpuTemplate(gpuChip + " A01 GSP BROM")
	t.SerialNumber = new(big.Int).SetBytes(id)
	t.IsCA, t.KeyUsage = true, x509.KeyUsageCertSign
	if err := b.certify(t, &a.provisioner); err != nil {
		return nil, err
	}
	a.boards[name] = b
	return b, nil
}

// gpuSerial invents a serial number for a name.
func gpuSerial(name string) string {
	id := sha256.Sum256([]byte("simulated GPU " + name))
	return strings.ToUpper(hex.EncodeToString(id[:8]))
}

// GPU is a simulated GPU in confidential mode. Its memory is in plain sight.
type GPU struct {
	Name          string // tells boards apart
	Driver, VBIOS string // empty: what the authority publishes manifests of

	// The rest is for showing that such GPUs are refused. Fields replace opaque
	// fields, or leave them out if they are nil. Measurements replace by number.
	Fields       map[nvidia.Field][]byte
	Measurements map[int][48]byte
	Debug        bool
	Firmware     []byte                  // whose digest the certificate names; nil: what runs
	Certificate  func(*x509.Certificate) // changes the first certificate before it is signed
}

// Guest is a guest with some of the authority's GPUs; with none, one.
func (a *GPUAuthority) Guest(gpus ...GPU) nvidia.Source {
	if len(gpus) == 0 {
		gpus = []GPU{{}}
	}
	return &gpuGuest{a, gpus}
}

type gpuGuest struct {
	authority *GPUAuthority
	gpus      []GPU
}

// Evidence implements nvidia.Source.
func (g *gpuGuest) Evidence(ctx context.Context, nonce [32]byte) ([]byte, error) {
	var boards []nvidia.Board
	for _, gpu := range g.gpus {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := g.authority.attest(gpu, nonce)
		if err != nil {
			return nil, err
		}
		boards = append(boards, b)
	}
	return nvidia.Encode(boards)
}

var (
	oidGPUName      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 412, 274, 1}
	oidGPUTCB       = asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1, 1}
	oidGPUAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidGPUSHA384    = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	gpuDebug        = []byte{0x90, 0, 0, 0} // TCG DICE operational flags
	gpuProduction   = []byte{0x80, 0, 0, 0}
	gpuMeasurements = 64
)

// attest makes a board's key for its firmware, and a report signed with it.
func (a *GPUAuthority) attest(g GPU, nonce [32]byte) (nvidia.Board, error) {
	b, err := a.board(g.Name)
	if err != nil {
		return nvidia.Board{}, err
	}
	driver, vbios := cmp.Or(g.Driver, gpuDriver), cmp.Or(g.VBIOS, gpuVBIOS)
	firmware := sha512.Sum384([]byte("simulated firmware " + vbios))
	named := firmware[:]
	if g.Firmware != nil {
		d := sha512.Sum384(g.Firmware)
		named = d[:]
	}
	flags := gpuProduction
	if g.Debug {
		flags = gpuDebug
	}
	t := gpuTemplate(gpuChip + " A01 GSP FMC LF")
	t.KeyUsage = x509.KeyUsageDigitalSignature
	if t.ExtraExtensions, err = gpuExtensions(b.serial, named, flags); err != nil {
		return nvidia.Board{}, err
	}
	if g.Certificate != nil {
		g.Certificate(t)
	}
	var leaf signatory
	if err := leaf.certify(t, &b.signatory); err != nil {
		return nvidia.Board{}, err
	}
	report, err := g.report(nonce, driver, vbios, firmware[:])
	if err != nil {
		return nvidia.Board{}, err
	}
	signature, err := signRaw(leaf.key, report)
	if err != nil {
		return nvidia.Board{}, err
	}
	var chain []byte
	for _, s := range []signatory{leaf, b.signatory, a.provisioner, a.identity, a.device} {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})...)
	}
	return nvidia.Board{Report: append(report, signature...), Chain: chain}, nil
}

// gpuExtensions are a GPU's name and the firmware that has the key.
func gpuExtensions(serial string, firmware, flags []byte) ([]pkix.Extension, error) {
	type other struct {
		ID   asn1.ObjectIdentifier
		Name string `asn1:"explicit,tag:0,utf8"`
	}
	name, err := asn1.MarshalWithParams(other{oidGPUName, "NVIDIA:" + gpuChip + ":" + serial}, "tag:0")
	if err != nil {
		return nil, err
	}
	names, err := asn1.Marshal([]asn1.RawValue{{FullBytes: name}})
	if err != nil {
		return nil, err
	}
	type id struct {
		Algorithm asn1.ObjectIdentifier
		Digest    []byte
	}
	tcb, err := asn1.Marshal(struct {
		Vendor string         `asn1:"tag:0,utf8"`
		FWIDs  []id           `asn1:"tag:6"`
		Flags  asn1.BitString `asn1:"tag:7"`
	}{"NOT NVIDIA", []id{{oidGPUSHA384, firmware}}, asn1.BitString{Bytes: flags, BitLength: 8 * len(flags)}})
	return []pkix.Extension{{Id: oidGPUAltName, Value: names}, {Id: oidGPUTCB, Value: tcb}}, err
}
