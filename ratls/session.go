package ratls

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/opencocoon/cocoon/attest"
)

// A certificate proves a machine that existed when it was made. Peers of ours
// prove themselves once more inside TLS, with evidence made now for this very
// connection, so that neither a stolen key nor a relayed or replayed quote
// helps anybody, where the policy has RequireFresh or remembers the machine as
// Proven. Elsewhere a thief says that he does not know how.
//
// Both ends agree on it by the ALPN name below, which the dialer offers and
// the listener picks. Servers of the reference ignore ALPN and its clients
// offer none, so to them nothing has changed; and what was said about ALPN is
// part of the transcript that TLS signs, so nobody in between can take it out.
// Then, before anything else, one record goes each way: first the dialer's,
// then, if that was believed, the listener's. So a listener makes no evidence
// for a dialer that it does not want, and a dialer that has the
// record knows that it was accepted.
//
//	report data  SHA-512(label | exporter 32 | key 32 | side 1 | SHA-256(GPU evidence) 32)
//	nonce        SHA-256(label | exporter 32 | key 32), for the GPUs
//
// Key is that of the sender's certificate. Exporter is keying material of TLS
// (RFC 8446 section 7.5) that only the two ends can compute and that differs for every
// connection. It does not cover the client's certificate: therefore the key. The
// side keeps a record from being sent back to where it came from.
const (
	sessionProtocol  = "cocoon-session/1"
	exporterLabel    = "EXPERIMENTAL cocoon session 1" // the prefix that RFC 5705 section 4 leaves to everybody
	reportDataLabel  = "cocoon session 1 report data\x00"
	nonceLabel       = "cocoon session 1 gpu nonce\x00"
	exporterSize     = 32
	maxSessionQuotes = 4 // being made at a time; see Identity.turn
)

// protocols is what both ends say by ALPN.
var protocols = []string{sessionProtocol}

// side is who sends a record.
type side byte

const (
	dialer   side = 0
	listener side = 1
)

// GPU makes evidence of the GPUs of this machine.
//
// Evidence must return evidence made now that carries the nonce, at most
// [MaxGPUEvidence] bytes, or nil if there is no GPU to show; must honour ctx;
// and may be called from several goroutines.
type GPU interface {
	Evidence(ctx context.Context, nonce [32]byte) ([]byte, error)
}

// exporter is the number that names a connection of TLS.
type exporter [exporterSize]byte

func exporterOf(state *tls.ConnectionState) (e exporter, err error) {
	b, err := state.ExportKeyingMaterial(exporterLabel, nil, len(e))
	if err != nil {
		return e, err
	}
	return exporter(b), nil
}

// reportData is what evidence for this connection must carry. All parts have
// fixed sizes, so nothing can be read in two ways.
func (e exporter) reportData(key ed25519.PublicKey, s side, gpu [32]byte) [64]byte {
	h := sha512.New()
	h.Write([]byte(reportDataLabel))
	h.Write(e[:])
	h.Write(key)
	h.Write([]byte{byte(s)})
	h.Write(gpu[:])
	return [64]byte(h.Sum(nil))
}

func (e exporter) nonce(key ed25519.PublicKey) [32]byte {
	h := sha256.New()
	h.Write([]byte(nonceLabel))
	h.Write(e[:])
	h.Write(key)
	return [32]byte(h.Sum(nil))
}

// session is the exchange of records on one connection. shown is the
// certificate that this end has shown.
type session struct {
	cfg      *Config
	conn     net.Conn
	exporter exporter
	shown    ed25519.PublicKey
	peer     *Peer
}

// prove is the last part of a negotiation: it exchanges records with a peer
// that knows how, and completes the verdict about it. A peer that does not was
// judged by its certificate alone, as the policy allowed.
func (c *Config) prove(ctx context.Context, tc *tls.Conn, shown *tls.Certificate, peer *Peer, self side) error {
	state := tc.ConnectionState()
	if state.NegotiatedProtocol != sessionProtocol {
		return nil
	}
	e, err := exporterOf(&state)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	s := &session{cfg: c, conn: tc, exporter: e, shown: shown.PrivateKey.(ed25519.PrivateKey).Public().(ed25519.PublicKey), peer: peer}
	err = interruptible(ctx, tc, func() error {
		if self == dialer {
			return s.dial(ctx)
		}
		return s.listen(ctx)
	})
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	return nil
}

func (s *session) dial(ctx context.Context) error {
	if err := s.send(ctx, dialer, true); err != nil {
		return err
	}
	r, err := s.receive()
	if err != nil {
		return fmt.Errorf("%w; has the peer refused us?", err)
	}
	return s.judge(ctx, r, listener)
}

func (s *session) listen(ctx context.Context) error {
	r, err := s.receive()
	if err != nil {
		return err
	}
	if err := s.judge(ctx, r, dialer); err != nil {
		return err
	}
	return s.send(ctx, listener, r.wants)
}

// send makes this end's record. Evidence costs the platform some milliseconds,
// so a peer that does not count it can say so, and gets none.
func (s *session) send(ctx context.Context, self side, wanted bool) error {
	r := record{wants: s.peer.Verdict.Kind != attest.KindNone}
	if wanted && s.cfg.Identity.Kind() != attest.KindNone {
		if err := s.make(ctx, &r, self); err != nil {
			return err
		}
	}
	return r.write(s.conn)
}

// make makes the evidence: first that of the GPUs, because the processor's
// carries its hash.
func (s *session) make(ctx context.Context, r *record, self side) (err error) {
	id := s.cfg.Identity
	if err := id.turn(ctx); err != nil {
		return err
	}
	defer id.done()
	if s.cfg.GPU != nil {
		if r.gpu, err = s.cfg.GPU.Evidence(ctx, s.exporter.nonce(s.shown)); err != nil {
			return fmt.Errorf("evidence of the GPUs: %w", err)
		}
	}
	r.evidence, err = id.platform.Quote(ctx, s.exporter.reportData(s.shown, self, sha256.Sum256(r.gpu)))
	if err != nil {
		return fmt.Errorf("evidence for this connection: %w", err)
	}
	return nil
}

func (s *session) receive() (*record, error) {
	counts := s.peer.Verdict.Kind != attest.KindNone
	return readRecord(s.conn, keeps{evidence: counts, gpu: counts && s.cfg.policy().WantsGPU()})
}

// judge completes the verdict with what the peer has shown.
func (s *session) judge(ctx context.Context, r *record, sender side) error {
	shown := &attest.Session{
		Evidence:   r.evidence,
		ReportData: s.exporter.reportData(s.peer.Key, sender, r.gpuHash),
		GPU:        r.gpu,
		Nonce:      s.exporter.nonce(s.peer.Key),
	}
	v, err := s.cfg.policy().JudgeSession(ctx, s.peer.Verdict, shown, s.cfg.Now())
	s.peer.Verdict, s.peer.session = v, shown
	return err
}

// turn waits until evidence for one more connection may be made, and done ends
// it. Evidence is never shared between connections: that is its point. A
// machine makes quotes one after another, each taking milliseconds, and asks a
// GPU for a second, so no more than a few wait inside it; the rest wait here,
// in order, each no longer than its own negotiation may take.
func (id *Identity) turn(ctx context.Context) error {
	select {
	case id.quotes <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the platform: %w", ctx.Err())
	}
}

func (id *Identity) done() { <-id.quotes }
