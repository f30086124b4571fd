// Keys of field encryption: who may add them, and what nobody may do with them.
'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { createHash } = require('node:crypto');
const { Network, op, opOf, body, signedKey, uint, data, netAddress, strangerKey, managerKey, badAddresses, Cell, Address, Dictionary,
  beginCell, ton } = require('../network');

const publicOf = (k) => BigInt('0x' + k.publicKey.toString('hex'));
const DAY = 86400;
const now = 1_800_000_000;

async function open(more = {}, struct = 4, time = now) {
  const manager = { key: publicOf(managerKey), image: 9n, address: '10.0.0.3:13001', ...more };
  return Network.open({ struct, keyManager: manager, now: time });
}

const owner = (n, message) => n.send(n.rootOwner, n.root, '0.4', message);
const bring = (n, message, value = '0.4') => n.send(n.stranger, n.root, value, message);
const newKey = (key, expire, kind = 1) => uint(key, 256).storeUint(kind, 8).storeUint(expire, 32);
const manager = (key, image, address) => uint(key, 256).storeUint(image, 256).storeBuilder(address);
const valid = async (n, key) => (await n.get(n.root, 'public_key_is_valid', [{ type: 'int', value: key }])).readNumber();

// read takes the cell apart as the network's nodes do: nothing may be left over.
async function read(n, refs = 3) {
  const root = (await n.chain.getContract(n.root)).account.account.storage.state.state.data;
  assert.equal(root.refs.length, refs);
  const s = root.refs[2].beginParse();
  const life = { parse: (v) => { const l = [v.loadUint(8), v.loadUint(32)]; v.endParse(); return l; } };
  const keys = Object.fromEntries([...s.loadDict(Dictionary.Keys.BigUint(256), life)].map(([k, l]) => [k, l]));
  const r = { keys, key: s.loadUintBig(256), image: s.loadUintBig(256) };
  assert.equal(s.loadBit(), false);
  r.address = s.loadBuffer(s.loadUint(7)).toString();
  s.endParse();
  return r;
}

const version = async (n) => (await n.rootData()).version;

test('the network\'s key manager is understood, byte for byte', async () => {
  const n = await open({}, 4, 1_700_000_000);
  assert.equal(managerKey.publicKey.toString('hex'), '79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664');
  const [message] = Cell.fromBoc(Buffer.from('b5ee9c720101020100a40001db9e0e182111223344556677888001616161616161616161616161'
    + '616161616161616161616161616161616161617bb811d29dab762416f15a765b86996ef57873f7ad9adbb61eb623725d83659523c8a7d54566cba1fd'
    + '12833b5ae4fb3b3c57606f39186772c3b4b476299eb5a1d00100629e0e18211122334455667788fb67d0fcd338f20e0d4957d9e82adc101d2e3513a4'
    + '48a3ab46052ee1b88c58180165554280', 'hex'));
  const key = 0xfb67d0fcd338f20e0d4957d9e82adc101d2e3513a448a3ab46052ee1b88c5818n;
  const to = new Address(0, Buffer.alloc(32, 0x0b));
  assert.ok(signedKey(key, 1700086400, null, { query: 0x1122334455667788n, excess: to }).equals(message), 'our builder makes the same');
  const r = await bring(n, message);
  assert.equal(r.exit, 0);
  const [change] = r.sent(n.root, to);
  assert.equal(opOf(change), op.excesses);
  assert.ok(change.info.value.coins > ton('0.38'), `${change.info.value.coins} of 0.4 came back`);
  assert.deepEqual((await read(n)).keys, { [key]: [1, 1700086400] });
  assert.deepEqual([await version(n), await valid(n, key), await valid(n, 1n)], [3, -1, 0]);
  n.chain.now = 1700086400;
  assert.equal(await valid(n, key), 0, 'a key ends with its life');
});

