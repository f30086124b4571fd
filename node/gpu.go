package node

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
	"github.com/opencocoon/cocoon/ratls"
)

// gpus is where evidence of this machine's GPUs comes from; nil if it has
// none to show, or nobody would count it beside a platform that is not real.
func (a *Attestation) gpus(guest bool, log *slog.Logger) ratls.GPU {
	if !guest || a.SimulatedTDX != "" || a.Fake || a.NoAttestation {
		return nil
	}
	found, err := nvidia.Find()
	switch {
	case err == nil:
		return found
	case !errors.Is(err, nvidia.ErrNoGPU):
		log.Warn("peers are not shown evidence of the GPU", "err", err)
	}
	return nil
}

// judgeGPUs says how evidence of GPUs is judged. Without a level that asks for
// it, GPUs pass that nobody says anything about; what is known must be right.
func (a *Attestation) judgeGPUs() (*nvidia.Verifier, func(), error) {
	v := &nvidia.Verifier{MultiGPU: true, AllowUnknown: a.Require < attest.LevelGPU}
	done := func() {}
	if info, err := os.Stat(a.Collateral); err == nil && info.IsDir() {
		v.Collateral = nvidia.Dir(a.Collateral)
	} else if dir := keptIn("nvidia"); dir != "" {
		cache := nvidia.Cached(&nvidia.Service{}, dir, nil)
		v.Collateral, done = cache, cache.Close
	} else {
		v.Collateral = &nvidia.Service{}
	}
	if a.SimulatedTDX != "" {
		test, err := insecure.LoadGPUAnchors(a.SimulatedTDX)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, done, err
		}
		v.Test = test
	}
	return v, done, nil
}
