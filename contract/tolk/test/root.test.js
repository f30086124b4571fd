'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { Network, op, opOf, body, ton, uint, data, params, code, netAddress: info, keyManager, Address, Dictionary, beginCell } = require('../network');

const hash = (h) => uint(h, 256);
const owner = (n, message, value = '0.05') => n.send(n.rootOwner, n.root, value, message);

// read takes the registry apart as the network's nodes do: nothing may be left over.
async function read(n) {
  const s = (await n.chain.getContract(n.root)).account.account.storage.state.state.data.beginParse();
  const r = { owner: s.loadAddress(), version: s.loadUint(32) };
  const lists = s.loadRef().beginParse();
  const set = () => [...lists.loadDict(Dictionary.Keys.BigUint(256), { parse: (v) => { v.endParse(); return 1; } }).keys()];
  const entry = { parse: (v) => {
    if (v.loadBit()) return null;
    const text = v.loadBuffer(v.loadUint(7)).toString();
    v.endParse();
    return text;
  } };
  r.proxyHashes = set();
  r.proxies = Object.fromEntries([...lists.loadDict(Dictionary.Keys.Uint(32), entry)]);
  r.lastProxy = lists.loadUint(32);
  r.workerHashes = set();
  r.modelHashes = set();
  lists.endParse();
  r.params = s.loadRef();
  s.endParse();
  return r;
}

for (const [name, list, getter, add, remove] of [
  ['worker', 'workerHashes', 'worker_hash_is_valid', op.addWorker, op.deleteWorker],
  ['model', 'modelHashes', 'model_hash_is_valid', op.addModel, op.deleteModel],
  ['proxy', 'proxyHashes', 'proxy_hash_is_valid', op.addProxy, op.deleteProxy],
]) {
  test(`${name} hashes come and go`, async () => {
    const n = await Network.open();
    const valid = async () => (await n.get(n.root, getter, [{ type: 'int', value: 7n }])).readNumber();
    assert.equal(await valid(), 0);
    const r = await owner(n, body(add, 1, hash(7)));
    assert.equal(r.exit, 0);
    assert.equal(opOf(r.sent(n.root, n.rootOwner.address)[0]), op.excesses);
    assert.equal(await valid(), -1);
    assert.deepEqual([(await read(n)).version, (await read(n))[list]], [3, [7n]]);
    await owner(n, body(add, 1, hash(7)));
    await owner(n, body(remove, 1, hash(9)));
    assert.deepEqual([(await read(n)).version, (await read(n))[list]], [5, [7n]]);
    await owner(n, body(remove, 1, hash(7)));
    assert.equal(await valid(), 0);
    assert.deepEqual((await read(n))[list], []);
  });
}

test('proxies are numbered, moved and taken off', async () => {
  const n = await Network.open();
  for (const t of ['10.0.0.1:1', '10.0.0.2:1 10.0.0.2:2', 'x'.repeat(114)]) {
    assert.equal((await owner(n, body(op.registerProxy, 1, info(t)))).exit, 0);
  }
  assert.equal((await owner(n, body(op.updateProxy, 1, uint(2, 32), info('10.0.0.9:1')))).exit, 0);
  assert.equal((await owner(n, body(op.unregisterProxy, 1, uint(1, 32)))).exit, 0);
  const r = await read(n);
  assert.deepEqual([r.proxies, r.lastProxy, r.version], [{ 2: '10.0.0.9:1', 3: 'x'.repeat(114) }, 3, 7]);
  assert.equal((await n.get(n.root, 'last_proxy_seqno')).readNumber(), 3);
});

test('price, parameters, multipliers and code make a new generation', async () => {
  const n = await Network.open();
  await owner(n, body(op.changePrice, 1, 30n, 25n));
  let p = { ...n.p, version: 6, price: 30n, fee: 25n };
  const codes = ['proxy', 'worker', 'client'];
  assert.ok((await read(n)).params.equals(params(p, codes)));
  await owner(n, body(op.changeParams, 1, 40n, 35n, uint(1000, 32), uint(999, 32), 2n, 3n));
  p = { ...p, version: 7, price: 40n, fee: 35n, proxyDelay: 1000, clientDelay: 999, proxyStake: 2n, clientStake: 3n };
  assert.ok((await read(n)).params.equals(params(p, codes)));
  const four = uint(1, 32).storeUint(0, 32).storeUint(3, 32).storeUint(100000000, 32);
  await owner(n, body(op.changeParamsFull, 1, 50n, 50n, four, uint(10, 32), uint(9, 32), 0n, 1n));
  p = { ...p, version: 8, price: 50n, fee: 50n, multipliers: [1, 0, 3, 100000000], proxyDelay: 10, clientDelay: 9, proxyStake: 0n, clientStake: 1n };
  assert.ok((await read(n)).params.equals(params(p, codes)));
  await owner(n, body(op.upgradeContracts, 1, code('client'), code('proxy'), code('worker')));
  const s = await n.get(n.root, 'get_cur_params');
  const got = Array.from({ length: 14 }, () => s.readBigNumber());
  const of = (c) => BigInt('0x' + code(c).hash().toString('hex'));
  assert.deepEqual(got, [9n, 17n, 0n, 50n, 50n, 0n, 100000000n, 10n, 9n, 0n, 1n, of('client'), of('proxy'), of('worker')]);
});

