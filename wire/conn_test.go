package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// The conversation a reference dialer had with a reference listener: the same
// bytes go in, the same bytes come out.
func TestRecordedConversation(t *testing.T) {
	h := newInbox()
	h.onQuery = func(_ *Conn, q *Query) {
		switch q.id {
		case 99:
			q.c.queue(outgoing{kind: idQueryAnswer, id: q.id, raw: append([]byte("ok:"), q.Data...)})
		case 100:
			q.Fail(CodeError, "boom")
		default:
			q.Fail(0, "Lost promise")
		}
	}
	near, far := net.Pipe()
	go func() {
		c, err := Server(t.Context(), far, h, Config{})
		if err != nil {
			t.Error(err)
			return
		}
		c.Start()
		c.Wait()
	}()
	peer := &rawPeer{t: t, nc: near}
	exchange := func(payload string, want string) {
		t.Helper()
		peer.send(unhex(t, payload))
		if got := peer.read(len(want) / 2); string(got) != string(unhex(t, want)) {
			t.Errorf("answer to %s is %x, want %s", payload, got, want)
		}
	}
	v := frameVectors(t)
	exchange(v[0].Payload, v[1].Frame)
	exchange(v[2].Payload, v[3].Frame)
	exchange(v[4].Payload, v[5].Frame)
	exchange("0819f53a640000000000000001780000", v[6].Frame)
	exchange("0819f53a650000000000000001780000", v[7].Frame)
	peer.send(unhex(t, v[8].Payload))
	if got := <-h.packets; string(got) != "hello" {
		t.Errorf("packet %q", got)
	}
	near.Close()
	wantErr(t, <-h.closed, ErrPeerClosed)
}

func TestBothSidesSendAndAsk(t *testing.T) {
	client, server := newInbox(), newInbox()
	answer := func(_ *Conn, q *Query) {
		if tl.PeekID(q.Data) != (&tl.ClientGetWorkerTypesV2{}).TLID() {
			q.Fail(CodeProtocol, "not that")
			return
		}
		go q.Answer(&tl.ClientWorkerTypesV2{Types: []tl.ClientWorkerTypeV2{{Name: "m"}}})
	}
	client.onQuery, server.onQuery = answer, answer
	c, s := connected(t, loopback, client, server, Config{Peer: "somebody"})
	for _, side := range []struct {
		from *Conn
		to   *inbox
	}{{c, server}, {s, client}} {
		if err := side.from.Send(blob(5)); err != nil {
			t.Fatal(err)
		}
		if got := <-side.to.packets; !bytes.Equal(got, tl.Marshal(blob(5))) {
			t.Errorf("packet %x", got)
		}
		types, err := Ask[tl.ClientWorkerTypesV2](timeout(t), side.from, &tl.ClientGetWorkerTypesV2{})
		if err != nil || len(types.Types) != 1 || types.Types[0].Name != "m" {
			t.Errorf("answer %v, %v", types, err)
		}
		var refused *QueryError
		if _, err := side.from.Ask(timeout(t), &tl.ClientRequestRefund{}); !errors.As(err, &refused) || *refused != (QueryError{CodeProtocol, "not that"}) {
			t.Errorf("refusal %v", err)
		}
		if _, err := Ask[tl.TokensUsed](timeout(t), side.from, &tl.ClientGetWorkerTypesV2{}); err == nil {
			t.Error("an answer of another type was accepted")
		}
		if side.from.Peer() != "somebody" || side.from.Err() != nil {
			t.Errorf("peer %v, err %v", side.from.Peer(), side.from.Err())
		}
	}
}

