package contract

import (
	"embed"
	"fmt"
	"sync"

	"github.com/xssnick/tonutils-go/tvm/cell"
)

// Codes are our own contracts, compiled from contract/tolk.
//
// They are for who founds a network or upgrades one, and for a node's wallet,
// whose code is every node's own choice. A node takes the code of proxy, worker
// and client contracts from the registry it joins ([Root.ProxyCode] and its
// neighbours), so the same program works on any network.
type Codes struct {
	Root, Proxy, Worker, Client, Wallet *cell.Cell
}

//go:embed tolk/build/*.boc
var compiled embed.FS

var codes = sync.OnceValue(func() *Codes {
	return &Codes{
		Root: compiledCode("root"), Proxy: compiledCode("proxy"), Worker: compiledCode("worker"),
		Client: compiledCode("client"), Wallet: compiledCode("wallet"),
	}
})

// OurCodes returns the compiled contracts. All callers share them: cells do not change.
func OurCodes() *Codes { return codes() }

// compiledCode panics on what is part of the program itself and cannot be bad
// in a build that passed its tests.
func compiledCode(name string) *cell.Cell {
	data, err := compiled.ReadFile("tolk/build/" + name + ".boc")
	if err != nil {
		panic(fmt.Sprintf("contract: embedded code of %s: %v", name, err))
	}
	code, err := cell.FromBOC(data)
	if err != nil {
		panic(fmt.Sprintf("contract: embedded code of %s: %v", name, err))
	}
	return code
}
