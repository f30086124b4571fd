package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/node"
)

// books is whose ledger an operator wants to see.
type books struct {
	node.Ledger
	data, key string
}

func ledgerVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ledger", Short: "a proxy's ledger: every movement, and whether it adds up", Args: cobra.NoArgs,
		Example: "  cocoon proxy ledger audit --data ./proxy-data",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(exportVerb(), auditVerb())
	return cmd
}

// booksFlags say which ledger, the running proxy's too.
func booksFlags(cmd *cobra.Command) (*books, *settings) {
	b, s := &books{}, newSettings(cmd)
	f := cmd.Flags()
	f.StringVar(&b.data, "data", "", "the proxy's data `directory`")
	f.StringVar(&b.key, "key", "", "the proxy's public `key`, 64 hexadecimal digits (default that of the directory)")
	f.StringVar(&b.Store, "ledger", "", "the `store` that the ledger is kept in: disk or postgres (default disk)")
	f.StringVar(&b.URLFile, "ledger-url-file", "", "`file` with the connection string of the ledger's database")
	s.secrets.StringVar(&b.URL, "ledger-url", "", "")
	return b, s
}

// public is the key that signs the ledger.
func (b *books) public() (ed25519.PublicKey, error) {
	if b.key != "" {
		key, err := hex.DecodeString(b.key)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, usageError{errors.New("key: want the proxy's public key, 64 hexadecimal digits")}
		}
		return key, nil
	}
	key, err := node.ReadPublicKey(b.data, node.ProxyKey)
	if err != nil {
		return nil, fmt.Errorf("%s is no data directory of a proxy: %w", b.data, err)
	}
	return key, nil
}

// check is the key, once the settings make sense.
func (b *books) check(s *settings) (ed25519.PublicKey, error) {
	p := s.load(os.Environ())
	if b.data == "" {
		p.add("data: missing: name the proxy's data directory")
	}
	var found node.Problems
	if b.Ledger.Check(&found, b.data); len(found) > 0 {
		p = append(p, found...)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return b.public()
}

func exportVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "every movement, as JSON lines that anybody with the public key can check", Args: cobra.NoArgs,
		Long: "It reads the ledger, whether the proxy is running or not, checks every signature and the chain of records on the way, and does\n" +
			"the sums. What it printed before it ends with an error is no ledger. With --account it prints that account's movements alone.",
		Example: "  cocoon proxy ledger export --data ./proxy-data\n  cocoon proxy ledger export --data ./proxy-data --account UQ…",
	}
	b, s := booksFlags(cmd)
	account := cmd.Flags().String("account", "", "`address` of a client's wallet or a worker's owner: its movements alone")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		key, err := b.check(s)
		if err != nil {
			return err
		}
		out := io.Writer(cmd.OutOrStdout())
		if *account != "" {
			who, err := contract.ParseAddress(*account)
			if err != nil {
				return usageError{fmt.Errorf("account: %w", err)}
			}
			of := &movementsOf{account: who.StringRaw(), to: bufio.NewWriter(out)}
			defer of.to.Flush()
			out = of
		}
		_, err = b.audit(key, out)
		return err
	}
	return cmd
}

func auditVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit [FILE]", Short: "do the sums of a ledger, or of an export, again from the signed bytes", Args: cobra.MaximumNArgs(1),
		Long: "Every record must be signed by the proxy's key and continue the one before it, no movement may be missing or impossible, and what\n" +
			"clients used must be what workers earned. Of an export, a FILE or - for standard input, it needs the key alone.",
		Example: "  cocoon proxy ledger audit --data ./proxy-data\n  cocoon proxy ledger audit --key 7f…9c ledger.jsonl",
	}
	b, s := booksFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var sum ledger.Summary
		var err error
		if len(args) == 0 {
			var key ed25519.PublicKey
			if key, err = b.check(s); err == nil {
				sum, err = b.audit(key, io.Discard)
			}
		} else {
			sum, err = b.auditFile(cmd, s, args[0])
		}
		switch {
		case err != nil:
			return err
		case *asJSON:
			for i := range sum.Generations {
				sum.Generations[i].Memo = nil // kilobytes of code
			}
			return writeJSON(cmd.OutOrStdout(), sum)
		}
		return writeSummary(cmd.OutOrStdout(), &sum)
	}
	return cmd
}

func (b *books) auditFile(cmd *cobra.Command, s *settings, name string) (ledger.Summary, error) {
	p := s.load(os.Environ())
	if (b.key == "") == (b.data == "") {
		p.add("key or data: want one of them: whose ledger is it?")
	}
	if err := p.err(); err != nil {
		return ledger.Summary{}, err
	}
	key, err := b.public()
	if err != nil {
		return ledger.Summary{}, err
	}
	if name == "-" {
		return ledger.Audit(cmd.InOrStdin(), key)
	}
	file, err := os.Open(name)
	if err != nil {
		return ledger.Summary{}, err
	}
	defer file.Close()
	return ledger.Audit(file, key)
}

// audit exports the ledger to out and does its sums.
func (b *books) audit(key ed25519.PublicKey, out io.Writer) (ledger.Summary, error) {
	store, err := b.Look(b.data, key)
	if err != nil {
		return ledger.Summary{}, err
	}
	defer store.Close()
	from, to := io.Pipe()
	exported := make(chan error, 1)
	go func() {
		err := ledger.Export(store, io.MultiWriter(out, to))
		to.CloseWithError(err)
		exported <- err
	}()
	sum, err := ledger.Audit(from, key)
	from.CloseWithError(err) // who exports on would wait for ever
	if failed := <-exported; err == nil {
		err = failed
	}
	return sum, err
}

func writeSummary(out io.Writer, s *ledger.Summary) error {
	fmt.Fprintf(out, "%d records, %d movements: signed, chained, and they add up\n", s.Records, s.Events)
	if !s.Complete {
		fmt.Fprintln(out, "the oldest movements are gone: a signed sum stands for them")
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "params\tclients\tworkers\ttokens used\ton chain\tcharged\tpaid\tproxy contract")
	for _, g := range s.Generations {
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", g.Params, g.Clients, g.Workers, g.Used, g.Committed, g.ClientsCharged, g.WorkersPaid, g.Contract)
	}
	return w.Flush()
}

// movementsOf passes the lines of one account on.
type movementsOf struct {
	account string
	to      *bufio.Writer
	rest    []byte // of a line whose end is to come
}

func (m *movementsOf) Write(b []byte) (int, error) {
	m.rest = append(m.rest, b...)
	for {
		line, after, whole := bytes.Cut(m.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		m.rest = after
		var e struct{ Client, Worker string }
		if err := json.Unmarshal(line, &e); err != nil {
			return 0, err
		}
		if e.Client != m.account && e.Worker != m.account {
			continue
		}
		if _, err := m.to.Write(append(bytes.Clone(line), '\n')); err != nil {
			return 0, err
		}
	}
}