// Many queries at once, answered in reverse order, each find their asker.
func TestAnswersOutOfOrder(t *testing.T) {
	const n = 50
	var mu sync.Mutex
	var held []*Query
	h := newInbox()
	h.onQuery = func(_ *Conn, q *Query) {
		mu.Lock()
		defer mu.Unlock()
		if held = append(held, q); len(held) < n {
			return
		}
		for i := range held {
			q := held[n-1-i]
			q.Answer(&tl.ProxySignedPayment{Data: q.Data})
		}
	}
	c, _ := connected(t, loopback, newInbox(), h, Config{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			fn := &tl.ClientAuthorizeWithProxyShort{Data: fmt.Append(nil, i)}
			got, err := Ask[tl.ProxySignedPayment](timeout(t), c, fn)
			if err != nil || !bytes.Equal(got.Data, tl.Marshal(fn)) {
				t.Errorf("query %d: %v, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	if len(c.queries) != 0 {
		t.Errorf("%d queries are still registered", len(c.queries))
	}
}

func TestOpeningRefusals(t *testing.T) {
	connect := string(openingFrame(idConnect, [8]byte{1}))
	connected := string(openingFrame(idConnected, [8]byte{1}))
	for _, row := range []struct {
		name, first string
		dialer      bool
		want        error
	}{
		{"ping first", string(openingFrame(idPing, [8]byte{1})), false, ErrProtocol},
		{"connected instead of connect", connected, false, ErrProtocol},
		{"connect instead of connected", connect, true, ErrProtocol},
		{"number 1 first", "\x0c\x00\x00\x00\x01\x00\x00\x00", false, ErrProtocol},
		{"connect with four bytes more", "\x10\x00\x00\x00", false, ErrProtocol},
		{"garbage", "GET ", false, ErrProtocol},
		{"garbage to a dialer", "HTTP", true, ErrProtocol},
		{"TLS", "\x16\x03\x01\x02", false, ErrProtocol},
		{"nothing", "", false, ErrPeerClosed},
		{"half a frame", connect[:11], false, ErrPeerClosed},
		{"half a frame to a dialer", connected[:19], true, ErrPeerClosed},
	} {
		near, far := net.Pipe()
		go func() {
			if row.dialer {
				io.ReadFull(near, make([]byte, 20))
			}
			near.Write([]byte(row.first))
			if row.want == ErrPeerClosed {
				near.Close()
			}
		}()
		open := Server
		if row.dialer {
			open = Client
		}
		c, err := open(t.Context(), far, newInbox(), Config{})
		if c != nil {
			t.Errorf("%s: accepted", row.name)
		}
		wantErr(t, err, row.want)
		if _, err := near.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: connection still open", row.name)
		}
	}
}

// The reference does not compare the ids either.
func TestDialerTakesAnyConnectedID(t *testing.T) {
	near, far := net.Pipe()
	go func() {
		io.ReadFull(near, make([]byte, 20))
		near.Write(openingFrame(idConnected, [8]byte{9, 9, 9}))
	}()
	c, err := Client(t.Context(), far, newInbox(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close(nil)
	c.Wait()
}

func TestOpeningEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		for _, row := range []struct {
			ctx  context.Context
			open func(context.Context, net.Conn, Handler, Config) (*Conn, error)
			want error
			took time.Duration
		}{
			{t.Context(), Server, ErrIdle, 60 * time.Second},
			{t.Context(), Client, ErrIdle, 20 * time.Second},
		} {
			near, far := net.Pipe()
			start := time.Now()
			_, err := row.open(row.ctx, far, newInbox(), Config{})
			wantErr(t, err, row.want)
			if took := time.Since(start); took != row.took {
				t.Errorf("took %v, want %v", took, row.took)
			}
			near.Close()
		}
		_, far := net.Pipe()
		_, err := Server(ctx, far, newInbox(), Config{})
		wantErr(t, err, context.DeadlineExceeded)
	})
}

// What a peer may do without being disconnected.
func TestHarmlessOddities(t *testing.T) {
	h := newInbox()
	_, p := facing(t, h, Config{})
	for _, payload := range []string{
		"61427ca50807060504030201",                 // tcp.connect again
		"d6416d630807060504030201",                 // tcp.connected from a dialer
		"2c30d40b4d00000000000000",                 // tcp.pong nobody asked for
		"11c348c06300000000000000036f6b3a",         // an answer to nothing
		"02f6d24c63000000000000000100000000000000", // an error to nothing
	} {
		p.send(unhex(t, payload))
	}
	p.send(unhex(t, "7c62e9bb4d00000000000000"))
	if got := p.frame(); string(got) != string(unhex(t, "2c30d40b4d00000000000000")) {
		t.Errorf("after the oddities a ping got %x", got)
	}
}

// One id used twice is two queries, each answered once.
func TestQueryIDReused(t *testing.T) {
	h := newInbox()
	h.onQuery = func(_ *Conn, q *Query) {
		q.Fail(1, "first")
		q.Fail(2, "second")
		q.Answer(blob(0))
	}
	_, p := facing(t, h, Config{})
	want := "02f6d24c6500000000000000010000000566697273740000"
	for range 2 {
		p.send(unhex(t, "0819f53a650000000000000001780000"))
		if got := p.frame(); string(got) != string(unhex(t, want)) {
			t.Errorf("got %x, want %s", got, want)
		}
	}
	p.send(unhex(t, "7c62e9bb4d00000000000000"))
	if got := p.frame(); string(got[:4]) != string(unhex(t, "2c30d40b")) {
		t.Errorf("a query was answered twice: %x", got)
	}
}

// A peer that answers our query twice, or after we gave up, changes nothing.
func TestUnexpectedAnswers(t *testing.T) {
	h := newInbox()
	c, p := facing(t, h, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	ask := func(ctx context.Context) {
		data, err := c.Ask(ctx, &tl.ClientAuthorizeWithProxyLong{})
		if err == nil && string(data) != "okay" {
			err = fmt.Errorf("answer %q", data)
		}
		failed <- err
	}
	answer := func(id []byte) {
		p.send(append(append(unhex(t, "11c348c0"), id...), "\x04okay\x00\x00\x00"...))
	}
	go ask(ctx)
	late := p.frame()[4:12]
	cancel()
	wantErr(t, <-failed, context.Canceled)
	answer(late)
	go ask(t.Context())
	id := p.frame()[4:12]
	answer(id)
	answer(id)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	if string(id) == string(late) {
		t.Error("an id was used twice")
	}
}

func TestConnectionRefusals(t *testing.T) {
	for _, row := range []struct {
		name  string
		bytes []byte
		want  error
	}{
		{"unknown kind", framed(1, unhex(t, "efbeadde")), ErrProtocol},
		{"number 0 again", framed(0, unhex(t, "7c62e9bb4d00000000000000")), ErrProtocol},
		{"number skipped", framed(2, unhex(t, "7c62e9bb4d00000000000000")), ErrProtocol},
		{"length 3", []byte{3, 0, 0, 0}, ErrProtocol},
		{"over the limit", []byte{1, 0, 0, 1}, ErrProtocol},
		{"trailing bytes", framed(1, unhex(t, "7c62e9bb4d0000000000000000000000")), ErrProtocol},
		{"garbage", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ErrProtocol},
		{"cut in the header", []byte{4, 0}, ErrPeerClosed},
		{"cut in the payload", framed(1, make([]byte, 100))[:50], ErrPeerClosed},
		{"end", nil, ErrPeerClosed},
	} {
		h := newInbox()
		c, p := facing(t, h, Config{})
		p.nc.Write(row.bytes)
		if row.want == ErrPeerClosed {
			p.nc.Close()
		}
		err := <-h.closed
		wantErr(t, err, row.want)
		c.Wait()
		if got := c.Send(blob(1)); !errors.Is(got, ErrClosed) || !errors.Is(got, row.want) {
			t.Errorf("%s: send after the end: %v", row.name, got)
		}
		if len(h.packets) != 0 || len(h.closed) != 0 {
			t.Errorf("%s: %d packets, %d more ends", row.name, len(h.packets), len(h.closed))
		}
	}
}

func TestTooLargeConcernsTheSenderAlone(t *testing.T) {
	h, near := newInbox(), newInbox()
	h.onQuery = func(_ *Conn, q *Query) { q.Answer(blob(maxPayload)) }
	c, _ := connected(t, loopback, near, h, Config{})
	wantErr(t, c.SendRaw(make([]byte, maxPayload-7)), ErrTooLarge)
	wantErr(t, c.Send(blob(maxPayload)), ErrTooLarge)
	if _, err := c.Ask(timeout(t), blob(maxPayload-20)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("query: %v", err)
	}
	var refused *QueryError
	if _, err := c.Ask(timeout(t), blob(1)); !errors.As(err, &refused) || !strings.Contains(refused.Message, "too large") {
		t.Errorf("an answer too large gave %v", err)
	}
	if err := c.SendRaw(make([]byte, maxPayload-8)); err != nil { // exactly 2^24
		t.Fatal(err)
	}
	if got := <-h.packets; len(got) != maxPayload-8 {
		t.Errorf("largest message arrived with %d bytes", len(got))
	}
}

func TestReceiverLimit(t *testing.T) {
	h := newInbox()
	c, p := facing(t, h, Config{MaxFrame: 1000})
	wantErr(t, c.Send(blob(1000)), ErrTooLarge)
	p.nc.Write([]byte{0xe9, 3, 0, 0})
	wantErr(t, <-h.closed, ErrProtocol)
}

func TestQueriesFailWithTheConnection(t *testing.T) {
	h := newInbox()
	asked := make(chan struct{}, 3)
	h.onQuery = func(*Conn, *Query) { asked <- struct{}{} }
	c, s := connected(t, loopback, newInbox(), h, Config{})
	failed := make(chan error)
	for range 3 {
		go func() {
			_, err := c.Ask(context.Background(), blob(1))
			failed <- err
		}()
		<-asked
	}
	s.Close(nil)
	for range 3 {
		wantErr(t, <-failed, ErrClosed)
	}
	if _, err := c.Ask(context.Background(), blob(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("a query afterwards: %v", err)
	}
}

// A refusal sent just before closing reaches the asker, whatever else was
// under way.
func TestRefuseThenClose(t *testing.T) {
	reason := errors.New("not on the list")
	h := newInbox()
	h.onQuery = func(c *Conn, q *Query) {
		q.Fail(CodeError, "not on the list")
		c.CloseAfterFlush(reason)
		c.CloseAfterFlush(errors.New("again"))
		wantErr(t, c.Send(blob(1)), ErrClosed)
	}
	for range 200 {
		c, s := connected(t, loopback, newInbox(), h, Config{})
		for range 5 {
			c.Send(blob(100))
		}
		var refused *QueryError
		if _, err := c.Ask(timeout(t), blob(1)); !errors.As(err, &refused) {
			t.Fatalf("refusal arrived as %v", err)
		}
		wantErr(t, <-h.closed, reason)
		wantErr(t, s.Err(), reason)
	}
}

// What the peer said before it closed is heard although our own writing has
// already failed; a peer that neither takes nor ends is left soon after.
func TestWriteFailureHearsThePeerOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ends := range []bool{true, false} {
			near, far := net.Pipe()
			go near.Write(openingFrame(idConnect, [8]byte{}))
			go io.ReadFull(near, make([]byte, 20))
			h := newInbox()
			broken := errors.New("broken")
			c, err := Server(t.Context(), &mute{Conn: far, err: broken}, h, Config{})
			if err != nil {
				t.Fatal(err)
			}
			c.Start()
			c.Send(blob(1))
			synctest.Wait()
			wantErr(t, c.Send(blob(1)), broken)
			near.Write(framed(1, unhex(t, "f8ba179c0568656c6c6f0000")))
			if got := <-h.packets; string(got) != "hello" {
				t.Errorf("packet %q", got)
			}
			start, want, took := time.Now(), broken, drainLimit
			if ends {
				near.Close()
				want, took = ErrPeerClosed, 0
			}
			wantErr(t, <-h.closed, want)
			if got := time.Since(start); got != took {
				t.Errorf("ended after %v, want %v", got, took)
			}
			c.Wait()
			near.Close()
		}
	})
}

