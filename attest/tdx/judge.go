package tdx

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// inquiry compares one machine with the collateral about it.
type inquiry struct {
	*evidence.Finding
	quote *Quote
	chain chain
	pck   *pckFacts

	src     Collateral
	roots   *x509.CertPool
	now     time.Time
	signers []*x509.Certificate // of the documents that came

	missing  []error // parts that did not come: nothing is known, neither good nor bad
	findings []level // statuses of those parts that did
	silent   bool    // about a part nothing can be said
}

// ask gets every part and makes a check of each. A part that does not come
// leaves the platform's status unknown, unless another says that it is bad: a
// source that withholds a list must not turn bad into unknown. A part that is
// not authentic or not current refuses.
func (i *inquiry) ask(ctx context.Context, minNumber int) {
	var info tcbInfoDocument
	var identity qeIdentityDocument
	haveInfo := i.document(ctx, TCBInfo(i.pck.FMSPC), CheckTCBInfo, "tcbInfo", "TDX", 3, &info, &info.documentHead)
	haveIdentity := i.document(ctx, QEIdentity, CheckQEIdentity, "enclaveIdentity", "TD_QE", 2, &identity, &identity.documentHead)
	i.revocations(ctx)
	if haveInfo {
		i.number(CheckTCBInfo, info.TCBEvaluationDataNumber, minNumber)
		i.platform(&info)
	} else {
		i.silent = true
	}
	if haveIdentity {
		i.number(CheckQEIdentity, identity.TCBEvaluationDataNumber, minNumber)
		i.enclave(&identity)
	} else {
		i.silent = true
	}
	i.conclude()
}

// document gets a signed document and checks it.
func (i *inquiry) document(ctx context.Context, part Part, check, member, id string, version int, into any, head *documentHead) bool {
	s, err := i.src.Get(ctx, part)
	if err != nil {
		i.missing = append(i.missing, fmt.Errorf("%s: %w", part, err))
		return false
	}
	issuers, err := openJSON(s, member, id, version, into, head, i.roots, i.now)
	if !i.signed(check, err, head.NextUpdate) {
		return false
	}
	i.Expires = earliest(i.Expires, firstEnd(issuers...))
	i.signers = append(i.signers, issuers[0])
	return true
}

// signed makes the check that a part is authentic and current.
func (i *inquiry) signed(check string, err error, until time.Time) bool {
	got := "signed, until " + stamp(until)
	if err != nil {
		got = err.Error()
	}
	if err == nil {
		i.Expires = earliest(i.Expires, until)
	}
	return i.Checks.Add(check, err == nil, got, "signed by Intel and valid now")
}

// revocations gets both lists and looks for the chain's certificates, and for
// those that signed the documents: who has a key of theirs can say anything.
func (i *inquiry) revocations(ctx context.Context) {
	root := i.list(ctx, RootCRL, CheckRootCRL, i.chain.root)
	pck := i.list(ctx, i.chain.list(), CheckPCKCRL, i.chain.ca)
	if root == nil && pck == nil {
		return
	}
	got := "nothing"
	for _, on := range []struct {
		list  *x509.RevocationList
		certs []*x509.Certificate
	}{{root, append(i.signers, i.chain.ca)}, {pck, []*x509.Certificate{i.chain.pck}}} {
		for _, cert := range on.certs {
			if on.list != nil && revokes(on.list, cert) {
				got = cert.Subject.CommonName + " is revoked"
			}
		}
	}
	i.Checks.Add(evidence.CheckRevocation, got == "nothing", got, "nothing")
}

func (i *inquiry) list(ctx context.Context, part Part, check string, issuer *x509.Certificate) *x509.RevocationList {
	s, err := i.src.Get(ctx, part)
	if err != nil {
		i.missing = append(i.missing, fmt.Errorf("%s: %w", part, err))
		return nil
	}
	list, err := openList(s, issuer, i.now)
	if list == nil {
		i.signed(check, err, time.Time{})
		return nil
	}
	if !i.signed(check, err, list.NextUpdate) {
		return nil
	}
	return list
}

func revokes(list *x509.RevocationList, cert *x509.Certificate) bool {
	return slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
		return e.SerialNumber.Cmp(cert.SerialNumber) == 0
	})
}

// number refuses statements that are current and yet older in what they know
// than they have to be.
func (i *inquiry) number(of string, got, least int) {
	i.Checks.Add(CheckEvaluation+of, got >= least, fmt.Sprint(got), fmt.Sprintf("at least %d", least))
}

// platform looks up processor and TDX module.
func (i *inquiry) platform(info *tcbInfoDocument) {
	b := &i.quote.Body
	built, err := info.platformLevel(i.pck, b.TCBSVN)
	i.level(CheckPlatformTCB, built, err)
	module, err := info.module(b)
	if !i.Checks.Passed(CheckModuleIdentity, err, "one that Intel lists") {
		i.silent = true
		return
	}
	at, err := module.level(b.TCBSVN)
	i.level(CheckModuleTCB, at, err)
	i.relaunch(info, merge(built.status, at.status))
}

// relaunch tells a guest that is out of date because its module was then from
// one whose machine is.
func (i *inquiry) relaunch(info *tcbInfoDocument, built string) {
	newer := i.quote.Body15
	if newer == nil || newer.TCBSVN2 == i.quote.Body.TCBSVN {
		return
	}
	now := i.quote.Body
	now.TCBSVN = newer.TCBSVN2
	platform, err := info.platformLevel(i.pck, now.TCBSVN)
	module, err2 := info.module(&now)
	if err != nil || err2 != nil {
		return
	}
	at, err := module.level(now.TCBSVN)
	if err != nil {
		return
	}
	if status := relaunch(built, merge(platform.status, at.status)); status != built {
		for n := range i.findings {
			i.findings[n].status = UpToDate
		}
		i.findings = append(i.findings, level{status: status})
	}
}

// enclave looks up the quoting enclave.
func (i *inquiry) enclave(identity *qeIdentityDocument) {
	err := identity.identified(&i.quote.Enclave)
	i.Checks.Passed(CheckEnclaveIdentity, err, "the one that Intel describes")
	at, err := isvLevel(identity.TCBLevels, int(i.quote.Enclave.ISVSVN))
	i.level(CheckEnclaveTCB, at, err)
}

// level records what Intel says about a part. Whether it is good enough is the
// policy's to say; a level that is revoked, or that Intel does not list, never
// is.
func (i *inquiry) level(check string, l level, err error) {
	got := l.String()
	if err != nil {
		got = err.Error()
	}
	i.Checks.Add(check, err == nil && l.status != Revoked, got, "a level that Intel lists and has not revoked")
	if err == nil {
		i.findings = append(i.findings, l)
	} else {
		i.silent = true
	}
}

// conclude makes one status of those that were found.
func (i *inquiry) conclude() {
	status := UpToDate
	for _, l := range i.findings {
		if status == UpToDate {
			status = l.status
		} else {
			status = merge(status, l.status)
		}
		for _, a := range l.advisories {
			if !slices.Contains(i.Advisories, a) {
				i.Advisories = append(i.Advisories, a)
			}
		}
	}
	i.Passing = len(i.missing) > 0
	i.Status, i.Reason = status, ""
	switch {
	case i.Passing:
		i.Reason = "collateral unavailable: " + reasons(i.missing)
	case i.silent:
		i.Reason = "the collateral does not tell"
	}
	if status == UpToDate && i.Reason != "" {
		i.Status = Unknown
	}
}
