// The last value that passes and the first that does not.
'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { Network, op, body, signed, text, ton, uint, netAddress, data } = require('../network');

const least = ton('0.1');
const max = (1n << 62n);

async function funded(more) {
  const n = await Network.open(more);
  await n.topUp(ton('60'));
  await n.charge(100n);
  await n.payout(100n);
  return n;
}

test('value: 0.1 TON is enough for proxies and clients, and one nanoTON less is not', async (t) => {
  const n = await funded();
  const cases = {
    'payout request': [n.stranger, () => n.proxy, body(op.payoutRequest, 1, n.change)],
    'increase stake': [n.stranger, () => n.proxy, body(op.increaseStake, 1, ton('2'), n.change), ton('2')],
    'increase stake by nothing': [n.stranger, () => n.proxy, body(op.increaseStake, 1, 0n, n.change)],
    'text w': [n.proxyOwner, () => n.proxy, text('w')],
    'top-up': [n.bob, () => n.client, body(op.topUp, 1, ton('3'), n.change), ton('3')],
    'top-up of nothing': [n.bob, () => n.client, body(op.topUp, 1, 0n, n.change)],
    'secret and top-up': [n.alice, () => n.client, body(op.secretTopUp, 1, ton('3'), uint(1, 256), n.change), ton('3')],
    register: [n.alice, () => n.client, body(op.register, 1, uint(1, 64), n.change)],
    'change secret': [n.alice, () => n.client, body(op.changeSecret, 1, uint(1, 256), n.change)],
    'raise stake': [n.alice, () => n.client, body(op.raiseStake, 1, ton('16'), n.change)],
    withdraw: [n.alice, () => n.client, body(op.withdraw, 1, n.change)],
    charge: [n.stranger, () => n.client, signed(op.chargeSigned, 1, n.change, n.client, 200n)],
    'request refund': [n.alice, () => n.client, body(op.requestRefund, 1, n.change)],
    grant: [n.stranger, () => n.client, signed(op.grantSigned, 1, n.change, n.client, 200n)],
    'signed close': [n.stranger, () => n.proxy, signed(op.closeSigned, 1, n.change, n.proxy)],
  };
  for (const [name, [from, to, message, amount = 0n]] of Object.entries(cases)) {
    await t.test(name, async () => {
      assert.equal((await n.send(from, to(), least + amount - 1n, message)).exit, 1003);
      const r = await n.send(from, to(), least + amount, message);
      assert.equal(r.exit, 0);
      for (const tx of r.at(n.proxy)) assert.ok(tx.description.computePhase.type === 'skipped' || tx.description.actionPhase.success);
    });
  }
  n.wait(n.p.proxyDelay);
  await t.test('signed complete', async () => {
    const message = signed(op.completeSigned, 1, n.change, n.proxy);
    assert.equal((await n.send(n.stranger, n.proxy, least - 1n, message)).exit, 1003);
    assert.equal((await n.send(n.stranger, n.proxy, least, message)).exit, 0);
  });
});

test('value: workers want more than 0.1 TON', async (t) => {
  const n = await funded();
  for (const [name, from, message] of [
    ['register', n.workerOwner, body(op.workerRegister, 1, n.change)],
    ['payout', n.stranger, signed(op.payoutSigned, 1, n.change, n.worker, 200n)],
    ['last payout', n.stranger, signed(op.lastPayoutSigned, 1, n.change, n.worker, 300n)],
  ]) {
    await t.test(name, async () => {
      assert.equal((await n.send(from, n.worker, least, message)).exit, 1003);
      assert.equal((await n.send(from, n.worker, least + 1n, message)).exit, 0);
    });
  }
  assert.equal((await n.proxyData()).balance, 300n * 2n, 'and that is enough for the proxy to pay');
});

test('counters: equal is old for charge and payout, and final for grant and last payout', async () => {
  const n = await funded();
  assert.equal((await n.charge(100n)).exit, 1000);
  assert.equal((await n.payout(100n)).exit, 1000);
  assert.equal((await n.send(n.stranger, n.client, '1', signed(op.grantSigned, 1, n.change, n.client, 100n))).exit, 0);
  assert.equal((await n.send(n.stranger, n.worker, '1', signed(op.lastPayoutSigned, 1, n.change, n.worker, 100n))).exit, 0);
  assert.deepEqual([(await n.clientData()).tokens, (await n.workerData()).tokens], [100n, 100n]);
});

test('counters: 2^63-1 is the last', async () => {
  const top = (1n << 63n) - 1n;
  const n = await Network.open({ price: 1n, fee: 1n });
  for (const [to, o] of [[n.client, op.chargeSigned], [n.client, op.grantSigned], [n.worker, op.payoutSigned], [n.worker, op.lastPayoutSigned]]) {
    assert.equal((await n.send(n.stranger, to, '1', signed(o, 1, n.change, to, top + 1n))).exit, 1000);
    assert.equal((await n.send(n.stranger, to, '1', signed(o, 1, n.change, to, top + (1n << 63n)))).exit, 1000);
  }
  assert.equal((await n.charge(top)).exit, 0);
  assert.equal((await n.payout(top)).exit, 0);
  assert.deepEqual([(await n.clientData()).tokens, (await n.workerData()).tokens], [top, top]);
  assert.deepEqual([(await n.clientData()).debt, await n.owed()], [max, top], 'a debt stops where readers do');
});

