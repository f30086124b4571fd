package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mutation takes one guard away from production code.
type mutation struct {
	guard    string
	file     string
	old, new string
}

// Some guards back each other, and the loss of one alone shows in nothing: that
// no work is taken before the session's first note (the whole history is read
// before), that a last payment waits for all bookings (asked when it falls due and
// when it is signed), that nothing is paid in to a proxy that lied (no request goes there either).
var mutations = []mutation{
	{"only what the chain has committed is signed", "ledger/status.go", "p.Tokens = c.chain", "p.Tokens = c.db"},
	{"a booking is on the disk before it is acknowledged", "ledger/disk/disk.go", "		err = s.active.Sync()\n	}\n	if err != nil {\n		// Nobody", "	}\n	if err != nil {\n		// Nobody"},
	{"a torn record is not believed", "ledger/disk/frame.go", "if binary.BigEndian.Uint32(h[24:]) != crc32.Checksum(r.Data, castagnoli) {", "if false {"},
	{"a note that was never prepared shows an old disk", "ledger/note.go", "if !l.state.known(number, session) {", "if false {"},
	{"a hold is ended once", "ledger/hold.go", "	case !l.open(h):\n		return ErrSpent", "	case false:\n		return ErrSpent"},
	{"nobody uses more than he can pay", "ledger/hold.go", "booked = max(0, min(used, s.Available(), math.MaxInt64-w.earned.db-w.coming))", "booked = max(0, min(used+0*s.Charged, math.MaxInt64-w.earned.db-w.coming))"},
	{"a request sets aside what it may cost", "ledger/hold.go", "case s.Available() < need:", "case false:"},
	{"a worker earns what a client used", "ledger/state.go", "w.earned.db += e.Tokens", "w.earned.db += e.Tokens + 1"},
	{"notes are read from the proxy's own wallet alone", "settlement/proxy_follow.go", "if in.From.Equals(p.cfg.Wallet.Address()) && m.Seqno", "if m.Seqno"},
	{"a charge above the own count is refused", "ledger/claim.go", "case a == nil || total <= a.ceiling():", "case true:"},
	{"what may have been used before a crash is remembered", "ledger/tally.go", "kept.wonder(max(0, a.Allowed-a.Used),", "kept.wonder(0,"},
	{"a proxy that signs too little gets no more work", "settlement/worker_book.go", "if open <= w.cfg.MaxUnpaid {", "if true {"},
	{"a payment is the proxy's own", "contract/envelope.go", "!ed25519.Verify(key, e.payload.Hash(), e.signature)", "false"},
	{"a total that was on its way while requests ended ends no doubt", "ledger/claim.go", "a.changes != asked.changes", "false"},
	{"a total that was long on its way bounds no newer doubt", "ledger/tally.go", "if at.Before(a.ripened) {", "if false {"},
	{"what left the wallet is known to have left", "wallet/scan.go", "if i := slices.IndexFunc(out, e.left); i >= 0 {", "if i := slices.IndexFunc(out, e.left); i >= 0 && len(order.Messages) > 1 {"},
}

// TestMutations takes the guards away, one at a time, and wants the simulation
// to find each. It builds this test anew for each, so it runs when asked.
func TestMutations(t *testing.T) {
	if os.Getenv("SIM_MUTATIONS") == "" {
		t.Skip("SIM_MUTATIONS=1 takes guards away from production code, one at a time, and takes minutes")
	}
	only := os.Getenv("SIM_MUTATIONS")
	for i, m := range mutations {
		if only != "1" && only != fmt.Sprint("#", i) {
			continue
		}
		t.Run(fmt.Sprint("#", i, " ", m.guard), func(t *testing.T) {
			found := m.run(t)
			if found == "" {
				t.Errorf("%s: taken away from %s, and nobody noticed", m.guard, m.file)
				return
			}
			t.Logf("found: %s", found)
		})
	}
}

var violation = regexp.MustCompile(`seed \d+, step \d+: .*`)

// run is what the simulation says of the mutant; empty if it says nothing.
func (m *mutation) run(t *testing.T) string {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	source, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s holds the guard %d times, want once: %s", m.file, n, m.old)
	}
	mutant, overlay, binary := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "sim.test")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, m.file): mutant}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{mutant: []byte(strings.Replace(string(source), m.old, m.new, 1)), overlay: text} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("the mutant does not compile: %v\n%s", err, out)
	}
	seeds := os.Getenv("SIM_SEEDS")
	if seeds == "" {
		seeds = "1-150"
	}
	cmd := exec.Command(binary, "-test.run", "TestEconomy", "-test.failfast", "-test.timeout", "10m")
	cmd.Env = append(os.Environ(), "SIM_MUTATIONS=", "SIM_SEED=", "SIM_SEEDS="+seeds, "SIM_STEPS=2500")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	if found := violation.Find(out); found != nil {
		return string(found)
	}
	return "it ends: " + string(out[:min(len(out), 600)])
}
