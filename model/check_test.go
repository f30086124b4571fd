package model_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencocoon/cocoon/model"
)

// Sizes at which the tree gets a block or a level more; digests made by
// veritysetup 2.6.1 over content("verity", size).
var trees = []struct {
	blocks int
	root   string
}{
	{1, "d047248fd12e1677b9d7dbe5bcbd76656f25499ca2e7840484effc6ed675db2a"},
	{2, "914c80e8a942bd5bd783004812d62f0e5556eefadef72638bfd189a4fdc31fe4"},
	{127, "f9f143be5efec1450c1251b5971b3a71b265ab9dd1377ebd030c380f0a9dbc6c"},
	{128, "62b788d3b97ca83d079657096246e34531dc65b05368c1214c5e9d4d7c0f836e"},
	{129, "bc98b451a55e97c18aa081d7839d07719c7bff11430678e2627cdc1fdefe6d43"},
	{1024, "efbba4aa2cf1ae14e61bf21461a7237ad512352dbb21c01b3859babce7652c4a"},
	{1025, "8c858add178f21d5f0e50daaafeea62b371f28ea29c147cce71212f39b6145cd"},
	{16384, "08bfb24dbb9f55cca31f44f080d66f63a0bd3685d3a7d651405e710c2e9c6b73"},
	{16385, "44f4a803198815759319dc34a6d7ed1afc7a5052b20e3f4802f31d4f22d6323a"},
}

// treeData is as long as the largest of them needs; the others begin like it.
var treeData = sync.OnceValue(func() []byte { return content("verity", 16385*model.BlockSize) })

func TestSum(t *testing.T) {
	for _, c := range trees {
		data := treeData()[:c.blocks*model.BlockSize]
		var last, calls int64
		got, err := model.Sum(context.Background(), bytes.NewReader(data), int64(len(data)), func(done, total int64) {
			if done <= last || total != int64(len(data)) {
				t.Errorf("progress went from %d to %d of %d", last, done, total)
			}
			last = done
			calls++
		})
		if err != nil || got.String() != c.root {
			t.Errorf("Sum of %d blocks = %s, %v, want %s", c.blocks, got, err, c.root)
		}
		if last != int64(len(data)) || calls == 0 {
			t.Errorf("progress ended at %d of %d", last, len(data))
		}
	}
}

func TestVeritysetupSumsTheSame(t *testing.T) {
	verity := tool(t, "veritysetup")
	for _, c := range trees {
		file := filepath.Join(t.TempDir(), "data")
		must(t, os.WriteFile(file, treeData()[:c.blocks*model.BlockSize], 0o600))
		if got := format(t, verity, file, file+".verity"); got != c.root {
			t.Errorf("veritysetup over %d blocks: %s, want %s", c.blocks, got, c.root)
		}
	}
}

func TestSumRefusesWhatIsNoArchive(t *testing.T) {
	for _, size := range []int64{0, -1, 1, 4095, 4097} {
		if _, err := model.Sum(context.Background(), bytes.NewReader(make([]byte, 5000)), size, nil); !errors.Is(err, model.ErrSize) {
			t.Errorf("Sum of %d bytes: %v, want ErrSize", size, err)
		}
	}
	if _, err := model.Sum(context.Background(), bytes.NewReader(make([]byte, 5000)), 8192, nil); err == nil || !strings.Contains(err.Error(), "read at byte 5000") {
		t.Errorf("Sum of a file cut short: %v", err)
	}
}

func TestSumStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	data := make([]byte, 64<<20)
	_, err := model.Sum(ctx, bytes.NewReader(data), int64(len(data)), func(done, _ int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled after the first chunk: %v", err)
	}
}

// packed writes an archive of 300 blocks of weights and its tree.
func packed(t *testing.T) (*model.Packed, string) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), content("c", 700), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "weights"), content("w", 300*4096), 0o644))
	a, err := model.Open(dir)
	must(t, err)
	p, err := model.Pack(context.Background(), a, "demo", commit, t.TempDir(), false, nil)
	must(t, err)
	return p, dir
}

func check(t *testing.T, name string, want model.Hash) error {
	t.Helper()
	s, err := model.OpenSource(name, "")
	must(t, err)
	defer s.Close()
	return model.Check(context.Background(), s, want, nil)
}

func TestCheckAccepts(t *testing.T) {
	p, dir := packed(t)
	for _, name := range []string{p.Tar, dir} {
		if err := check(t, name, p.ID.Hash); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, os.Remove(p.Tree))
	if err := check(t, p.Tar, p.ID.Hash); err != nil {
		t.Errorf("without a tree: %v", err)
	}
}

func flip(t *testing.T, file string, at int64) {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	b[at] ^= 1
	must(t, os.WriteFile(file, b, 0o600))
}

