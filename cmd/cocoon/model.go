package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/model"
)

func weightsVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "model", Short: "pack a model's files and check what they are", Args: cobra.NoArgs,
		Long: "The network names a model name@commit:hash. The hash is of an archive that anyone can make again from the same files, so " +
			"the name stands for every byte of them.",
		Example: "  cocoon model pack models/Qwen3-8B --name Qwen/Qwen3-8B --commit 9c925d64d72725edaf899c6cb9c377fd0709d9c5",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(modelPackVerb(), modelVerifyVerb())
	return cmd
}

type packOptions struct {
	name, commit, out string
	hashOnly, replace bool
}

func modelPackVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "pack DIR", Short: "make a model's archive and its identity", Args: cobra.ExactArgs(1),
		Long: "Make the network's archive of a folder: NAME.tar, its dm-verity tree NAME.tar.verity and NAME.tar.hash, byte for byte what the " +
			"network's own tools make of the same files. The identity is printed on standard output.\n\n" +
			"A revision in a hub's cache (models--OWNER--NAME/snapshots/COMMIT) tells its name and commit itself. The file named .cache at the top, " +
			"in which the hub's client keeps notes, is left out.",
		Example: "  cocoon model pack ~/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/9c925d64d72725edaf899c6cb9c377fd0709d9c5\n" +
			"  cocoon model pack models/tiny --name acme/tiny --commit 4f1b7a9 --out images\n" +
			"  cocoon model pack models/tiny --name acme/tiny --commit 4f1b7a9 --hash-only",
	}
	var o packOptions
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "the model's `name`, as users ask for it")
	f.StringVar(&o.commit, "commit", "", "the revision's `commit`")
	f.StringVar(&o.out, "out", ".", "`folder` to write to")
	f.BoolVar(&o.hashOnly, "hash-only", false, "print the identity and write nothing")
	f.BoolVar(&o.replace, "replace", false, "replace files that are there already")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a, err := model.Open(args[0])
		if err != nil {
			return err
		}
		if err := o.identify(a); err != nil {
			return err
		}
		return o.pack(cmd, a)
	}
	return cmd
}

// identify fills in what the folder says itself.
func (o *packOptions) identify(a *model.Archive) error {
	if o.name == "" {
		o.name = a.Name
	}
	if o.commit == "" {
		o.commit = a.Commit
	}
	if o.name == "" || o.commit == "" {
		return usageError{errors.New("the folder does not say which model it is: give --name and --commit")}
	}
	if _, err := model.New(o.name, o.commit, model.Hash{}); err != nil {
		return usageError{err}
	}
	return nil
}

// fullCommit is one that cannot be moved to other files.
var fullCommit = regexp.MustCompile(`^[0-9a-f]{40}$`)

func (o *packOptions) pack(cmd *cobra.Command, a *model.Archive) error {
	errOut := cmd.ErrOrStderr()
	if !fullCommit.MatchString(o.commit) {
		fmt.Fprintf(errOut, "note: commit %s is not the 40 digits of a hub; a branch or tag may mean other files tomorrow, the hash will not\n", o.commit)
	}
	p := newProgress(errOut, "packing")
	if o.hashOnly {
		hash, err := model.Sum(cmd.Context(), a, a.Size(), p.report)
		p.end()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), model.ID{Name: o.name, Commit: o.commit, Hash: hash})
		return err
	}
	packed, err := model.Pack(cmd.Context(), a, o.name, o.commit, o.out, o.replace, p.report)
	p.end()
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%w; give --replace, or another folder with --out", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(errOut, "%d files in %s, %d bytes, with %s and %s beside it\n", a.Files, packed.Tar, a.Size(), filepath.Base(packed.Tree), filepath.Base(packed.Sum))
	_, err = fmt.Fprintln(cmd.OutOrStdout(), packed.ID)
	return err
}

func modelVerifyVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify FILE|DIR NAME@COMMIT:HASH", Short: "check that files are the model that an identity names", Args: cobra.ExactArgs(2),
		Long: "Hash an archive, a block device or a folder again, on all processors and without loading it into memory, and compare. If the " +
			"hash tree is there (FILE.verity, or --tree), the blocks and files that differ are named.\n\n" +
			"Exit code 0 means that it is, 3 that it is not, 1 that it could not be read.",
		Example: "  cocoon model verify Qwen_Qwen3_8B.tar \"$ID\"\n  cocoon model verify models/tiny acme/tiny@4f1b7a9:$HASH --tree acme_tiny.tar.verity",
	}
	tree := cmd.Flags().String("tree", "", "the hash tree's `file` (default FILE.verity if there is one)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := model.Parse(args[1])
		if err != nil {
			return usageError{err}
		}
		p := newProgress(cmd.ErrOrStderr(), "verifying")
		size, err := verifyModel(cmd.Context(), args[0], *tree, id.Hash, p.report)
		p.end()
		var mismatch *model.MismatchError
		if errors.As(err, &mismatch) || errors.Is(err, model.ErrSize) {
			return refusedError{fmt.Errorf("%s is not %s: %w", args[0], id, err)}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is %s (%d bytes, %s)\n", args[0], id, size, p.rate())
		return err
	}
	return cmd
}

func verifyModel(ctx context.Context, name, tree string, hash model.Hash, progress model.Progress) (int64, error) {
	s, err := model.OpenSource(name, tree)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return s.Size, model.Check(ctx, s, hash, progress)
}