test('counters at the highest price: no charge gets stuck', async () => {
  const n = await Network.open({ price: max, fee: max });
  await n.topUp(ton('60'));
  assert.equal((await n.charge((1n << 63n) - 1n)).exit, 0);
  assert.deepEqual([(await n.clientData()).balance, (await n.clientData()).debt], [0n, max]);
});

test('time: the proxy finishes at its moment, the client after it', async () => {
  const n = await funded();
  const ask = () => n.send(n.alice, n.client, '0.7', body(op.requestRefund, 7, n.change));
  await n.closeProxy();
  await ask();
  n.chain.now = (await n.clientData()).unlock;
  assert.equal((await ask()).exit, 1011);
  n.wait(1);
  assert.equal((await ask()).exit, 0);
  n.chain.now = (await n.proxyData()).unlock - 1;
  assert.equal((await n.completeProxy()).exit, 1011);
  n.wait(1);
  assert.equal((await n.completeProxy()).exit, 0);
});

test('time: an order of the wallet ends with its second', async () => {
  const n = await Network.open();
  const { internal, external, storeMessageRelaxed } = require('@ton/core');
  const { walletKey, sign, beginCell } = require('../network');
  const wallet = await n.deploy('wallet', data.wallet(n.alice.address), '10');
  const order = (until) => {
    const b = uint(0, 32).storeUint(until, 32).storeUint(0, 32).storeUint(1, 8)
      .storeRef(beginCell().store(storeMessageRelaxed(internal({ to: n.bob.address, value: 1n }))).endCell());
    return external({ to: wallet, body: beginCell().storeBuffer(sign(b.endCell().hash(), walletKey.secretKey)).storeBuilder(b).endCell() });
  };
  await assert.rejects(n.chain.sendMessage(order(n.chain.now)), (err) => err.exitCode === 1030);
  assert.equal((await n.chain.sendMessage(order(n.chain.now + 1))).transactions.length, 2);
});

test('text of a registered proxy: 114 bytes fit one body, 110 an update', async () => {
  const n = await Network.open();
  const owner = (message) => n.send(n.rootOwner, n.root, '0.05', message);
  for (const size of [0, 1, 114]) assert.equal((await owner(body(op.registerProxy, 1, netAddress('x'.repeat(size))))).exit, 0);
  assert.throws(() => body(op.registerProxy, 1, netAddress('x'.repeat(115))), 'the 115th is no bit of a cell');
  assert.equal((await owner(body(op.registerProxy, 1, uint(0, 1).storeUint(115, 7).storeBuffer(Buffer.alloc(114, 'x'))))).exit, 9);
  assert.equal((await owner(body(op.registerProxy, 1, netAddress('x'.repeat(113)).storeRef(uint(0x78, 8).endCell())))).exit, 9, 'nor in a reference');
  assert.equal((await owner(body(op.updateProxy, 1, uint(3, 32), netAddress('y'.repeat(110))))).exit, 0);
  assert.throws(() => body(op.updateProxy, 1, uint(3, 32), netAddress('y'.repeat(111))));
});

test('amounts: nothing, the greatest, and what eight bytes cannot hold', async () => {
  const n = await Network.open();
  const owner = (message) => n.send(n.rootOwner, n.root, '0.05', message);
  const limits = (...stakes) => [uint(86400, 32), uint(43200, 32), ...stakes];
  assert.equal((await owner(body(op.changePrice, 1, 0n, 0n))).exit, 0);
  assert.equal((await owner(body(op.changePrice, 1, max, max))).exit, 0);
  for (const more of [max + 1n, 1n << 64n, (1n << 120n) - 1n]) {
    assert.equal((await owner(body(op.changePrice, 1, more, 1n))).exit, 1016, `price ${more}`);
    assert.equal((await owner(body(op.changeParams, 1, 1n, 1n, ...limits(more, 1n)))).exit, 1016);
    assert.equal((await owner(body(op.changeParams, 1, 1n, 1n, ...limits(1n, more)))).exit, 1016);
    assert.equal((await n.send(n.alice, n.client, '1', body(op.raiseStake, 1, more, n.change))).exit, 1003, `stake ${more}`);
    assert.equal((await n.send(n.alice, n.client, '1', body(op.topUp, 1, more, n.change))).exit, 1003, `deposit ${more}`);
    assert.equal((await n.send(n.alice, n.proxy, '1', body(op.increaseStake, 1, more, n.change))).exit, 1003);
  }
  assert.equal((await owner(body(op.changeParams, 1, 1n, 1n, ...limits(max, max)))).exit, 0);
  assert.equal((await n.send(n.alice, n.client, '1', body(op.raiseStake, 1, max, n.change))).exit, 0);
  assert.equal((await n.clientData()).stake, max);
  assert.equal((await n.send(n.alice, n.client, '1', body(op.raiseStake, 1, max, n.change))).exit, 1003, 'not higher');
});

test('amounts: a price of nothing', async () => {
  const n = await Network.open({ price: 0n, fee: 0n });
  await n.topUp(ton('20'));
  assert.equal((await n.charge(1_000_000n)).exit, 0);
  assert.equal((await n.payout(1_000_000n)).exit, 0);
  assert.deepEqual([(await n.clientData()).balance, (await n.proxyData()).deposits, await n.owed()], [ton('20'), ton('20'), 0n]);
});
