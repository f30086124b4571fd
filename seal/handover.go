package seal

import (
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/attest"
)

// Request asks for a store on behalf of an image that cannot open it. The
// evidence says which image, and that image alone can use the answer.
type Request struct {
	Statement
	// Recipient is the public key that the answer is encrypted to.
	Recipient []byte `json:"recipient"`
}

// Grant is the answer: the store's master key, encrypted to the recipient.
// The evidence says which image gave it: a key from elsewhere might be known
// to whoever made it up.
type Grant struct {
	Statement
	Sealed []byte `json:"sealed"`
}

// Statement is what both are: signed by a key that evidence vouches for.
type Statement struct {
	Format    int               `json:"format"`
	Store     string            `json:"store"`   // its id
	Request   string            `json:"request"` // random, names the request in both
	Made      time.Time         `json:"made"`
	Kind      attest.Kind       `json:"kind"`     // of the evidence
	Evidence  []byte            `json:"evidence"` // for a hash of Key, see vouched
	Key       ed25519.PublicKey `json:"key"`
	Signature []byte            `json:"signature"` // by Key, over everything else
}

// ErrRefused means that a request or a grant was judged and nothing was given
// or taken. A retry with the same gives the same answer.
var ErrRefused = errors.New("refused")

const (
	labelRequest = "cocoon seal hand-over request 1"
	labelGrant   = "cocoon seal hand-over grant 1"
	labelKey     = "cocoon seal hand-over key 1\x00"
	maxAge       = 24 * time.Hour // of a request or a grant
	maxSkew      = 5 * time.Minute
)

// kem is a hybrid: secrets that were handed over stay secret if one of X25519
// and ML-KEM-768 does (RFC 9180, X-Wing).
func kem() hpke.KEM { return hpke.MLKEM768X25519() }

// Ask makes the request of this image for the store at path, which another
// made. Nothing has to be kept for [Accept]: the key it needs comes from the
// source again.
func Ask(ctx context.Context, path string, source Source, platform attest.Platform, now time.Time) (*Request, error) {
	file, err := readStore(path)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 16)
	rand.Read(nonce)
	r := &Request{Statement: Statement{Store: file.ID, Request: hex.EncodeToString(nonce)}}
	private, err := r.recipient(ctx, source)
	if err != nil {
		return nil, err
	}
	r.Recipient = private.PublicKey().Bytes()
	return r, r.sign(ctx, platform, now, r.text)
}

// recipient is the key pair of a request, which its image can make at will.
func (s *Statement) recipient(ctx context.Context, source Source) (hpke.PrivateKey, error) {
	seed, err := source.Key(ctx, "cocoon hand-over "+s.Store+" "+s.Request)
	if err != nil {
		return nil, err
	}
	return kem().DeriveKeyPair(seed[:])
}

// Grant judges a request by policy, which lists the images of this store's
// role, and answers it. The verdict is for showing, whatever the outcome.
func (s *Store) Grant(ctx context.Context, r *Request, policy *attest.Policy, platform attest.Platform, now time.Time) (*Grant, *attest.Verdict, error) {
	verdict, err := r.Judge(ctx, policy, now)
	switch {
	case err != nil:
		return nil, verdict, err
	case r.Store != s.ID():
		return nil, verdict, fmt.Errorf("request %w: it is for store %.16s…, this is %.16s…", ErrRefused, r.Store, s.ID())
	}
	public, err := kem().NewPublicKey(r.Recipient)
	if err != nil {
		return nil, verdict, fmt.Errorf("request %w: recipient: %w", ErrRefused, err)
	}
	g := &Grant{Statement: Statement{Store: r.Store, Request: r.Request}}
	s.mu.Lock()
	master := s.master
	s.mu.Unlock()
	g.Sealed, err = hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), g.info(), master[:])
	if err != nil {
		return nil, verdict, fmt.Errorf("grant: %w", err)
	}
	return g, verdict, g.sign(ctx, platform, now, g.text)
}

// info binds what is encrypted to store and request.
func (s *Statement) info() []byte { return []byte(labelGrant + " " + s.Store + " " + s.Request) }

// Judge says whether the image and machine that ask are wanted.
func (r *Request) Judge(ctx context.Context, policy *attest.Policy, now time.Time) (*attest.Verdict, error) {
	return r.judge(ctx, "request", policy, now, r.text)
}

// Judge says whether the image and machine that grant are wanted.
func (g *Grant) Judge(ctx context.Context, policy *attest.Policy, now time.Time) (*attest.Verdict, error) {
	return g.judge(ctx, "grant", policy, now, g.text)
}

