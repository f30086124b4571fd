package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// order is something that a person wants a wallet to do.
type order struct {
	chain     *chain
	from      *wallet.Wallet
	transfers []wallet.Transfer
	// title is what it is, in words.
	title string
	// receiver is what the receivers are called, and exit what they mean with
	// their exit codes.
	receiver string
	exit     func(code int32) string
	// registry is the address of the one that this is about, if any.
	registry string
	// effects says what it changes beside balances, from the prediction; nil if
	// nothing. Its error refuses the order.
	effects func(*ton.Prediction) ([]string, error)
	// still says, once it is confirmed, whether what it was decided on is still so; nil if nothing was.
	still func(context.Context) error
}

// receipt is what programs are told of an order. Amounts are in nanoTON.
type receipt struct {
	Network string `json:"network"`
	Wallet  string `json:"wallet"`
	Order   string `json:"order"`
	// Registry is the one that is founded or changed.
	Registry string    `json:"root_contract_address,omitempty"`
	To       []string  `json:"to"`
	Amount   coin.Nano `json:"amount"`
	Effects  []string  `json:"effects"`
	DryRun   bool      `json:"dry_run"`
	// Balance is the wallet's before.
	Balance   coin.Nano `json:"balance"`
	Predicted *outcome  `json:"predicted,omitempty"`
	// Result is there once the wallet has sent it.
	Result  *outcome `json:"result,omitempty"`
	Refused string   `json:"refused,omitempty"`
}

// spend predicts an order, asks, sends it, and waits until all that came of
// it is on the chain. Whatever the receiver refuses is a refusedError.
func (t *till) spend(ctx context.Context, o *order) (*receipt, error) {
	r := &receipt{Network: o.chain.String(), Wallet: o.from.Address().String(), Order: o.title, Registry: o.registry, Effects: []string{}, DryRun: t.dryRun}
	for _, x := range o.transfers {
		r.To = append(r.To, o.chain.show(x.To, x.Bounce))
		r.Amount = r.Amount.Add(x.Amount)
	}
	err := t.carryOut(ctx, o, r)
	var refused refusedError
	if errors.As(err, &refused) {
		r.Refused = refused.Error()
	}
	if t.json && (r.Predicted != nil || r.Refused != "") {
		if werr := writeJSON(t.cmd.OutOrStdout(), r); err == nil {
			err = werr
		}
	}
	return r, err
}

func (t *till) carryOut(ctx context.Context, o *order, r *receipt) error {
	if err := t.predict(ctx, o, r); err != nil {
		return err
	}
	if t.dryRun {
		if !t.json {
			fmt.Fprintln(t.talk(), "nothing was sent: this was a prediction")
		}
		return nil
	}
	if err := t.confirm(ctx); err != nil {
		return err
	}
	if o.still != nil {
		if err := o.still(ctx); err != nil {
			return err
		}
	}
	return t.send(ctx, o, r)
}

// draft signs the order as of the wallet's present state.
func (o *order) draft(ctx context.Context) (*draft, error) {
	a, err := o.from.Account(ctx, o.chain)
	if err != nil {
		return nil, err
	}
	message, err := o.from.Build(a, o.transfers...)
	if err != nil {
		return nil, err
	}
	return &draft{a, message, a.At.Time.Add(wallet.TTL)}, nil
}

func (t *till) predict(ctx context.Context, o *order, r *receipt) error {
	var p *ton.Prediction
	err := t.patiently("predicting what it would do", func() error {
		d, err := o.draft(ctx)
		if err != nil {
			return err
		}
		r.Balance = d.account.Balance
		p, err = ton.Emulate(ctx, o.chain, d.message)
		return err
	})
	if errors.Is(err, ton.ErrRefused) {
		return refusedError{fmt.Errorf("the wallet's own contract would not accept it, with %s: %w", r.Balance.Text(), err)}
	}
	if err != nil {
		return err
	}
	r.Predicted = o.judge(p.Transactions)
	r.Predicted.forget()
	r.Predicted.Balance = p.Of(o.from.Address()).After
	if err := r.Predicted.verdict(o, r.Balance); err != nil {
		return err
	}
	if o.effects != nil {
		if r.Effects, err = o.effects(p); err != nil {
			return err
		}
	}
	return t.show(o, r, r.Predicted)
}

