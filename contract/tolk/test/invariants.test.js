// Each test tries to break one promise of the contracts and shows that it holds.
'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { Network, Address, op, body, signed, text, ton, uint, data, badAddresses } = require('../network');

const refund = (n, from = n.alice, client = n.client) => n.send(from, client, '0.7', body(op.requestRefund, 7, from.address));

// solvent checks the pool's promise.
async function solvent(n) {
  const p = await n.proxyData();
  const have = await n.balance(n.proxy);
  assert.ok(have >= p.deposits + p.balance + p.stake, `pool has ${have}, owes ${p.deposits + p.balance + p.stake}`);
}

async function withBob(change) {
  const n = await Network.open(change);
  n.bobClient = await n.deploy('client', data.client(n.p, n.bob.address, n.proxy), '0.8');
  return n;
}

test('a deposit during closing is kept once and returned once', async () => {
  const n = await withBob();
  await n.topUp(ton('100'), n.bob, n.bobClient);
  await n.closeProxy();
  const r = await n.topUp(ton('60'));
  assert.equal(r.paid(n.proxy, n.alice.address), 0n, 'nothing is handed back');
  assert.equal((await n.proxyData()).deposits, ton('160'));
  const back = (await n.send(n.alice, n.client, '0.7', body(op.withdraw, 7, n.alice.address))).paid(n.proxy, n.alice.address);
  const rest = (await n.send(n.stranger, n.client, '1', signed(op.grantSigned, 8, n.change, n.client, 0n))).paid(n.proxy, n.alice.address);
  assert.equal(back + rest, ton('60'));
  assert.equal((await n.proxyData()).deposits, ton('100'));
  await solvent(n);
});

for (const [name, address] of Object.entries(badAddresses)) {
  test(`an unpayable address for the change costs nobody an earning: ${name}`, async () => {
    const n = await Network.open();
    await n.topUp(ton('100'));
    let r = await n.payout(1_000_000_000n, address);
    assert.equal(r.paid(n.proxy, n.workerOwner.address), ton('18'), 'payout');
    r = await n.send(n.stranger, n.client, '0.7', signed(op.chargeSigned, 2, address, n.client, 1_000_000_000n));
    assert.equal(r.exit, 0, 'charge');
    r = await n.send(n.alice, n.client, '0.7', body(op.withdraw, 3, address));
    assert.equal(r.paid(n.proxy, n.alice.address), ton('65'), 'withdraw');
    r = await n.send(n.stranger, n.worker, '1', signed(op.lastPayoutSigned, 4, address, n.worker, 1_100_000_000n));
    assert.equal(r.paid(n.proxy, n.workerOwner.address), ton('1.8'), 'last payout');
    r = await n.send(n.stranger, n.client, '1', signed(op.grantSigned, 5, address, n.client, 1_100_000_000n));
    assert.equal(r.paid(n.proxy, n.alice.address), ton('13'), 'grant');
    r = await n.send(n.stranger, n.proxy, '0.2', body(op.payoutRequest, 6, address));
    assert.equal(r.paid(n.proxy, n.proxyOwner.address), ton('2.2'), 'cut');
    r = await n.send(n.stranger, n.proxy, '1', signed(op.closeSigned, 7, address, n.proxy));
    assert.equal(r.exit, 0, 'close');
    n.wait(n.p.proxyDelay);
    r = await n.send(n.stranger, n.proxy, '1', signed(op.completeSigned, 8, address, n.proxy));
    assert.equal(r.exit, 0, 'complete');
    assert.equal((await n.proxyData()).state, 2);
  });
}

test('a worker that the pool could not pay is paid later, to the last nano', async () => {
  const n = await Network.open();
  let r = await n.payout(1_000_000_000n);
  assert.equal(r.exit, 0);
  assert.equal(Outcome(r, n.proxy), 1017);
  assert.equal((await n.workerData()).tokens, 1_000_000_000n, 'readers never see the counter fall');
  await n.topUp(ton('60'));
  r = await n.payout(1_500_000_000n);
  assert.equal(r.paid(n.proxy, n.workerOwner.address), ton('27'));
  assert.equal((await n.proxyData()).balance, ton('3'));
  assert.equal((await n.payout(1_500_000_000n)).exit, 1000, 'and not twice');
});

