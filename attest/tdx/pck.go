package tdx

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

// pckFacts are what Intel wrote into a PCK certificate about the processor.
type pckFacts struct {
	PPID   [16]byte // the processor, for ever
	FMSPC  [6]byte  // its model, for which there is TCB info
	PCEID  [2]byte
	CPUSVN [16]byte // SVN of each component of the firmware
	PCESVN int
}

// oidSGX is the extension that holds them:
//
//	SEQUENCE OF { id, value }
//	  .1 PPID  .2 TCB (.1–.16 components, .17 PCESVN, .18 CPUSVN)
//	  .3 PCEID  .4 FMSPC  .5 type  .6 platform instance  .7 configuration
var oidSGX = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

const (
	fieldPPID, fieldTCB, fieldPCEID, fieldFMSPC = 1, 2, 3, 4
	fieldPCESVN                                 = 17
)

type pckField struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

// readPCK reads the extension. Each fact must be there once.
func readPCK(cert *x509.Certificate) (*pckFacts, error) {
	fields, err := sgxFields(cert)
	if err != nil {
		return nil, err
	}
	f := &pckFacts{}
	for id, into := range map[int][]byte{fieldPPID: f.PPID[:], fieldPCEID: f.PCEID[:], fieldFMSPC: f.FMSPC[:]} {
		if err := octets(fields[id], into); err != nil {
			return nil, fmt.Errorf("tdx: PCK certificate, field %d: %w", id, err)
		}
	}
	tcb, err := fieldsOf(fields[fieldTCB].FullBytes, append(oidSGX, fieldTCB))
	if err != nil {
		return nil, fmt.Errorf("tdx: PCK certificate, TCB: %w", err)
	}
	for i := range f.CPUSVN {
		svn, err := number(tcb[i+1], 255)
		if err != nil {
			return nil, fmt.Errorf("tdx: PCK certificate, TCB component %d: %w", i+1, err)
		}
		f.CPUSVN[i] = byte(svn)
	}
	if f.PCESVN, err = number(tcb[fieldPCESVN], 65535); err != nil {
		return nil, fmt.Errorf("tdx: PCK certificate, PCESVN: %w", err)
	}
	return f, nil
}

func sgxFields(cert *x509.Certificate) (map[int]asn1.RawValue, error) {
	for _, e := range cert.Extensions { // which occur once each: crypto/x509 refuses others
		if e.Id.Equal(oidSGX) {
			fields, err := fieldsOf(e.Value, oidSGX)
			if err != nil {
				return nil, fmt.Errorf("tdx: PCK certificate: %w", err)
			}
			return fields, nil
		}
	}
	return nil, errors.New("tdx: PCK certificate without Intel's extension")
}

// fieldsOf reads a sequence of fields by the last number of their ids, which
// must begin with prefix.
func fieldsOf(der []byte, prefix asn1.ObjectIdentifier) (map[int]asn1.RawValue, error) {
	var list []pckField
	if rest, err := asn1.Unmarshal(der, &list); err != nil {
		return nil, err
	} else if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes too many", len(rest))
	}
	out := map[int]asn1.RawValue{}
	for _, f := range list {
		last := len(f.ID) - 1
		if last != len(prefix) || !f.ID[:last].Equal(prefix) {
			return nil, fmt.Errorf("field %v, want one below %v", f.ID, prefix)
		}
		if _, twice := out[f.ID[last]]; twice {
			return nil, fmt.Errorf("field %v occurs twice", f.ID)
		}
		out[f.ID[last]] = f.Value
	}
	return out, nil
}

func octets(v asn1.RawValue, into []byte) error {
	if v.Class != asn1.ClassUniversal || v.Tag != asn1.TagOctetString || len(v.Bytes) != len(into) {
		return fmt.Errorf("want %d bytes", len(into))
	}
	copy(into, v.Bytes)
	return nil
}

func number(v asn1.RawValue, most int) (n int, err error) {
	if rest, err := asn1.Unmarshal(v.FullBytes, &n); err != nil || len(rest) > 0 || n < 0 || n > most {
		return 0, fmt.Errorf("want a number of at most %d", most)
	}
	return n, nil
}
