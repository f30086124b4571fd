package contract_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/contract"
)

// The recording of contract/tolk/record: what the official sandbox, which has
// the network's own machine, made of some thousand messages to our contracts.
// Here the embedded chain's machine gets the same messages, and every
// transaction and account must come out with the same hash: the exit code,
// gas to the last unit, fees, action result, messages and state are in there,
// so no difference is allowed for.

type recordedHistory struct {
	Name  string
	Steps []recordedStep
}

type recordedStep struct {
	Name    string
	At      string // the contract's role
	Now     uint32
	LT      uint64
	Exit    int32
	Gas     uint64
	Refused bool // a message from outside that no transaction came of

	message, tx, account *cell.Cell // the last two are nil if refused
}

// recording reads both files; every history starts from nothing.
func recording(t *testing.T) (config *cell.Cell, histories []recordedHistory) {
	t.Helper()
	index, err := os.ReadFile("testdata/sandbox.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(index, &histories); err != nil {
		t.Fatal(err)
	}
	bag, err := os.ReadFile("testdata/sandbox.boc")
	if err != nil {
		t.Fatal(err)
	}
	root, err := cell.FromBOC(bag)
	if err != nil {
		t.Fatal(err)
	}
	s := root.MustBeginParse()
	config = s.MustLoadRef().MustToCell()
	steps, err := s.LoadDict(32)
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	for _, h := range histories {
		for i := range h.Steps {
			value, err := steps.LoadValueByUintKey(n)
			if err != nil {
				t.Fatalf("step %q has no cells: %v; run npm run record in contract/tolk", h.Steps[i].Name, err)
			}
			h.Steps[i].load(value.MustLoadRef())
			n++
		}
	}
	return config, histories
}

func (s *recordedStep) load(refs *cell.Slice) {
	s.message = refs.MustLoadRef().MustToCell()
	if !s.Refused {
		s.tx = refs.MustLoadRef().MustToCell()
		s.account = refs.MustLoadRef().MustToCell()
	}
}

// machine is the embedded chain's machine, set up as the chain sets it up,
// with the accounts of one history.
type machine struct {
	vm       *tvm.TVM
	params   *tvm.PreparedBlockchainConfig
	accounts map[string]machineAccount
}

type machineAccount struct {
	prepared *tvm.PreparedAccount
	stat     *cell.Cell
}

func (m *machine) account(addr *address.Address) (machineAccount, error) {
	if known, ok := m.accounts[addr.StringRaw()]; ok {
		return known, nil
	}
	none := &tlb.ShardAccount{Account: cell.BeginCell().MustStoreBoolBit(false).EndCell(), LastTransHash: make([]byte, 32)}
	prepared, err := tvm.PrepareAccount(none, addr)
	return machineAccount{prepared: prepared}, err
}

// execute returns what the message led to; no transaction in it means that
// the message was refused. An error means that nothing was run.
func (m *machine) execute(message *cell.Cell, now uint32, lt uint64) (*tvm.TransactionExecutionResult, error) {
	prepared, err := tvm.PrepareMessage(message)
	if err != nil {
		return nil, err
	}
	addr := prepared.Message().Msg.DestAddr()
	a, err := m.account(addr)
	if err != nil {
		return nil, err
	}
	block, err := m.params.NewBlockContext(tvm.BlockOptions{Now: now, RandSeed: make([]byte, 32)})
	if err != nil {
		return nil, err
	}
	options := tvm.TransactionOptions{LogicalTime: int64(lt), AccountStorageStat: a.stat}
	result, err := m.vm.EmulateTransaction(block, a.prepared, prepared, options)
	if err != nil || result.TransactionCell == nil {
		return result, err
	}
	m.accounts[addr.StringRaw()] = machineAccount{result.NextAccount, result.AccountStorageStat}
	return result, nil
}

