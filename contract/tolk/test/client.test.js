'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { Network, op, body, signed, ton, uint, strangerKey, beginCell, proxyKey } = require('../network');

// shown is the state that a request to the proxy carries.
const shown = (state, balance, stake, tokens, secret = 0n) => uint(state, 2).storeCoins(balance).storeCoins(stake)
  .storeUint(tokens, 64).storeUint(secret, 256).endCell();
const request = (n, query, state, part) => uint(op.clientRequest, 32).storeUint(query, 64).storeAddress(n.alice.address)
  .storeRef(state).storeMaybeRef(part ?? null).endCell();
const part = (o, amount, excess) => uint(o, 32).storeCoins(amount).storeAddress(excess).endCell();
const stake = ton('15');

async function funded(amount = '60') {
  const n = await Network.open();
  assert.equal((await n.topUp(ton(amount))).exit, 0);
  return n;
}

test('a deposit is counted here and joins the pool there', async () => {
  const n = await Network.open();
  const r = await n.topUp(ton('60'));
  assert.equal(r.exit, 0);
  const [m] = r.sent(n.client, n.proxy);
  assert.ok(m.body.equals(request(n, 1, shown(0, ton('60'), stake, 0), part(op.partTopUp, ton('60'), n.alice.address))));
  assert.equal((await n.clientData()).balance, ton('60'));
  assert.equal((await n.proxyData()).deposits, ton('60'));
  assert.equal((await n.topUp(ton('5'), n.bob)).exit, 0);
  assert.equal((await n.clientData()).balance, ton('65'));
});

test('getters and initial state', async () => {
  const n = await Network.open();
  const d = await n.clientData();
  assert.ok(d.owner.equals(n.alice.address) && d.proxy.equals(n.proxy));
  assert.equal(d.key, BigInt('0x' + proxyKey.publicKey.toString('hex')));
  assert.deepEqual([d.state, d.balance, d.stake, d.tokens, d.unlock, d.secret, d.debt], [0, 0n, stake, 0n, 0, 0n, 0n]);
});

test('register carries the nonce to the proxy\'s node', async () => {
  const n = await Network.open();
  const r = await n.send(n.alice, n.client, '1', body(op.register, 7, uint(0xabcdef, 64), n.change));
  assert.equal(r.exit, 0);
  const [note] = r.sent(n.client, n.proxy);
  assert.equal(note.info.value.coins, 1n);
  assert.equal(note.info.bounce, true);
  const nonce = uint(op.partRegister, 32).storeUint(0xabcdef, 64).endCell();
  assert.ok(note.body.equals(request(n, 7, shown(0, 0n, stake, 0), nonce)));
});

test('the owner changes secret and stake', async () => {
  const n = await Network.open();
  let r = await n.send(n.alice, n.client, '0.7', body(op.changeSecret, 7, uint(0x51n, 256), n.change));
  assert.equal(r.exit, 0);
  assert.ok(r.sent(n.client, n.proxy)[0].body.equals(request(n, 7, shown(0, 0n, stake, 0, 0x51n))));
  r = await n.send(n.alice, n.client, '10.7', body(op.secretTopUp, 8, ton('10'), uint(0x52n, 256), n.change));
  assert.equal(r.exit, 0);
  r = await n.send(n.alice, n.client, '0.7', body(op.raiseStake, 9, ton('20'), n.change));
  assert.equal(r.exit, 0);
  const d = await n.clientData();
  assert.deepEqual([d.secret, d.balance, d.stake], [0x52n, ton('10'), ton('20')]);
});

test('a charge takes tokens times price, and the counter is the signed one', async () => {
  const n = await funded();
  const r = await n.charge(1_000_000_000n);
  assert.equal(r.exit, 0);
  assert.ok(r.sent(n.client, n.proxy)[0].body.equals(request(n, 2, shown(0, ton('40'), stake, 1_000_000_000n))));
  await n.charge(1_500_000_000n);
  const d = await n.clientData();
  assert.deepEqual([d.balance, d.tokens], [ton('30'), 1_500_000_000n]);
});

