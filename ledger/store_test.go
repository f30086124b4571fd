package ledger_test

import (
	"testing"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/storetest"
)

type memoryPlace struct{ m ledger.Memory }

func (p *memoryPlace) Open() (ledger.Store, error) { return &p.m, nil }

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Place { return &memoryPlace{} }, storetest.Options{Shared: true})
}
