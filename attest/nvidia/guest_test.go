package nvidia_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
)

// The test's own binary plays the helper when it is told how to.
func TestMain(m *testing.M) {
	if act := os.Getenv("COCOON_TEST_HELPER"); act != "" {
		os.Exit(helper(act, os.Args[len(os.Args)-1]))
	}
	os.Exit(m.Run())
}

func helper(act, arg string) int {
	nonce, err := hex.DecodeString(arg)
	if err != nil || len(nonce) != 32 {
		fmt.Fprintln(os.Stderr, "no nonce")
		return 2
	}
	switch act {
	case "fail":
		fmt.Fprintln(os.Stderr, "the GPUs are not in confidential mode")
		return 1
	case "hang":
		select {}
	case "chatter":
		for range 1000 {
			os.Stdout.Write(make([]byte, 1<<10))
		}
		return 0
	case "junk":
		fmt.Println("GPU 0: fine")
		return 0
	case "replay":
		nonce[0] ^= 1
	}
	a, err := insecure.NewGPUAuthority()
	if err != nil {
		return 3
	}
	blob, err := a.Guest().Evidence(context.Background(), [32]byte(nonce))
	if err != nil {
		return 3
	}
	os.Stdout.Write(blob)
	return 0
}

func TestCommand(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	nonce := nonceOf("command")
	for act, want := range map[string]string{
		"attest": "", "fail": "not in confidential mode", "chatter": "more than", "junk": "beginning", "replay": "did not answer the nonce",
	} {
		t.Setenv("COCOON_TEST_HELPER", act)
		blob, err := (&nvidia.Command{Path: self, Args: []string{"--"}}).Evidence(t.Context(), nonce)
		if want == "" {
			if boards := decode(t, blob); err != nil || len(boards) != 1 || !bytes.Equal(boards[0].Report[4:36], nonce[:]) {
				t.Errorf("%s: %v", act, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error that says %q", act, err, want)
		}
	}
	t.Setenv("COCOON_TEST_HELPER", "hang")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := (&nvidia.Command{Path: self}).Evidence(ctx, nonce); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a helper that hangs: %v, want the deadline", err)
	}
	if _, err := (&nvidia.Command{Path: filepath.Join(t.TempDir(), "missing")}).Evidence(t.Context(), nonce); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a helper that is not there: %v", err)
	}
}

func TestFind(t *testing.T) {
	if _, err := os.Stat("/proc/driver/nvidia/version"); err == nil {
		t.Skip("this machine has a GPU")
	}
	if _, err := nvidia.Find(); !errors.Is(err, nvidia.ErrNoGPU) {
		t.Errorf("without a GPU: %v, want ErrNoGPU", err)
	}
}