// mute is a connection on which every Write after the opening fails.
type mute struct {
	net.Conn
	err    error
	opened bool
}

func (m *mute) Write(b []byte) (int, error) {
	if m.opened {
		return 0, m.err
	}
	m.opened = true
	return m.Conn.Write(b)
}

func TestClose(t *testing.T) {
	h := newInbox()
	c, s := connected(t, loopback, h, newInbox(), Config{})
	mine := errors.New("enough")
	c.Close(mine)
	c.Close(errors.New("later"))
	<-c.Done()
	wantErr(t, <-h.closed, mine)
	c.Wait()
	wantErr(t, c.Err(), mine)
	<-s.Done()
	wantErr(t, s.Err(), ErrPeerClosed)
	if len(h.closed) != 0 {
		t.Error("closed twice")
	}
}

// A connection never started ends as well, without a word to its handler.
func TestCloseWithoutStart(t *testing.T) {
	near, far := net.Pipe()
	go near.Write(openingFrame(idConnect, [8]byte{}))
	go io.Copy(io.Discard, near)
	h := newInbox()
	c, err := Server(t.Context(), far, h, Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close(nil)
	c.Wait()
	if len(h.closed) != 0 {
		t.Error("handler was called")
	}
	c.Start() // late, but then Closed is due
	wantErr(t, <-h.closed, ErrClosed)
	c.Wait()
}

// Messages of one sender keep their order however many send.
func TestOrderUnderConcurrency(t *testing.T) {
	const senders, each = 8, 500
	next := map[int]int{}
	all := make(chan struct{})
	h := &packetFunc{f: func(data []byte) {
		var s, i int
		fmt.Sscanf(string(data), "%d %d", &s, &i)
		if next[s] != i {
			t.Errorf("sender %d: message %d, want %d", s, i, next[s])
		}
		if next[s]++; s == senders {
			close(all)
		}
	}}
	c, _ := connected(t, loopback, newInbox(), h, Config{})
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				if err := c.SendRaw(fmt.Appendf(nil, "%d %d", s, i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	c.SendRaw(fmt.Appendf(nil, "%d 0", senders))
	<-all
	for s := range senders {
		if next[s] != each {
			t.Errorf("sender %d: %d messages arrived", s, next[s])
		}
	}
}

type packetFunc struct {
	inbox
	f func([]byte)
}

func (h *packetFunc) Packet(_ *Conn, data []byte) { h.f(data) }
func (h *packetFunc) Closed(*Conn, error)         {}
