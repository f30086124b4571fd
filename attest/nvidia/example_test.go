package nvidia_test

import (
	"context"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
)

// Both ends of a connection know its exporter and the guest's key. The guest
// asks its GPUs with a nonce made from them, and puts the digest of their
// evidence into the report data of its own quote; the other end computes both.
func Example() {
	exporter, key := []byte("exporter of this connection"), []byte("key of the guest's certificate")
	vendor, err := insecure.NewGPUAuthority() // on a real guest: nvidia.Find
	if err != nil {
		panic(err)
	}
	guest := vendor.Guest(insecure.GPU{Name: "a"}, insecure.GPU{Name: "b"})

	nonce := nvidia.Nonce("example v1", exporter, key)
	evidence, err := guest.Evidence(context.Background(), nonce)
	if err != nil {
		panic(err)
	}
	inTheQuote := nvidia.Digest(evidence)

	v := &nvidia.Verifier{Test: vendor.Anchors(), Count: 2} // on a real network: Anchors with Cached collateral
	f := v.VerifyFor(context.Background(), evidence, nvidia.Nonce("example v1", exporter, key), time.Now())
	_, failed := f.Checks.Failed()
	fmt.Println(!failed, f.Status, len(f.Platforms()), nvidia.Digest(evidence) == inTheQuote)
	// Output: true UpToDate 2 true
}
