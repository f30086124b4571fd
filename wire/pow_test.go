package wire

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type powVectors struct {
	Computed []struct {
		Difficulty          int
		Salt                string
		Challenge, Response string
		Nonce               uint64 `json:"smallest_nonce"`
	}
	Observed []struct{ Challenge, Response, Result string }
}

// solveAgainst lets Solve answer the given bytes and returns its answer.
func solveAgainst(t testing.TB, ctx context.Context, challenge []byte, limit int) ([]byte, error) {
	near, far := net.Pipe()
	result := make(chan error, 1)
	go func() {
		err := Solve(ctx, near, limit)
		near.Close()
		result <- err
	}()
	far.Write(challenge)
	answer, _ := io.ReadAll(far)
	return answer, <-result
}

func TestPoWVectors(t *testing.T) {
	var v powVectors
	loadVectors(t, "testdata/pow.json", &v)
	for _, c := range v.Computed {
		if got := challenge(c.Difficulty, unhex(t, c.Salt)); string(got) != string(unhex(t, c.Challenge)) {
			t.Errorf("challenge is %x, want %s", got, c.Challenge)
		}
		answer, err := solveAgainst(t, t.Context(), unhex(t, c.Challenge), DefaultMaxDifficulty)
		if err != nil || string(answer) != string(unhex(t, c.Response)) {
			t.Errorf("difficulty %d: answer %x, %v, want %s", c.Difficulty, answer, err, c.Response)
		}
	}
	for _, o := range v.Observed {
		c := unhex(t, o.Challenge)
		var block powBlock
		copy(block[:], c[8:])
		err := block.check([12]byte(unhex(t, o.Response)), int(binary.LittleEndian.Uint32(c[4:])))
		if refused := strings.HasPrefix(o.Result, "REJECTED"); refused != (err != nil) {
			t.Errorf("%s: %s, we say %v", o.Challenge, o.Result, err)
		}
	}
	if len(v.Computed) < 5 || len(v.Observed) < 4 {
		t.Error("vectors are missing")
	}
}

func TestPoWBetweenUs(t *testing.T) {
	for _, difficulty := range []int{-5, 0, 1, 8, 12} {
		near, far := net.Pipe()
		solved := make(chan error, 1)
		go func() { solved <- Solve(t.Context(), near, 12) }()
		if err := Challenge(t.Context(), far, difficulty); err != nil {
			t.Errorf("challenge %d: %v", difficulty, err)
		}
		if err := <-solved; err != nil {
			t.Errorf("solve %d: %v", difficulty, err)
		}
	}
}

func TestSolveRefusals(t *testing.T) {
	salt := make([]byte, 16)
	for _, row := range []struct {
		name      string
		challenge []byte
		want      string
	}{
		{"too hard", challenge(29, salt), "difficulty 29, limit 28"},
		{"much too hard", challenge(1<<31-1, salt), "difficulty 2147483647, limit 28"},
		{"other magic", append([]byte{0x92}, challenge(1, salt)[1:]...), "challenge begins 0x418e1292"},
	} {
		answer, err := solveAgainst(t, t.Context(), row.challenge, 28)
		if err == nil || !strings.Contains(err.Error(), row.want) || len(answer) != 0 {
			t.Errorf("%s: answered %x, %v; want nothing and %q", row.name, answer, err, row.want)
		}
	}
	for _, d := range []int{0, -5, -1 << 31} {
		answer, err := solveAgainst(t, t.Context(), challenge(d, salt), 28)
		if want := "197382010000000000000000"; err != nil || string(answer) != string(unhex(t, want)) {
			t.Errorf("difficulty %d: answered %x, %v, want %s", d, answer, err, want)
		}
	}
}

func TestSolveStopsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	near, far := net.Pipe()
	defer far.Close()
	result := make(chan error, 1)
	go func() { result <- Solve(ctx, near, 64) }()
	far.Write(challenge(64, make([]byte, 16))) // would take for ever
	cancel()
	wantErr(t, <-result, context.Canceled)
}

func TestChallengeRefusals(t *testing.T) {
	for _, row := range []struct {
		name, answer string
		want         error
	}{
		{"other magic", "198382010000000000000000", ErrProtocol},
		{"no solution", "19738201ffffffffffffffff", ErrProtocol},
		{"cut", "1973820100", ErrPeerClosed},
		{"nothing", "", ErrPeerClosed},
	} {
		near, far := net.Pipe()
		go func() {
			io.ReadFull(far, make([]byte, 24))
			far.Write(unhex(t, row.answer))
			far.Close()
		}()
		wantErr(t, Challenge(t.Context(), near, 60), row.want)
	}
	if err := Challenge(t.Context(), nil, 65); err == nil {
		t.Error("difficulty 65 was offered")
	}
}

func TestChallengeWaitsNoLongerThanContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		near, far := net.Pipe()
		defer far.Close()
		go io.ReadFull(far, make([]byte, 24))
		start := time.Now()
		wantErr(t, Challenge(ctx, near, 8), context.DeadlineExceeded)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// The ClientHello may share a segment with the response.
func TestChallengeLeavesTheRest(t *testing.T) {
	near, far := loopback(t)
	defer near.Close()
	defer far.Close()
	go func() {
		var c [24]byte
		io.ReadFull(far, c[:])
		far.Write(append(unhex(t, "197382010000000000000000"), "hello"...))
	}()
	if err := Challenge(t.Context(), near, 0); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, 5)
	if _, err := io.ReadFull(near, rest); err != nil || string(rest) != "hello" {
		t.Errorf("after the response: %q, %v", rest, err)
	}
}

// FuzzPoW feeds both sides arbitrary bytes: they end, and the solver is right
// whenever it answers.
func FuzzPoW(f *testing.F) {
	f.Add(challenge(3, make([]byte, 16)), make([]byte, 12))
	f.Add(challenge(-1, make([]byte, 16)), unhex(f, "197382010000000000000000"))
	f.Add([]byte("short"), []byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, c, response []byte) {
		answer, err := fed(c, func(nc net.Conn) error { return Solve(t.Context(), nc, 10) })
		if err == nil {
			var block powBlock
			copy(block[:], c[8:24])
			if err := block.check([12]byte(answer), int(int32(binary.LittleEndian.Uint32(c[4:])))); err != nil {
				t.Errorf("%x solved as %x: %v", c, answer, err)
			}
		}
		if _, err := fed(response, func(nc net.Conn) error { return Challenge(t.Context(), nc, 64) }); err == nil {
			t.Errorf("%x taken for a solution", response)
		}
	})
}

// fed runs f on a connection on which in arrives, and nothing more.
func fed(in []byte, f func(net.Conn) error) ([]byte, error) {
	nc := &script{in: in}
	err := f(nc)
	return nc.out, err
}

// script is a net.Conn with fixed input that remembers the output.
type script struct {
	net.Conn
	in, out []byte
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(b []byte) (int, error) { s.out = append(s.out, b...); return len(b), nil }
func (s *script) SetDeadline(time.Time) error { return nil }
func (s *script) Close() error                { return nil }
func (s *script) RemoteAddr() net.Addr        { return &net.TCPAddr{} }

func BenchmarkSolveHash(b *testing.B) {
	var block powBlock
	for i := 0; b.Loop(); i++ {
		binary.LittleEndian.PutUint64(block[16:], uint64(i))
		block.solves(64)
	}
}
