module github.com/opencocoon/cocoon/test/tongo

go 1.26.0

replace github.com/opencocoon/cocoon => ../..

require (
	github.com/opencocoon/cocoon v0.0.0
	github.com/tonkeeper/tongo v1.22.47
	github.com/xssnick/tonutils-go v1.18.0
)

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	github.com/bwesterb/go-ristretto v1.2.3 // indirect
	github.com/cloudflare/circl v1.6.4 // indirect
	github.com/oasisprotocol/curve25519-voi v0.0.0-20220328075252-7dd334e3daae // indirect
	github.com/pierrec/lz4/v4 v4.1.27 // indirect
	github.com/snksoft/crc v1.1.0 // indirect
	golang.org/x/crypto v0.53.0 // indirect
	golang.org/x/exp v0.0.0-20230116083435-1de6713980de // indirect
	golang.org/x/sys v0.48.0 // indirect
)