test('withdraw returns what is above the stake', async () => {
  const n = await funded();
  const r = await n.send(n.alice, n.client, '0.7', body(op.withdraw, 7, n.change));
  assert.equal(r.exit, 0);
  assert.ok(r.sent(n.client, n.proxy)[0].body.equals(request(n, 7, shown(0, stake, stake, 0), part(op.partGranted, ton('45'), n.change))));
  assert.equal(r.paid(n.proxy, n.alice.address), ton('45'));
  assert.equal((await n.send(n.alice, n.client, '0.7', body(op.withdraw, 7, n.change))).exit, 1001);
  assert.equal((await n.proxyData()).deposits, stake);
});

test('leaving without the proxy: surplus now, the rest after the delay', async () => {
  const n = await funded();
  const ask = () => n.send(n.alice, n.client, '0.7', body(op.requestRefund, 7, n.change));
  let r = await ask();
  assert.equal(r.paid(n.proxy, n.alice.address), ton('45'));
  const { state, unlock } = await n.clientData();
  assert.deepEqual([state, unlock], [1, n.chain.now + n.p.clientDelay]);
  n.chain.now = unlock;
  assert.equal((await ask()).exit, 1011, 'one second too early');
  n.wait(1);
  r = await ask();
  assert.equal(r.exit, 0);
  assert.ok(r.sent(n.client, n.proxy)[0].body.equals(request(n, 7, shown(2, 0n, stake, 0), part(op.partForced, stake, n.change))));
  assert.equal(r.paid(n.proxy, n.alice.address), stake, 'the whole balance, though the proxy has no stake');
  assert.equal((await ask()).exit, 1006);
  assert.equal((await n.proxyData()).deposits, 0n);
});

test('leaving with nothing above the stake sends no request for money', async () => {
  const n = await funded('15');
  const r = await n.send(n.alice, n.client, '0.7', body(op.requestRefund, 7, n.change));
  assert.ok(r.sent(n.client, n.proxy)[0].body.equals(request(n, 7, shown(1, stake, stake, 0))));
});

test('a grant charges, refunds and closes; the contract\'s TON is its owner\'s', async () => {
  const n = await funded();
  const r = await n.send(n.stranger, n.client, '1', signed(op.grantSigned, 7, n.change, n.client, 1_000_000_000n));
  assert.equal(r.exit, 0);
  assert.ok(r.sent(n.client, n.proxy)[0].body.equals(
    request(n, 7, shown(2, 0n, stake, 1_000_000_000n), part(op.partGranted, ton('40'), n.change))));
  assert.equal(r.paid(n.proxy, n.alice.address), ton('40'));
  assert.ok(r.sent(n.client, n.alice.address)[0].info.value.coins > ton('0.7'));
  assert.ok(r.sent(n.proxy, n.change)[0].info.value.coins < ton('1'), 'the submitter gains nothing');
  const again = signed(op.grantSigned, 7, n.change, n.client, 1_000_000_000n);
  assert.equal((await n.send(n.stranger, n.client, '1', again)).exit, 1006);
});

test('a charge above the balance leaves a debt that the next deposit settles', async () => {
  const n = await funded('10');
  await n.charge(1_000_000_000n);
  assert.deepEqual([(await n.clientData()).balance, (await n.clientData()).debt], [0n, ton('10')]);
  await n.topUp(ton('4'));
  assert.deepEqual([(await n.clientData()).balance, (await n.clientData()).debt], [0n, ton('6')]);
  await n.topUp(ton('16'));
  assert.deepEqual([(await n.clientData()).balance, (await n.clientData()).debt], [ton('10'), 0n]);
});

