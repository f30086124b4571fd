package proxy

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// denied is the refusal of a handshake: the code and text that peers know.
type denied struct {
	code int32
	error
}

func deny(code int32, format string, args ...any) *denied {
	return &denied{code, fmt.Errorf(format, args...)}
}

// handshake takes the next step, or says why not; then the connection ends.
func (c *client) handshake(q *wire.Query) *denied {
	switch {
	case c.ready.Load():
		return deny(0, "already authorized")
	case c.stage == clientNew:
		return c.connect(q)
	case c.stage == clientAuth:
		return c.authorize(q)
	}
	return deny(0, "duplicate auth message")
}

// connect checks who comes, in the order of wire.md section 4.2.
func (c *client) connect(q *wire.Query) *denied {
	var fn tl.ClientConnectToProxy
	if err := tl.Unmarshal(q.Data, &fn); err != nil {
		return deny(0, "%w", err)
	}
	t := c.p.terms.Load()
	if err := c.admit(t, &fn); err != nil {
		return err
	}
	contractAddress, err := t.ClientAddress(c.wallet, t.proxy, c.p.public())
	if err != nil {
		return deny(wire.CodeFailure, "client contract: %w", err)
	}
	answer := &tl.ClientConnectedToProxy{
		Params: c.p.params(t, fn.Params.Flags, c.version), ClientScAddress: c.p.text(contractAddress),
	}
	if c.known {
		answer.Auth = &tl.ClientProxyConnectionAuthShort{SecretHash: c.secret, Nonce: c.nonce}
	} else {
		answer.Auth = &tl.ClientProxyConnectionAuthLong{Nonce: c.nonce}
	}
	c.terms, c.stage = t, clientAuth
	q.Answer(answer)
	return nil
}

func (c *client) admit(t *terms, fn *tl.ClientConnectToProxy) *denied {
	params := &fn.Params
	if params.Flags&1 == 0 {
		return deny(wire.CodeError, "tool old client")
	}
	if params.IsTest != t.IsTest {
		return deny(wire.CodeError, "test mode mismatch")
	}
	var err error
	if c.wallet, err = contract.ParseAddress(params.ClientOwnerAddress); err != nil {
		return deny(0, "Failed to parse account address")
	}
	if uint32(fn.MinConfigVersion) > t.Version {
		return deny(wire.CodeError, "active config version is too low")
	}
	var ok bool
	if c.version, ok = chooseVersion(params.Flags, params.MinProtoVersion, params.MaxProtoVersion); !ok {
		return deny(wire.CodeProtocol, "cannot choose common protocol version")
	}
	c.account, c.text = c.wallet.StringRaw(), c.p.text(c.wallet)
	c.extensions = params.Flags&tl.FlagExtensions != 0
	var away error
	if c.secret, c.known, away = c.p.known(c.wallet); c.known {
		if err := c.open(); err != nil {
			return err
		}
	}
	if c.p.cfg.Registrar != nil {
		c.nonce = rand.Int64()
	}
	if why, ok := c.p.takesWork(); !ok {
		return notParticipating(why)
	}
	if away != nil {
		return deny(wire.CodeNotReady, "%w", away)
	}
	return nil
}

// notParticipating begins with the network's own words.
func notParticipating(why string) *denied {
	return deny(wire.CodeNotReady, "proxy is not participating in this iteration: %s", why)
}

// open makes the account known and refuses one that is closing.
func (c *client) open() *denied {
	a, err := c.p.book.OpenClient(c.account)
	if err != nil {
		return deny(wire.CodeNotReady, "%w", err)
	}
	if a.State != ledger.Open {
		return deny(wire.CodeError, "client is closing")
	}
	return nil
}

func (c *client) authorize(q *wire.Query) *denied {
	if c.known {
		if err := c.open(); err != nil {
			return err
		}
	}
	var short tl.ClientAuthorizeWithProxyShort
	if tl.Unmarshal(q.Data, &short) == nil {
		hash := sha256.Sum256(short.Data)
		if !c.known || subtle.ConstantTimeCompare(hash[:], c.secret[:]) != 1 {
			return deny(0, "sha256 mismatch")
		}
		return c.succeed(q)
	}
	var long tl.ClientAuthorizeWithProxyLong
	if err := tl.Unmarshal(q.Data, &long); err != nil {
		return deny(0, "expected auth message")
	}
	if c.p.cfg.Registrar == nil {
		return c.succeed(q)
	}
	c.stage = clientWaits
	go c.await(q)
	return nil
}

// await waits for the registration on chain, at most until the handshake's
// time is over: that ends the connection, and with it ctx.
func (c *client) await(q *wire.Query) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-c.conn.Done():
		case <-ctx.Done():
		}
	}()
	if err := c.p.cfg.Registrar.Await(ctx, c.wallet, c.nonce); err != nil {
		q.Fail(wire.CodeNotReady, "registration was not seen on chain")
		c.conn.CloseAfterFlush(fmt.Errorf("authorisation: %w", err))
		return
	}
	err := c.open()
	if err == nil {
		err = c.succeed(q)
	}
	if err != nil {
		q.Fail(err.code, err.Error())
		c.conn.CloseAfterFlush(fmt.Errorf("authorisation refused: %w", err))
	}
}

var errTermsPassed = errors.New("proxy has changed its contract: connect again")

// succeed opens the connection for requests.
func (c *client) succeed(q *wire.Query) *denied {
	if c.terms.ParamsVersion != c.p.terms.Load().ParamsVersion {
		return deny(wire.CodeNotReady, "%w", errTermsPassed)
	}
	s, err := c.p.book.ClientStatus(c.account)
	if err != nil {
		return deny(wire.CodeFailure, "%w", err)
	}
	c.timer.Stop()
	c.ready.Store(true)
	q.Answer(&tl.ClientAuthorizationWithProxySuccess{SignedPayment: signed(s.Payment), TokensCommittedToDb: s.DB, MaxTokens: s.Max})
	c.p.log.Info("client connected", "client", c.text, "remote", c.conn.RemoteAddr(), "version", c.version)
	return nil
}