test('getters', async () => {
  const n = await Network.open({ test: 1 });
  const d = await n.rootData();
  assert.ok(d.owner.equals(n.rootOwner.address));
  delete d.owner;
  assert.deepEqual(d, { version: 2, lastProxy: 0, params: 5, unique: 17, test: 1, price: 20n, fee: 18n,
    minProxyStake: ton('1'), minClientStake: ton('15') });
});

test('reset empties the lists and keeps the numbering', async () => {
  const n = await Network.open();
  await owner(n, body(op.addWorker, 1, hash(1)));
  await owner(n, body(op.registerProxy, 1, info('10.0.0.1:1')));
  await owner(n, body(op.reset, 1));
  const r = await read(n);
  assert.deepEqual([r.workerHashes, r.proxies, r.lastProxy, r.version], [[], {}, 1, 5]);
});

test('code and data are replaced, and nodes notice', async () => {
  const n = await Network.open();
  assert.equal((await owner(n, body(op.upgradeCode, 1, code('root')))).exit, 0);
  assert.equal((await read(n)).version, 3);
  const next = (version, p, by) => data.root({ ...n.p, ...p }, by ?? n.rootOwner.address, undefined, version);
  const withRefs = (cell, ...refs) => refs.reduce((b, r) => b.storeRef(r), beginCell().storeBits(cell.bits)).endCell();
  const four = next(9, { version: 6, struct: 4 });
  const without = (name) => withRefs(four, four.refs[0],
    params({ ...n.p, version: 6, struct: 4 }, ['proxy', 'worker', 'client'].filter((c) => c !== name)), four.refs[2]);
  const spoiled = (address) => withRefs(four, four.refs[0], four.refs[1], keyManager({ address }));
  for (const [name, cell] of Object.entries({
    'the same version': next(3, { version: 6 }), 'older parameters': next(9, { version: 4 }), 'an older shape': next(9, { struct: 2 }),
    'fee above price': next(9, { version: 6, fee: 21n }), 'equal delays': next(9, { version: 6, clientDelay: 86400 }),
    'another owner': next(9, { version: 6 }, n.bob.address), 'no code for proxies': without('proxy'), 'no code for workers': without('worker'),
    'no code for clients': without('client'),
  })) {
    assert.equal((await owner(n, body(op.upgradeFull, 1, cell, code('root')))).exit, 1016, name);
  }
  for (const [name, cell] of Object.entries({
    'shape 4 without keys': withRefs(four, four.refs[0], four.refs[1]), 'shape 3 with keys': withRefs(next(9, { version: 6 }), ...next(9, { version: 6 }).refs, four.refs[2]),
    'lists cut short': withRefs(four, uint(0, 35).endCell(), four.refs[1], four.refs[2]),
    'keys cut short': withRefs(four, four.refs[0], four.refs[1], uint(0, 512).endCell()),
    'address no node can read': spoiled('10.0.0.256:1'),
  })) {
    assert.notEqual((await owner(n, body(op.upgradeFull, 1, cell, code('root')))).exit, 0, name);
  }
  assert.equal((await owner(n, body(op.upgradeFull, 1, next(9, { version: 6, struct: 4, unique: 99 }), code('wallet')))).exit, 0);
  const after = (await n.chain.getContract(n.root)).account.account.storage.state.state;
  assert.ok(after.code.equals(code('wallet')));
  assert.ok(after.data.equals(next(9, { version: 6, struct: 4, unique: 99 })));
});

test('an owner gives way only to one that answers', async () => {
  const n = await Network.open();
  const accept = (from) => n.send(from, n.root, '0.05', body(op.acceptOwner, 1));
  assert.equal((await accept(n.bob)).exit, 1010, 'no offer');
  assert.equal((await owner(n, body(op.offerOwner, 1, n.bob.address))).exit, 0);
  let r = await read(n);
  assert.ok(r.owner.equals(n.rootOwner.address), 'the offer alone changes nothing');
  assert.deepEqual(r.proxies, { 4294967295: null }, 'readers skip the offer');
  assert.equal((await accept(n.stranger)).exit, 1010);
  assert.equal((await owner(n, body(op.updateProxy, 1, uint(0xffffffff, 32), info('10.0.0.1:1')))).exit, 2000);
  assert.equal((await accept(n.bob)).exit, 0);
  r = await read(n);
  assert.ok(r.owner.equals(n.bob.address));
  assert.deepEqual([r.proxies, r.version], [{}, 4]);
  assert.equal((await owner(n, body(op.reset, 1))).exit, 1010, 'the old owner is out');
  await n.send(n.bob, n.root, '0.05', body(op.offerOwner, 1, n.alice.address));
  await n.send(n.bob, n.root, '0.05', body(op.unregisterProxy, 1, uint(0xffffffff, 32)));
  assert.equal((await accept(n.alice)).exit, 1010, 'an offer can be withdrawn');
});

