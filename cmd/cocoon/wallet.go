package main

import (
	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/contract"
)

func walletVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "wallet", Short: "keep and send coins", Args: cobra.NoArgs,
		Long: "A person's wallet is 24 words in a key file, which any TON wallet application can open too. Every order is first " +
			"predicted and shown, and waits for a yes.",
		Example: "  cocoon wallet new\n" +
			"  cocoon wallet balance --ton-config global.config.json\n" +
			"  cocoon wallet send UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m 1.5 --ton-config global.config.json",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(walletNewVerb(), walletAddressVerb(), walletBalanceVerb(), walletSendVerb(), walletFundVerb(),
		walletCommandVerb(contract.WalletWithdraw), walletCommandVerb(contract.WalletBlock), walletCommandVerb(contract.WalletUnblock),
		walletLinkVerb(), walletQRVerb())
	return cmd
}
