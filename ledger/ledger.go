// Package ledger knows who owes whom.
//
// [Adjust] turns an engine's token counts into adjusted tokens, the unit of
// every account.
//
// The ledger talks to no network and keeps no secrets; the units and the
// truncation are those of roles.md section 2.9.
package ledger
