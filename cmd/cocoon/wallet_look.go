package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

func walletBalanceVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "balance [ADDRESS]", Short: "what an account holds, and what moved", Args: positional("[ADDRESS]"),
		Long: "Of ADDRESS, or of the wallet in the key file. The answer is proven by a block of the chain.",
		Example: "  cocoon wallet balance --ton-config global.config.json\n" +
			"  cocoon wallet balance EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ --history 10 --ton-config global.config.json\n" +
			"  cocoon wallet balance --key net/wallets/client-1.key --data ./net --json",
	}
	t := newTill(cmd, withChain, withKey)
	history := cmd.Flags().Int("history", 0, "also list the newest `N` transactions")
	t.run(func(p *problems, _ []string) {
		if *history < 0 || *history > maxHistory {
			p.add("history %d: want 0 to %d", *history, maxHistory)
		}
	}, func(ctx context.Context, args []string) error {
		c, err := t.open(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		addr, err := t.addressOrOwn(ctx, c, args)
		if err != nil {
			return err
		}
		a, err := c.Account(ctx, addr)
		if err != nil {
			return err
		}
		r := newBalanceReport(c, a)
		if *history > 0 {
			list, err := c.Transactions(ctx, addr, a.Last, ton.TxID{}, *history)
			if err != nil && !errors.Is(err, ton.ErrGap) {
				return err
			}
			r.add(c, list)
		}
		if t.json {
			return writeJSON(t.cmd.OutOrStdout(), r)
		}
		return r.write(t.cmd.OutOrStdout())
	})
	return cmd
}

// maxHistory keeps a look from reading a chain's whole life.
const maxHistory = 1000

// balanceReport is what programs are told; amounts are in nanoTON.
type balanceReport struct {
	Address string    `json:"address"`
	Network string    `json:"network"`
	Status  string    `json:"status"`
	Balance coin.Nano `json:"balance"`
	Block   uint32    `json:"block"`
	AsOf    time.Time `json:"as_of"`
	// History is newest first.
	History []movement `json:"history,omitempty"`
}

// movement is one transaction as an account's owner sees it.
type movement struct {
	txName
	Time time.Time `json:"time"`
	// In and Out are what came and went; Fees what was paid besides.
	In       coin.Nano `json:"in"`
	Out      coin.Nano `json:"out"`
	Fees     coin.Nano `json:"fees"`
	With     []string  `json:"with"`
	Comment  string    `json:"comment,omitempty"`
	Bounced  bool      `json:"bounced,omitempty"`
	Aborted  bool      `json:"aborted,omitempty"`
	ExitCode int32     `json:"exit_code,omitempty"`
}

func newBalanceReport(c *chain, a *ton.Account) *balanceReport {
	return &balanceReport{
		Address: c.show(a.Address, false), Network: c.String(), Status: a.Status.String(), Balance: a.Balance, Block: a.At.Seqno, AsOf: a.At.Time.UTC(),
	}
}

func (r *balanceReport) add(c *chain, list []*ton.Transaction) {
	for _, tx := range slices.Backward(list) {
		m := movement{txName: *nameOf(tx), Time: tx.Time.UTC(), Fees: tx.Fees, Aborted: tx.Aborted, ExitCode: tx.ExitCode, With: []string{}}
		if tx.In != nil && tx.In.From != nil && !tx.In.From.IsAddrNone() {
			m.In, m.Bounced, m.Comment = tx.In.Value, tx.In.Bounced, comment(tx.In)
			m.With = append(m.With, c.show(tx.In.From, false))
		}
		for _, out := range tx.Out {
			if out.To == nil || out.To.IsAddrNone() {
				continue
			}
			m.Out = m.Out.Add(out.Value)
			m.With = append(m.With, c.show(out.To, false))
			if m.Comment == "" {
				m.Comment = comment(out)
			}
		}
		r.History = append(r.History, m)
	}
}

// comment is a message's text for people, printable and no longer than a line.
func comment(m *ton.Message) string {
	s, err := m.Body.BeginParse()
	if err != nil || s.BitsLeft() < 32 || s.MustLoadUInt(32) != 0 {
		return ""
	}
	text, err := s.LoadStringSnake()
	if err != nil {
		return ""
	}
	return printable(text, 60)
}

