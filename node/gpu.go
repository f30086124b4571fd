package node

import (
	"errors"
	"io/fs"
	"log/slog"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
	"github.com/opencocoon/cocoon/ratls"
)

// withoutGPU leaves GPUs unjudged, and unshown.
const withoutGPU = "none"

// gpus is where evidence of this machine's GPUs comes from, nil where there is
// nothing to show: outside a genuine guest they prove nothing.
func (a *Attestation) gpus(platform attest.Platform, log *slog.Logger) ratls.GPU {
	kind := platform.Kind()
	if a.SimulatedImage != "" || a.GPUCollateral == withoutGPU || kind != attest.KindTDX && kind != attest.KindSEVSNP {
		return nil
	}
	found, err := nvidia.Find()
	switch {
	case err == nil:
		return found
	case !errors.Is(err, nvidia.ErrNoGPU):
		log.Warn("the GPUs of this machine prove nothing to peers", "err", err)
	}
	return nil
}

// judgeGPUs adds to a policy how GPUs are judged. One about which NVIDIA says
// nothing raises nobody's level, and is refused only where the level is asked
// for. The caller calls done in the end.
func (a *Attestation) judgeGPUs(p *attest.Policy) (done func(), err error) {
	if a.GPUCollateral == withoutGPU {
		return nil, nil
	}
	v := &nvidia.Verifier{MultiGPU: a.GPULinked, AllowUnknown: a.Require < attest.LevelGPU}
	if a.GPUCollateral != "" {
		v.Collateral = nvidia.Dir(a.GPUCollateral)
	} else {
		cache := nvidia.Cached(&nvidia.Service{}, keptIn("nvidia"), nil)
		v.Collateral, done = cache, cache.Close
	}
	if a.SimulatedTDX != "" {
		if v.Test, err = insecure.LoadGPUAnchors(a.SimulatedTDX); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return done, err
		}
	}
	p.Verifiers[attest.KindNVIDIA] = v
	return done, nil
}
