package localnet

import (
	"bytes"
	"context"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// live makes a chain do something of everything.
func live(t testing.TB, c *Chain) {
	t.Helper()
	key := c.FaucetKey()
	pay(t, c, key, deploy(contract(subtract), "1"), transfer(stranger(1), "2", false))
	pay(t, c, key, deploy(contract(thrower), "1"), transfer(contract(thrower).CalcAddress(0), "3", true))
	if _, err := c.Advance(24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	pay(t, c, key, transfer(contract(subtract).CalcAddress(0), "1", true))
}

func lastHash(c *Chain) []byte { return c.Last().RootHash }

func TestDeterminism(t *testing.T) {
	a, b := newChain(t), newChain(t)
	for _, c := range []*Chain{a, b} {
		// Signatures cover an expiry by the machine's clock: take the messages of one.
		if c == a {
			live(t, c)
			continue
		}
		for _, block := range a.world.blocks[2:] {
			repeat(t, c, block)
		}
	}
	if !bytes.Equal(lastHash(a), lastHash(b)) || a.Last().SeqNo != b.Last().SeqNo {
		t.Errorf("the same messages made %v and %v", a.Last(), b.Last())
	}
	other := newChain(t, func(cfg *Config) { cfg.Seed[0]++ })
	if bytes.Equal(other.world.blocks[1].side[base].id.RootHash, a.world.blocks[1].side[base].id.RootHash) {
		t.Error("another seed made the same block")
	}
}

// repeat makes a chain seal what another chain sealed.
func repeat(t *testing.T, c *Chain, b *block) {
	t.Helper()
	if d := time.Duration(b.now-c.head().now) * time.Second; d > 0 {
		if _, err := c.Advance(d); err != nil {
			t.Fatal(err)
		}
		return // Advance sealed it
	}
	for _, tx := range b.side[base].txs {
		var parsed tlb.Transaction
		if err := tlb.Parse(&parsed, tx.cell); err != nil {
			t.Fatal(err)
		}
		if parsed.IO.In.MsgType != tlb.MsgTypeExternalIn {
			continue
		}
		message, err := tx.cell.MustPeekRef(0).PeekRef(0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Send(message); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSnapshot(t *testing.T) {
	c := newChain(t)
	live(t, c)
	hash, now, total := lastHash(c), c.Now(), balanceOf(t, c, c.FaucetAddress())
	snapshot, err := c.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := c.Advance(time.Hour); err != nil {
			t.Fatal(err)
		}
		pay(t, c, c.FaucetKey(), transfer(stranger(50), "7", false))
		if bytes.Equal(lastHash(c), hash) {
			t.Fatal("nothing happened")
		}
		if err := c.Restore(snapshot); err != nil {
			t.Fatal(err)
		}
		if got := balanceOf(t, c, c.FaucetAddress()); got.Cmp(total) != 0 || !bytes.Equal(lastHash(c), hash) || !c.Now().Equal(now) {
			t.Fatalf("restored to %s at %v, want %s at %v", got, c.Now(), total, now)
		}
		if a, err := c.Account(stranger(50)); err != nil || a.Status != tlb.AccountStatusNonExist {
			t.Fatalf("an account of the undone future: %+v, %v", a, err)
		}
	}
}

func inDir(dir string) func(*Config) { return func(cfg *Config) { cfg.Dir = dir } }

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	c := newChain(t, inDir(dir))
	live(t, c)
	forged, err := tlb.ToCell(&tlb.InternalMessage{SrcAddr: stranger(1), DstAddr: stranger(2), Amount: tlb.MustFromTON("1"), Body: cell.BeginCell().EndCell()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Deliver(forged); err != nil {
		t.Fatal(err)
	}
	undone, err := c.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	pay(t, c, c.FaucetKey(), transfer(stranger(60), "1", false))
	if err := c.Restore(undone); err != nil {
		t.Fatal(err)
	}
	want, now := c.Last(), c.Now()
	if _, err := New(Config{Dir: dir}); err == nil {
		t.Error("two chains on one journal")
	}
	c.Close()
	for range 2 {
		again := newChain(t, func(cfg *Config) { *cfg = Config{Dir: dir, Now: fixed} })
		if !again.Last().Equals(want) || again.Now().Before(now) {
			t.Fatalf("came back at %v %v, want %v %v", again.Last(), again.Now(), want, now)
		}
		pay(t, again, again.FaucetKey(), transfer(stranger(61), "1", false))
		want, now = again.Last(), again.Now()
		again.Close()
		if _, err := again.Seal(); err == nil {
			t.Error("a closed chain sealed")
		}
	}
}

// A crash can tear the last record, wherever it was; everything before it is there.
func TestTornJournal(t *testing.T) {
	dir := t.TempDir()
	c := newChain(t, inDir(dir))
	live(t, c)
	before, start := c.Last(), c.journal.end
	pay(t, c, c.FaucetKey(), transfer(stranger(1), "1", false))
	c.Close()
	path := filepath.Join(dir, "chain.journal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	zeros := append(bytes.Clone(whole[:start]), make([]byte, 100)...)
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-1] ^= 1
	for name, text := range map[string][]byte{
		"length": whole[:start+3], "checksum": whole[:start+6], "payload": whole[:len(whole)-1], "zeros": zeros, "last byte": flipped,
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		again := newChain(t, func(cfg *Config) { *cfg = Config{Dir: dir, Now: fixed} })
		if !again.Last().Equals(before) {
			t.Errorf("%s: came back at %v, want %v", name, again.Last(), before)
		}
		again.Close()
	}
}

// A block that cannot be written is not shown to anybody, and none follows.
func TestJournalCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	c := newChain(t, inDir(dir))
	live(t, c)
	before := c.Last()
	c.journal.file.Close()
	for range 2 {
		if _, err := c.Fund(context.Background(), stranger(1), tlb.MustFromTON("1")); err == nil {
			t.Fatal("sealed a block that is not on disk")
		}
	}
	if !c.Last().Equals(before) || balanceOf(t, c, stranger(1)).Cmp(big.NewInt(2e9)) != 0 {
		t.Errorf("at %v, want %v and its balances", c.Last(), before)
	}
	again := newChain(t, func(cfg *Config) { *cfg = Config{Dir: dir, Now: fixed} })
	if !again.Last().Equals(before) {
		t.Errorf("came back at %v, want %v", again.Last(), before)
	}
}

func TestDamagedJournal(t *testing.T) {
	dir := t.TempDir()
	c := newChain(t, inDir(dir))
	live(t, c)
	c.Close()
	path := filepath.Join(dir, "chain.journal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	middle := bytes.Clone(whole)
	middle[len(firstRecord(t, dir))+200] ^= 1
	for name, test := range map[string]struct {
		text []byte
		cfg  Config
		want string
	}{
		"a byte in the middle": {middle, Config{}, "damaged at byte"},
		"another seed":         {whole, Config{Seed: [32]byte{9}}, "another seed"},
		"another network":      {whole, Config{GlobalID: -239}, "global id"},
		"a Route":              {whole, Config{Route: func(m *cell.Cell) []*cell.Cell { return nil }}, "could not be replayed"},
	} {
		if err := os.WriteFile(path, test.text, 0o600); err != nil {
			t.Fatal(err)
		}
		test.cfg.Dir, test.cfg.Now = dir, fixed
		if _, err := New(test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error about %q", name, err, test.want)
		}
		if left, _ := os.ReadFile(path); !bytes.Equal(left, test.text) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

// firstRecord is the first record with its frame.
func firstRecord(t *testing.T, dir string) []byte {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, "chain.journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	record, err := readRecord(file)
	if err != nil {
		t.Fatal(err)
	}
	return append(make([]byte, 8), record...)
}

// A journal's bytes may be anything; reading them must end in a chain or an error.
func FuzzJournal(f *testing.F) {
	c := newChain(f)
	d := &draft{now: 1_900_000_000}
	dir := f.TempDir()
	j, err := openJournal(&Config{Dir: dir})
	if err != nil {
		f.Fatal(err)
	}
	external, err := c.SignTransfer(context.Background(), c.FaucetKey(), transfer(stranger(1), "1", false))
	if err != nil {
		f.Fatal(err)
	}
	d.inputs = []*cell.Cell{external}
	if err := j.append(d, make([]byte, 32)); err != nil {
		f.Fatal(err)
	}
	record, _ := os.ReadFile(j.path)
	f.Add(record)
	f.Add(make([]byte, 44))
	f.Fuzz(func(t *testing.T, text []byte) {
		record, err := readRecord(bytes.NewReader(text))
		if err != nil {
			return
		}
		before, err := c.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.replayBlock(record)
		c.draft, c.broken = nil, nil
		if err := c.Restore(before); err != nil {
			t.Fatal(err)
		}
	})
}