// check executes one step and describes the first difference.
func (m *machine) check(s *recordedStep) error {
	result, err := m.execute(s.message, s.Now, s.LT)
	if s.Refused {
		return checkRefusal(s, result, err)
	}
	if err != nil {
		return err
	}
	if result.TransactionCell == nil {
		return fmt.Errorf("refused with exit code %d, the sandbox made a transaction with %d", result.ExitCode, s.Exit)
	}
	account := result.NextAccount.ShardAccountCell()
	if bytes.Equal(result.TransactionCell.Hash(), s.tx.Hash()) && bytes.Equal(account.Hash(), s.account.Hash()) {
		return nil
	}
	return fmt.Errorf("the machines differ:\n%s", differences(facts(result.TransactionCell, account), facts(s.tx, s.account)))
}

func checkRefusal(s *recordedStep, result *tvm.TransactionExecutionResult, err error) error {
	if err != nil && s.Exit == 0 { // neither machine had any code to run
		return nil
	}
	if err != nil {
		return err
	}
	if result.TransactionCell != nil || int32(result.ExitCode) != s.Exit {
		return fmt.Errorf("exit code %d, accepted %t; the sandbox refused with %d", result.ExitCode, result.Accepted, s.Exit)
	}
	return nil
}

// facts takes a transaction and the account after it apart, a line for each
// thing that may differ.
func facts(txCell, accountCell *cell.Cell) []string {
	var tx tlb.Transaction
	if err := tlb.Parse(&tx, txCell); err != nil {
		return []string{"transaction: " + err.Error()}
	}
	lines := []string{
		fmt.Sprintf("transaction at %d, after %d", tx.LT, tx.PrevTxLT),
		fmt.Sprintf("status: %s, then %s", tx.OrigStatus, tx.EndStatus),
		fmt.Sprintf("fees: %s", tx.TotalFees.Coins.Nano()),
	}
	d, ok := tx.Description.(tlb.TransactionDescriptionOrdinary)
	if !ok {
		return append(lines, fmt.Sprintf("description: %T", tx.Description))
	}
	lines = append(lines,
		"storage phase: "+show(d.StoragePhase), "credit phase: "+show(d.CreditPhase), "compute phase: "+show(d.ComputePhase),
		"action phase: "+show(d.ActionPhase), "bounce phase: "+show(d.BouncePhase),
		fmt.Sprintf("aborted %t, destroyed %t", d.Aborted, d.Destroyed))
	if tx.IO.Out != nil {
		out, err := tx.IO.Out.ToSlice()
		for i, m := range out {
			c, _ := tlb.ToCell(m)
			lines = append(lines, fmt.Sprintf("message %d: %x %s", i, c.Hash(), top(m.Msg.Payload())))
		}
		lines = append(lines, fmt.Sprintf("messages: %d, %v", len(out), err))
	}
	return append(lines, accountFacts(accountCell)...)
}

func accountFacts(c *cell.Cell) []string {
	var shard tlb.ShardAccount
	if err := tlb.Parse(&shard, c); err != nil {
		return []string{"account: " + err.Error()}
	}
	var a tlb.AccountState
	if err := tlb.Parse(&a, shard.Account); err != nil {
		return []string{"account: " + err.Error()}
	}
	if !a.IsValid {
		return []string{"account: none"}
	}
	lines := []string{
		fmt.Sprintf("account: %s, balance %s", a.Status, a.Balance.Nano()),
		"storage: " + show(a.StorageInfo),
		fmt.Sprintf("account state hash: %x", a.StateHash),
	}
	if a.StateInit != nil {
		lines = append(lines, fmt.Sprintf("code: %x", a.StateInit.Code.Hash()), fmt.Sprintf("data: %x %s", a.StateInit.Data.Hash(), top(a.StateInit.Data)))
	}
	return lines
}

// top is a cell's own bits.
func top(c *cell.Cell) string {
	bits, _, _ := strings.Cut(c.Dump(), "]")
	return bits + "]"
}

func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%+v", v)
	}
	return string(text)
}

