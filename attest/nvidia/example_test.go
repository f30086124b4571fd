package nvidia_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
)

// A guest asks its GPUs with a nonce that only this connection has, and the
// other end, which knows it too, judges what they signed.
func Example() {
	vendor, err := insecure.NewGPUAuthority() // on a real guest: nvidia.Find
	if err != nil {
		panic(err)
	}
	guest := vendor.Guest(insecure.GPU{Name: "a"}, insecure.GPU{Name: "b"})

	nonce := sha256.Sum256([]byte("exporter and key of this connection"))
	evidence, err := guest.Evidence(context.Background(), nonce)
	if err != nil {
		panic(err)
	}
	v := &nvidia.Verifier{Test: vendor.Anchors(), Count: 2} // on a real network: Anchors with Cached collateral
	f := v.VerifyFor(context.Background(), evidence, nonce, time.Now())
	_, failed := f.Checks.Failed()
	fmt.Println(!failed, f.Status, len(f.Platforms()))
	// Output: true UpToDate 2
}