// show tells a person what is going to happen.
func (t *till) show(o *order, r *receipt, p *outcome) error {
	if t.json && (t.yes || t.dryRun || !isTerminal(t.cmd.InOrStdin())) {
		return nil
	}
	w := tabwriter.NewWriter(t.talk(), 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "wallet\t%s on %s, %s\n", r.Wallet, r.Network, r.Balance.Text())
	fmt.Fprintf(w, "order\t%s\n", o.title)
	for i, e := range r.Effects {
		label := ""
		if i == 0 {
			label = "effects"
		}
		fmt.Fprintf(w, "%s\t%s\n", label, e)
	}
	fmt.Fprintf(w, "fees\t%s, predicted\n", p.Fees.Text())
	switch {
	case p.Back == 0:
		fmt.Fprintf(w, "sends\t%s\n", p.Sent.Text())
	case p.Back < p.Sent:
		fmt.Fprintf(w, "sends\t%s, of which %s comes back\n", p.Sent.Text(), p.Back.Text())
	default:
		fmt.Fprintf(w, "sends\t%s, and gets %s\n", p.Sent.Text(), p.Back.Text())
	}
	fmt.Fprintf(w, "leaves\t%s\n", p.Balance.Text())
	return w.Flush()
}

// send sends what was confirmed and waits for what comes of it. An order that
// may still be executed must not look like one that failed.
func (t *till) send(ctx context.Context, o *order, r *receipt) error {
	d, err := o.draft(ctx)
	if err != nil {
		return err
	}
	var tx *ton.Transaction
	err = t.patiently("waiting for the transaction", func() error {
		tx, err = ton.SendAndConfirm(ctx, o.chain, o.from.Address(), d.message, d.until)
		return err
	})
	switch {
	case errors.Is(err, ton.ErrUnconfirmed):
		// Without the cause, which may be an interruption: that is not all there is to say.
		return fmt.Errorf("it is not known whether the order was carried out: it can be until %s; look with `cocoon wallet balance --history 5` before you repeat it (%v)", d.until.UTC().Format(time.RFC3339), err)
	case errors.Is(err, ton.ErrRefused):
		return fmt.Errorf("the wallet did not accept the order, so nothing was sent; another order may have come first: try again: %w", err)
	case err != nil:
		return err
	}
	all := []*ton.Transaction{tx}
	err = t.patiently("waiting for the receiver", func() error {
		ctx, cancel := context.WithTimeout(ctx, arrival)
		defer cancel()
		came, err := ton.Consequences(ctx, o.chain, tx, maxConsequences)
		all = append(all, came...)
		return err
	})
	r.Result = o.judge(all)
	if err != nil {
		return fmt.Errorf("the wallet sent it in transaction %s, and what came of it is not known yet (%v)", r.Result.Transaction, err)
	}
	if a, err := o.from.Account(ctx, o.chain); err == nil {
		r.Result.Balance = a.Balance
	}
	if err := r.Result.verdict(o, d.account.Balance); err != nil {
		return err
	}
	if !t.json {
		fmt.Fprintf(t.talk(), "done in transaction %s; fees %s, the wallet holds %s\n", r.Result.Transaction, r.Result.Fees.Text(), r.Result.Balance.Text())
	}
	return nil
}

const (
	// arrival is how long to wait for what a message causes.
	arrival = 2 * time.Minute
	// maxConsequences bounds how many transactions of an order are followed.
	maxConsequences = 600
)

type draft struct {
	account *ton.Account
	message *cell.Cell
	until   time.Time
}