// printable makes a stranger's text harmless to a terminal.
func printable(text string, most int) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u202e' || r == '\u2028' {
			return '�'
		}
		return r
	}, strings.ToValidUTF8(text, "�")))
	if len(runes) > most {
		runes = append(runes[:most], '…')
	}
	return string(runes)
}

func (r *balanceReport) write(w io.Writer) error {
	fmt.Fprintf(w, "%s on %s, %s\n%s as of block %d, %s\n", r.Address, r.Network, r.Status, r.Balance.Text(), r.Block, r.AsOf.Format(time.RFC3339))
	if len(r.History) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "time\tin\tout\tfees\twith")
	for _, m := range r.History {
		with := "nobody"
		if len(m.With) == 1 {
			with = m.With[0]
		} else if len(m.With) > 1 {
			with = fmt.Sprintf("%s and %d more", m.With[0][:8]+"…", len(m.With)-1)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s", m.Time.Format("2006-01-02 15:04:05"), sum(m.In), sum(m.Out), sum(m.Fees), with)
		for _, note := range []string{m.Comment, notes(m)} {
			if note != "" {
				fmt.Fprintf(tw, "  %s", note)
			}
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

func sum(n coin.Nano) string {
	if n == 0 {
		return "-"
	}
	return n.String()
}

func notes(m movement) string {
	switch {
	case m.Bounced:
		return "(came back)"
	case m.Aborted && m.ExitCode != 0:
		return fmt.Sprintf("(refused: exit code %d)", m.ExitCode)
	}
	return ""
}

const linkHelp = "Whoever opens it is asked by their wallet application to make the payment. ADDRESS goes into it as it is written: the form for " +
	"contracts (EQ…) has the coins come back if nobody takes them. Without AMOUNT the payer chooses."

func walletLinkVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "link ADDRESS [AMOUNT]", Short: "a payment link for wallet applications", Args: positional("ADDRESS", "[AMOUNT]"), Long: linkHelp,
		Example: "  cocoon wallet link UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m 1.5 --comment \"for tea\"",
	}
	linkRun(cmd, func(t *till, link string) error {
		if t.json {
			return writeJSON(t.cmd.OutOrStdout(), map[string]string{"link": link})
		}
		_, err := fmt.Fprintln(t.cmd.OutOrStdout(), link)
		return err
	})
	return cmd
}

func walletQRVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "qr ADDRESS [AMOUNT]", Short: "the same as a QR code in the terminal", Args: positional("ADDRESS", "[AMOUNT]"), Long: linkHelp,
		Example: "  cocoon wallet qr UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m 1.5",
	}
	light := cmd.Flags().Bool("light", false, "the terminal has dark letters on light ground")
	linkRun(cmd, func(t *till, link string) error {
		code, err := wallet.QR(link, *light)
		if err != nil {
			return err
		}
		if t.json {
			return writeJSON(t.cmd.OutOrStdout(), map[string]string{"link": link, "qr": code})
		}
		_, err = fmt.Fprintf(t.cmd.OutOrStdout(), "%s%s\n", code, link)
		return err
	})
	return cmd
}

func linkRun(cmd *cobra.Command, show func(t *till, link string) error) {
	t := newTill(cmd)
	comment := cmd.Flags().String("comment", "", "`text` that goes with the payment")
	transfer := wallet.Transfer{}
	t.run(func(p *problems, args []string) {
		to, err := contract.ParseAddress(args[0])
		if err != nil {
			p.add("%v", err)
			return
		}
		transfer.To, transfer.Bounce, transfer.Comment = to, to.IsBounceable() && len(args[0]) == formLength, *comment
		if len(args) > 1 {
			transfer.Amount = wantAmount(p, args[1:], false)
		}
	}, func(context.Context, []string) error {
		link, err := wallet.Link(transfer)
		if err != nil {
			return usageError{err}
		}
		return show(t, link)
	})
}

// parseHash reads 64 hexadecimal digits.
func parseHash(text string) (h [32]byte, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("%q: want 64 hexadecimal digits", printable(text, 80))
	}
	return [32]byte(b), nil
}

func readAll(ctx context.Context, in io.Reader) (string, error) {
	return wait(ctx, func() (string, error) {
		b, err := io.ReadAll(io.LimitReader(in, 1<<16))
		return string(b), err
	}, func() {})
}