test('the same signed counter collects what is owed, also from a closed worker', async () => {
  const n = await Network.open();
  const last = () => n.send(n.stranger, n.worker, '1', signed(op.lastPayoutSigned, 3, n.change, n.worker, 1_000_000_000n));
  await last();
  assert.equal((await n.workerData()).state, 2);
  await n.topUp(ton('60'));
  assert.equal((await last()).paid(n.proxy, n.workerOwner.address), ton('18'));
  assert.equal((await last()).exit, 1006);
});

test('a payment that cannot leave comes back as a claim', async () => {
  const n = await Network.open();
  await n.topUp(ton('60'));
  const nobody = new Address(5, Buffer.alloc(32, 3));
  n.worker = await n.deploy('worker', data.worker(n.p, nobody, n.proxy), '0.3');
  const r = await n.payout(1_000_000_000n);
  assert.notEqual(Outcome(r, n.proxy), 0);
  const { deposits, balance } = await n.proxyData();
  assert.deepEqual([deposits, balance], [ton('60'), 0n], 'the pool keeps what could not be paid');
  assert.equal((await n.payout(1_000_000_000n)).exit, 0, 'and the worker may ask again');
});

test('many deposits and payouts under one query number are told apart', async () => {
  const n = await Network.open();
  await n.payout(1_000_000_000n);
  await n.payout(1_000_000_000n);
  await n.payout(2_000_000_000n);
  await n.topUp(ton('40'));
  const r = await n.payout(2_000_000_000n);
  assert.equal(r.paid(n.proxy, n.workerOwner.address), ton('36'));
  assert.equal((await n.payout(2_000_000_000n)).exit, 1000);
});

test('the stake pays workers when deposits are short', async () => {
  const n = await Network.open();
  await n.send(n.proxyOwner, n.proxy, '30.2', body(op.increaseStake, 1, ton('30'), n.change));
  assert.equal((await n.payout(1_000_000_000n)).paid(n.proxy, n.workerOwner.address), ton('18'));
  const p = await n.proxyData();
  assert.deepEqual([p.stake, p.balance], [ton('12'), 0n]);
  await solvent(n);
});

test('what is short of a claim is short of the cut, never of the fee nor of the stake', async () => {
  const n = await Network.open();
  await n.send(n.proxyOwner, n.proxy, '30.2', body(op.increaseStake, 1, ton('30'), n.change));
  await n.topUp(ton('18.5'));
  assert.equal((await n.payout(1_000_000_000n)).paid(n.proxy, n.workerOwner.address), ton('18'));
  const p = await n.proxyData();
  assert.deepEqual([p.deposits, p.balance, p.stake], [0n, ton('0.5'), ton('30')]);
  await solvent(n);
});

test('the stake pays a client whose proxy never answered, and no other', async () => {
  const n = await withBob();
  await n.send(n.proxyOwner, n.proxy, '10.2', body(op.increaseStake, 1, ton('10'), n.change));
  await n.topUp(ton('15'));
  await n.payout(500_000_000n);
  assert.equal((await n.proxyData()).deposits, ton('5'), 'the client was never charged');
  await refund(n);
  n.wait(n.p.clientDelay + 1);
  assert.equal((await refund(n)).paid(n.proxy, n.alice.address), ton('15'));
  assert.deepEqual([(await n.proxyData()).deposits, (await n.proxyData()).stake], [0n, 0n]);
  await n.send(n.proxyOwner, n.proxy, '30.2', body(op.increaseStake, 1, ton('30'), n.change));
  await n.topUp(ton('20'), n.bob, n.bobClient);
  await n.payout(1_100_000_000n);
  await n.send(n.bob, n.bobClient, '0.7', body(op.withdraw, 7, n.bob.address));
  const granted = signed(op.grantSigned, 8, n.change, n.bobClient, 0n);
  assert.equal((await n.send(n.stranger, n.bobClient, '1', granted)).paid(n.proxy, n.bob.address), 0n, 'a grant is the proxy\'s word, not its failure');
  assert.equal((await n.clientData(n.bobClient)).balance, ton('15'));
  assert.equal((await n.proxyData()).stake, ton('30'));
});

