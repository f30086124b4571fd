// The recording that the Go tests replay (contract/differential_test.go) is
// what the sandbox does with today's code, and leaves nothing out.
'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { op } = require('../network');
const { record, files, testdata } = require('../record');

const recorded = record();
const steps = async () => (await recorded).flatMap((h) => h.steps);

test('the recording is of the code as it is now', async () => {
  for (const [name, now] of files(await recorded)) {
    assert.ok(fs.readFileSync(path.join(testdata, name)).equals(now), `contract/testdata/${name} is out of date: run npm run record`);
  }
});

// opOf is the operation of a recorded message, of its body wherever it lies.
function opOf(step) {
  const { loadMessage } = require('@ton/core');
  const body = loadMessage(step.cells[0].beginParse()).body.beginParse();
  return body.remainingBits < 32 ? undefined : body.loadUint(32);
}

test('every operation is recorded taken and refused', async () => {
  const taken = new Set(), refused = new Set();
  for (const s of await steps()) (s.exit === 0 && s.action === 0 ? taken : refused).add(opOf(s));
  // Parts travel inside requests; excesses and payouts the wallet takes from anybody.
  const inside = ['payoutPart', 'partTopUp', 'partRegister', 'partGranted', 'partForced'];
  for (const name of Object.keys(op).filter((name) => !inside.includes(name))) {
    assert.ok(taken.has(op[name]), `${name} is never taken`);
    assert.ok(refused.has(op[name]), `${name} is never refused`);
  }
});

test('every way to end is recorded', async () => {
  const all = await steps();
  const exits = new Set(all.map((s) => s.exit));
  const own = [1000, 1001, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015, 1016, 1017, 1018, 1019,
    1020, 2000, 1030, 1031, 1032, 1033, 1034, 1035, 1040, 1041];
  for (const code of [0, 9, -14, ...own]) assert.ok(exits.has(code), `exit code ${code} is never seen`);
  const actions = new Set(all.map((s) => s.action));
  for (const code of [0, 34, 37]) assert.ok(actions.has(code), `action result ${code} is never seen`);
  const skips = new Set(all.map((s) => s.skipped));
  for (const why of ['no-gas', 'no-state', 'bad-state']) assert.ok(skips.has(why), `skipped for ${why} is never seen`);
});
