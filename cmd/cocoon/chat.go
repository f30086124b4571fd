package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxLine bounds one typed line, so that a pasted document fits.
const maxLine = 1 << 20

// chatOptions are the flags of `cocoon chat`.
type chatOptions struct {
	model, system    string
	maxTokens        int
	temperature      float64
	seed             int64
	noStream, json   bool
	hasTemp, hasSeed bool
}

func chatVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "chat [text]",
		Short: "talk to a model through a running client",
		Long: "Without text it is a conversation: type a line, read the answer; /help says what else there is.\n" +
			"Ctrl-C stops the answer, Ctrl-D leaves.\n\n" +
			"With text, or with text on standard input, it asks once. Nothing that is said is kept anywhere.",
		Example: "  cocoon chat \"What is remote attestation?\"\n" +
			"  echo \"Summarise this.\" | cocoon chat --max-tokens 100\n" +
			"  cocoon chat --json --no-stream \"Hello!\"",
		Args: cobra.ArbitraryArgs,
	}
	var o chatOptions
	f := cmd.Flags()
	f.StringVarP(&o.model, "model", "m", "", "`model` to ask (default the first one served)")
	f.StringVar(&o.system, "system", "", "system `message` to begin with")
	f.IntVar(&o.maxTokens, "max-tokens", 0, "longest answer, in tokens (default the engine's)")
	f.Float64Var(&o.temperature, "temperature", 0, "randomness, 0 to 2 (default the engine's)")
	f.Int64Var(&o.seed, "seed", 0, "seed for the same answer again (default none)")
	f.BoolVar(&o.noStream, "no-stream", false, "ask for the whole answer in one piece")
	f.BoolVar(&o.json, "json", false, "print the answer with its usage as JSON")
	connect := apiFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.hasTemp, o.hasSeed = f.Changed("temperature"), f.Changed("seed")
		a, err := connect()
		if err != nil {
			return err
		}
		if o.model == "" {
			if o.model, err = firstModel(cmd.Context(), a); err != nil {
				return err
			}
		}
		c := &conversation{api: a, chatOptions: o, out: cmd.OutOrStdout()}
		c.forget()
		return c.start(cmd, strings.Join(args, " "))
	}
	return cmd
}

func firstModel(ctx context.Context, a *api) (string, error) {
	models, err := a.models(ctx)
	if err != nil {
		return "", err
	}
	if len(models) == 0 {
		return "", errors.New("no model is served now; wait for a worker, or look at `cocoon status`")
	}
	return models[0].ID, nil
}

// conversation is a chat in progress; its memory is only here.
type conversation struct {
	*api
	chatOptions
	messages []chatMessage
	out      io.Writer
	// stop stops the answer in progress. Nil if nothing does.
	stop <-chan os.Signal
}

const chatHelp = `  /new    forget what was said
  /help   this
  /quit   leave, as Ctrl-D does
Ctrl-C stops an answer; its question is forgotten.
`

func (c *conversation) forget() {
	c.messages = nil
	if c.system != "" {
		c.messages = []chatMessage{{"system", c.system}}
	}
}

// start asks once if there is text, and converses if there is a terminal.
func (c *conversation) start(cmd *cobra.Command, text string) error {
	ctx, in := cmd.Context(), cmd.InOrStdin()
	if text != "" {
		return c.ask(ctx, text)
	}
	if file, ok := in.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		fmt.Fprintf(c.out, "talking to %s at %s; /help helps\n", c.model, c.base)
		// From here Ctrl-C ends an answer and not the program.
		signal.Reset(os.Interrupt)
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, os.Interrupt)
		c.stop = stop
		return c.converse(ctx, in)
	}
	b, err := io.ReadAll(io.LimitReader(in, maxLine))
	if err != nil {
		return err
	}
	if text = strings.TrimSpace(string(b)); text == "" {
		return usageError{errors.New("nothing to say: give a text, or type it on a terminal")}
	}
	return c.ask(ctx, text)
}

// converse reads lines until the input or ctx ends. An answer that fails is
// told and does not end the conversation.
func (c *conversation) converse(ctx context.Context, in io.Reader) error {
	lines := readLines(in)
	for {
		fmt.Fprint(c.out, "> ")
		select {
		case <-ctx.Done():
			fmt.Fprintln(c.out)
			return nil
		case <-c.stop:
			fmt.Fprintln(c.out, "\n(Ctrl-D or /quit leaves)")
		case line, ok := <-lines:
			if line = strings.TrimSpace(line); !ok || line == "/quit" {
				fmt.Fprintln(c.out)
				return nil
			}
			c.turn(ctx, line)
		}
	}
}

// turn does what a line asks for.
func (c *conversation) turn(ctx context.Context, line string) {
	switch {
	case line == "":
	case line == "/new":
		c.forget()
	case line == "/help":
		fmt.Fprint(c.out, chatHelp)
	case strings.HasPrefix(line, "/") && !strings.ContainsAny(line[1:], "/ "):
		fmt.Fprintf(c.out, "! unknown command %s; /help lists them\n", line)
	default:
		ctx, done := c.stoppable(ctx)
		err := c.ask(ctx, line)
		switch stopped := ctx.Err() != nil; {
		case stopped:
			fmt.Fprintln(c.out, "! stopped")
		case err != nil:
			fmt.Fprintln(c.out, "!", err)
		}
		done()
	}
}

// stoppable derives a context that c.stop ends, too. Call done in the end.
func (c *conversation) stoppable(ctx context.Context) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-c.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// readLines reads in the background: a terminal's read cannot be cancelled.
func readLines(in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		s := bufio.NewScanner(in)
		s.Buffer(nil, maxLine)
		for s.Scan() {
			lines <- s.Text()
		}
	}()
	return lines
}

// ask says text, prints the answer as it comes, and remembers both.
func (c *conversation) ask(ctx context.Context, text string) error {
	req := chatRequest{
		Model: c.model, MaxTokens: c.maxTokens, Stream: !c.noStream,
		Messages: append(c.messages[:len(c.messages):len(c.messages)], chatMessage{"user", text}),
	}
	if c.hasTemp {
		req.Temperature = &c.temperature
	}
	if c.hasSeed {
		req.Seed = &c.seed
	}
	show := func(piece string) { fmt.Fprint(c.out, piece) }
	if c.json {
		show = func(string) {}
	}
	answer, err := c.chat(ctx, req, show)
	if !c.json && (answer != nil || ctx.Err() != nil) {
		fmt.Fprintln(c.out)
	}
	if err != nil {
		return err
	}
	c.messages = append(req.Messages, chatMessage{"assistant", answer.Content})
	if c.json {
		return writeJSON(c.out, answer)
	}
	return nil
}