test('refusals', async (t) => {
  const n = await Network.open();
  const empty = beginCell().endCell();
  const limits = (proxyDelay, clientDelay, stake = 1n) => [uint(proxyDelay, 32), uint(clientDelay, 32), 1n, stake];
  const four = (a, b, c, d) => uint(a, 32).storeUint(b, 32).storeUint(c, 32).storeUint(d, 32);
  const cases = {
    'entry of another kind': [1004, body(op.registerProxy, 1, info('10.0.0.1:1', 1))],
    'update with another kind': [1004, body(op.updateProxy, 1, uint(1, 32), info('10.0.0.1:1', 1))],
    'entry shorter than it says': [9, body(op.registerProxy, 1, uint(0, 1).storeUint(5, 7).storeUint(0, 8))],
    'entry longer than it says': [9, body(op.registerProxy, 1, info('ab').storeUint(0, 8))],
    'no such proxy': [2000, body(op.updateProxy, 1, uint(1, 32), info('10.0.0.1:1'))],
    'fee above price': [1016, body(op.changePrice, 1, 20n, 21n)],
    'price no reader can hold': [1016, body(op.changePrice, 1, 1n << 63n, 21n)],
    'fee above price in parameters': [1016, body(op.changeParams, 1, 20n, 21n, ...limits(10, 5))],
    'clients wait as long as the proxy': [1016, body(op.changeParams, 1, 20n, 18n, ...limits(10, 10))],
    'closing that ends beyond 32 bits': [1016, body(op.changeParams, 1, 20n, 18n, ...limits(0xffffffff, 5))],
    'stake no reader can hold': [1016, body(op.changeParams, 1, 20n, 18n, ...limits(10, 5, 1n << 63n))],
    'prompt tokens for nothing': [1016, body(op.changeParamsFull, 1, 20n, 18n, four(0, 1, 1, 1), ...limits(10, 5))],
    'completion tokens for nothing': [1016, body(op.changeParamsFull, 1, 20n, 18n, four(1, 1, 0, 1), ...limits(10, 5))],
    'multiplier too large': [1016, body(op.changeParamsFull, 1, 20n, 18n, four(1, 100000001, 1, 1), ...limits(10, 5))],
    'empty contract code': [1016, body(op.upgradeContracts, 1, code('proxy'), empty, code('client'))],
    'empty root code': [1016, body(op.upgradeCode, 1, empty)],
    'owner in no workchain': [1016, body(op.offerOwner, 1, new Address(5, Buffer.alloc(32)))],
    'unknown op': [1012, body(0x12345678, 1)],
    'no query': [9, uint(op.reset, 32).endCell()],
    'too long': [9, body(op.reset, 1, uint(0, 1))],
  };
  const before = (await read(n)).version;
  for (const [name, [exit, message]] of Object.entries(cases)) {
    await t.test(name, async () => assert.equal((await owner(n, message)).exit, exit));
  }
  await t.test('owner none', async () => assert.notEqual((await owner(n, body(op.offerOwner, 1, null))).exit, 0));
  assert.equal((await read(n)).version, before);
});

test('a stranger may do nothing, known or not', async (t) => {
  const n = await Network.open();
  for (const [name, o] of Object.entries(op).slice(3, 20).concat([['unknown', 0x12345678]])) {
    await t.test(name, async () => assert.equal((await n.send(n.stranger, n.root, '0.05', body(o, 1))).exit, 1010));
  }
});

test('ignored: nothing at all, and do_not_process', async () => {
  const n = await Network.open();
  assert.equal((await n.send(n.stranger, n.root, '0.1', beginCell().endCell())).exit, 0);
  assert.equal((await n.send(n.stranger, n.root, '0.1', uint(op.doNotProcess, 32).endCell())).exit, 0);
});

test('references of newer shapes stay as they are', async () => {
  const n = await Network.open();
  const keys = { key: 1n, image: 2n };
  n.root = await n.deploy('root', data.root({ ...n.p, struct: 4, keyManager: keys }, n.rootOwner.address), '1');
  assert.equal((await owner(n, body(op.changePrice, 1, 30n, 25n))).exit, 0);
  const s = (await n.chain.getContract(n.root)).account.account.storage.state.state.data;
  assert.ok(s.refs[2].equals(keyManager(keys)));
  assert.equal(s.refs[1].beginParse().loadUint(8), 4);
});