test('refusals', async (t) => {
  const n = await funded();
  await n.charge(100n);
  const charge = (...a) => signed(op.chargeSigned, 3, n.change, ...a);
  const grant = (...a) => signed(op.grantSigned, 3, n.change, ...a);
  const cases = {
    'top-up with too little': [1003, n.alice, '5.09', body(op.topUp, 1, ton('5'), n.change)],
    'register by a stranger': [1010, n.stranger, '1', body(op.register, 1, uint(1, 64), n.change)],
    'register without nonce': [9, n.alice, '1', body(op.register, 1, n.change)],
    'secret by a stranger': [1010, n.stranger, '1', body(op.changeSecret, 1, uint(1, 256), n.change)],
    'secret and top-up by a stranger': [1010, n.stranger, '9', body(op.secretTopUp, 1, 5n, uint(1, 256), n.change)],
    'stake by a stranger': [1010, n.stranger, '1', body(op.raiseStake, 1, ton('20'), n.change)],
    'stake not higher': [1003, n.alice, '1', body(op.raiseStake, 1, ton('15'), n.change)],
    'stake no reader can hold': [1003, n.alice, '1', body(op.raiseStake, 1, 1n << 119n, n.change)],
    'withdraw by a stranger': [1009, n.stranger, '1', body(op.withdraw, 1, n.change)],
    'refund by a stranger': [1009, n.stranger, '1', body(op.requestRefund, 1, n.change)],
    'value below the commission': [1003, n.alice, ton('0.1') - 1n, body(op.withdraw, 1, n.change)],
    'charge: other key': [1007, n.stranger, '1', charge(n.client, 200n, { key: strangerKey })],
    'charge: op inside differs': [1005, n.stranger, '1', charge(n.client, 200n, { op: op.grantSigned })],
    'charge: payload too long': [9, n.stranger, '1', charge(n.client, 200n, { tail: uint(1, 1) })],
    'charge: too little value': [1003, n.stranger, '0.05', charge(n.client, 200n)],
    'charge: same counter': [1000, n.stranger, '1', charge(n.client, 100n)],
    'charge: beyond int64': [1000, n.stranger, '1', charge(n.client, 1n << 63n)],
    'charge: for another contract': [1015, n.stranger, '1', charge(n.worker, 200n)],
    'grant: other key': [1007, n.stranger, '1', grant(n.client, 200n, { key: strangerKey })],
    'grant: lower counter': [1000, n.stranger, '1', grant(n.client, 99n)],
    'grant: for another contract': [1015, n.stranger, '1', grant(n.worker, 200n)],
    'unknown op': [1012, n.alice, '1', body(0x12345678, 1)],
    'body too long': [9, n.alice, '1', body(op.withdraw, 1, n.change, uint(0, 1))],
  };
  for (const [name, [exit, from, value, message]] of Object.entries(cases)) {
    await t.test(name, async () => assert.equal((await n.send(from, n.client, value, message)).exit, exit));
  }
  const d = await n.clientData();
  assert.deepEqual([d.state, d.stake, d.tokens, d.balance], [0, stake, 100n, ton('60') - 2000n]);
});

test('a contract with too little TON of its own must be filled first', async () => {
  const n = await Network.open({ unique: 99 });
  const poor = await n.deploy('client', require('../network').data.client(n.p, n.bob.address, n.proxy), '0.05');
  assert.equal((await n.send(n.bob, poor, '0.12', body(op.changeSecret, 1, uint(1, 256), n.change))).exit, 1001);
  assert.equal((await n.send(n.bob, poor, '0.3', body(op.changeSecret, 1, uint(1, 256), n.change))).exit, 0);
});

test('closed: every request says so', async (t) => {
  const n = await funded();
  await n.send(n.stranger, n.client, '1', signed(op.grantSigned, 7, n.change, n.client, 0n));
  const cases = {
    topUp: body(op.topUp, 1, ton('5'), n.change), register: body(op.register, 1, uint(1, 64), n.change),
    secret: body(op.changeSecret, 1, uint(1, 256), n.change), both: body(op.secretTopUp, 1, 5n, uint(1, 256), n.change),
    stake: body(op.raiseStake, 1, ton('20'), n.change), withdraw: body(op.withdraw, 1, n.change),
    refund: body(op.requestRefund, 1, n.change), charge: signed(op.chargeSigned, 1, n.change, n.client, 9n),
  };
  for (const [name, message] of Object.entries(cases)) {
    await t.test(name, async () => assert.equal((await n.send(n.alice, n.client, '9', message)).exit, 1006));
  }
});

test('ignored: nothing at all, and do_not_process', async () => {
  const n = await Network.open();
  assert.equal((await n.send(n.stranger, n.client, '0.1', beginCell().endCell())).exit, 0);
  assert.equal((await n.send(n.stranger, n.client, '0.1', uint(op.doNotProcess, 32).endCell())).exit, 0);
});
