// Package insecure makes evidence that proves nothing, for a network on one
// desk and for tests.
//
// An [Authority] plays Intel: root, platform CA, PCK certificate and TCB
// signer of its own, and the collateral they sign. Its [Machine] makes quotes
// whose structure is genuine, so that a devnet runs the very code that judges
// real ones; they are believed only by a policy that names the authority's root
// as a test root. [Fake] is the evidence of the reference's mode without
// hardware, a hash of the key. Policies call all of it insecure.
//
// Nothing outside devnets, tests and explicit insecure flags may import this
// package; package attest must not.
package insecure

import (
	"context"
	"crypto/sha512"
	"fmt"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// Fake makes fake-TDX evidence: the 64 bytes of report data, nothing else. It
// binds the certificate's key, which the handshake proves anyway.
type Fake struct{}

// Kind returns attest.KindFakeTDX.
func (Fake) Kind() attest.Kind { return attest.KindFakeTDX }

// Quote returns the report data.
func (Fake) Quote(_ context.Context, reportData [64]byte) ([]byte, error) {
	return reportData[:], nil
}

// Machine is a simulated TDX guest that runs an image. Its files, keys and
// memory are in plain sight.
type Machine struct {
	// Debug and Migratable set these attributes in its quotes, which is for
	// showing that such machines are refused.
	Debug, Migratable bool
	// Processor names the processor it runs on. Empty is the authority's first.
	Processor string
	// ProcessorCA runs it on a machine with a single processor, which another
	// CA certifies.
	ProcessorCA bool
	// Version5 makes quotes of version 5, TD15 with the body of TD 1.5.
	Version5, TD15 bool
	// Edit changes quotes before they are signed.
	Edit func(*Draft)

	authority *Authority
	image     string
}

// Machine returns a guest that runs the named image. Equal names give equal
// measurements, under every authority.
func (a *Authority) Machine(image string) *Machine {
	return &Machine{authority: a, image: image}
}

// Kind returns attest.KindTDX: its quotes are to be judged like real ones.
func (m *Machine) Kind() attest.Kind { return attest.KindTDX }

// Draft is a quote before it is signed.
type Draft struct {
	Header  tdx.Header
	Body    tdx.Body
	Body15  tdx.Body15
	Enclave tdx.Enclave
}

// Quote returns a quote that carries reportData.
func (m *Machine) Quote(ctx context.Context, reportData [64]byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d := &Draft{Header: tdx.Header{Version: 4, KeyType: 2, TEEType: 0x81, QEVendor: qeVendor}, Body: measure(m.image), Enclave: quotingEnclave()}
	d.Body.ReportData = reportData
	d.Body15.TCBSVN2 = d.Body.TCBSVN
	if m.Version5 || m.TD15 {
		d.Header.Version = 5
	}
	if m.Debug {
		d.Body.TDAttributes |= 1
	}
	if m.Migratable {
		d.Body.TDAttributes |= 1 << 29
	}
	if m.Edit != nil {
		m.Edit(d)
	}
	return m.sign(d)
}

// ImageHash is the image hash of the machines that run the named image, for a
// registry to list.
func ImageHash(image string) attest.Hash {
	body := measure(image)
	return body.ImageHash()
}

// measure invents the registers that an image would have.
func measure(image string) tdx.Body {
	register := func(name string) [48]byte { return sha512.Sum384([]byte("simulated " + name + " of " + image)) }
	body := tdx.Body{
		TCBSVN:       [16]byte{moduleSVN, moduleVersion, tdxSVN},
		TDAttributes: septVEDisable,
		XFAM:         0x602e7, // what a current processor offers: x87 to AMX
		MRTD:         register("MRTD"),
	}
	for i := range body.RTMR[:3] { // 3 is for what a running guest adds
		body.RTMR[i] = register(fmt.Sprintf("RTMR%d", i))
	}
	return body
}

// septVEDisable is set by every Linux guest: the host cannot inject faults by
// taking private memory away.
const septVEDisable = 1 << 28
