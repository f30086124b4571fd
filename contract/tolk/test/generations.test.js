// From one generation of parameters to the next, from one shape to the next.
'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { Network, op, body, signed, signedKey, text, ton, uint, code, data, params, netAddress, managerKey } = require('../network');

const DAY = 86400;
const owner = (n, message) => n.send(n.rootOwner, n.root, '0.5', message);
const grant = (n, client, tokens) => n.send(n.stranger, client, '1', signed(op.grantSigned, 8, n.change, client, tokens));
const last = (n, worker, tokens) => n.send(n.stranger, worker, '1', signed(op.lastPayoutSigned, 9, n.change, worker, tokens));
const publicOf = (k) => BigInt('0x' + k.publicKey.toString('hex'));

async function solvent(n, proxy) {
  const have = await n.balance(proxy);
  const s = await n.get(proxy, 'get_cocoon_proxy_deposits');
  assert.ok(have >= s.readBigNumber());
}

test('new prices: the old contracts are settled and the new ones used', async () => {
  const n = await Network.open();
  const bobOld = await n.deploy('client', data.client(n.p, n.bob.address, n.proxy), '0.8');
  await n.topUp(ton('60'));
  await n.topUp(ton('40'), n.bob, bobOld);
  await n.charge(1_000_000_000n);
  const old = { proxy: n.proxy, worker: n.worker, client: n.client };

  assert.equal((await owner(n, body(op.changeParams, 1, 30n, 24n, uint(2 * DAY, 32), uint(DAY, 32), 1n, ton('10')))).exit, 0);
  await n.follow();
  for (const name of Object.keys(old)) assert.ok(!n[name].equals(old[name]), `a new ${name}`);
  assert.equal((await n.proxyData()).version, 6);

  // Two nodes meet in the new generation while the old one winds down.
  await n.topUp(ton('50'));
  assert.equal((await n.send(n.stranger, old.proxy, '1', signed(op.closeSigned, 4, n.change, old.proxy))).exit, 0);
  assert.equal((await n.charge(500_000_000n)).exit, 0);
  assert.equal((await n.payout(500_000_000n)).paid(n.proxy, n.workerOwner.address), ton('12'));
  // What was signed for the old contracts is nothing here, and the other way round.
  const foreign = signed(op.chargeSigned, 5, n.change, old.client, 2_000_000_000n);
  assert.equal((await n.send(n.stranger, n.client, '0.7', foreign)).exit, 1015);
  assert.equal((await n.send(n.stranger, old.worker, '0.7', signed(op.payoutSigned, 5, n.change, n.worker, 1n))).exit, 1015);

  assert.equal((await grant(n, old.client, 1_200_000_000n)).paid(old.proxy, n.alice.address), ton('36'), 'at the old price');
  assert.equal((await last(n, old.worker, 1_200_000_000n)).paid(old.proxy, n.workerOwner.address), ton('21.6'), 'at the old fee');
  // Bob's node was away: he leaves without the proxy, after it has gone.
  n.wait(DAY);
  const done = await n.send(n.stranger, old.proxy, '1', signed(op.completeSigned, 6, n.change, old.proxy));
  assert.equal(done.exit, 0);
  assert.ok(done.paid(old.proxy, n.proxyOwner.address) >= ton('2.4'), 'with its cut');
  const leave = () => n.send(n.bob, bobOld, '0.7', body(op.requestRefund, 7, n.bob.address));
  let back = (await leave()).paid(old.proxy, n.bob.address);
  n.wait(DAY);
  back += (await leave()).paid(old.proxy, n.bob.address);
  assert.equal(back, ton('40'));
  assert.equal((await n.get(old.proxy, 'get_cocoon_proxy_deposits')).readBigNumber(), 0n);
  await solvent(n, n.proxy);
  assert.deepEqual([(await n.clientData()).balance, (await n.proxyData()).deposits], [ton('35'), ton('35')]);
});