test('a forced refund needs no stake of the proxy; one that finds no money stays owed', async () => {
  const n = await withBob();
  await n.topUp(ton('60'));
  await n.payout(3_000_000_000n);
  assert.equal((await n.proxyData()).deposits, 0n, 'the client was never charged');
  await refund(n);
  assert.equal((await n.clientData()).balance, ton('60'), 'the surplus came back into the balance');
  n.wait(n.p.clientDelay + 1);
  await refund(n);
  assert.deepEqual([(await n.clientData()).state, (await n.clientData()).balance], [2, ton('60')]);
  await n.topUp(ton('70'), n.bob, n.bobClient);
  assert.equal((await refund(n)).paid(n.proxy, n.alice.address), ton('60'));
  assert.equal((await refund(n)).exit, 1006, 'and not twice');
  await solvent(n);
});

test('a grant that found no money can be repeated', async () => {
  const n = await withBob();
  await n.topUp(ton('60'));
  await n.payout(3_000_000_000n);
  const grant = () => n.send(n.stranger, n.client, '1', signed(op.grantSigned, 8, n.change, n.client, 0n));
  await grant();
  assert.equal((await n.clientData()).balance, ton('60'));
  await n.topUp(ton('70'), n.bob, n.bobClient);
  assert.equal((await grant()).paid(n.proxy, n.alice.address), ton('60'));
});

test('finishing leaves the deposits to clients and workers', async () => {
  const n = await withBob();
  await n.topUp(ton('60'));
  await n.topUp(ton('40'), n.bob, n.bobClient);
  await n.send(n.proxyOwner, n.proxy, '5.2', body(op.increaseStake, 1, ton('5'), n.change));
  await n.closeProxy();
  n.wait(n.p.proxyDelay);
  const r = await n.completeProxy();
  assert.equal(r.exit, 0);
  const paid = r.paid(n.proxy, n.proxyOwner.address);
  assert.ok(paid > ton('5.9') && paid < ton('6.5'), `the owner got ${paid}: stake, gas money, the message's value`);
  await solvent(n);
  await refund(n);
  n.wait(n.p.clientDelay + 1);
  const late = await refund(n);
  assert.equal(late.paid(n.proxy, n.alice.address), ton('15'));
  assert.equal((await n.payout(1_000_000_000n)).paid(n.proxy, n.workerOwner.address), ton('18'));
  const cut = await n.send(n.stranger, n.proxy, '0.2', body(op.payoutRequest, 6, n.change));
  assert.equal(cut.paid(n.proxy, n.proxyOwner.address), ton('2'));
  assert.equal((await n.proxyData()).deposits, ton('20'));
  await solvent(n);
});

test('no withdrawal of the owner reaches the deposits', async () => {
  const n = await Network.open();
  await n.topUp(ton('60'));
  await n.payout(1_000_000_000n);
  for (let i = 0; i < 3; i++) {
    await n.send(n.proxyOwner, n.proxy, '0.2', text('w'));
    await n.send(n.stranger, n.proxy, '0.2', body(op.payoutRequest, 6, n.change));
    await solvent(n);
  }
  assert.equal((await n.proxyData()).deposits, ton('40'));
});

test('rent that ate into the pool is not paid out as a cut', async () => {
  const n = await Network.open();
  await n.topUp(ton('60'));
  await n.payout(1_000_000_000n);
  n.wait(20 * 366 * 86400);
  assert.equal((await n.send(n.proxyOwner, n.proxy, '0.1', text('w'))).exit, 1017);
  assert.equal((await n.send(n.stranger, n.proxy, '0.1', body(op.payoutRequest, 6, n.change))).exit, 1017);
  assert.equal((await n.proxyData()).balance, ton('2'));
  const r = await n.send(n.proxyOwner, n.proxy, '3', text('w'));
  assert.ok(r.paid(n.proxy, n.proxyOwner.address) >= ton('2'), 'with enough to make up for it');
  await solvent(n);
});

