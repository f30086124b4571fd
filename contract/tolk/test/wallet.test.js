'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { internal, external, storeMessageRelaxed } = require('@ton/core');
const { Network, op, body, text, ton, uint, data, walletKey, strangerKey, sign, beginCell, Address } = require('../network');

async function open(value = '10') {
  const n = await Network.open();
  n.wallet = await n.deploy('wallet', data.wallet(n.alice.address), value);
  return n;
}

const letter = (to, value = '0.5', more = {}) => beginCell()
  .store(storeMessageRelaxed(internal({ to, value: ton(value), bounce: true, body: uint(42, 32).endCell(), ...more }))).endCell();

// order is what the node's key signs; change overrides a field of it.
function order(n, messages, change = {}) {
  const o = { subwallet: 0, until: n.chain.now + 60, seqno: 0, modes: messages.map(() => 1), key: walletKey, ...change };
  const b = uint(o.subwallet, 32).storeUint(o.until, 32).storeUint(o.seqno, 32);
  for (const m of o.modes) b.storeUint(m, 8);
  for (const m of messages) b.storeRef(m);
  const signed = b.endCell();
  return beginCell().storeBuffer(sign(signed.hash(), o.key.secretKey)).storeSlice(signed.beginParse()).endCell();
}

const deliver = (n, cell) => n.chain.sendMessage(external({ to: n.wallet, body: cell }));
const seqno = async (n) => (await n.get(n.wallet, 'seqno')).readNumber();

// refused gives the exit code of an order that was not accepted.
async function refused(n, cell) {
  try { await deliver(n, cell); } catch (err) { return err.exitCode ?? err.message; }
  return 'accepted';
}

test('an order of no, one, two and four messages', async () => {
  const n = await open();
  let i = 0;
  for (const count of [0, 1, 2, 4]) {
    const r = await deliver(n, order(n, Array(count).fill(letter(n.bob.address)), { seqno: i++ }));
    const out = [...r.transactions[0].outMessages.values()];
    assert.equal(out.length, count);
    for (const m of out) assert.deepEqual([m.info.value.coins, m.info.bounce, m.body.beginParse().loadUint(32)], [ton('0.5'), true, 42]);
    assert.equal(await seqno(n), i);
  }
});

test('getters', async () => {
  const n = await open();
  assert.equal((await n.get(n.wallet, 'get_public_key')).readBigNumber(), BigInt('0x' + walletKey.publicKey.toString('hex')));
  assert.ok((await n.get(n.wallet, 'get_owner_address')).readAddress().equals(n.alice.address));
});

test('refused orders cost nothing', async (t) => {
  const n = await open();
  const m = [letter(n.bob.address)];
  const cases = {
    expired: [1030, { until: n.chain.now }], seqno: [1032, { seqno: 1 }], subwallet: [1033, { subwallet: 1 }],
    key: [1034, { key: strangerKey }], 'mode missing': [9, { modes: [] }], 'mode too many': [9, { modes: [1, 1] }],
  };
  const before = await n.balance(n.wallet);
  for (const [name, [exit, change]] of Object.entries(cases)) {
    await t.test(name, async () => assert.equal(await refused(n, order(n, m, change)), exit));
  }
  await n.send(n.alice, n.wallet, '0.1', text('b'));
  await t.test('blocked', async () => assert.equal(await refused(n, order(n, m)), 1031));
  await n.send(n.alice, n.wallet, '0.1', text('u'));
  assert.ok(await n.balance(n.wallet) >= before);
  assert.equal(await refused(n, order(n, m)), 'accepted');
  const poor = await open('1.5');
  await t.test('poor', async () => assert.equal(await refused(poor, order(poor, m)), 1035));
});

test('an accepted order is spent, whatever becomes of its messages', async () => {
  const n = await open();
  const bad = {
    'no such workchain': letter(new Address(5, Buffer.alloc(32))), 'more than there is': letter(n.bob.address, '1000'),
    'not a message': uint(1, 7).endCell(),
  };
  let i = 0;
  for (const [name, message] of Object.entries(bad)) {
    const cell = order(n, [message, letter(n.bob.address)], { seqno: i });
    const r = await deliver(n, cell);
    assert.equal(await seqno(n), ++i, name);
    assert.equal([...r.transactions[0].outMessages.values()].length, 1, `${name}: the good message leaves`);
    assert.equal(await refused(n, cell), 1032, name);
  }
});

