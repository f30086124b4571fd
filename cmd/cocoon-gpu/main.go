// Command cocoon-gpu asks the NVIDIA GPUs of this machine to attest. With a
// nonce, 64 hexadecimal digits, it writes the evidence of all of them to its
// standard output, for a node of Cocoon, which starts it:
//
//	cocoon-gpu 6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19
//
// Without, it says what GPUs there are and whether they are confidential. It
// is a program of its own because it loads the driver's library.
package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/opencocoon/cocoon/attest/nvidia/nvml"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "cocoon-gpu: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var nonce []byte
	if len(args) > 0 {
		var err error
		if nonce, err = hex.DecodeString(args[0]); err != nil || len(nonce) != 32 || len(args) > 1 {
			return errors.New("want one nonce of 64 hexadecimal digits, or nothing")
		}
	}
	gpus, err := nvml.Open()
	if err != nil {
		return err
	}
	defer gpus.Close()
	if nonce == nil {
		return list(gpus, out)
	}
	evidence, err := gpus.Evidence(ctx, [32]byte(nonce))
	if err != nil {
		return err
	}
	_, err = out.Write(evidence)
	return err
}

func list(gpus *nvml.Library, out io.Writer) error {
	state, err := gpus.State()
	if err != nil {
		return err
	}
	boards, err := gpus.GPUs()
	if err != nil {
		return err
	}
	mode := map[bool]string{true: "on", false: "off"}
	fmt.Fprintf(out, "driver %s, confidential mode %s, development tools %s\n", state.Driver, mode[state.Confidential], mode[state.DevTools])
	for _, g := range boards {
		fmt.Fprintf(out, "%s  %s  VBIOS %s\n", g.UUID, g.Name, g.VBIOS)
	}
	return nil
}
