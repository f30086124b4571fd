package seal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/tl"
)

// Sizes of the protocol, in bytes (wire.md 7).
const (
	maxFrame   = 16536
	reportSize = 1024
	pointSize  = 64
	secretSize = pointSize + 32
)

// SGX asks the sealing service of this machine's host, an SGX enclave, for
// the key of a TDX guest. The host carries the messages and is not trusted:
// the key is encrypted to a fresh key that the guest's report names, and a
// quote says which enclave answered. Fields stay as they are.
//
// The key depends on the processor, the enclave, all of the guest's registers
// when it asks, and its TCB. The reference's guests ask before the
// configuration is measured, so theirs do not depend on it [D]: ask after the
// last measurement.
type SGX struct {
	// Dial opens a stream to the service; see [Dial].
	Dial func(context.Context) (io.ReadWriteCloser, error)
	// Report returns the guest's TD report over 64 bytes; see tdx.DeviceReport.
	Report func([64]byte) ([]byte, error)
	// Verifier verifies the quote of the enclave.
	Verifier *tdx.Verifier
	// AllowUnknownTCB believes an enclave on a processor whose state nobody
	// knows. One that is known to be out of order stays refused.
	AllowUnknownTCB bool
	// Wanted lists the enclaves to believe, by MRENCLAVE. Empty believes none.
	Wanted [][32]byte
	// MinSVN is the lowest security version of the enclave.
	MinSVN uint16
	// Now dates the judgement. Nil means time.Now.
	Now func() time.Time
}

// Binding implements [Source].
func (s *SGX) Binding() string {
	return "the processor, the sealing enclave, the guest's registers and its TCB"
}

// serviceTimeout bounds one exchange; the enclave takes milliseconds.
const serviceTimeout = 30 * time.Second

// Key implements [Source]. name has 1 to 256 bytes.
func (s *SGX) Key(ctx context.Context, name string) (key [32]byte, err error) {
	if len(name) == 0 || len(name) > maxName {
		return key, fmt.Errorf("seal: key name of %d bytes, want 1 to %d", len(name), maxName)
	}
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return key, fmt.Errorf("seal: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	public := littlePoint(private.PublicKey())
	report, err := s.Report(bound(public))
	if err != nil {
		return key, fmt.Errorf("seal: TD report: %w", err)
	}
	if len(report) != reportSize {
		return key, fmt.Errorf("seal: TD report of %d bytes, want %d", len(report), reportSize)
	}
	answer, err := s.exchange(ctx, &tl.GetPersistentKey{TdxReport: report, PublicKey: public, KeyName: []byte(name)})
	if err != nil {
		return key, fmt.Errorf("seal: %w: %w", ErrAway, err)
	}
	if err := s.judge(ctx, answer, public); err != nil {
		return key, err
	}
	return unwrap(private, answer.EncryptedSecret)
}

// bound is the report data that names a public key: its hash, then zeros.
func bound(public []byte) (data [64]byte) {
	hash := sha256.Sum256(public)
	copy(data[:], hash[:])
	return data
}

func (s *SGX) exchange(ctx context.Context, ask *tl.GetPersistentKey) (*tl.PersistentKey, error) {
	stream, err := s.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { stream.Close() })() // ends reads and writes
	answer := &tl.PersistentKey{}
	frame, err := roundTrip(stream, tl.Marshal(ask))
	if err == nil {
		err = tl.Unmarshal(frame, answer)
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return answer, err
}

// roundTrip sends one frame and reads one: a length of four bytes, then that
// many.
func roundTrip(stream io.ReadWriter, message []byte) ([]byte, error) {
	if len(message) > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes, want at most %d", len(message), maxFrame)
	}
	if _, err := stream.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(message))), message...)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(stream, size[:]); err != nil {
		return nil, fmt.Errorf("no answer (it closes without one when it refuses): %w", err)
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes, want at most %d", n, maxFrame)
	}
	frame := make([]byte, n)
	_, err := io.ReadFull(stream, frame)
	return frame, err
}

// judge believes an answer only of a wanted enclave, over just this request
// and just this secret.
func (s *SGX) judge(ctx context.Context, answer *tl.PersistentKey, public []byte) error {
	if n := len(answer.EncryptedSecret); n != secretSize {
		return fmt.Errorf("seal: secret of %d bytes, want %d", n, secretSize)
	}
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	f := s.Verifier.VerifyEnclave(ctx, answer.SgxQuote, now())
	if c, failed := f.Checks.Failed(); failed {
		return fmt.Errorf("seal: quote of the sealing enclave: %s is %s, want %s", c.Name, c.Got, c.Want)
	}
	if f.Status != evidence.UpToDate && (f.Status != evidence.Unknown || !s.AllowUnknownTCB) {
		return fmt.Errorf("seal: the sealing enclave's processor is %s, want %s", strings.TrimSpace(f.Status+" "+f.Reason), evidence.UpToDate)
	}
	ours, theirs := sha256.Sum256(public), sha256.Sum256(answer.EncryptedSecret)
	enclave, svn := f.Register(tdx.RegisterMREnclave), binary.BigEndian.Uint16(f.Register(tdx.RegisterSVN))
	switch {
	case !bytes.Equal(f.ReportData[:], slices.Concat(ours[:], theirs[:])):
		return errors.New("seal: the quote is for another request or another secret")
	case !slices.ContainsFunc(s.Wanted, func(wanted [32]byte) bool { return bytes.Equal(wanted[:], enclave) }):
		return fmt.Errorf("seal: the sealing enclave is %x, none of the %d that are wanted", enclave, len(s.Wanted))
	case svn < s.MinSVN:
		return fmt.Errorf("seal: the sealing enclave has security version %d, want at least %d", svn, s.MinSVN)
	}
	return nil
}

// unwrap decrypts a secret with the key that was made for this request.
func unwrap(private *ecdh.PrivateKey, secret []byte) (key [32]byte, err error) {
	theirs, err := bigPoint(secret[:pointSize])
	if err != nil {
		return key, fmt.Errorf("seal: the enclave's key: %w", err)
	}
	stream, err := wrapping(private, theirs)
	if err != nil {
		return key, fmt.Errorf("seal: %w", err)
	}
	stream.XORKeyStream(key[:], secret[pointSize:])
	return key, nil
}

// wrapping is the cipher between the guest's and the enclave's key: AES-128 in
// counter mode, key and counter the halves of a hash of the shared secret,
// which is little-endian like all of this protocol.
func wrapping(private *ecdh.PrivateKey, public *ecdh.PublicKey) (cipher.Stream, error) {
	shared, err := private.ECDH(public)
	if err != nil {
		return nil, err
	}
	slices.Reverse(shared)
	hash := sha256.Sum256(shared)
	block, err := aes.NewCipher(hash[:16])
	if err != nil {
		return nil, err
	}
	return cipher.NewCTR(block, hash[16:]), nil
}

// littlePoint is a public key as X and Y, little-endian, 32 bytes each.
func littlePoint(key *ecdh.PublicKey) []byte {
	point := bytes.Clone(key.Bytes()[1:])
	slices.Reverse(point[:32])
	slices.Reverse(point[32:])
	return point
}

// bigPoint reads what littlePoint wrote, and refuses what is not on the curve.
func bigPoint(little []byte) (*ecdh.PublicKey, error) {
	point := append([]byte{4}, little...)
	slices.Reverse(point[1:33])
	slices.Reverse(point[33:])
	return ecdh.P256().NewPublicKey(point)
}
