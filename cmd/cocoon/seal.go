package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/node"
	"github.com/opencocoon/cocoon/seal"
)

// sealingFlags say how a node's secrets lie on disk.
func sealingFlags(f *pflag.FlagSet, s *node.Sealing) {
	f.StringVar(&s.Seal, "seal", "", "keep this node's secrets sealed to image and machine by `whom`: sgx, snp, auto, insecure_simulated (default plain files; see docs/sealing.md)")
	f.StringVar(&s.SealService, "seal-service", "", "`address` of the sealing service of a TDX guest's host (default "+seal.DefaultService+")")
	f.StringSliceVar(&s.SealEnclaves, "seal-enclaves", nil, "`MRENCLAVE` of a sealing enclave to believe; may be repeated")
	f.IntVar(&s.SealMinSVN, "seal-min-svn", 0, "lowest security `version` of such an enclave")
	f.StringSliceVar(&s.SealImages, "seal-images", nil, "`hash` of an image that may take part in a hand-over beside those that the registry lists for this role; may be repeated")
}

// keepers are the roles that keep secrets.
var keepers = []struct {
	name, of string
	settings func(*cobra.Command) (*settings, node.Role)
}{
	{"proxy", "a proxy's", func(c *cobra.Command) (*settings, node.Role) { r := &node.Proxy{}; return proxySettings(c, r), r }},
	{"worker", "a worker's", func(c *cobra.Command) (*settings, node.Role) { r := &node.Worker{}; return workerSettings(c, r), r }},
	{"keys", "a key manager's", func(c *cobra.Command) (*settings, node.Role) { r := &node.Keys{}; return keysSettings(c, r), r }},
	{"client", "a client's", func(c *cobra.Command) (*settings, node.Role) { r := &node.Client{}; return clientSettings(c, r), r }},
}

func sealVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "seal", Short: "a node's sealed secrets: look, import, hand over to the next image", Args: cobra.NoArgs,
		Long: "With the setting seal, a node keeps its keys in DATA/sealed.json, which only its image on its machine can open. An upgrade is\n" +
			"another image: it asks (request), the old one judges it by the registry's list of images and answers (grant), and the new one\n" +
			"judges the answer and takes the store over (accept). Files between them hold no secret.\n\n" +
			"Every command takes the role and its node's own settings: the same --config, flags and variables.",
		Example: "  cocoon seal status proxy --config proxy.json\n" +
			"  cocoon seal request proxy --config new.json --out request.json\n" +
			"  cocoon seal grant proxy request.json --config old.json --out grant.json\n" +
			"  cocoon seal accept proxy grant.json --config new.json",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		sealStep("status", "", "who can open the store, and what is in it", sealStatus),
		sealStep("import", "", "move the secrets of plain files into the store", sealImport),
		sealStep("request", "", "ask for the store on behalf of this image", sealRequest),
		sealStep("grant", "request.json", "judge a request and hand the store over", sealGrant),
		sealStep("accept", "grant.json", "judge a grant and take the store over", sealAccept),
		sealStep("forget", "", "let no other image open the store any more", sealForget),
	)
	return cmd
}

// sealing is one command at work.
type sealing struct {
	cmd   *cobra.Command
	vault *node.Vault
	role  string
	file  string // the argument
	out   string
	yes   bool
	json  bool
}

// sealStep is a command with one for each role below it; argument is a name
// for the file it reads, empty for none.
func sealStep(name, argument, short string, do func(context.Context, *sealing) error) *cobra.Command {
	example := func(role string) string {
		return strings.ReplaceAll(fmt.Sprintf("  cocoon seal %s %s %s --config %[2]s.json", name, role, argument), "  --", " --")
	}
	step := &cobra.Command{Use: name + " ROLE", Short: short, Example: example("proxy"), Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	for _, k := range keepers {
		cmd := &cobra.Command{Use: k.name, Short: k.of, Example: example(k.name), Args: cobra.NoArgs}
		if argument != "" {
			cmd.Use, cmd.Args = k.name+" FILE", positional("FILE")
		}
		s, role := k.settings(cmd)
		w := &sealing{cmd: cmd, role: k.name}
		f := cmd.Flags()
		f.BoolVar(&w.json, "json", false, "print JSON")
		if name != "status" && name != "request" {
			f.BoolVarP(&w.yes, "yes", "y", false, "do it without asking")
		}
		if name == "request" || name == "grant" {
			f.StringVarP(&w.out, "out", "o", name+".json", "`file` to write")
		}
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return w.run(s, role, args, do) }
		step.AddCommand(cmd)
	}
	return step
}

