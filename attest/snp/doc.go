// Package snp reads, verifies and makes AMD SEV-SNP attestation reports.
//
// Start with [Verifier]: it takes evidence, a report with the certificates of
// the key that signed it, and answers one named question at a time, from the
// bytes up to the guest policy. [Policy] says what a guest and its platform
// must be; which image is wanted and which key is bound, package attest asks.
// [Guest] gets evidence on this machine, [KDS], [Dir] and [Cached] what AMD
// publishes. [Measure] computes what a launch must measure.
//
// The parser, the chain and the signature are ours, because every question has
// an answer of its own and because Turin is read too; tests compare them with
// github.com/google/go-sev-guest.
//
// A launch measurement covers the firmware and the processors' first state. It
// covers kernel, initrd and command line only if the firmware was built for
// that and the host passed their hashes; the report does not say which. The
// network's first SNP images do without (current.md 6.5), so that a host can
// boot anything under their hash. [CheckKernel] is this question. It passes
// only for images somebody vouches for, in [Policy.KernelMeasured].
//
// Specifications: AMD 56860 (SEV-SNP firmware ABI), 57230 (VCEK certificate and
// KDS interface), 56421 (GHCB, certificate table).
package snp
