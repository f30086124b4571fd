// Attacks by order, value, fees and time. Each has worked against an earlier
// state of the contracts, or works against the network's.
'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { Network, Outcome, op, body, signed, uint, ton, data, beginCell } = require('../network');

const YEAR = 366 * 86400;
const at = (r, to) => Outcome.exitOf(r.at(to)[0]);
const finish = (n, from, to, value = '0.2') => n.send(from, to, value, body(op.ownerFinish, 1));
const last = (n, tokens) => n.send(n.stranger, n.worker, '1', signed(op.lastPayoutSigned, 3, n.change, n.worker, tokens));
const grant = (n, tokens) => n.send(n.stranger, n.client, '1', signed(op.grantSigned, 8, n.change, n.client, tokens));

async function withBob(amount = '100') {
  const n = await Network.open();
  n.bobClient = await n.deploy('client', data.client(n.p, n.bob.address, n.proxy), '0.8');
  await n.topUp(ton(amount), n.bob, n.bobClient);
  return n;
}

async function solvent(n) {
  const p = await n.proxyData();
  const have = await n.balance(n.proxy);
  assert.ok(have >= p.deposits + p.balance + p.stake, `pool has ${have}, owes ${p.deposits + p.balance + p.stake}`);
}

async function closed(n) {
  await n.closeProxy();
  n.wait(n.p.proxyDelay);
  await n.completeProxy();
  assert.equal((await n.proxyData()).state, 2);
}

test('a deposit under way is not spent while it returns', async () => {
  const n = await withBob();
  await closed(n);
  n.wait(4 * YEAR);
  const have = await n.balance(n.proxy);
  const before = await n.alice.getBalance();
  // Rent has eaten into the pool: a deposit with little gas money meets it, and
  // the withdrawal behind it brings more.
  let turn = 0;
  await n.race((k) => turn++ % k, [n.alice, n.client, '60.1', body(op.topUp, 1, ton('60'), n.alice.address)],
    [n.alice, n.client, '5', body(op.withdraw, 2, n.alice.address)]);
  const [d, p] = [await n.clientData(), await n.proxyData()];
  // race conjures up what it sends, so what came back is all gain.
  const back = await n.alice.getBalance() - before;
  assert.ok(back < ton('50.1'), `sent 65.1, of which 15 are still deposited: ${back} came back`);
  assert.deepEqual([d.balance, d.debt, p.deposits], [ton('15'), 0n, ton('115')]);
  assert.ok(await n.balance(n.proxy) >= have + ton('15'), 'the pool has the rest');
});

test('what a closed contract was sent afterwards goes to its owner, and nothing else does', async () => {
  const n = await withBob();
  await n.topUp(ton('60'));
  const contracts = [[n.worker, n.workerOwner], [n.client, n.alice], [n.proxy, n.proxyOwner]];
  for (const [to, who] of contracts) assert.equal((await finish(n, who, to)).exit, 1006, 'open');
  await last(n, 0n);
  await grant(n, 0n);
  await closed(n);
  for (const [to, who] of contracts) {
    await n.send(n.stranger, to, '7', beginCell().endCell());
    assert.equal((await finish(n, n.stranger, to)).exit, 1010);
    const r = await finish(n, who, to);
    assert.equal(r.exit, 0);
    assert.ok(r.sent(to, who.address)[0].info.value.coins > ton('7'));
    assert.equal(r.sent(to).length, 1);
  }
  assert.equal((await n.proxyData()).deposits, ton('100'));
  await solvent(n);
});

test('a closed worker that took its left-over out still collects what it is owed', async () => {
  const n = await Network.open();
  await last(n, 1_000_000_000n);
  assert.equal((await finish(n, n.workerOwner, n.worker)).exit, 0);
  await n.topUp(ton('60'));
  assert.equal((await last(n, 1_000_000_000n)).paid(n.proxy, n.workerOwner.address), ton('18'));
});

// short leaves a pool that lacks one TON: somebody used more than it had paid.
async function short() {
  const n = await withBob('60');
  await n.topUp(ton('10'));
  await n.charge(550_000_000n);
  await n.payout(550_000_000n);
  assert.deepEqual([(await n.clientData()).debt, (await n.proxyData()).deposits], [ton('1'), ton('59')]);
  return n;
}