func (w *sealing) run(s *settings, role node.Role, args []string, do func(context.Context, *sealing) error) (err error) {
	p := s.load(os.Environ())
	var found node.Problems
	if errors.As(role.Check(), &found) {
		p = append(p, found...)
	}
	if err := p.err(); err != nil {
		return err
	}
	if len(args) > 0 {
		w.file = args[0]
	}
	ctx := w.cmd.Context()
	if w.vault, err = node.OpenVault(ctx, role); err != nil {
		return usageError{err}
	}
	err = do(ctx, w)
	if errors.Is(err, seal.ErrRefused) || errors.Is(err, attest.ErrUntrusted) {
		return refusedError{err}
	}
	return err
}

// talk is where people are told what happens; programs get JSON on the other.
func (w *sealing) talk() io.Writer {
	if w.json {
		return w.cmd.ErrOrStderr()
	}
	return w.cmd.OutOrStdout()
}

// confirm asks before something is written.
func (w *sealing) confirm(ctx context.Context, question string) error {
	if w.yes {
		return nil
	}
	if !isTerminal(w.cmd.InOrStdin()) {
		return usageError{errors.New("nobody is there to confirm: add --yes to do it")}
	}
	fmt.Fprint(w.talk(), question+" [y/N] ")
	answer, err := readLine(ctx, w.cmd.InOrStdin())
	if err != nil {
		fmt.Fprintln(w.talk())
		return err
	}
	switch strings.ToLower(answer) {
	case "y", "yes":
		return nil
	}
	return errors.New("not confirmed: nothing was written")
}

// show prints what was found out about the other side, before anything is
// written.
func (w *sealing) show(who string, s *seal.Statement, v *attest.Verdict) error {
	out := w.talk()
	fmt.Fprintf(out, "%s of %s, for store %.16s…\n", who, s.Made.Format(time.RFC3339), s.Store)
	if v == nil {
		return nil
	}
	fmt.Fprintf(out, "image %s\n", v.ImageHash)
	return writeVerdict(out, v, false)
}

// handed is what --json prints of a hand-over.
type handed struct {
	Store   string          `json:"store"`
	File    string          `json:"file,omitempty"`
	Image   string          `json:"image,omitempty"` // this one
	Done    bool            `json:"done"`
	Verdict *attest.Verdict `json:"verdict,omitempty"` // on the other
}

func sealStatus(ctx context.Context, w *sealing) error {
	s, err := w.vault.Status(ctx)
	if err != nil {
		return err
	}
	if w.json {
		return writeJSON(w.cmd.OutOrStdout(), s)
	}
	return writeVault(w.cmd.OutOrStdout(), s)
}

func writeVault(out io.Writer, s *node.VaultStatus) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	state := "there is none yet"
	switch {
	case s.Opens:
		state = "this image opens it"
	case s.Exists:
		state = "this image cannot open it"
	}
	fmt.Fprintf(w, "store\t%s: %s\n", s.Path, state)
	if s.Exists {
		fmt.Fprintf(w, "id\t%s\n", s.ID)
	}
	fmt.Fprintf(w, "this image\t%s\nsealed to\t%s\n", cmp.Or(s.Image, "unknown"), s.Binding)
	for _, slot := range s.Slots {
		fmt.Fprintf(w, "opened by\t%s since %s\n", cmp.Or(slot.Image, "an unknown image"), slot.Made.Format(time.RFC3339))
	}
	for _, secret := range s.Secrets {
		public := ""
		if secret.Public != "" {
			public = ", public key " + secret.Public
		}
		fmt.Fprintf(w, "holds\t%s%s\n", secret.Name, public)
	}
	for _, name := range s.Plain {
		fmt.Fprintf(w, "NOT SEALED\t%s\n", name)
	}
	return w.Flush()
}

