// Package sim is the whole economy in one test binary under one seed: the
// chain with its contracts, the registry, proxies, clients and workers, their
// clocks, disks and wallets, and everything that goes wrong between them.
//
// There is nothing to import. Start with TestEconomy: it plays seeds, step by
// step, and after each step an independent book (book_test.go) says whether
// money appeared or vanished, whether anything was signed that was not earned,
// whether anybody lost more than he may. What runs is the production code of
// ledger, ledger/disk, wallet, settlement and contract, and the contracts' own
// code on the virtual machine. Roles' connections are played: a request is set
// aside, served and booked as the proxy does it, and what the two sides are told
// afterwards goes over a line that loses, repeats and reorders.
//
// One seed is one story. Time stands still unless the scheduler lets it pass,
// every call to the chain waits until the scheduler answers it, and one thing
// happens at a time: so a seed that fails does the same again, and prints what
// happened.
//
//	SIM_SEED=17 SIM_STEPS=2000 go test -run TestEconomy ./sim    this seed again, with its story
//	SIM_SEEDS=1-500 SIM_STEPS=4000 go test -run TestEconomy -timeout 0 ./sim
//	SIM_MUTATIONS=1 go test -run TestMutations -timeout 0 ./sim  take guards away, one at a time
package sim
