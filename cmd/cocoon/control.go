package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/contract"
)

// clientSteps are what a person can ask of a running client's accounts.
func clientSteps() []*cobra.Command {
	const at = "http://127.0.0.1:10000"
	return []*cobra.Command{
		stepVerb("client", at, "charge", "submit the newest charge that a proxy has signed"),
		stepVerb("client", at, "topup", "pay one more stake in with a proxy"),
		stepVerb("client", at, "withdraw", "take out what is above the stake with a proxy"),
		stepVerb("client", at, "close", "leave a proxy and take the money home, which may take the network's delay"),
	}
}

// stepVerb posts one control action to a running node.
func stepVerb(role, at, what, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use: what + " PROXY", Short: short, Args: cobra.ExactArgs(1),
		Long: fmt.Sprintf("PROXY is the address of the proxy's contract, as `cocoon status` lists it. The %s must be running, with the token file named\n"+
			"here as its control_token_file. The node's log and status say how it went on the chain.", role),
		Example: fmt.Sprintf("  cocoon %s %s EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ --control-token-file ./control-token", role, what),
	}
	base := cmd.Flags().StringP("url", "u", at, "base `URL` of the running "+role)
	file := cmd.Flags().String("control-token-file", "", "`file` with the node's control token")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *file == "" {
			return usageError{errors.New("control-token-file: missing: name the file that the node was started with")}
		}
		if _, err := contract.ParseAddress(args[0]); err != nil {
			return usageError{err}
		}
		token, err := readSecretFile(*file)
		if err != nil {
			return err
		}
		done, err := control(cmd.Context(), strings.TrimSuffix(*base, "/")+"/request/"+what, token, url.Values{"proxy": {args[0]}})
		if err == nil {
			_, err = fmt.Fprintln(cmd.OutOrStdout(), done)
		}
		return err
	}
	return cmd
}

// control posts a control action and returns what the node says it did.
func control(ctx context.Context, to, token string, args url.Values) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(args.Encode()))
	if err != nil {
		return "", usageError{err}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "", fmt.Errorf("nothing answers at %s; is the node running, and does it have another address? See --url", req.URL.Host)
	}
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", req.URL.Host, unwrapURL(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var body struct {
		Result string
		Error  struct{ Message string }
	}
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	switch {
	case err == nil && resp.StatusCode == http.StatusOK:
		return body.Result, nil
	case body.Error.Message != "":
		return "", errors.New(body.Error.Message)
	}
	return "", fmt.Errorf("%s answers %s, and not as a node of ours", req.URL.Host, resp.Status)
}