func sealImport(ctx context.Context, w *sealing) error {
	s, err := w.vault.Status(ctx)
	if err != nil {
		return err
	}
	if len(s.Plain) > 0 {
		fmt.Fprintf(w.talk(), "%s will be in %s alone, which only this image on this machine opens\n", strings.Join(s.Plain, ", "), s.Path)
		if err := w.confirm(ctx, "move them?"); err != nil {
			return err
		}
	}
	moved, err := w.vault.Import(ctx)
	if err != nil {
		return err
	}
	if w.json {
		return writeJSON(w.cmd.OutOrStdout(), map[string]any{"store": w.vault.Path(), "imported": moved})
	}
	_, err = fmt.Fprintf(w.cmd.OutOrStdout(), "imported %s; the plain files are gone, and copies of them are yours to destroy\n", strings.Join(moved, ", "))
	return err
}

func sealRequest(ctx context.Context, w *sealing) error {
	r, err := w.vault.Request(ctx)
	if err != nil {
		return err
	}
	if err := seal.WriteFile(w.out, r); err != nil {
		return err
	}
	if w.json {
		return writeJSON(w.cmd.OutOrStdout(), handed{Store: r.Store, File: w.out, Image: w.vault.Image(), Done: true})
	}
	_, err = fmt.Fprintf(w.cmd.OutOrStdout(), "image %s asks for store %.16s…: %s, good for a day\nnext, where the store can be opened: cocoon seal grant %s %[3]s\n",
		cmp.Or(w.vault.Image(), "unknown"), r.Store, w.out, w.role)
	return err
}

func sealGrant(ctx context.Context, w *sealing) error {
	var r seal.Request
	if err := seal.ReadFile(w.file, &r); err != nil {
		return err
	}
	g, verdict, err := w.vault.Grant(ctx, node.Env{}, &r)
	if verdict != nil || err == nil {
		if err := w.show("request", &r.Statement, verdict); err != nil {
			return err
		}
	}
	if err == nil {
		err = w.confirm(ctx, "hand the store over to it?")
	}
	if err == nil {
		err = seal.WriteFile(w.out, g)
	}
	if w.json && verdict != nil {
		if err := writeJSON(w.cmd.OutOrStdout(), handed{r.Store, w.out, w.vault.Image(), err == nil, verdict}); err != nil {
			return err
		}
	}
	if err != nil || w.json {
		return err
	}
	_, err = fmt.Fprintf(w.cmd.OutOrStdout(), "granted: %s, good for a day\nnext, where the request was made: cocoon seal accept %s %[1]s\n", w.out, w.role)
	return err
}

func sealAccept(ctx context.Context, w *sealing) error {
	var g seal.Grant
	if err := seal.ReadFile(w.file, &g); err != nil {
		return err
	}
	var verdict *attest.Verdict
	err := w.vault.Accept(ctx, node.Env{}, &g, func(v *attest.Verdict, refused error) error {
		verdict = v
		if err := w.show("grant", &g.Statement, v); err != nil {
			return err
		}
		if refused != nil {
			return refused
		}
		return w.confirm(ctx, "take the store over from it?")
	})
	if w.json && verdict != nil {
		if err := writeJSON(w.cmd.OutOrStdout(), handed{Store: g.Store, Image: w.vault.Image(), Done: err == nil, Verdict: verdict}); err != nil {
			return err
		}
	}
	if err != nil || w.json {
		return err
	}
	_, err = fmt.Fprintf(w.cmd.OutOrStdout(), "accepted: this image opens %s from now on, and so do those that did\nwhen none of them is needed any more: cocoon seal forget %s\n", w.vault.Path(), w.role)
	return err
}

func sealForget(ctx context.Context, w *sealing) error {
	fmt.Fprintf(w.talk(), "only this image will open %s\n", w.vault.Path())
	if err := w.confirm(ctx, "forget all others?"); err != nil {
		return err
	}
	gone, err := w.vault.Forget(ctx)
	if err != nil {
		return err
	}
	if w.json {
		return writeJSON(w.cmd.OutOrStdout(), map[string]any{"store": w.vault.Path(), "forgotten": gone})
	}
	_, err = fmt.Fprintf(w.cmd.OutOrStdout(), "forgotten: %d; older copies of the file open as before\n", gone)
	return err
}
