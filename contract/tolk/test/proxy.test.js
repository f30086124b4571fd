'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { Network, op, body, signed, text, ton, uint, data, strangerKey, beginCell, proxyKey } = require('../network');

test('getters and initial state', async () => {
  const n = await Network.open();
  const d = await n.proxyData();
  assert.ok(d.owner.equals(n.proxyOwner.address) && d.root.equals(n.root));
  assert.equal(d.key, BigInt('0x' + proxyKey.publicKey.toString('hex')));
  assert.deepEqual([d.state, d.balance, d.stake, d.unlock, d.price, d.fee, d.minProxyStake, d.minClientStake, d.version, d.deposits],
    [0, 0n, 0n, 0, 20n, 18n, ton('1'), ton('15'), 5, 0n]);
});

for (const struct of [3, 4, 5]) {
  test(`recognises its workers and clients under parameters of shape ${struct}`, async () => {
    const n = await Network.open({ struct });
    await n.topUp(ton('60'));
    assert.equal((await n.payout(1_000_000_000n)).paid(n.proxy, n.workerOwner.address), ton('18'));
  });
}

test('parameters of an unknown shape', async () => {
  const n = await Network.open({ struct: 2 });
  assert.equal((await n.send(n.proxyOwner, n.proxy, '0.2', text('c'))).exit, 1008);
});

test('the cut goes to the owner, whoever asks', async () => {
  const n = await Network.open();
  await n.topUp(ton('60'));
  await n.payout(1_000_000_000n);
  const r = await n.send(n.stranger, n.proxy, '0.1', body(op.payoutRequest, 6, n.change));
  assert.equal(r.exit, 0, 'exactly the commission is enough');
  assert.equal(r.paid(n.proxy, n.proxyOwner.address), ton('2'));
  assert.equal((await n.proxyData()).balance, 0n);
  await n.payout(2_000_000_000n);
  const w = await n.send(n.proxyOwner, n.proxy, '0.2', text('w'));
  assert.ok(w.paid(n.proxy, n.proxyOwner.address) > ton('2.1'));
  assert.equal((await n.proxyData()).balance, 0n);
});

test('anybody may raise the stake', async () => {
  const n = await Network.open();
  assert.equal((await n.send(n.stranger, n.proxy, '5.1', body(op.increaseStake, 6, ton('5'), n.change))).exit, 0);
  const d = await n.proxyData();
  assert.deepEqual([d.stake, d.balance], [ton('5'), 0n]);
});

for (const [name, close] of Object.entries({
  'text c': (n) => n.send(n.proxyOwner, n.proxy, '0.1', text('c')),
  'owner close': (n) => n.send(n.proxyOwner, n.proxy, '0.1', body(op.ownerClose, 1, n.change)),
  'signed close': (n) => n.closeProxy(),
})) {
  test(`${name}: closing, then closed after the delay`, async () => {
    const n = await Network.open();
    assert.equal((await close(n)).exit, 0);
    const { state, unlock } = await n.proxyData();
    assert.deepEqual([state, unlock], [1, n.chain.now + n.p.proxyDelay]);
    assert.equal((await close(n)).exit, 1006);
    n.chain.now = unlock - 1;
    assert.equal((await n.completeProxy()).exit, 1011);
    n.wait(1);
    const r = await n.completeProxy();
    assert.equal(r.exit, 0);
    assert.ok(r.paid(n.proxy, n.proxyOwner.address) > ton('1.2'));
    assert.equal((await n.proxyData()).state, 2);
    assert.equal((await n.completeProxy()).exit, 1006);
  });
}

