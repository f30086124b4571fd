package main

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/wallet"
)

// group is a command that only has commands.
func group(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs, Long: long, Example: commands[0].Example,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

func proxyListVerb() *cobra.Command {
	return group("proxy", "the registered proxies", "A proxy's address is ip:port; with two of them the first is for workers and the second for clients.",
		proxyAddVerb(), proxyUpdateVerb(), proxyRemoveVerb())
}

// proxyText is a proxy's address as the registry holds it.
func proxyText(p *problems, args []string) string {
	text := strings.Join(args, " ")
	if _, _, err := contract.ParseProxyAddress(text); err != nil {
		p.add("%v", err)
	}
	return text
}

func proxyAddVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add ADDRESS [FOR-CLIENTS]", Short: "register a proxy", Args: positional("ADDRESS", "[FOR-CLIENTS]"),
		Example: "  cocoon network proxy add 192.0.2.1:11001 192.0.2.1:11002 --data ./net",
	}
	d := newDesk(cmd, withKey, withSpend)
	var text string
	d.change(func(p *problems, args []string) { text = proxyText(p, args) }, func(b *book, _ *wallet.Wallet, _ []string) (*change, error) {
		for _, e := range b.Proxies {
			if e.String() == text {
				return nil, fmt.Errorf("proxy %d is there already: %s", e.Seqno, text)
			}
		}
		return &change{title: "register proxy " + text, bodies: []contract.Body{&contract.RegisterProxy{Text: text}}}, nil
	})
	return cmd
}

func proxyUpdateVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "update NUMBER ADDRESS [FOR-CLIENTS]", Short: "move a proxy", Args: positional("NUMBER", "ADDRESS", "[FOR-CLIENTS]"),
		Example: "  cocoon network proxy update 1 192.0.2.1:11001 192.0.2.1:11002 --data ./net",
	}
	d := newDesk(cmd, withKey, withSpend)
	var body contract.UpdateProxy
	d.change(func(p *problems, args []string) {
		if err := parseUint32(args[0], &body.Seqno); err != nil {
			p.add("number: %v", err)
		}
		body.Text = proxyText(p, args[1:])
	}, func(*book, *wallet.Wallet, []string) (*change, error) {
		return &change{title: fmt.Sprintf("move proxy %d to %s", body.Seqno, body.Text), bodies: []contract.Body{&body}}, nil
	})
	return cmd
}

func proxyRemoveVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NUMBER", Short: "unregister a proxy", Args: positional("NUMBER"),
		Long:    "Its number is not used again. An entry that nodes cannot read is removed too.",
		Example: "  cocoon network proxy remove 1 --data ./net",
	}
	d := newDesk(cmd, withKey, withSpend)
	var body contract.UnregisterProxy
	d.change(func(p *problems, args []string) {
		if err := parseUint32(args[0], &body.Seqno); err != nil {
			p.add("number: %v", err)
		}
		if body.Seqno == offerNumber {
			p.add("number: no proxy has it; to take back an offer there is `cocoon network owner take-back`")
		}
	}, func(b *book, _ *wallet.Wallet, _ []string) (*change, error) {
		return &change{title: fmt.Sprintf("unregister proxy %d", body.Seqno), bodies: []contract.Body{&body}}, nil
	})
	return cmd
}

// offerNumber is where our root contract keeps who it is offered to.
const offerNumber = 1<<32 - 1

func imageListVerb() *cobra.Command {
	return group("image", "the allowed images of proxies and workers", "A node is believed when the image that its machine proves to run is on its list.",
		imageVerb("allow", "put an image on a list", false), imageVerb("remove", "take an image off a list", true))
}

func imageVerb(name, short string, remove bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: name + " HASH", Short: short, Args: positional("HASH"),
		Long:    "HASH is the image's, 64 hexadecimal digits, as `cocoon attest inspect` shows it.",
		Example: "  cocoon network image " + name + " 5c1f0a3b6d2e4f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708 --worker --data ./net",
	}
	d := newDesk(cmd, withKey, withSpend)
	proxy := cmd.Flags().Bool("proxy", false, "the list of proxies' images")
	worker := cmd.Flags().Bool("worker", false, "the list of workers' images")
	var hash [32]byte
	d.change(func(p *problems, args []string) {
		var err error
		if hash, err = parseHash(args[0]); err != nil {
			p.add("image %v", err)
		}
		if hash == [32]byte{} && err == nil {
			p.add("image: all zeros is what a machine without attestation has: no list admits it")
		}
		if !*proxy && !*worker {
			p.add("%v", errOne)
		}
	}, func(*book, *wallet.Wallet, []string) (*change, error) {
		c := &change{title: name + " image " + hex.EncodeToString(hash[:])}
		if *proxy {
			c.bodies = append(c.bodies, &contract.ChangeHash{List: contract.ProxyImages, Remove: remove, Hash: hash})
		}
		if *worker {
			c.bodies = append(c.bodies, &contract.ChangeHash{List: contract.WorkerImages, Remove: remove, Hash: hash})
		}
		return c, nil
	})
	return cmd
}

func modelListVerb() *cobra.Command {
	return group("model", "the allowed models", "The registry holds the hash of each full name, not the name.",
		modelVerb("allow", "allow a model", false), modelVerb("remove", "allow it no more", true))
}