test('a code upgrade is a new generation that leaves the old one alone', async () => {
  const n = await Network.open();
  await n.topUp(ton('60'));
  const old = n.proxy;
  assert.equal((await owner(n, body(op.upgradeContracts, 1, code('proxy'), code('worker'), code('client')))).exit, 0);
  await n.follow();
  assert.ok(!n.proxy.equals(old));
  await n.topUp(ton('20'));
  assert.equal((await n.proxyData()).deposits, ton('20'));
  assert.equal((await n.get(old, 'get_cocoon_proxy_deposits')).readBigNumber(), ton('60'));
});

for (const struct of [4, 5]) {
  test(`a registry of shape 3 becomes one of shape ${struct}`, async () => {
    const n = await Network.open();
    await n.topUp(ton('60'));
    const old = { proxy: n.proxy, client: n.client };
    await owner(n, body(op.addWorker, 1, uint(7, 256)));
    await owner(n, body(op.registerProxy, 1, netAddress('10.0.0.1:1')));

    // The writer takes what is there and puts byte, number and references.
    const before = await n.dataOf(n.root);
    const s = before.beginParse();
    const who = s.loadAddress();
    const version = s.loadUint(32);
    const next = { ...n.p, struct, version: n.p.version + 1, keyManager: { key: publicOf(managerKey), image: 9n, address: '10.0.0.3:13001' } };
    const after = data.root(next, who, s.loadRef(), version + 1);
    assert.equal((await owner(n, body(op.upgradeFull, 1, after, code('root')))).exit, 0);
    assert.ok((await n.dataOf(n.root)).equals(after));
    assert.deepEqual([(await n.rootData()).version, (await n.rootData()).params, (await n.rootData()).lastProxy], [version + 1, 6, 1]);
    assert.equal((await n.get(n.root, 'worker_hash_is_valid', [{ type: 'int', value: 7n }])).readNumber(), -1);

    await n.follow();
    assert.equal(n.p.struct, struct);
    assert.ok(!n.proxy.equals(old.proxy));
    assert.equal((await n.send(n.stranger, n.root, '0.4', signedKey(5n, n.chain.now + DAY))).exit, 0);
    assert.equal((await n.get(n.root, 'public_key_is_valid', [{ type: 'int', value: 5n }])).readNumber(), -1);
    // The new generation does all its work under the new byte.
    await n.topUp(ton('60'));
    assert.equal((await n.charge(1_000_000_000n)).exit, 0);
    assert.equal((await n.payout(1_000_000_000n)).paid(n.proxy, n.workerOwner.address), ton('18'));
    assert.equal((await n.send(n.proxyOwner, n.proxy, '0.2', text('w'))).exit, 0);
    assert.equal((await n.send(n.alice, n.client, '0.7', body(op.withdraw, 7, n.alice.address))).paid(n.proxy, n.alice.address), ton('25'));
    assert.equal((await grant(n, n.client, 1_100_000_000n)).paid(n.proxy, n.alice.address), ton('13'));
    assert.equal((await last(n, n.worker, 1_100_000_000n)).paid(n.proxy, n.workerOwner.address), ton('1.8'));
    await n.closeProxy();
    n.wait(n.p.proxyDelay);
    assert.equal((await n.completeProxy()).exit, 0);
    // And the old one still settles.
    assert.equal((await grant(n, old.client, 0n)).paid(old.proxy, n.alice.address), ton('60'));
    // Further changes keep shape and keys.
    assert.equal((await owner(n, body(op.changePrice, 1, 30n, 25n))).exit, 0);
    const root = await n.dataOf(n.root);
    assert.ok(root.refs[1].equals(params({ ...next, version: 7, price: 30n, fee: 25n }, ['proxy', 'worker', 'client'])));
    assert.equal(root.refs.length, struct - 1);
    const down = data.root({ ...n.p, struct: 3, version: 9 }, who, undefined, version + 9);
    assert.equal((await owner(n, body(op.upgradeFull, 1, down, code('root')))).exit, 1016, 'there is no way back');
  });
}
