// No message may cost more gas than the network's, unless GAS.md says why.
'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { rows, measure } = require('../gas');

// So much dearer may a row be that says why.
const DEARER = 1.3;
// What has no counterpart stays as cheap as the network's dearest request.
const OWN = 15900;
const CEILINGS = { 'root add key, signed, 24 live': 30000 };

test('no message is dearer than the network\'s without a reason', async (t) => {
  const seen = await measure();
  for (const [contract, name, here, there, why] of rows) {
    await t.test(`${contract}: ${name}`, () => {
      const [gas, next] = seen.get(`${contract} ${name}`);
      const limit = here === undefined ? CEILINGS[`${contract} ${name}`] ?? OWN : why ? DEARER * here : here;
      assert.ok(gas <= limit, `${gas} gas, want at most ${limit}`);
      assert.ok(!why || gas > here, `${gas} gas is no dearer than ${here}: the reason is out of date`);
      if (there !== undefined) assert.ok(next <= there, `${next} gas at the proxy, want at most ${there}`);
    });
  }
});
