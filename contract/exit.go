package contract

import "fmt"

// Exit says what a proxy, client or worker contract means with an exit code,
// for people. Source: contracts.md section 13; 1016 to 1020 are our contracts'.
func Exit(code int32) string {
	if s, ok := exits[code]; ok {
		return s
	}
	return fmt.Sprintf("exit code %d", code)
}

var exits = map[int32]string{
	0:    "success",
	1:    "success",
	5:    "a number is out of range: the pool has too little, or the fee is above the price",
	9:    "message is cut short or too long",
	13:   "out of gas",
	34:   "a message to be sent is malformed",
	36:   "a message to be sent has no valid destination",
	37:   "too little TON for the messages to be sent",
	-14:  "out of gas",
	1000: "counter is not newer than the contract's",
	1001: "contract's own TON is too low, or nothing is above the stake",
	1003: "message brings too little TON, or the stake is not higher",
	1005: "envelope and signed payload differ",
	1006: "contract is closing or closed",
	1007: "signature is not the proxy's",
	1008: "parameters are of an unknown version",
	1009: "sender is not the client contract's owner",
	1010: "sender is not the contract's owner",
	1011: "it is too early to close",
	1012: "unknown operation",
	1013: "unknown comment",
	1014: "sender is not the contract that it claims to be",
	1015: "signed for another contract",
	1016: "parameters would lose somebody's money",
	1017: "pool is too short: the money belongs to others",
	2000: "no such registered proxy",
}

// RootExit says what our root contract means with an exit code, and what to do;
// "" for codes that it does not give.
func RootExit(code int32) string { return rootExits[code] }

// The network's own root contract gives 2000 and 1008 to 1012 too; where ours
// says 1016 or 1004 it fails with 5 or 9, or goes on.
var rootExits = map[int32]string{
	-14:  "the message brought too little for its gas: attach more",
	5:    "a number is out of its range",
	9:    "the message is cut short or too long for this contract",
	37:   "the message brought too little for the answer: attach more",
	1000: "the key has expired already, or is registered for longer",
	1001: "the contract itself holds too little: attach more",
	1003: "the message brought too little: attach more",
	1004: "a network address that nodes cannot read",
	1007: "not signed by the key manager",
	1008: "the parameters have a struct version that this contract does not know",
	1010: "sender is not the owner",
	1012: "the contract does not know this operation",
	1015: "signed for another registry",
	1016: "parameters under which an account would lose money",
	1018: "there is no key manager who could sign",
	1019: "the key would live too long",
	1020: "there are too many keys: let some expire",
	2000: "no proxy has this number",
}
