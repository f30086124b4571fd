package model_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/model"
)

// folder makes a folder with every kind of entry that the archive treats
// differently: names at the limits of a header, names that are not ASCII,
// permissions, sizes around a record, an order that differs from that of paths.
func folder(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	long := func(n int) string { return strings.Repeat("n", n) }
	for _, f := range []struct {
		name string
		size int
		mode os.FileMode
	}{
		{"config.json", 700, 0o644}, {"weights.bin", 1 << 20, 0o600}, {"empty", 0, 0o640}, {".gitattributes", 512, 0o444},
		{"run.sh", 513, 0o755}, {"odd", 1, 0o604}, {"sub/x", 511, 0o644}, {"sub/deep/y", 3, 0o644}, {"sub-a", 2, 0o644}, {"sub.txt", 2, 0o644},
		{"é.json", 5, 0o644}, {"è/plain", 5, 0o644}, {long(98), 1, 0o644}, {"x" + long(98), 1, 0o644}, {"y" + long(199), 9, 0o644},
		{long(95) + "d/" + "f", 4, 0o644}, {long(240) + "/" + long(200), 4, 0o644}, {"sub/.cache/kept", 1, 0o644}, {".cache/dropped", 1, 0o644},
		{"line\nbreak", 1, 0o644},
	} {
		p := filepath.Join(dir, f.name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, content(f.name, f.size), 0o600))
		must(t, os.Chmod(p, f.mode))
	}
	must(t, os.MkdirAll(filepath.Join(dir, "hollow"), 0o755))
	must(t, os.Chmod(filepath.Join(dir, "hollow"), 0o711))
	must(t, os.Chmod(dir, 0o700))
	return dir
}

