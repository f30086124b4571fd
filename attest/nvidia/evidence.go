package nvidia

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	maxBoards     = 16     // in one guest
	maxChain      = 0x1400 // the driver's buffer
	formatVersion = 1

	// MaxEvidence bounds the evidence of all GPUs of a guest.
	MaxEvidence = len(magic) + 2 + maxBoards*(4+maxReport+4+maxChain)
)

// magic begins evidence; the next byte is the format's version.
const magic = "cocoon gpu"

// Board is the evidence of one GPU as its driver returns it.
type Board struct {
	Report []byte // SPDM request and response
	Chain  []byte // certificates in PEM, the GPU's own first
}

// Source gets the evidence of all GPUs of a guest.
//
// Evidence must return what [Encode] makes, of every GPU that the guest uses,
// each asked with nonce; must honour ctx; and may be called from several
// goroutines. It takes a second or so for each GPU.
//
// GPUs know nothing of the machine around them. Evidence belongs to a guest if
// its nonce comes from a secret of that guest's connection, and the guest's own
// report data covers a hash of the evidence: a host could otherwise pass on
// what somebody else's GPUs have signed. Package ratls makes both.
type Source interface {
	Evidence(ctx context.Context, nonce [32]byte) ([]byte, error)
}

// Encode puts the evidence of several GPUs in one piece:
//
//	0 "cocoon gpu"  10      each GPU: length of report 4, report,
//	10 version 1     1                length of chain  4, chain
//	11 GPUs          1      numbers little end first
func Encode(boards []Board) ([]byte, error) {
	if len(boards) == 0 || len(boards) > maxBoards {
		return nil, fmt.Errorf("nvidia: evidence of %d GPUs, want 1 to %d", len(boards), maxBoards)
	}
	out := append([]byte(magic), formatVersion, byte(len(boards)))
	for i, b := range boards {
		if len(b.Report) > maxReport || len(b.Chain) > maxChain {
			return nil, fmt.Errorf("nvidia: GPU %d has %d bytes of report and %d of certificates, want at most %d and %d", i, len(b.Report), len(b.Chain), maxReport, maxChain)
		}
		out = append(binary.LittleEndian.AppendUint32(out, uint32(len(b.Report))), b.Report...)
		out = append(binary.LittleEndian.AppendUint32(out, uint32(len(b.Chain))), b.Chain...)
	}
	return out, nil
}

// Decode takes apart what Encode made. The boards share its memory.
func Decode(evidence []byte) ([]Board, error) {
	r := &reader{b: evidence}
	r.want("beginning", append([]byte(magic), formatVersion)...)
	n := r.number("number of GPUs", 1)
	if n == 0 || n > maxBoards {
		r.fail("evidence of %d GPUs, want 1 to %d", n, maxBoards)
	}
	var boards []Board
	for i := 0; i < n && r.err == nil; i++ {
		boards = append(boards, Board{r.bounded("report", maxReport), r.bounded("certificates", maxChain)})
	}
	r.end("evidence")
	return boards, r.err
}

func (r *reader) bounded(what string, most int) []byte {
	var size [4]byte
	copy(size[:], r.take("length of "+what, 4))
	n := binary.LittleEndian.Uint32(size[:])
	if n > uint32(most) {
		r.fail("%d bytes of %s, want at most %d", n, what, most)
		return nil
	}
	return r.take(what, int(n))
}

// Import reads the JSON in which NVIDIA's tools keep evidence, a list of
// objects with evidence and certificate in base64 and the nonce in hex. The
// nonce that was asked for is in each report; here it must only be the same.
func Import(file []byte) ([]Board, error) {
	var list []struct {
		Certificate, Evidence, Nonce string
	}
	if err := json.Unmarshal(file, &list); err != nil {
		return nil, fmt.Errorf("nvidia: evidence in JSON: %w", err)
	}
	var boards []Board
	for i, e := range list {
		report, err1 := base64.StdEncoding.DecodeString(e.Evidence)
		chain, err2 := base64.StdEncoding.DecodeString(e.Certificate)
		nonce, err3 := hex.DecodeString(e.Nonce)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("nvidia: evidence in JSON: GPU %d: %w", i, err)
		}
		if len(report) < requestSize || !bytes.Equal(report[4:36], nonce) {
			return nil, fmt.Errorf("nvidia: evidence in JSON: GPU %d: the report was not made for nonce %s", i, e.Nonce)
		}
		boards = append(boards, Board{report, chain})
	}
	return boards, nil
}