// One thing is wrong at a time.
func TestCheckRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		spoil      func(t *testing.T, p *model.Packed)
	}{
		{"a bit of the weights", "one block of 4096 bytes differs; block 100 (weights)", func(t *testing.T, p *model.Packed) { flip(t, p.Tar, 100*4096+7) }},
		{"the first block", "block 0 (config.json, weights)", func(t *testing.T, p *model.Packed) { flip(t, p.Tar, 1100) }},
		{"padding", "one block of 4096 bytes differs; block 302", func(t *testing.T, p *model.Packed) { flip(t, p.Tar, 302*4096) }},
		{"a run and one more", "3 blocks of 4096 bytes differ; blocks 10 to 11 (weights); block 290 (weights)", func(t *testing.T, p *model.Packed) {
			flip(t, p.Tar, 10*4096)
			flip(t, p.Tar, 11*4096)
			flip(t, p.Tar, 290*4096)
		}},
		{"cut by a block", "number of data blocks", func(t *testing.T, p *model.Packed) { must(t, os.Truncate(p.Tar, size(t, p.Tar)-4096)) }},
		{"cut within a block", "not a multiple of 4096", func(t *testing.T, p *model.Packed) { must(t, os.Truncate(p.Tar, size(t, p.Tar)-1)) }},
		{"empty", "not a multiple of 4096", func(t *testing.T, p *model.Packed) { must(t, os.Truncate(p.Tar, 0)) }},
		{"tree: signature", "its hash tree is not: no dm-verity superblock", func(t *testing.T, p *model.Packed) { flip(t, p.Tree, 0) }},
		{"tree: version", "version is 00", func(t *testing.T, p *model.Packed) { flip(t, p.Tree, 8) }},
		{"tree: hash type", "hash type is 00", func(t *testing.T, p *model.Packed) { flip(t, p.Tree, 12) }},
		{"tree: algorithm", "algorithm is 72", func(t *testing.T, p *model.Packed) { flip(t, p.Tree, 32) }},
		{"tree: data block size", "data block size", func(t *testing.T, p *model.Packed) { flip(t, p.Tree, 65) }},
		{"tree: hash block size", "hash block size", func(t *testing.T, p *model.Packed) { flip(t, p.Tree, 69) }},
		{"tree: blocks", "number of data blocks", func(t *testing.T, p *model.Packed) { flip(t, p.Tree, 72) }},
		{"tree: salt size", "salt size", func(t *testing.T, p *model.Packed) { flip(t, p.Tree, 80) }},
		{"tree: salt", "salt is 01", func(t *testing.T, p *model.Packed) { flip(t, p.Tree, 88) }},
		{"tree: top", "level 1, block 0 does not follow", func(t *testing.T, p *model.Packed) { flip(t, p.Tree, 4096) }},
		{"tree: padding of the top", "level 1, block 0 does not follow", func(t *testing.T, p *model.Packed) { flip(t, p.Tree, 8191) }},
		{"tree: lowest level", "its level 1, block 0 does not follow", func(t *testing.T, p *model.Packed) { flip(t, p.Tree, 8192) }},
		{"tree: cut short", "cut short", func(t *testing.T, p *model.Packed) { must(t, os.Truncate(p.Tree, 8192+100)) }},
		{"tree: empty", "cut short", func(t *testing.T, p *model.Packed) { must(t, os.Truncate(p.Tree, 0)) }},
		{"both, the tree of other data", "cannot tell where: its root is", func(t *testing.T, p *model.Packed) {
			flip(t, p.Tar, 5000)
			s, err := model.OpenSource(p.Tar, "")
			must(t, err)
			defer s.Close()
			must(t, model.WriteTreeOf(t, s, p.Tree))
		}},
	} {
		p, _ := packed(t)
		c.spoil(t, p)
		err := check(t, p.Tar, p.ID.Hash)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
		var mismatch *model.MismatchError
		if !errors.As(err, &mismatch) && !errors.Is(err, model.ErrSize) {
			t.Errorf("%s: %T is not a mismatch", c.name, err)
		}
	}
}

func size(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	must(t, err)
	return info.Size()
}

func TestCheckOfAFolderNamesTheFile(t *testing.T) {
	p, dir := packed(t)
	flip(t, filepath.Join(dir, "weights"), 55*4096)
	s, err := model.OpenSource(dir, p.Tree)
	must(t, err)
	defer s.Close()
	if err := model.Check(context.Background(), s, p.ID.Hash, nil); err == nil || !strings.Contains(err.Error(), "(weights)") {
		t.Errorf("changed folder: %v", err)
	}
}

// What differs everywhere is told in a few words.
func TestMismatchIsShort(t *testing.T) {
	p, _ := packed(t)
	b, err := os.ReadFile(p.Tar)
	must(t, err)
	for block := 0; block < 300; block += 2 {
		b[block*4096] ^= 1
	}
	must(t, os.WriteFile(p.Tar, b, 0o600))
	var mismatch *model.MismatchError
	if err := check(t, p.Tar, p.ID.Hash); !errors.As(err, &mismatch) || mismatch.Blocks != 150 || len(mismatch.Bad) != model.MaxRanges {
		t.Errorf("150 blocks: %v", err)
	} else if len(err.Error()) > 2000 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

// A single changed bit anywhere is found, and its block is named.
func TestCheckFindsAnyBit(t *testing.T) {
	p, _ := packed(t)
	whole, err := os.ReadFile(p.Tar)
	must(t, err)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		at := rnd.IntN(len(whole))
		b := bytes.Clone(whole)
		b[at] ^= 1 << rnd.IntN(8)
		must(t, os.WriteFile(p.Tar, b, 0o600))
		var mismatch *model.MismatchError
		err := check(t, p.Tar, p.ID.Hash)
		if !errors.As(err, &mismatch) || mismatch.Blocks != 1 || mismatch.Bad[0].From != int64(at/4096) {
			t.Errorf("bit at %d: %v, want block %d", at, err, at/4096)
		}
	}
}