test('one that names the registry is taken there and nowhere else', async () => {
  const n = await open();
  const other = await n.deploy('root', data.root({ ...n.p, unique: 18 }, n.rootOwner.address), '1');
  const message = signedKey(7n, n.chain.now + DAY, n.root);
  assert.equal((await n.send(n.stranger, other, '0.4', message)).exit, 1015, 'replayed at another registry of the same key manager');
  assert.equal((await bring(n, message)).exit, 0);
  assert.deepEqual((await read(n)).keys, { 7: [1, n.chain.now + DAY] });
});

test('a signature counts once', async () => {
  const n = await open();
  const first = signedKey(7n, n.chain.now + 100), longer = signedKey(7n, n.chain.now + 200);
  assert.equal((await bring(n, first)).exit, 0);
  assert.equal((await bring(n, first)).exit, 1000, 'nobody raises the version for nothing');
  assert.equal((await bring(n, longer)).exit, 0);
  assert.equal((await bring(n, first)).exit, 1000, 'nor shortens a life');
  n.wait(200);
  await bring(n, signedKey(6n, n.chain.now + DAY));
  assert.deepEqual(Object.keys((await read(n)).keys), ['6'], 'the expired one is gone');
  assert.equal((await bring(n, longer)).exit, 1000, 'and does not come back');
  assert.equal(await version(n), 5);
});

test('for a registry without key manager nobody can sign', async () => {
  const n = await open({ key: 0n });
  // With 32 zero bytes as public key, R = 1 and S = 0 fit every fourth message.
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const r = Buffer.alloc(32);
  r[0] = 1;
  for (let query = 1; ; query++) {
    const payload = uint(op.addKeySigned, 32).storeUint(query, 64).storeBuilder(newKey(7n, n.chain.now + DAY)).endCell();
    const h = createHash('sha512').update(Buffer.concat([r, Buffer.alloc(32), payload.hash()])).digest();
    if (BigInt('0x' + Buffer.from(h).reverse().toString('hex')) % order % 4n !== 0n) continue;
    const forged = beginCell().storeUint(op.addKeySigned, 32).storeUint(query, 64).storeAddress(null)
      .storeBuffer(r).storeUint(0, 256).storeRef(payload).endCell();
    assert.equal((await bring(n, forged)).exit, 1018);
    break;
  }
  assert.deepEqual((await read(n)).keys, {});
});

test('refused keys', async (t) => {
  const n = await open();
  const end = n.chain.now + DAY;
  const cases = {
    'other key': [1007, signedKey(7n, end, null, { by: strangerKey })],
    'op inside differs': [1005, signedKey(7n, end, null, { op: op.addKey })],
    'query inside differs': [1005, signedKey(7n, end, null, { innerQuery: 2 })],
    'payload longer than an address': [9, signedKey(7n, end, n.root, { tail: uint(0, 1) })],
    'payload with half an address': [9, signedKey(7n, end, null, { tail: uint(4, 3).storeUint(0, 8) })],
    'signed for a proxy contract': [1015, signedKey(7n, end, n.proxy)],
    'expired': [1000, signedKey(7n, n.chain.now)],
    'more than a week': [1019, signedKey(7n, n.chain.now + 7 * DAY + 1)],
    'for ever': [1019, signedKey(7n, 0xffffffff)],
  };
  for (const [name, [exit, message]] of Object.entries(cases)) {
    await t.test(name, async () => assert.equal((await bring(n, message)).exit, exit));
  }
  const owned = {
    'by a stranger': [1010, n.stranger, newKey(7n, end)], 'expired': [1000, n.rootOwner, newKey(7n, n.chain.now)],
    'more than a year': [1019, n.rootOwner, newKey(7n, n.chain.now + 366 * DAY + 1)],
    'too long': [9, n.rootOwner, newKey(7n, end).storeUint(0, 1)],
  };
  for (const [name, [exit, from, key]] of Object.entries(owned)) {
    await t.test(`owner's: ${name}`, async () => assert.equal((await n.send(from, n.root, '0.4', body(op.addKey, 1, key))).exit, exit));
  }
  assert.deepEqual([(await read(n)).keys, await version(n)], [{}, 2]);
  assert.equal((await bring(n, signedKey(7n, n.chain.now + 7 * DAY))).exit, 0);
  assert.equal((await owner(n, body(op.addKey, 1, newKey(8n, n.chain.now + 366 * DAY)))).exit, 0);
});