func content(seed string, size int) []byte {
	b := make([]byte, 0, size+sha256.Size)
	for sum := sha256.Sum256([]byte(seed)); len(b) < size; sum = sha256.Sum256(sum[:]) {
		b = append(b, sum[:]...)
	}
	return b[:size]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Made by GNU tar 1.34 and veritysetup 2.6.1 with the network's options; the
// test below makes them again where both are installed.
const (
	goldenTar  = "ca81eaf35bfb0b0215907f4216c348dd2d9c86965fe2ddc50d58801e88587e7b"
	goldenTree = "018ce06435c541cbff1353090b10cd3b40cdc2cd63543a88216d00ab28336215"
	goldenRoot = "3616acd5d4a95f3575b28a7f516b6294ddafd7ebec72bdb8cf91f42c15d2df0c"
)

func TestPackIsTheNetworksArchive(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file permissions are not those of the golden folder")
	}
	a, err := model.Open(folder(t))
	must(t, err)
	out := t.TempDir()
	p, err := model.Pack(context.Background(), a, "a/demo", commit, out, false, nil)
	must(t, err)
	if got := digest(t, p.Tar); got != goldenTar {
		t.Errorf("archive has SHA-256 %s, want %s", got, goldenTar)
	}
	if got := digest(t, p.Tree); got != goldenTree {
		t.Errorf("hash tree has SHA-256 %s, want %s", got, goldenTree)
	}
	if want := "a/demo@" + commit + ":" + goldenRoot; p.ID.String() != want {
		t.Errorf("identity is %s, want %s", p.ID, want)
	}
	if sum, err := os.ReadFile(p.Sum); err != nil || string(sum) != goldenRoot {
		t.Errorf("hash file says %q, %v", sum, err)
	}
	if filepath.Base(p.Tar) != "a_demo.tar" {
		t.Errorf("archive is called %s, want a_demo.tar", filepath.Base(p.Tar))
	}
	left, _ := filepath.Glob(filepath.Join(out, ".*"))
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestToolsMakeTheSame(t *testing.T) {
	tar, verity := tool(t, "tar"), tool(t, "veritysetup")
	if out, _ := exec.Command(tar, "--version").Output(); !bytes.Contains(out, []byte("GNU tar")) {
		t.Skip("no GNU tar")
	}
	dir := folder(t)
	file := filepath.Join(t.TempDir(), "ref.tar")
	cmd := exec.Command(tar, "-cf", file, "-C", dir, "--exclude=./.cache", ".", "--sort=name", "--format=posix", "--pax-option=exthdr.name=%d/PaxHeaders/%f",
		"--pax-option=delete=atime,delete=ctime", "--clamp-mtime", "--mtime=@0", "--numeric-owner", "--owner=0", "--group=0", "--mode=go+u,go-w")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	info, err := os.Stat(file)
	must(t, err)
	must(t, os.Truncate(file, info.Size()+4096-info.Size()%4096))
	if got := digest(t, file); got != goldenTar {
		t.Errorf("archive has SHA-256 %s, want %s", got, goldenTar)
	}
	root := format(t, verity, file, file+".verity")
	if got := digest(t, file+".verity"); got != goldenTree || root != goldenRoot {
		t.Errorf("tree has SHA-256 %s and root %s, want %s and %s", got, root, goldenTree, goldenRoot)
	}
}

// tool finds a program of the system, or skips the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, p := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(p); err == nil {
			return found
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func format(t *testing.T, verity, data, hashes string) (root string) {
	t.Helper()
	sum := hashes + ".root"
	out, err := exec.Command(verity, "format", "--uuid=645ac31f-7610-42e1-8434-9d733699eac0", "--salt=00010203040506070809101a1b1c1d1e1f",
		data, hashes, "--root-hash-file="+sum).CombinedOutput()
	if err != nil {
		t.Skipf("veritysetup: %v\n%s", err, out)
	}
	b, err := os.ReadFile(sum)
	must(t, err)
	return string(b)
}

func digest(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// However it is cut, what is read is the same bytes.
func TestArchiveReadsAnywhere(t *testing.T) {
	a, err := model.Open(folder(t))
	must(t, err)
	whole, err := io.ReadAll(io.NewSectionReader(a, 0, a.Size()))
	must(t, err)
	for _, step := range []int{1 << 17, 4096, 511, 100_003} {
		for at := 0; at < len(whole); at += step {
			b := make([]byte, step)
			n, err := a.ReadAt(b, int64(at))
			want := whole[at:min(at+step, len(whole))]
			if n != len(want) || !bytes.Equal(b[:n], want) || (n < step) != (err == io.EOF) || err != nil && err != io.EOF {
				t.Fatalf("ReadAt(%d bytes, %d) = %d, %v, not what lies there", step, at, n, err)
			}
		}
	}
	if _, err := a.ReadAt(make([]byte, 1), a.Size()); err != io.EOF {
		t.Errorf("reading behind the end: %v, want EOF", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		make       func(dir string) error
	}{
		{"nothing", "no file to pack", func(string) error { return nil }},
		{"link to a file", "is a link", func(dir string) error { return os.Symlink("/etc/hostname", filepath.Join(dir, "config.json")) }},
		{"link to a folder", "is a link", func(dir string) error { return os.Symlink(".", filepath.Join(dir, "again")) }},
		{"socket", "want files and folders only", func(dir string) error {
			l, err := net.Listen("unix", filepath.Join(dir, "s"))
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		}},
	} {
		dir := t.TempDir()
		if err := c.make(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := model.Open(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
	if _, err := model.Open(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent folder: %v", err)
	}
}

// A file that changes under the reader must not become a hash of two halves.
func TestArchiveSeesAFileChange(t *testing.T) {
	dir := folder(t)
	a, err := model.Open(dir)
	must(t, err)
	must(t, os.Truncate(filepath.Join(dir, "weights.bin"), 100))
	if _, err := model.Sum(context.Background(), a, a.Size(), nil); err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("Sum over a file that shrank: %v", err)
	}
}

// hub makes a cache as a hub's client does.
func hub(t *testing.T) (snapshot string) {
	t.Helper()
	repo := filepath.Join(t.TempDir(), "models--acme--tiny")
	snapshot = filepath.Join(repo, "snapshots", commit)
	must(t, os.MkdirAll(filepath.Join(repo, "blobs"), 0o755))
	must(t, os.MkdirAll(filepath.Join(snapshot, "sub"), 0o700))
	for name, blob := range map[string]string{"config.json": "aa", "sub/weights": "bb"} {
		must(t, os.WriteFile(filepath.Join(repo, "blobs", blob), content(name, 9000), 0o600))
		up := strings.Repeat("../", 2+strings.Count(name, "/"))
		must(t, os.Symlink(up+"blobs/"+blob, filepath.Join(snapshot, name)))
	}
	return snapshot
}

func TestHubSnapshotIsPackedAsDownloaded(t *testing.T) {
	a, err := model.Open(hub(t))
	must(t, err)
	if a.Name != "acme/tiny" || a.Commit != commit || a.Files != 2 {
		t.Errorf("archive of %s@%s with %d files, want acme/tiny@%s with 2", a.Name, a.Commit, a.Files, commit)
	}
	plain := t.TempDir()
	must(t, os.Chmod(plain, 0o755))
	must(t, os.MkdirAll(filepath.Join(plain, "sub"), 0o755))
	for _, name := range []string{"config.json", "sub/weights"} {
		must(t, os.WriteFile(filepath.Join(plain, name), content(name, 9000), 0o644))
	}
	b, err := model.Open(plain)
	must(t, err)
	got, want := sum(t, a), sum(t, b)
	if got != want {
		t.Errorf("the snapshot has hash %s, the download %s", got, want)
	}
}

func sum(t *testing.T, a *model.Archive) model.Hash {
	t.Helper()
	h, err := model.Sum(context.Background(), a, a.Size(), nil)
	must(t, err)
	return h
}

// A link out of the repository would put the machine's own files into a model.
func TestHubSnapshotStaysInItsRepository(t *testing.T) {
	for want, target := range map[string]string{
		"want a file of the same repository": "/etc/hostname",
		"incomplete download":                "../../blobs/absent",
	} {
		dir := hub(t)
		if _, err := os.Stat(target); filepath.IsAbs(target) && err != nil {
			t.Skip(err)
		}
		must(t, os.Symlink(target, filepath.Join(dir, "z")))
		if _, err := model.Open(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("link to %s: %v, want an error with %q", target, err, want)
		}
	}
	neighbour := hub(t)
	other := filepath.Dir(filepath.Dir(neighbour)) + "-too" // begins like the repository
	must(t, os.Mkdir(other, 0o755))
	must(t, os.WriteFile(filepath.Join(other, "secret"), nil, 0o600))
	must(t, os.Symlink(filepath.Join(other, "secret"), filepath.Join(neighbour, "z")))
	if _, err := model.Open(neighbour); err == nil || !strings.Contains(err.Error(), "same repository") {
		t.Errorf("link into the repository beside: %v", err)
	}
	dir := hub(t)
	must(t, os.Symlink("../../blobs", filepath.Join(dir, "z")))
	if _, err := model.Open(dir); err == nil || !strings.Contains(err.Error(), "want a file") {
		t.Errorf("link to a folder: %v", err)
	}
}

func TestPackRefuses(t *testing.T) {
	a, err := model.Open(folder(t))
	must(t, err)
	out := t.TempDir()
	must(t, os.WriteFile(filepath.Join(out, "demo.tar.hash"), nil, 0o600))
	if _, err := model.Pack(context.Background(), a, "demo", commit, out, false, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("packing over a file: %v, want ErrExist", err)
	}
	if _, err := model.Pack(context.Background(), a, "demo", commit, out, true, nil); err != nil {
		t.Errorf("replacing it: %v", err)
	}
	if _, err := model.Pack(context.Background(), a, "../demo", commit, out, false, nil); err == nil {
		t.Error("a name that leads elsewhere was taken")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fresh := t.TempDir()
	if _, err := model.Pack(ctx, a, "demo", commit, fresh, false, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left, _ := os.ReadDir(fresh); len(left) > 0 {
		t.Errorf("cancelled packing left %v", left)
	}
}