test('a lost key does not lock the money: the owner finishes after a long delay', async () => {
  const n = await Network.open();
  await n.topUp(ton('60'));
  const finish = (from) => n.send(from, n.proxy, '0.2', body(op.ownerFinish, 1));
  assert.equal((await finish(n.proxyOwner)).exit, 1006, 'not closing');
  await n.send(n.proxyOwner, n.proxy, '0.2', text('c'));
  n.wait(n.p.proxyDelay + 30 * 86400 - 1);
  assert.equal((await finish(n.proxyOwner)).exit, 1011, 'one second too early');
  n.wait(1);
  assert.equal((await finish(n.stranger)).exit, 1010);
  assert.equal((await finish(n.proxyOwner)).exit, 0);
  assert.equal((await n.proxyData()).state, 2);
  assert.equal((await n.proxyData()).deposits, ton('60'));
  await solvent(n);
});

test('every request that comes back is as if it had not been sent', async (t) => {
  const n = await Network.open();
  await n.topUp(ton('60'));
  await n.charge(1_000_000_000n);
  await n.payout(5_000_000_000n);
  // Code that refuses everything stands where the proxy was.
  await n.place(n.proxy, 'wallet', data.wallet(n.bob.address), '100');
  const claims = async () => {
    const [c, w] = [await n.clientData(), await n.workerData()];
    return [c.balance - c.debt + c.tokens * 20n, w.tokens - await n.owed()];
  };
  const before = await claims();
  const requests = {
    'top-up': [n.client, n.bob, '6', body(op.topUp, 1, ton('5'), n.change)],
    'secret and top-up': [n.client, n.alice, '6', body(op.secretTopUp, 1, ton('5'), uint(1, 256), n.change)],
    withdraw: [n.client, n.alice, '0.7', body(op.withdraw, 1, n.change)],
    payout: [n.worker, n.stranger, '0.7', signed(op.payoutSigned, 1, n.change, n.worker, 5_000_000_001n)],
    collect: [n.worker, n.workerOwner, '0.7', body(op.collect, 1, uint(1_000_000_000n, 64), n.change)],
    'last payout': [n.worker, n.stranger, '0.7', signed(op.lastPayoutSigned, 1, n.change, n.worker, 5_000_000_002n)],
    'collect when closed': [n.worker, n.workerOwner, '0.7', body(op.collect, 1, uint(1n, 64), n.change)],
    'refund, step I': [n.client, n.alice, '0.7', body(op.requestRefund, 1, n.change)],
    'refund, step II': [n.client, n.alice, '0.7', body(op.requestRefund, 1, n.change)],
    'a part of the refund': [n.client, n.alice, '0.7', body(op.requestRefund, 1, n.change, ton('1'))],
    grant: [n.client, n.stranger, '0.7', signed(op.grantSigned, 1, n.change, n.client, 1_000_000_001n)],
  };
  for (const [name, [to, from, value, message]] of Object.entries(requests)) {
    await t.test(name, async () => {
      if (name === 'refund, step II') n.wait(n.p.clientDelay + 1);
      const r = await n.send(from, to, value, message);
      assert.equal(r.exit, 0);
      assert.equal(Outcome(r, n.proxy), 1040);
      assert.deepEqual(await claims(), before);
    });
  }
  assert.deepEqual([(await n.clientData()).state, (await n.workerData()).state], [2, 2], 'what was decided stays');
});

test('a deposit at a proxy that does not exist returns to the owner', async () => {
  const n = await Network.open();
  const nowhere = n.root.constructor.parse('0:' + '77'.repeat(32));
  const client = await n.deploy('client', data.client(n.p, n.alice.address, nowhere), '0.8');
  const r = await n.topUp(ton('60'), n.alice, client);
  assert.equal((await n.clientData(client)).balance, 0n);
  assert.ok(r.paid(client, n.alice.address) > ton('60'));
});

function Outcome(r, to) {
  return require('../network').Outcome.exitOf(r.at(to)[0]);
}
