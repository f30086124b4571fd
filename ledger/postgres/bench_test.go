//go:build unix

package postgres_test

import (
	"context"
	"testing"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/postgres"
	"github.com/opencocoon/cocoon/ledger/storetest"
)

func BenchmarkBookings(b *testing.B) {
	s := theServer(b)
	storetest.Bench(b, func(b *testing.B) storetest.Place { return benchPlace{s, b.Name()} })
}

type benchPlace struct {
	s    *storetest.Postgres
	name string
}

func (p benchPlace) Open() (ledger.Store, error) {
	return postgres.Open(context.Background(), p.s.Connection(), postgres.Options{Ledger: p.name})
}