test('refusals', async (t) => {
  const n = await Network.open();
  await n.topUp(ton('60'));
  const empty = uint(0, 2).storeCoins(0).storeCoins(0).storeUint(0, 64).storeUint(0, 256).endCell();
  const granted = uint(op.partGranted, 32).storeCoins(ton('5')).storeAddress(n.stranger.address).endCell();
  const part = uint(op.payoutPart, 32).storeCoins(5).storeCoins(5).storeAddress(n.change).endCell();
  const close = (...a) => signed(op.closeSigned, 4, n.change, ...a);
  const complete = (...a) => signed(op.completeSigned, 4, n.change, ...a);
  const cases = {
    'client that is not derived': [1014, '1', uint(op.clientRequest, 32).storeUint(1, 64).storeAddress(n.stranger.address)
      .storeRef(empty).storeMaybeRef(granted).endCell()],
    'somebody else\'s client': [1014, '1', uint(op.clientRequest, 32).storeUint(1, 64).storeAddress(n.alice.address)
      .storeRef(empty).storeMaybeRef(granted).endCell()],
    'worker that is not derived': [1014, '1', body(op.workerRequest, 1, n.workerOwner.address, uint(0, 66).storeMaybeRef(part))],
    'payout request: too little': [1003, '0.05', body(op.payoutRequest, 1, n.change)],
    'stake: too little': [1003, '5.09', body(op.increaseStake, 1, ton('5'), n.change)],
    'owner close by a stranger': [1010, '1', body(op.ownerClose, 1, n.change)],
    'owner close: too little': [1003, '0.05', body(op.ownerClose, 1, n.change)],
    'text c by a stranger': [1010, '1', text('c')],
    'text w by a stranger': [1010, '1', text('w')],
    'text w: too little': [1003, '0.05', text('w')],
    'other text': [1013, '1', text('x')],
    'longer text': [9, '1', uint(0, 32).storeUint(0x6363, 16).endCell()],
    'close: other key': [1007, '1', close(n.proxy, undefined, { key: strangerKey })],
    'close: op inside differs': [1005, '1', close(n.proxy, undefined, { op: op.completeSigned })],
    'close: too little': [1003, '0.05', close(n.proxy)],
    'close: for another contract': [1015, '1', close(n.worker)],
    'complete: not closing': [1006, '1', complete(n.proxy)],
    'complete: other key': [1007, '1', complete(n.proxy, undefined, { key: strangerKey })],
    'unknown op': [1012, '1', body(0x12345678, 1)],
  };
  for (const [name, [exit, value, message]] of Object.entries(cases)) {
    await t.test(name, async () => assert.equal((await n.send(n.stranger, n.proxy, value, message)).exit, exit));
  }
  await n.closeProxy();
  assert.equal((await n.send(n.stranger, n.proxy, '1', complete(n.client))).exit, 1015, 'complete: for another contract');
  const d = await n.proxyData();
  assert.deepEqual([d.deposits, d.balance, d.stake], [ton('60'), 0n, 0n]);
});

test('closed: owner and stake have nothing to do here any more', async () => {
  const n = await Network.open();
  await n.closeProxy();
  n.wait(n.p.proxyDelay);
  await n.completeProxy();
  for (const [from, message] of [
    [n.proxyOwner, text('c')], [n.proxyOwner, text('w')], [n.stranger, body(op.payoutRequest, 1, n.change)],
    [n.stranger, body(op.increaseStake, 1, 5n, n.change)], [n.proxyOwner, body(op.ownerClose, 1, n.change)],
  ]) {
    assert.equal((await n.send(from, n.proxy, '1', message)).exit, 1006);
  }
});

test('notifications change nothing and need no proof', async () => {
  const n = await Network.open();
  const state = uint(0, 2).storeCoins(0).storeCoins(0).storeUint(0, 64).storeUint(0, 256).endCell();
  for (const message of [
    body(op.workerRequest, 1, n.bob.address, uint(0, 66).storeBit(0)),
    uint(op.clientRequest, 32).storeUint(1, 64).storeAddress(n.bob.address).storeRef(state).storeMaybeRef(null).endCell(),
    beginCell().endCell(), uint(op.doNotProcess, 32).endCell(),
    body(op.doNotProcess, 1, uint(0x53109c0f, 32).storeUint(1, 32).storeUint(5, 256)),
  ]) {
    const before = (await n.chain.getContract(n.proxy)).account.account.storage.state.state.data;
    assert.equal((await n.send(n.stranger, n.proxy, '0.1', message)).exit, 0);
    const after = (await n.chain.getContract(n.proxy)).account.account.storage.state.state.data;
    assert.ok(before.equals(after));
  }
});

test('a client\'s register with gas is taken silently', async () => {
  const n = await Network.open();
  const owner = await n.deploy('client', data.client(n.p, n.bob.address, n.proxy));
  const part = uint(op.partRegister, 32).storeUint(1, 64).endCell();
  const state = uint(0, 2).storeCoins(0).storeCoins(0).storeUint(0, 64).storeUint(0, 256).endCell();
  const message = uint(op.clientRequest, 32).storeUint(1, 64).storeAddress(n.bob.address).storeRef(state).storeMaybeRef(part).endCell();
  const r = await n.chain.sendMessage({ info: { type: 'internal', ihrDisabled: true, bounce: true, bounced: false,
    src: owner, dest: n.proxy, value: { coins: ton('0.1') }, ihrFee: 0n, forwardFee: 0n, createdLt: 0n, createdAt: 0 }, body: message });
  assert.equal(r.transactions[0].description.computePhase.exitCode, 0);
  assert.equal(r.transactions[0].outMessages.size, 0);
});
