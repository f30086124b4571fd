package contract

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