// differences lists the lines that are not on both sides.
func differences(ours, sandbox []string) string {
	var b strings.Builder
	for _, line := range ours {
		if !slices.Contains(sandbox, line) {
			fmt.Fprintf(&b, "  embedded chain: %s\n", line)
		}
	}
	for _, line := range sandbox {
		if !slices.Contains(ours, line) {
			fmt.Fprintf(&b, "  sandbox:        %s\n", line)
		}
	}
	if b.Len() == 0 {
		return "  in a field that is not shown\n"
	}
	return b.String()
}

func TestTwoMachinesAgree(t *testing.T) {
	config, histories := recording(t)
	params, err := tvm.PrepareBlockchainConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range histories {
		t.Run(h.Name, func(t *testing.T) {
			t.Parallel()
			m := &machine{vm: tvm.NewTVM(), params: params, accounts: map[string]machineAccount{}}
			for i, s := range h.Steps {
				if err := m.check(&s); err != nil {
					t.Fatalf("step %d, %s at %s: %v", i, s.Name, s.At, err)
				}
			}
		})
	}
}

// The recording is worth nothing if it is of other code, of other prices, or
// if it leaves out what time does to an account.
func TestRecordingIsOfOurCodes(t *testing.T) {
	config, histories := recording(t)
	chain, err := os.ReadFile("../ton/localnet/params.boc")
	if err != nil {
		t.Fatal(err)
	}
	params, err := cell.FromBOC(chain)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(config.Hash(), params.Hash()) {
		t.Errorf("recorded under the configuration %x, the embedded chain has %x", config.Hash(), params.Hash())
	}
	c := contract.OurCodes()
	ours := map[string]*cell.Cell{"root": c.Root, "proxy": c.Proxy, "worker": c.Worker, "client": c.Client, "wallet": c.Wallet}
	seen := map[string]bool{}
	for _, h := range histories {
		for _, s := range h.Steps {
			status, code := accountAfter(t, &s)
			seen[string(status)] = true
			if code == nil || ours[s.At] == nil || seen[s.At] {
				continue
			}
			seen[s.At] = true
			if !bytes.Equal(code.Hash(), ours[s.At].Hash()) {
				t.Errorf("%s is recorded with code %x, ours is %x: run npm run record in contract/tolk", s.At, code.Hash(), ours[s.At].Hash())
			}
		}
	}
	for _, what := range []string{"root", "proxy", "worker", "client", "wallet", "ACTIVE", "UNINIT", "FROZEN"} {
		if !seen[what] {
			t.Errorf("no step of the recording shows %s", what)
		}
	}
}

// accountAfter is a step's account: its status and code, if there are any.
func accountAfter(t *testing.T, s *recordedStep) (tlb.AccountStatus, *cell.Cell) {
	t.Helper()
	if s.Refused {
		return "", nil
	}
	var shard tlb.ShardAccount
	var a tlb.AccountState
	if err := tlb.Parse(&shard, s.account); err != nil {
		t.Fatal(err)
	}
	if err := tlb.Parse(&a, shard.Account); err != nil {
		t.Fatal(err)
	}
	if a.StateInit == nil {
		return a.Status, nil
	}
	return a.Status, a.StateInit.Code
}

// A machine that gives one unit of gas more, or keeps other data, would be
// found: here the same message comes a second later.
func TestDifferenceIsFound(t *testing.T) {
	config, histories := recording(t)
	params, err := tvm.PrepareBlockchainConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{vm: tvm.NewTVM(), params: params, accounts: map[string]machineAccount{}}
	s := histories[0].Steps[0]
	s.Now++
	err = m.check(&s)
	if err == nil {
		t.Fatal("an account that was last paid for a second later counts as equal")
	}
	for _, side := range []string{"embedded chain: storage:", "sandbox:        storage:"} {
		if !strings.Contains(err.Error(), side) {
			t.Errorf("the difference does not show %q:\n%v", side, err)
		}
	}
}