test('the owner adds keys, and revokes what was signed', async () => {
  const n = await open();
  const message = signedKey(7n, n.chain.now + DAY);
  await bring(n, message);
  assert.equal((await owner(n, body(op.addKey, 1, newKey(7n, n.chain.now + DAY, 0)))).exit, 0);
  assert.equal((await bring(n, message)).exit, 1000, 'the old signature does not bring it back');
  assert.deepEqual((await read(n)).keys, { 7: [0, n.chain.now + DAY] });
});

test('a new manager: old keys and old signatures are worth nothing', async () => {
  const n = await open();
  const [used, spare] = [signedKey(7n, n.chain.now + DAY), signedKey(8n, n.chain.now + DAY)];
  await bring(n, used);
  await owner(n, body(op.changeKeyManager, 1, manager(publicOf(managerKey), 10n, netAddress('10.0.0.4:1'))));
  assert.deepEqual(await read(n), { keys: { 7: [1, n.chain.now + DAY] }, key: publicOf(managerKey), image: 10n, address: '10.0.0.4:1' },
    'the same key at another address');
  await owner(n, body(op.changeKeyManager, 1, manager(publicOf(strangerKey), 10n, netAddress('10.0.0.4:1'))));
  assert.deepEqual((await read(n)).keys, {});
  for (const message of [used, spare]) assert.equal((await bring(n, message)).exit, 1007);
  assert.equal((await bring(n, signedKey(9n, n.chain.now + DAY, null, { by: strangerKey }))).exit, 0);
  assert.equal((await owner(n, body(op.changeKeyManager, 1, manager(0n, 0n, netAddress(''))))).exit, 0);
  assert.deepEqual(await read(n), { keys: {}, key: 0n, image: 0n, address: '' });
  assert.equal((await n.send(n.stranger, n.root, '0.4', body(op.changeKeyManager, 1, manager(1n, 0n, netAddress(''))))).exit, 1010);
  assert.equal(await version(n), 7);
});

test('an address that would stop every node is refused', async (t) => {
  const n = await open();
  const change = (address) => owner(n, body(op.changeKeyManager, 1, manager(5n, 6n, address)));
  for (const good of ['0.0.0.0:1', '255.255.255.255:65535', '10.0.0.3:13001', '']) {
    await t.test(`"${good}" is fine`, async () => {
      assert.equal((await change(netAddress(good))).exit, 0);
      assert.equal((await read(n)).address, good);
    });
  }
  for (const bad of ['10.0.0.3', '10.0.0.3:', '10.0.0.3:0', '10.0.0.3:65536', '256.0.0.1:1', '10.0.0:1', '10.0.0.0.3:1', '10.0.00.3:1',
    '10.0.0.03:1', '10.0.0.3:01', ' 10.0.0.3:1', '10.0.0.3:1 ', '10.0.0.3:1 10.0.0.3:2', '[::1]:1', 'host:1', '10..0.3:1', '10.0.0.3:+1', '-1.0.0.3:1',
    '1.0.0.3:99999999999999999999']) {
    await t.test(`"${bad}"`, async () => assert.ok([9, 1004].includes((await change(netAddress(bad))).exit)));
  }
  const odd = {
    'another kind': netAddress('10.0.0.3:1', 1), 'shorter than it says': uint(0, 1).storeUint(11, 7).storeBuffer(Buffer.from('10.0.0.3:1')),
    'longer than it says': netAddress('10.0.0.3:1').storeUint(0x31, 8), 'half a byte more': netAddress('').storeUint(0, 4),
    'a reference': netAddress('10.0.0.3:1').storeRef(beginCell().endCell()), nothing: beginCell(),
  };
  for (const [name, address] of Object.entries(odd)) {
    await t.test(name, async () => assert.ok([9, 1004].includes((await change(address)).exit)));
  }
  assert.equal((await read(n)).address, '');
});

