// Every message that the network's nodes build, written here bit by bit and
// sent with the value they attach, through one life of all contracts.
'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { createHash } = require('node:crypto');
const { BitString } = require('@ton/core');
const { Network, Cell, proxyKey, sign, ton } = require('../network');

const number = (value, size) => BigInt(value).toString(2).padStart(size, '0');
const hex = (text) => [...text].map((c) => number(parseInt(c, 16), 4)).join('');
// An address is addr_std, no anycast, workchain, hash.
const address = (a) => '10' + '0' + number(a.workChain, 8) + hex(a.hash.toString('hex'));
// An amount is the number of its bytes and the bytes, none in front too many.
function coins(value) {
  const digits = value === 0n ? '' : value.toString(16);
  const bytes = digits.length % 2 ? '0' + digits : digits;
  return number(bytes.length / 2, 4) + hex(bytes);
}

function cell(bits, ...refs) {
  const padded = bits.padEnd(Math.ceil(bits.length / 8) * 8, '0');
  const bytes = Buffer.from(padded.match(/.{8}/g).map((b) => parseInt(b, 2)));
  return new Cell({ bits: new BitString(bytes, 0, bits.length), refs });
}

function envelope(op, query, excess, self, tokens) {
  const head = hex(op) + number(query, 64);
  const payload = cell(head + (tokens === undefined ? '' : number(tokens, 64)) + address(self));
  assert.equal(payload.bits.length, tokens === undefined ? 363 : 427);
  const message = cell(head + address(excess) + hex(sign(payload.hash(), proxyKey.secretKey).toString('hex')), payload);
  assert.equal(message.bits.length, 875);
  return message;
}

test('one life of all contracts, in the words of the network\'s nodes', async (t) => {
  const n = await Network.open();
  const node = n.alice, me = n.alice.address, proxyNode = n.bob;
  let query = 1000n;
  const next = () => ++query;
  const step = async (name, from, to, value, message, want = {}) => t.test(name, async () => {
    const r = await n.send(from, to, value, message);
    assert.equal(r.exit, 0);
    assert.ok(r.transactions.every((x) => x.description.computePhase.type === 'skipped' || x.description.actionPhase?.success));
    if (want.paid) assert.equal(r.paid(n.proxy, want.paid[0]), want.paid[1]);
  });
  const secret = createHash('sha256').update('secret').digest('hex');

  await step('change secret', node, n.client, '0.7', cell(hex('a9357034') + number(next(), 64) + hex(secret) + address(me)));
  assert.equal((await n.clientData()).secret, BigInt('0x' + secret));
  await step('top up', node, n.client, '15.7', cell(hex('f172e6c2') + number(next(), 64) + coins(ton('15')) + address(me)));
  await step('top up again', node, n.client, '45.7', cell(hex('f172e6c2') + number(next(), 64) + coins(ton('45')) + address(me)));
  assert.equal((await n.clientData()).balance, ton('60'));
  await step('register', node, n.client, '1', cell(hex('c45f9f3b') + number(next(), 64) + number(0xfedcba9876543210n, 64) + address(me)));

  // 1 nanoTON buys no gas: the node reads the message all the same.
  const commit = cell(hex('9a1247c0') + number(next(), 64) + hex('53109c0f') + number(7, 32) + hex('ab'.repeat(32)));
  await t.test('save state', async () => {
    const before = await n.dataOf(n.proxy);
    const r = await n.send(proxyNode, n.proxy, 1n, commit);
    assert.deepEqual([r.first.description.computePhase.type, r.first.description.computePhase.reason], ['skipped', 'no-gas']);
    const paid = await n.send(proxyNode, n.proxy, '0.1', commit);
    assert.equal(paid.exit, 0);
    assert.ok(before.equals(await n.dataOf(n.proxy)));
  });

  const worker = n.workerOwner;
  await step('charge, by the proxy', proxyNode, n.client, '0.7', envelope('bb63ff93', next(), proxyNode.address, n.client, 500_000_000n));
  await step('charge, by the client', node, n.client, '0.7', envelope('bb63ff93', next(), me, n.client, 1_000_000_000n));
  assert.deepEqual([(await n.clientData()).tokens, (await n.clientData()).balance], [1_000_000_000n, ton('40')]);
  await step('payout, by the worker', worker, n.worker, '0.5', envelope('a040ad28', next(), worker.address, n.worker, 500_000_000n),
    { paid: [worker.address, ton('9')] });
  await step('payout, by the proxy', proxyNode, n.worker, '0.7', envelope('a040ad28', next(), proxyNode.address, n.worker, 1_000_000_000n),
    { paid: [worker.address, ton('9')] });
  await step('payout request', proxyNode, n.proxy, '0.2', cell(hex('7610e6eb') + number(next(), 64) + address(proxyNode.address)),
    { paid: [n.proxyOwner.address, ton('2')] });
  await step('withdraw', node, n.client, '0.7', cell(hex('da068e78') + number(next(), 64) + address(me)), { paid: [me, ton('25')] });
  await step('top up once more', node, n.client, '15.7', cell(hex('f172e6c2') + number(next(), 64) + coins(ton('15')) + address(me)));
  await step('request refund', node, n.client, '0.7', cell(hex('fafa6cc1') + number(next(), 64) + address(me)), { paid: [me, ton('15')] });
  await step('close', proxyNode, n.proxy, '1', envelope('636a4391', next(), proxyNode.address, n.proxy));
  await step('grant', proxyNode, n.client, '1', envelope('efd711e1', next(), proxyNode.address, n.client, 1_100_000_000n), { paid: [me, ton('13')] });
  await step('last payout', proxyNode, n.worker, '1', envelope('f5f26a36', next(), proxyNode.address, n.worker, 1_100_000_000n),
    { paid: [worker.address, ton('1.8')] });
  n.wait(n.p.proxyDelay + 1);
  await step('complete', proxyNode, n.proxy, '1', envelope('e511abc7', next(), proxyNode.address, n.proxy));
  const p = await n.proxyData();
  assert.deepEqual([p.state, p.deposits, p.balance], [2, 0n, 0n]);
  assert.equal(await n.balance(n.proxy), ton('0.01'), 'every nanoTON has gone where it belongs');
});

test('leaving without the proxy, in the words of the network\'s nodes', async () => {
  const n = await Network.open();
  await n.topUp(ton('60'));
  const ask = () => n.send(n.alice, n.client, '0.7', cell(hex('fafa6cc1') + number(3, 64) + address(n.alice.address)));
  assert.equal((await ask()).paid(n.proxy, n.alice.address), ton('45'));
  n.wait(n.p.clientDelay + 1);
  assert.equal((await ask()).paid(n.proxy, n.alice.address), ton('15'));
});
