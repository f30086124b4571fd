package snp

import "github.com/opencocoon/cocoon/attest/evidence"

// Policy is what a guest and its platform must be. The zero Policy accepts
// nobody: it knows no least TCB, and nobody who vouches for an image's kernel.
// Debugging, migration and reserved bits are refused under every policy.
type Policy struct {
	// Minimum is the least TCB of each product, which the reported one and the
	// one at launch must reach. Products that are not in it have firmware that
	// nobody vouches for: see AllowUnknown.
	Minimum map[Product]Parts
	// AllowUnknown accepts what nobody knows anything about: products without
	// a minimum, and chains whose revocation list is not to be had. What is
	// known to be bad stays refused.
	AllowUnknown bool

	// KernelMeasured says whether an image's measurement covers kernel, initrd
	// and command line. Nil knows no such image.
	KernelMeasured func(evidence.Hash) bool
	// InsecureAnyKernel accepts images of which nobody says so. Whoever runs
	// the host may have booted anything with them.
	InsecureAnyKernel bool

	// AllowVLEK accepts reports signed by a cloud provider's key. They seldom
	// name a chip, and rest on that provider as well as on AMD.
	AllowVLEK bool
	// VMPL is the privilege level that must have asked for the report. 0, the
	// highest, is right where no service module runs below the kernel.
	VMPL uint32

	// Require and Forbid are bits of the guest policy that must be set or
	// clear, besides those that must be under every policy.
	Require, Forbid GuestPolicy
	// RequirePlatform and ForbidPlatform are bits of the platform info that
	// must be set or clear.
	RequirePlatform, ForbidPlatform PlatformInfo

	// IDKeys and AuthorKeys are digests of keys of which one must have signed
	// the guest's id block, or the id key. Empty: none needed.
	IDKeys, AuthorKeys [][48]byte
	// HostData is what the host must have set at launch. Nil: anything.
	HostData *[32]byte
}

// Unmeasured is the image hash of a report that says nothing, as fake evidence
// has it. It names no image.
var Unmeasured = evidence.HashOf(make([]byte, 48))

// SB3019 is the least firmware that answers AMD's bulletin SB-3019 of 2025,
// before which a host could load microcode of its own making. It names the
// secure processor's version alone, as microsoft/CCF issue 6812 quotes the
// bulletin; microcode's differs between processors of a product. It is a lower
// bound to begin with, and says nothing of Turin: an operator sets what newer
// bulletins ask for.
var SB3019 = map[Product]Parts{Milan: {SNP: 0x18}, Genoa: {SNP: 0x17}}

// StatusMeets and StatusBelow are words for a platform's firmware. AMD has
// none: it publishes versions, and a policy says which are good enough.
const (
	StatusMeets = "meets minimum"
	StatusBelow = "below minimum"
)