test('no mode and no message undoes an accepted order', async () => {
  const n = await open('20');
  const currency = beginCell().storeUint(0b011000, 6).storeAddress(n.bob.address).storeCoins(1n).storeBit(1)
    .storeRef(beginCell().storeUint(0b10, 2).storeUint(0, 5).storeUint(7, 32).storeUint(1, 5).storeUint(9, 8).endCell())
    .storeUint(0, 4 + 4 + 64 + 32 + 2).endCell();
  const cases = [
    ...[4, 8, 12, 32, 64, 192, 224, 0x7f].map((mode) => [`mode ${mode}`, letter(n.bob.address), mode]),
    ['a currency that is not there', currency, 1], ['an external message', uint(0b11, 2).storeUint(0, 4).storeUint(0, 96 + 2).endCell(), 1],
    ['everything, and the account with it', letter(n.bob.address, '0'), 128 + 32],
  ];
  for (const [i, [name, message, mode]] of cases.entries()) {
    const cell = order(n, [message], { seqno: i, modes: [mode] });
    await n.send(n.bob, n.wallet, '3', beginCell().endCell());
    await deliver(n, cell);
    assert.equal(await seqno(n), i + 1, name);
    await n.send(n.bob, n.wallet, '3', beginCell().endCell());
    assert.equal(await refused(n, cell), 1032, name);
  }
});

// The chain refuses a message that names another sender whatever its mode is,
// and undoes the order's sequence number with it.
test('an order with what is no message is refused before it costs anything', async () => {
  const n = await open('20');
  const library = beginCell().storeUint(2, 8).storeUint(7, 256).endCell({ exotic: true });
  const foreign = uint(0b0110, 4).storeAddress(n.stranger.address).storeAddress(n.bob.address).storeCoins(1n)
    .storeUint(0, 1 + 4 + 4 + 64 + 32 + 2).endCell();
  const outside = uint(0b11, 2).storeAddress(n.stranger.address).storeUint(0, 2 + 96 + 2).endCell();
  for (const [name, message] of Object.entries({ library, foreign, outside, nothing: beginCell().endCell() })) {
    const before = await n.balance(n.wallet);
    assert.equal(await refused(n, order(n, [letter(n.bob.address), message], { seqno: 0, modes: [1, 1] })), 9, name);
    assert.equal(await n.balance(n.wallet), before, name);
  }
});

// The program that gives the orders numbers its messages there.
test('what an order writes for the creation of a message is the network\'s to write', async () => {
  const n = await open();
  const numbered = beginCell().store(storeMessageRelaxed({ ...internal({ to: n.bob.address, value: ton('0.5'), bounce: true }),
    info: { ...internal({ to: n.bob.address, value: ton('0.5'), bounce: true }).info, createdLt: 0xfedcba9876543210n, createdAt: 7 } })).endCell();
  const r = await deliver(n, order(n, [numbered]));
  const [out] = [...r.transactions[0].outMessages.values()];
  assert.equal(out.info.value.coins, ton('0.5'));
  assert.equal(out.info.createdLt, r.transactions[0].lt + 1n);
  assert.equal(out.info.createdAt, n.chain.now);
});

test('the owner sends, blocks, unblocks and takes everything', async () => {
  const n = await open();
  const send = body(op.walletSend, 1, uint(64, 8), letter(n.bob.address, '0'));
  await n.send(n.alice, n.wallet, '0.1', text('b'));
  const r = await n.send(n.alice, n.wallet, '0.5', send);
  assert.equal(r.sent(n.wallet, n.bob.address).length, 1, 'also while blocked');
  const w = await n.send(n.alice, n.wallet, '0.1', text('w'));
  const [all] = w.sent(n.wallet, n.alice.address);
  assert.ok(all.info.value.coins > ton('9.9') && all.body.equals(text('w')) && all.info.bounce);
  assert.ok(await n.balance(n.wallet) <= ton('0.01'));
});

test('strangers and unknown orders', async () => {
  const n = await open();
  for (const message of [text('w'), text('b'), text('u'), body(op.walletSend, 1, uint(64, 8), letter(n.bob.address, '0')), body(0x12345678, 1)]) {
    assert.equal((await n.send(n.stranger, n.wallet, '0.1', message)).exit, 1040);
  }
  for (const message of [text('x'), body(0x12345678, 1), uint(0, 32).storeUint(0x7777, 16).endCell()]) {
    assert.equal((await n.send(n.alice, n.wallet, '0.1', message)).exit, 1041);
  }
  for (const message of [beginCell().endCell(), body(op.excesses, 1), body(op.payout, 1), uint(op.doNotProcess, 32).endCell()]) {
    assert.equal((await n.send(n.stranger, n.wallet, '0.1', message)).exit, 0);
  }
});
