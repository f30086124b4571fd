package insecure

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencocoon/cocoon/attest/nvidia"
)

// report is request and answer without the signature. The layout is drawn in
// package nvidia.
func (g GPU) report(nonce [32]byte, driver, vbios string, firmware []byte) ([]byte, error) {
	packed, err := hex.DecodeString(strings.ReplaceAll(vbios, ".", ""))
	if err != nil || len(packed) != 5 {
		return nil, fmt.Errorf("insecure: VBIOS version is %q, want five bytes in hex", vbios)
	}
	fields := map[nvidia.Field][]byte{
		nvidia.FieldDriver: append([]byte(driver), 0), nvidia.FieldVBIOS: {packed[3], packed[2], packed[1], packed[0], packed[4], 0, 0, 0},
		nvidia.FieldProject: []byte("TEST\x00"), nvidia.FieldProjectSKU: []byte("0000\x00"), nvidia.FieldChipSKU: []byte("000\x00"),
		nvidia.FieldNVDEC: {0x55}, nvidia.FieldProtectedPCIe: {0x55}, nvidia.FieldFWID: firmware,
	}
	for f, value := range g.Fields {
		if fields[f] = value; value == nil {
			delete(fields, f)
		}
	}
	out := append([]byte{0x11, 0xe0, 1, 0xff}, nonce[:]...)
	out = append(out, 0, 0x11, 0x60, 0, 0, byte(gpuMeasurements))
	out = append(out, binary.LittleEndian.AppendUint32(nil, uint32(gpuMeasurements*55))[:3]...)
	for i := range gpuMeasurements {
		value, other := g.Measurements[i]
		if !other {
			value = gpuMeasurement(i, driver, vbios)
		}
		out = append(append(out, byte(i+1), 1, 51, 0, 1, 48, 0), value[:]...)
	}
	answer := make([]byte, 32)
	rand.Read(answer)
	var opaque []byte
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		opaque = binary.LittleEndian.AppendUint16(opaque, uint16(f))
		opaque = append(binary.LittleEndian.AppendUint16(opaque, uint16(len(fields[f]))), fields[f]...)
	}
	out = binary.LittleEndian.AppendUint16(append(out, answer...), uint16(len(opaque)))
	return append(out, opaque...), nil
}

// gpuMeasurement invents what a GPU measures: of the even numbers the driver,
// of the odd ones its firmware.
func gpuMeasurement(i int, driver, vbios string) [48]byte {
	if i%2 == 0 {
		return sha512.Sum384(fmt.Appendf(nil, "measurement %d of driver %s", i, driver))
	}
	return sha512.Sum384(fmt.Appendf(nil, "measurement %d of VBIOS %s", i, vbios))
}

// signRaw gives r and s, 48 bytes each, over SHA-384 of message.
func signRaw(key *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	digest := sha512.Sum384(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	out := make([]byte, 96)
	r.FillBytes(out[:48])
	s.FillBytes(out[48:])
	return out, nil
}
