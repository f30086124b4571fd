package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/nvidia"
	"github.com/opencocoon/cocoon/ratls"
)

const evidenceHelp = "FILE is a quote, report or GPU evidence as the machine made it, or a certificate that carries one; binary,\nhexadecimal, base64, PEM, or the JSON of NVIDIA's tools.\n" +
	"HOST:PORT is a proxy's door: its certificate is fetched."

// evidence is what a peer shows: a quote alone, or a certificate.
type evidence struct {
	attest.Evidence              // none for a certificate without any
	certificate     *ratls.Shown // nil for evidence alone
}

// readEvidence reads a file, or asks a peer. A name that is both is a file.
func readEvidence(ctx context.Context, name string) (*evidence, error) {
	b, err := readBounded(name)
	if _, port, split := net.SplitHostPort(name); errors.Is(err, fs.ErrNotExist) && split == nil && port != "" {
		return askEvidence(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%s is empty: want a quote or a certificate", name)
	}
	b, err = unarmour(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if b[0] != derSequence {
		return &evidence{recognise(b), nil}, nil
	}
	shown, err := ratls.ParseCertificate(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &evidence{shown.Evidence, shown}, nil
}

// derSequence is how every certificate begins, and no quote: theirs is the
// version, 4 or 5.
const derSequence = 0x30

// recognise tells evidence that stands alone by its first bytes: a report of
// AMD has its version, 2 to 5, in four bytes, and a quote of Intel in two;
// evidence of GPUs comes in forms of its own.
func recognise(b []byte) attest.Evidence {
	const snpReport = 1184
	if len(b) >= snpReport {
		if version := binary.LittleEndian.Uint32(b); version >= 2 && version <= 5 {
			return attest.Evidence{Kind: attest.KindSEVSNP, Raw: b}
		}
	}
	if boards, err := nvidia.Import(b); err == nil {
		if raw, err := nvidia.Encode(boards); err == nil {
			b = raw
		}
	}
	if _, err := nvidia.Decode(b); err == nil {
		return attest.Evidence{Kind: attest.KindNVIDIA, Raw: b}
	}
	return attest.Quoted(b)
}

// maxEvidenceFile bounds a file: several GPUs as text are the most there is.
const maxEvidenceFile = 1 << 20

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxEvidenceFile))
}

// unarmour turns text into the bytes it stands for.
func unarmour(b []byte) ([]byte, error) {
	// Only at the beginning: a quote has PEM inside.
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN ")) {
		block, _ := pem.Decode(b)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Bytes) == 0 {
			return nil, errors.New("malformed PEM, or not that of a CERTIFICATE")
		}
		return block.Bytes, nil
	}
	text := strings.Join(strings.Fields(string(b)), "")
	if raw, err := hex.DecodeString(text); err == nil && len(raw) > 0 {
		return raw, nil
	}
	if raw, err := base64.StdEncoding.DecodeString(text); err == nil && len(raw) > 0 {
		return raw, nil
	}
	return b, nil
}

// askEvidence fetches a listener's certificate. It shows a key of its own
// and no evidence, as any client does.
func askEvidence(ctx context.Context, address string) (*evidence, error) {
	identity, err := ratls.NewIdentity(ctx, attest.NoPlatform{}, nil)
	if err != nil {
		return nil, err
	}
	shown, err := ratls.Look(ctx, address, &ratls.Config{Identity: identity})
	if err != nil {
		return nil, fmt.Errorf("%w; want a file, or the address of a proxy's door", err)
	}
	return &evidence{shown.Evidence, shown}, nil
}

// judge decides about the evidence; key is who it must belong to, nil for
// the certificate's or, of a quote alone, for anyone.
func (e *evidence) judge(ctx context.Context, p *attest.Policy, key ed25519.PublicKey, at time.Time) (*attest.Verdict, error) {
	c := e.certificate
	if c == nil {
		return p.Judge(ctx, e.Evidence, key, at)
	}
	if key == nil {
		key = c.Key
	}
	v, err := p.Judge(ctx, e.Evidence, key, at)
	valid := attest.Check{
		Name: "certificate", OK: !at.Before(c.NotBefore) && !at.After(c.NotAfter),
		Got:  "valid from " + c.NotBefore.UTC().Format(time.RFC3339) + " to " + c.NotAfter.UTC().Format(time.RFC3339),
		Want: "valid at " + at.UTC().Format(time.RFC3339),
	}
	v.Checks = append([]attest.Check{valid}, v.Checks...)
	if err == nil && !valid.OK {
		v.Trusted, v.Level, err = false, attest.LevelRefused, &attest.RefusedError{Kind: v.Kind, Check: valid}
	}
	return v, err
}