// Accept takes over the store at path: it judges who granted it and adds this
// image to those that can open it. The store is left alone if anything fails.
func Accept(ctx context.Context, path string, g *Grant, source Source, policy *attest.Policy, now time.Time) (*attest.Verdict, error) {
	verdict, err := g.Judge(ctx, policy, now)
	if err != nil {
		return verdict, err
	}
	private, err := g.recipient(ctx, source)
	if err != nil {
		return verdict, err
	}
	sealing, err := source.Key(ctx, keyName)
	if err != nil {
		return verdict, err
	}
	unlock, err := lockStore(path)
	if err != nil {
		return verdict, err
	}
	defer unlock()
	file, err := readStore(path)
	if err != nil {
		return verdict, err
	}
	master, err := g.open(&file, private)
	if err != nil {
		return verdict, fmt.Errorf("%s: grant %w: %w", path, ErrRefused, err)
	}
	file.admit(describe(source, now), sealing, master)
	return verdict, file.write(path)
}

// open takes the master key out of a grant, if it is that of the file.
func (g *Grant) open(file *storeFile, private hpke.PrivateKey) (master [32]byte, err error) {
	if g.Store != file.ID {
		return master, fmt.Errorf("it is for store %.16s…, this is %.16s…", g.Store, file.ID)
	}
	b, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), g.info(), g.Sealed)
	if err != nil || len(b) != len(master) {
		return master, errors.New("it answers a request of another image or another machine")
	}
	copy(master[:], b)
	if _, err := file.open(master); err != nil {
		return master, errors.New("its key does not open the secrets: the store was taken over, or damaged, since; ask again")
	}
	return master, nil
}

// sign lets the platform vouch for a fresh key and signs with it.
func (s *Statement) sign(ctx context.Context, platform attest.Platform, now time.Time, text func() []byte) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	evidence, err := platform.Quote(ctx, attest.ReportData(vouched(public)))
	if err != nil {
		return err
	}
	s.Format, s.Made, s.Kind, s.Evidence, s.Key = format, now.UTC().Truncate(time.Second), platform.Kind(), evidence, public
	s.Signature = ed25519.Sign(private, text())
	return nil
}

func (s *Statement) judge(ctx context.Context, what string, policy *attest.Policy, now time.Time, text func() []byte) (*attest.Verdict, error) {
	switch {
	case s.Format != format:
		return nil, fmt.Errorf("%s %w: format %d, want %d", what, ErrRefused, s.Format, format)
	case len(s.Key) != ed25519.PublicKeySize || !ed25519.Verify(s.Key, text(), s.Signature):
		return nil, fmt.Errorf("%s %w: not signed by the key that it names: it was changed on the way", what, ErrRefused)
	case now.Sub(s.Made) > maxAge || s.Made.Sub(now) > maxSkew:
		return nil, fmt.Errorf("%s %w: made %s, now is %s: make a new one, they last %v", what, ErrRefused, s.Made.Format(time.RFC3339), now.UTC().Format(time.RFC3339), maxAge)
	}
	verdict, err := naming(policy).Judge(ctx, attest.Evidence{Kind: s.Kind, Raw: s.Evidence}, vouched(s.Key), now)
	if err == nil && verdict.Level < attest.LevelSimulated {
		err = fmt.Errorf("its level is %q: a store is handed over only between images that evidence names", verdict.Level.Name())
	}
	if err != nil {
		return verdict, fmt.Errorf("%s %w: %w", what, ErrRefused, err)
	}
	return verdict, nil
}

// vouched is what evidence is made for in place of a key itself. Evidence for a
// certificate's key, which serves strangers, therefore does not count here.
func vouched(key ed25519.PublicKey) ed25519.PublicKey {
	hash := sha256.Sum256(slices.Concat([]byte(labelKey), key))
	return hash[:]
}

// naming is a policy that leaves no image open: a store goes to those only
// that somebody has named.
func naming(p *attest.Policy) *attest.Policy {
	strict := *p
	strict.AnyImage = false
	return &strict
}

// text is what is signed: all of it but the signature.
func (r *Request) text() []byte {
	unsigned := *r
	unsigned.Signature = nil
	return signedText(labelRequest, unsigned)
}

func (g *Grant) text() []byte {
	unsigned := *g
	unsigned.Signature = nil
	return signedText(labelGrant, unsigned)
}

// signedText is a hash of what encoding/json writes, which is one form for one
// value. The label keeps it apart from all else that such a key may sign.
func signedText(label string, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("seal: " + err.Error()) // of bytes, strings and a time
	}
	hash := sha512.Sum512(text)
	return slices.Concat([]byte(label+"\n"), hash[:])
}

// ReadFile reads a request or a grant.
func ReadFile(path string, into any) error { return readJSON(path, into) }

// WriteFile writes a request or a grant. Nothing in it is secret.
func WriteFile(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
