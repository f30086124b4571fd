package nvidia

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// checkManifests compares the measurements with what NVIDIA has published.
func (j *judgement) checkManifests() {
	driver, missing1 := j.manifest(CheckDriverManifest, j.report.DriverManifest(j.device.Chip), j.report.Driver)
	vbios, missing2 := j.manifest(CheckVBIOSManifest, j.report.VBIOSManifest(), j.report.VBIOS)
	var had []*Manifest
	var chains [][]*x509.Certificate
	for _, m := range []*Manifest{driver, vbios} {
		if m != nil {
			had, chains = append(had, m), append(chains, m.certs)
		}
	}
	if len(had) > 0 {
		j.checkRevocation(CheckManifestRevoked, chains...)
	}
	got, ok := compare(j.report, had...)
	switch {
	case len(had) == 2 || !ok:
	case missing1 || missing2:
		got, ok = "unknown: no manifest to compare all with", j.v.AllowUnknown
	default:
		got, ok = "a manifest is wrong", false
	}
	j.Checks.Add(CheckMeasurements, ok, got, "as in the manifests")
}

// manifest gets one manifest, verified. It is nil if it is wrong, or missing.
func (j *judgement) manifest(check, name, version string) (m *Manifest, missing bool) {
	wanted := name + " signed by NVIDIA"
	document, err := ask(j, func(src Collateral) ([]byte, error) { return src.Manifest(j.ctx, name) })
	if err != nil {
		j.Checks.Add(check, j.v.AllowUnknown, err.Error(), wanted)
		return nil, true
	}
	m, err = j.verified(document)
	if err == nil && (!strings.EqualFold(m.Version, version) || m.Product != j.device.Chip || m.Edition != "GPU") {
		err = fmt.Errorf("nvidia: manifest is of %s %s %s, want GPU %s %s", m.Edition, m.Product, m.Version, j.device.Chip, version)
	}
	if err == nil {
		err = m.ValidAt(j.now)
	}
	if !j.Checks.Passed(check, err, wanted) {
		return nil, false
	}
	j.Expires = earlier(j.Expires, endOf(m.certs))
	return m, false
}

// verified verifies a manifest, or remembers that it did.
func (j *judgement) verified(document []byte) (*Manifest, error) {
	v, err := j.v.memo.get("manifest", j.anchors.Manifest, document, func() (any, error) {
		m, err := ParseManifest(document)
		if err == nil {
			err = m.Verify(j.anchors.Manifest)
		}
		if err != nil {
			return nil, err
		}
		m.root, m.envelope = nil, nil // no more needed, and large
		return m, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*Manifest), nil
}

// compare tells whether each measurement that counts for either manifest has
// one of its values. No measurement may count for both.
func compare(p *Report, manifests ...*Manifest) (got string, ok bool) {
	var differ []int
	counted := map[int]bool{}
	for _, m := range manifests {
		for index, values := range m.Expected {
			if counted[index] {
				return fmt.Sprintf("measurement %d is in both manifests", index), false
			}
			counted[index] = true
			skip := index == nvdecMeasurement && p.NVDECDisabled
			if !skip && (index >= len(p.Measurements) || !slices.Contains(values, p.Measurements[index])) {
				differ = append(differ, index)
			}
		}
	}
	slices.Sort(differ)
	if len(differ) > 0 {
		return fmt.Sprintf("%d of %d differ: %v", len(differ), len(counted), differ), false
	}
	return fmt.Sprintf("all %d as in the manifests", len(counted)), true
}
