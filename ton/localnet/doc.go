// Package localnet is a TON blockchain in one process: real contracts on a
// real virtual machine, real fees, real blocks, served over the liteserver
// protocol on loopback, so that an ordinary TON client cannot tell it from a
// network except by its configuration file.
//
// Start with [New] for the chain and [Listen] for its liteserver; [Server.WriteGlobalConfig]
// writes the global.config.json that wallets and libraries expect:
//
//	chain, err := localnet.New(localnet.Config{})
//	server, err := localnet.Listen(chain, "127.0.0.1:0")
//	go server.Run(ctx)
//	err = server.WriteGlobalConfig("global.config.json")
//
// A message is executed when it is sent and sealed at once into a basechain
// block and a masterchain block (or each [Config.Interval]); everything that
// it triggers runs in the same block, up to a limit, in the order of logical
// time. Code inside the process may also use the chain directly: send, run
// get-methods, jump in time, take and restore snapshots, pay from the faucet.
//
// What is real: the virtual machine, gas, storage, forwarding and action fees,
// bounces, freezing for debt, logical time, account and transaction cells,
// shard and masterchain states, Merkle proofs of accounts, transactions and
// configuration. The blockchain configuration is a cell of the real kind.
//
// What a client cannot do here, because nobody validates this chain:
//   - check validator signatures: there is no validator set, so a client that
//     insists on them (tonutils-go's ProofCheckPolicySecure, a full node)
//     refuses every block after the one it trusts, and liteServer.getBlockProof
//     and the other queries about validators answer an error. Clients that
//     check Merkle proofs against the newest block (ProofCheckPolicyFast, the
//     default) work.
//   - follow as a full node: a block's state update names the hashes of both
//     states and leaves out their contents; descriptions of in and out messages
//     are empty.
//   - see shards split: there is one basechain shard and the masterchain.
//
// Two traps for clients. A wallet that caches the newest block for a second, as
// tonutils-go's does, reads a stale seqno here when it sends twice within that
// second: fetch the seqno from GetMasterchainInfo's block. And a wallet dates
// its messages by its own clock: after [Chain.Advance] by a day, it must allow
// for that day.
//
// Everything here is for development: keys derive from a seed, the faucet
// holds the supply, and time can be moved. A message signed for this chain is
// worthless elsewhere only if the wallet signs the network's id, which by
// default is that of the test network.
package localnet
