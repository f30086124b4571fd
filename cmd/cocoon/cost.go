package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/client"
	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/openai"
)

// maxQuoted bounds a request that is only priced.
const maxQuoted = 16 << 20

func costVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "quote [text | @file | JSON]", Short: "what a request would cost, before it is sent",
		Long: "The request is a text, the text in a file, or a whole body for /v1/chat/completions that begins with {; without one it is read from standard input. " +
			"It stays with your client: proxies are only asked for their book of the model.\n\n" +
			"Lowest is the question and one token by the cheapest worker that could serve it, expected a usual answer at the going rate. " +
			"No bill is above highest. All but that are estimates.",
		Example: "  cocoon quote \"What is remote attestation?\"\n" +
			"  cocoon quote --model qwen3:0.6b --max-tokens 500 @report.txt\n" +
			"  cocoon quote --json '{\"model\": \"qwen3:0.6b\", \"messages\": []}'",
		Args: cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	model := f.StringP("model", "m", "", "`model` to ask (default the request's, or the first one served)")
	maxTokens := f.Int("max-tokens", 0, "longest answer, in tokens (default the request's, or what the client reserves)")
	asJSON := f.Bool("json", false, "print the quote as the API gives it")
	connect := apiFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a, err := connect()
		if err != nil {
			return err
		}
		text, err := askedText(cmd, strings.Join(args, " "))
		if err != nil {
			return err
		}
		body, named, err := quotedBody(text, *model, *maxTokens)
		if err != nil {
			return err
		}
		if !named {
			first, err := firstModel(cmd.Context(), a)
			if err != nil {
				return err
			}
			if body, _, err = quotedBody(text, first, *maxTokens); err != nil {
				return err
			}
		}
		resp, err := a.do(cmd.Context(), http.MethodPost, "/v1/quote", body)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var q client.Quote
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&q); err != nil {
			return fmt.Errorf("%s/v1/quote: the answer is not JSON: %w", a.base, err)
		}
		if *asJSON {
			return writeJSON(cmd.OutOrStdout(), q)
		}
		return writeQuote(cmd.OutOrStdout(), &q)
	}
	return cmd
}

// askedText is what the argument says or names.
func askedText(cmd *cobra.Command, arg string) (string, error) {
	name, isFile := strings.CutPrefix(arg, "@")
	in := cmd.InOrStdin()
	switch {
	case isFile:
		file, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer file.Close()
		in = file
	case arg != "":
		return arg, nil
	}
	b, err := io.ReadAll(io.LimitReader(in, maxQuoted+1))
	switch {
	case err != nil:
		return "", err
	case len(b) > maxQuoted:
		return "", usageError{fmt.Errorf("more than %d bytes: no request can be so long", maxQuoted)}
	case strings.TrimSpace(string(b)) == "":
		return "", usageError{errors.New("nothing to price: give a text, @file or the body of a request")}
	}
	return string(b), nil
}

// quotedBody is the request to price; named says that it has a model.
func quotedBody(text, model string, maxTokens int) (body []byte, named bool, err error) {
	body = []byte(strings.TrimSpace(text))
	if body[0] != '{' {
		body, err = json.Marshal(map[string]any{"messages": []chatMessage{{"user", text}}})
		if err != nil {
			return nil, false, err
		}
	}
	doc, err := openai.ParseObject(body)
	if err != nil {
		return nil, false, usageError{fmt.Errorf("a request that begins with { must be a JSON object: %w", err)}
	}
	for name, value := range map[string]any{"model": model, "max_tokens": maxTokens} {
		if value != "" && value != 0 {
			raw, err := json.Marshal(value)
			if err != nil {
				return nil, false, err
			}
			doc.Set(name, raw)
		}
	}
	return doc.Bytes(), doc.Get("model") != nil, nil
}

func writeQuote(out io.Writer, q *client.Quote) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "model\t%s\n", q.Model)
	fmt.Fprintf(w, "question\tabout %d tokens\n", q.Prompt)
	fmt.Fprintf(w, "answer\tat most %d tokens", q.Limit)
	if q.Workers > 0 {
		fmt.Fprintf(w, ", probably %d", q.Expected)
	}
	if needs := q.Needs.Capabilities; len(needs) > 0 {
		fmt.Fprintf(w, "\nneeds\t%s", strings.Join(needs, ", "))
	}
	fmt.Fprintf(w, "\nworkers\t%d of %d could serve it; proxies: %d\n", q.Workers, q.Offers, q.Proxies)
	if q.Workers > 0 {
		fmt.Fprintf(w, "going rate\t%s\n", factor(q.Rate))
		for _, x := range []struct {
			name string
			cost coin.Nano
		}{{"lowest", q.Lowest}, {"expected", q.Likely}, {"highest", q.Highest}} {
			fmt.Fprintf(w, "%s\t%s\n", x.name, x.cost.Text())
		}
	}
	fmt.Fprintf(w, "served now\t%s\n", servedText(q))
	return w.Flush()
}

func servedText(q *client.Quote) string {
	switch {
	case q.WhyNot != "":
		return "no: " + q.WhyNot
	case q.Now:
		return "yes"
	case q.Wait > 0:
		return "after about " + secondsText(q.Wait)
	}
	return "when a place is free"
}
