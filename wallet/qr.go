package wallet

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// quiet is the border of a QR code, in modules. Terminals are dark or light
// around it anyway; the standard's four would cost lines.
const quiet = 2

// QR draws a text as a QR code of half blocks, two modules high each, for a
// terminal with light letters on dark ground; inverted is for dark letters on light.
func QR(text string, inverted bool) (string, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return "", fmt.Errorf("qr code of %d bytes: %w", len(text), err)
	}
	// What is lit is the paper, not the ink: scanners want dark on light.
	lit := func(x, y int) bool { return code.Black(x, y) == inverted }
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		for x := -quiet; x < code.Size+quiet; x++ {
			switch upper, lower := lit(x, y), lit(x, y+1); {
			case upper && lower:
				b.WriteString("█")
			case upper:
				b.WriteString("▀")
			case lower:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}
