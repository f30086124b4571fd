//go:build race

package contract_test

func init() { defaultHistories = 15 } // the race detector takes ten times as long