// many makes keys that are spread as real ones are.
const many = (count, expire) => Array.from({ length: count }, (_, i) => [BigInt('0x' + createHash('sha256').update(`${i}`).digest('hex')), 1, expire]);

test('a leaked manager key cannot fill the registry', async () => {
  const n = await open();
  await n.place(n.root, 'root', data.root({ ...n.p, keyManager: { key: publicOf(managerKey), keys: many(255, now + DAY) } }, n.rootOwner.address), '1');
  assert.equal((await bring(n, signedKey(1n, now + DAY))).exit, 0, 'the last one that fits');
  const r = await bring(n, signedKey(2n, now + DAY));
  assert.equal(r.exit, 1020);
  await owner(n, body(op.changeKeyManager, 1, manager(publicOf(strangerKey), 0n, netAddress(''))));
  assert.equal((await bring(n, signedKey(2n, now + DAY, null, { by: strangerKey }))).exit, 0, 'the owner makes room');
});

for (const count of [256, 5000]) {
  test(`${count} expired keys stop nobody, at a bounded price`, async () => {
    const n = await open();
    const keys = { key: publicOf(managerKey), keys: many(count, now - 1) };
    await n.place(n.root, 'root', data.root({ ...n.p, keyManager: keys }, n.rootOwner.address), '1');
    const r = await bring(n, signedKey(1n, now + DAY));
    assert.equal(r.exit, 0);
    assert.ok(r.gas < 100_000, `${r.gas} gas`);
    const left = Object.values((await read(n)).keys).filter(([, expire]) => expire < now).length;
    assert.equal(left, count - 8);
  });
}

test('in the long run the expired go as fast as new ones come', async () => {
  const n = await open();
  for (const [hour, [key]] of many(60, 0).entries()) {
    assert.equal((await bring(n, signedKey(key, n.chain.now + DAY / 4))).exit, 0, `hour ${hour}`);
    n.wait(3600);
  }
  assert.ok(Object.keys((await read(n)).keys).length <= 9, 'six live and few dead');
});

for (const [name, address] of Object.entries(badAddresses)) {
  test(`change that cannot be paid goes to the one who paid: ${name}`, async () => {
    const n = await open();
    const r = await bring(n, signedKey(7n, n.chain.now + DAY, null, { excess: address }));
    assert.equal(r.exit, 0);
    assert.ok(r.sent(n.root, n.stranger.address)[0].info.value.coins > ton('0.38'));
  });
}

test('whoever pays too little changes nothing', async () => {
  const n = await open();
  const before = await n.balance(n.root);
  for (const value of ['0.0005', '0.003', '0.0042']) assert.notEqual((await bring(n, signedKey(7n, n.chain.now + DAY), value)).exit, 0, value);
  assert.deepEqual((await read(n)).keys, {});
  assert.ok(await n.balance(n.root) >= before, 'and the registry does not pay for it');
});

test('a registry of shape 3 knows nothing of keys', async () => {
  const n = await open({}, 3);
  for (const message of [body(op.changeKeyManager, 1, manager(5n, 6n, netAddress(''))), body(op.addKey, 1, newKey(7n, now + DAY)),
    signedKey(7n, now + DAY)]) {
    assert.equal((await owner(n, message)).exit, 1012);
  }
  assert.equal(await valid(n, 7n), 0);
  assert.equal(await version(n), 2);
});

test('shape 5 keeps what follows the keys', async () => {
  const n = await open({}, 5);
  assert.equal((await bring(n, signedKey(7n, now + DAY))).exit, 0);
  assert.equal((await owner(n, body(op.changeKeyManager, 1, manager(5n, 6n, netAddress(''))))).exit, 0);
  assert.equal((await read(n, 4)).key, 5n);
  const root = (await n.chain.getContract(n.root)).account.account.storage.state.state.data;
  assert.ok(root.refs[3].equals(uint(0, 3).endCell()));
});
