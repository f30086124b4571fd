'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { Network, op, opOf, body, signed, ton, uint, strangerKey, beginCell } = require('../network');

test('a payout moves the counter and asks the proxy for the difference', async () => {
  const n = await Network.open();
  await n.topUp(ton('60'));
  const r = await n.payout(1_000_000_000n);
  assert.equal(r.exit, 0);
  const [request] = r.sent(n.worker, n.proxy);
  const part = uint(op.payoutPart, 32).storeCoins(18_000_000_000n).storeCoins(2_000_000_000n).storeAddress(n.change).endCell();
  const want = body(op.workerRequest, 3, n.workerOwner.address, uint(0, 2).storeUint(1_000_000_000n, 64).storeMaybeRef(part));
  assert.ok(request.body.equals(want), 'the body is the network\'s');
  assert.equal(request.info.bounce, true);
  assert.equal((await n.workerData()).tokens, 1_000_000_000n);
  assert.equal(r.paid(n.proxy, n.workerOwner.address), 18_000_000_000n);
  const p = await n.proxyData();
  assert.deepEqual([p.balance, p.deposits], [2_000_000_000n, ton('40')]);
  assert.equal(opOf(r.sent(n.proxy, n.change)[0]), op.excesses);
});

test('a last payout closes, and the contract\'s own TON goes to its owner', async () => {
  const n = await Network.open();
  await n.topUp(ton('60'));
  const r = await n.send(n.stranger, n.worker, '1', signed(op.lastPayoutSigned, 3, n.change, n.worker, 500n));
  assert.equal(r.exit, 0);
  assert.equal((await n.workerData()).state, 2);
  const [own] = r.sent(n.worker, n.workerOwner.address);
  assert.ok(own.info.value.coins > ton('0.28'), `owner got ${own.info.value.coins}`);
  assert.ok(r.sent(n.proxy, n.change)[0].info.value.coins < ton('1'), 'the submitter gains nothing');
  assert.equal((await n.payout(501n)).exit, 1006);
  assert.equal((await n.send(n.stranger, n.worker, '1', body(0x12345678, 1))).exit, 1006);
});

test('the owner registers: a notification that costs one nanoTON', async () => {
  const n = await Network.open();
  const r = await n.send(n.workerOwner, n.worker, '0.5', body(op.workerRegister, 9, n.change));
  assert.equal(r.exit, 0);
  const [note] = r.sent(n.worker, n.proxy);
  assert.equal(note.info.value.coins, 1n);
  assert.ok(note.body.equals(body(op.workerRequest, 9, n.workerOwner.address, uint(0, 2 + 64).storeBit(0))));
  assert.equal(r.at(n.proxy)[0].description.computePhase.type, 'skipped');
});

test('refusals', async (t) => {
  const n = await Network.open();
  await n.topUp(ton('60'));
  await n.payout(100n);
  const cases = {
    'other key': [1007, '0.5', signed(op.payoutSigned, 3, n.change, n.worker, 200n, { key: strangerKey })],
    'op inside differs': [1005, '0.5', signed(op.payoutSigned, 3, n.change, n.worker, 200n, { op: op.lastPayoutSigned })],
    'query inside differs': [1005, '0.5', signed(op.payoutSigned, 3, n.change, n.worker, 200n, { query: 4 })],
    'value is exactly the commission': [1003, '0.1', signed(op.payoutSigned, 3, n.change, n.worker, 200n)],
    'for another contract': [1015, '0.5', signed(op.payoutSigned, 3, n.change, n.client, 200n)],
    'same counter': [1000, '0.5', signed(op.payoutSigned, 3, n.change, n.worker, 100n)],
    'last payout, lower counter': [1000, '0.5', signed(op.lastPayoutSigned, 3, n.change, n.worker, 99n)],
    'counter beyond int64': [1000, '0.5', signed(op.payoutSigned, 3, n.change, n.worker, 1n << 63n)],
    'payload too long': [9, '0.5', signed(op.payoutSigned, 3, n.change, n.worker, 200n, { tail: uint(0, 1) })],
    'no query': [9, '0.5', uint(op.payoutSigned, 32).endCell()],
    'unknown op': [1012, '0.5', body(0x12345678, 1)],
    'register by a stranger': [1010, '0.5', body(op.workerRegister, 9, n.change)],
    'register for too little': [1003, '0.1', body(op.workerRegister, 9, n.change)],
  };
  for (const [name, [exit, value, message]] of Object.entries(cases)) {
    await t.test(name, async () => assert.equal((await n.send(n.stranger, n.worker, value, message)).exit, exit));
  }
  assert.equal((await n.workerData()).tokens, 100n);
});

test('ignored: nothing at all, and do_not_process', async () => {
  const n = await Network.open();
  assert.equal((await n.send(n.stranger, n.worker, '0.1', beginCell().endCell())).exit, 0);
  assert.equal((await n.send(n.stranger, n.worker, '0.1', uint(op.doNotProcess, 32).endCell())).exit, 0);
});