func modelVerb(name, short string, remove bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: name + " MODEL", Short: short, Args: positional("MODEL"),
		Long: "MODEL is the full name that its workers announce: name@commit:hash, the hash with 64 hexadecimal digits.",
		Example: "  cocoon network model " + name + " Qwen/Qwen3-8B@b968826d9c46dd6066d109eabc6255188de91218:" +
			"3f0a9c5e7b1d2468ace013579bdf02468ace13579bdf02468ace13579bdf0246 --data ./net",
	}
	if remove {
		cmd.Long += " Of one whose name nobody knows any more, the hash of the name that `cocoon network show` lists."
	}
	d := newDesk(cmd, withKey, withSpend)
	var hash [32]byte
	d.change(func(p *problems, args []string) {
		if h, err := parseHash(args[0]); remove && err == nil {
			hash = h
			return
		}
		if !fullModel.MatchString(args[0]) {
			p.add("model %q: want name@commit:hash, the hash with 64 hexadecimal digits in small letters", printable(args[0], 200))
		}
		hash = contract.ModelHash(args[0])
	}, func(_ *book, _ *wallet.Wallet, args []string) (*change, error) {
		return &change{
			title:  fmt.Sprintf("%s model %s, by the hash of its name", name, printable(args[0], 200)),
			bodies: []contract.Body{&contract.ChangeHash{List: contract.Models, Remove: remove, Hash: hash}},
		}, nil
	})
	return cmd
}

var fullModel = regexp.MustCompile(`^[^\s@]+@[^\s@:]+:[0-9a-f]{64}$`)

func keyManagerVerb() *cobra.Command {
	return group("key-manager", "who signs the keys of field encryption", "Registries of struct version 4 and up have one.",
		keyManagerSetVerb(), keyManagerClearVerb(), keyManagerRevokeVerb())
}

func keyManagerSetVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set KEY IMAGE ADDRESS", Short: "name the key manager", Args: positional("KEY", "IMAGE", "ADDRESS"),
		Long: "KEY is its Ed25519 public key and IMAGE its image's hash, 64 hexadecimal digits each; ADDRESS is ip:port. A new key drops all " +
			"keys that the old one has signed.",
		Example: "  cocoon network key-manager set 0b51ad4ad2bdf2ec92f0f5d8e0c6d7a1c3b2a1908f7e6d5c4b3a29181706f5e4 " +
			"5c1f0a3b6d2e4f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708 192.0.2.1:11003 --data ./net",
	}
	d := newDesk(cmd, withKey, withSpend)
	body := contract.ChangeKeyManager{}
	d.change(func(p *problems, args []string) {
		key, err := parseHash(args[0])
		if err != nil {
			p.add("key %v", err)
		} else if key == [32]byte{} {
			p.add("key: all zeros is nobody's; `cocoon network key-manager clear` removes the key manager")
		}
		if body.Image, err = parseHash(args[1]); err != nil {
			p.add("image %v", err)
		}
		if workers, _, err := contract.ParseProxyAddress(args[2]); err != nil || workers.String() != args[2] {
			p.add("address %q: want ip:port with an IPv4 address", printable(args[2], 80))
		}
		body.Key, body.Address = key[:], args[2]
	}, func(b *book, _ *wallet.Wallet, _ []string) (*change, error) {
		return keyManagerChange(b, "name the key manager", &body)
	})
	return cmd
}

func keyManagerChange(b *book, title string, body *contract.ChangeKeyManager) (*change, error) {
	if b.StructVersion < 4 {
		return nil, refusedError{fmt.Errorf("the registry has struct version %d, which has no place for a key manager: bring it up with `cocoon network upgrade full --struct-version 4`", b.StructVersion)}
	}
	return &change{title: title, bodies: []contract.Body{body}}, nil
}

func keyManagerClearVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "clear", Short: "have no key manager", Args: cobra.NoArgs, Long: "All keys that it has signed are dropped.",
		Example: "  cocoon network key-manager clear --data ./net",
	}
	d := newDesk(cmd, withKey, withSpend)
	d.change(nil, func(b *book, _ *wallet.Wallet, _ []string) (*change, error) {
		return keyManagerChange(b, "have no key manager", &contract.ChangeKeyManager{Key: make([]byte, 32)})
	})
	return cmd
}

func keyManagerRevokeVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke KEY", Short: "strike one key of field encryption", Args: positional("KEY"),
		Long: "The key stays in the registry until it expires, under a type that nobody uses, so that the key manager's signature cannot bring " +
			"it back. The key manager erases its private half, and proxies forget it within seconds. To revoke all keys at once, name the " +
			"key manager with a new key.",
		Example: "  cocoon network key-manager revoke 4efe780a1231e2f56d8d58018d8ed0688c0195d3983b9570aeaf511103663bf1 --data ./net",
	}
	d := newDesk(cmd, withKey, withSpend)
	var key [32]byte
	d.change(func(p *problems, args []string) {
		var err error
		if key, err = parseHash(args[0]); err != nil {
			p.add("key %v", err)
		}
	}, func(b *book, _ *wallet.Wallet, _ []string) (*change, error) {
		for _, k := range b.PublicKeys {
			if [32]byte(k.Key) == key {
				k.Type = revokedType
				return &change{title: fmt.Sprintf("revoke key %x", key), bodies: []contract.Body{&contract.AddKey{Key: k}}}, nil
			}
		}
		return nil, refusedError{fmt.Errorf("the registry lists no key %x", key)}
	})
	return cmd
}

// revokedType is a type of key that no part of the network uses.
const revokedType = 0