test('one missing TON does not lock sixty: a client takes what is there', async () => {
  const n = await short();
  const ask = (...amount) => n.send(n.bob, n.bobClient, '0.7', body(op.requestRefund, 7, n.bob.address, ...amount));
  let back = (await ask()).paid(n.proxy, n.bob.address);
  assert.equal((await ask(ton('1'))).exit, 1011, 'too early');
  n.wait(n.p.clientDelay + 1);
  await ask();
  assert.equal((await n.clientData(n.bobClient)).balance, ton('60') - back, 'refused as a whole');
  back += (await ask(ton('14'))).paid(n.proxy, n.bob.address);
  assert.equal(back, ton('59'));
  assert.equal((await n.clientData(n.bobClient)).balance, ton('1'));
  await n.topUp(ton('2'));
  back += (await ask(ton('1000'))).paid(n.proxy, n.bob.address);
  assert.equal(back, ton('60'), 'never more than its own');
  assert.equal((await ask(ton('1'))).exit, 1006);
  await solvent(n);
});

test('one missing TON does not lock a worker\'s earnings', async () => {
  const n = await short();
  await n.payout(4_050_000_000n);
  const collect = (tokens, from = n.workerOwner, value = '0.5') => n.send(from, n.worker, value, body(op.collect, 7, uint(tokens, 64), n.change));
  assert.equal((await collect(1n, n.stranger)).exit, 1010);
  assert.equal((await collect(1n, n.workerOwner, '0.1')).exit, 1003);
  for (const tokens of [0n, 3_500_000_001n]) assert.equal((await collect(tokens)).exit, 1000);
  assert.equal((await collect(2_950_000_000n)).paid(n.proxy, n.workerOwner.address), ton('53.1'));
  await last(n, 4_050_000_000n);
  assert.equal((await n.workerData()).state, 2);
  await n.topUp(ton('11'));
  assert.equal((await collect(50_000_000n)).paid(n.proxy, n.workerOwner.address), ton('0.9'), 'closed, and still owed');
  assert.equal((await collect(500_000_001n)).exit, 1000, 'never more than is owed');
  assert.equal((await collect(500_000_000n)).paid(n.proxy, n.workerOwner.address), ton('9'));
  assert.equal((await collect(1n)).exit, 1000);
  await solvent(n);
});

for (const factor of [5, 20, 100]) {
  test(`fees ${factor} times today's: a claim is paid, kept or refused, never lost`, async () => {
    const n = await withBob();
    await n.topUp(ton('60'));
    n.fees(factor);
    let earned = 0n, deposited = ton('60'), returned = 0n;
    const deposit = async (value) => {
      const r = await n.send(n.alice, n.client, ton('10') + ton(value), body(op.topUp, 1, ton('10'), n.stranger.address));
      if (r.exit === 0) deposited += ton('10');
    };
    for (const value of ['0.100000001', '0.15', '0.2', '0.3', '0.5', '0.8', '1.2', '2', '3', '5', '20']) {
      if ((await n.payout(earned + 1_000_000n, n.change, value)).exit === 0) earned += 1_000_000n;
      await deposit(value);
      const r = await n.send(n.alice, n.client, value, body(op.withdraw, 7, n.alice.address));
      returned += r.paid(n.proxy, n.alice.address);
      assert.equal((await n.clientData()).balance, deposited - returned, value);
      await solvent(n);
    }
    assert.ok(deposited > ton('60') && returned > 0n && earned > 0n);
    // Whatever was refused on the way is there when it is asked for with enough.
    await n.payout(earned + 1n, n.change, '50');
    await n.send(n.stranger, n.client, '50', signed(op.grantSigned, 8, n.change, n.client, 0n));
    const p = await n.proxyData();
    assert.equal((await n.clientData()).balance, 0n);
    assert.deepEqual([p.deposits, p.balance], [ton('100') - (earned + 1n) * 20n, (earned + 1n) * 2n]);
    await solvent(n);
  });
}
