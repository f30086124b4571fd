// The messages that two machines must treat alike: every operation of every
// contract, taken and refused, what bounces, what is out of gas, what time
// does, and a few long histories drawn by lot.
'use strict';
const { createHash } = require('node:crypto');
const { Box, start } = require('./box');
const { internal, storeMessageRelaxed } = require('@ton/core');
const {
  op, body, signed, signedKey, text, ton, uint, data, code, netAddress, badAddresses, walletKey, strangerKey, managerKey, sign,
  Address, beginCell,
} = require('../network');

const day = 86400;
const empty = beginCell().endCell();
const shown = uint(0, 2).storeCoins(0).storeCoins(0).storeUint(0, 64 + 256).endCell();
const nobody = new Address(0, Buffer.alloc(32, 0x77));
const elsewhere = new Address(5, Buffer.alloc(32, 3));

// each sends a table of messages: name, from, value, body.
async function each(n, to, rows) {
  for (const [name, from, value, message] of rows) {
    n.step(name);
    await n.send(n[from], to, value, message);
  }
}

// ignored is what every contract takes from anybody, and what none understands.
const ignored = [
  ['nothing at all', 'stranger', '0.1', empty],
  ['do_not_process', 'stranger', '0.1', uint(op.doNotProcess, 32).endCell()],
  ['a commit', 'stranger', 1n, body(op.doNotProcess, 1, uint(0x53109c0f, 32).storeUint(1, 32).storeUint(5, 256))],
  ['an operation nobody knows', 'stranger', '0.5', body(0x12345678, 1)],
  ['an operation cut short', 'stranger', '0.5', uint(0x1234, 16).endCell()],
  ['a reference alone', 'stranger', '0.5', beginCell().storeRef(empty).endCell()],
];

async function root(n) {
  const owner = (rows) => each(n, n.root, rows.map(([name, message]) => [name, 'rootOwner', '0.05', message]));
  const four = (a, b, c, d) => uint(a, 32).storeUint(b, 32).storeUint(c, 32).storeUint(d, 32);
  const limits = (proxyDelay, clientDelay, stake = 1n) => [uint(proxyDelay, 32), uint(clientDelay, 32), 1n, stake];
  await each(n, n.root, ignored);
  await owner(['Worker', 'Model', 'Proxy'].flatMap((kind) => [
    [`add ${kind} hash`, body(op[`add${kind}`], 1, uint(7, 256))],
    [`add another ${kind} hash`, body(op[`add${kind}`], 1, uint(1n << 255n, 256))],
    [`add ${kind} hash again`, body(op[`add${kind}`], 1, uint(7, 256))],
    [`delete ${kind} hash`, body(op[`delete${kind}`], 1, uint(7, 256))],
    [`delete missing ${kind} hash`, body(op[`delete${kind}`], 1, uint(9, 256))],
    [`${kind} hash cut short`, body(op[`add${kind}`], 1, uint(7, 255))],
  ]));
  await owner([
    ['register', body(op.registerProxy, 1, netAddress('10.0.0.1:1'))],
    ['register two addresses', body(op.registerProxy, 1, netAddress('10.0.0.2:1 10.0.0.2:2'))],
    ['register the longest text', body(op.registerProxy, 1, netAddress('x'.repeat(114)))],
    ['update', body(op.updateProxy, 1, uint(2, 32), netAddress('10.0.0.9:1'))],
    ['unregister', body(op.unregisterProxy, 1, uint(1, 32))],
    ['unregister missing', body(op.unregisterProxy, 1, uint(77, 32))],
    ['register another kind', body(op.registerProxy, 1, netAddress('10.0.0.1:1', 1))],
    ['register a text shorter than it says', body(op.registerProxy, 1, uint(0, 1).storeUint(5, 7).storeUint(0, 8))],
    ['update missing', body(op.updateProxy, 1, uint(1, 32), netAddress('10.0.0.1:1'))],
    ['change price', body(op.changePrice, 1, 30n, 25n)],
    ['fee above price', body(op.changePrice, 1, 20n, 21n)],
    ['price no reader can hold', body(op.changePrice, 1, 1n << 63n, 21n)],
    ['change parameters', body(op.changeParams, 1, 40n, 35n, ...limits(1000, 999))],
    ['equal delays', body(op.changeParams, 1, 20n, 18n, ...limits(10, 10))],
    ['change parameters and multipliers', body(op.changeParamsFull, 1, 50n, 50n, four(1, 0, 3, 100000000), ...limits(10, 9))],
    ['a multiplier of nothing', body(op.changeParamsFull, 1, 20n, 18n, four(0, 1, 1, 1), ...limits(10, 5))],
    ['upgrade contracts', body(op.upgradeContracts, 1, code('client'), code('proxy'), code('worker'))],
    ['upgrade contracts to nothing', body(op.upgradeContracts, 1, code('proxy'), empty, code('client'))],
    ['upgrade code', body(op.upgradeCode, 1, code('root'))],
    ['upgrade code to nothing', body(op.upgradeCode, 1, empty)],
    ['offer', body(op.offerOwner, 1, n.bob.address)],
    ['offer to no workchain', body(op.offerOwner, 1, elsewhere)],
    ['offer to none', body(op.offerOwner, 1, null)],
    ['reset too long', body(op.reset, 1, uint(0, 1))],
    ['an operation nobody knows', body(0x12345678, 1)],
  ]);
  await each(n, n.root, Object.entries(op).slice(3, 24).map(([name, o]) => [`${name} by a stranger`, 'stranger', '0.05', body(o, 1)]));
  await each(n, n.root, [
    ['accept by a stranger', 'stranger', '0.05', body(op.acceptOwner, 1)],
    ['accept', 'bob', '0.05', body(op.acceptOwner, 1)],
    ['the old owner', 'rootOwner', '0.05', body(op.reset, 1)],
    ['offer back', 'bob', '0.05', body(op.offerOwner, 1, n.rootOwner.address)],
    ['reset', 'bob', '0.05', body(op.reset, 1)],
    ['accept after reset', 'rootOwner', '0.05', body(op.acceptOwner, 1)],
  ]);
  const next = (version, p) => data.root({ ...n.p, ...p }, n.bob.address, undefined, version);
  await each(n, n.root, [
    ['full upgrade backwards', 'bob', '0.05', body(op.upgradeFull, 1, next(3, { version: 90 }), code('root'))],
    ['full upgrade to older parameters', 'bob', '0.05', body(op.upgradeFull, 1, next(900, { version: 4 }), code('root'))],
    ['full upgrade to another shape', 'bob', '0.05', body(op.upgradeFull, 1, next(900, { version: 90, struct: 4 }), code('root'))],
    ['full upgrade to other code', 'bob', '0.05', body(op.upgradeFull, 1, next(901, { version: 91, struct: 4 }), code('wallet'))],
    ['the other code runs', 'bob', '0.05', body(op.reset, 1)],
  ]);
}

// keys are a registry's of shape 4 and 5.
async function keys(n) {
  const publicOf = (k) => BigInt('0x' + k.publicKey.toString('hex'));
  const key = (k, expire) => uint(k, 256).storeUint(1, 8).storeUint(expire, 32);
  const manager = (k, address) => uint(k, 256).storeUint(9, 256).storeBuilder(netAddress(address));
  const end = n.chain.now + day;
  await each(n, n.root, [
    ['signed without key manager', 'stranger', '0.4', signedKey(7n, end)],
    ['key manager by a stranger', 'stranger', '0.4', body(op.changeKeyManager, 1, manager(publicOf(managerKey), ''))],
    ['key manager at no address', 'rootOwner', '0.4', body(op.changeKeyManager, 1, manager(publicOf(managerKey), '10.0.0:1'))],
    ['key manager', 'rootOwner', '0.4', body(op.changeKeyManager, 1, manager(publicOf(managerKey), '10.0.0.3:13001'))],
    ['signed', 'stranger', '0.4', signedKey(7n, end)],
    ['signed, again', 'stranger', '0.4', signedKey(7n, end)],
    ['signed for this registry', 'stranger', '0.4', signedKey(8n, end, n.root)],
    ['signed for another', 'stranger', '0.4', signedKey(9n, end, n.proxy)],
    ['signed by another key', 'stranger', '0.4', signedKey(9n, end, null, { by: strangerKey })],
    ['signed, op inside differs', 'stranger', '0.4', signedKey(9n, end, null, { op: op.addKey })],
    ['signed for too long', 'stranger', '0.4', signedKey(9n, end + 7 * day)],
    ['the owner\'s', 'rootOwner', '0.4', body(op.addKey, 1, key(10n, end + 7 * day))],
    ['the owner\'s, expired', 'rootOwner', '0.4', body(op.addKey, 1, key(11n, end - 2 * day))],
    ['a stranger\'s', 'stranger', '0.4', body(op.addKey, 1, key(11n, end))],
    ['signed, the change unpayable', 'stranger', '0.4', signedKey(12n, end, null, { excess: badAddresses.external })],
    ['signed, with little gas', 'stranger', '0.003', signedKey(13n, end)],
  ]);
  n.wait(2 * day);
  await each(n, n.root, [
    ['signed, the expired go', 'stranger', '0.4', signedKey(14n, end + 2 * day)],
    ['another manager', 'rootOwner', '0.4', body(op.changeKeyManager, 1, manager(publicOf(strangerKey), '10.0.0.3:13001'))],
    ['signed by the old one', 'stranger', '0.4', signedKey(15n, end + 2 * day)],
  ]);
  const spread = (i) => BigInt('0x' + createHash('sha256').update(`${i}`).digest('hex'));
  const many = Array.from({ length: 255 }, (_, i) => [spread(i), 1, end + 3 * day]);
  const full = { ...n.p, keyManager: { key: publicOf(managerKey), keys: many } };
  const crowded = await n.deploy('root', data.root(full, n.rootOwner.address), '3');
  await each(n, crowded, [
    ['the last that fits', 'stranger', '0.4', signedKey(1n, end + 2 * day)],
    ['one too many', 'stranger', '0.4', signedKey(2n, end + 2 * day)],
  ]);
}

async function proxy(n) {
  await n.topUp(ton('60'));
  await n.payout(1_000_000_000n);
  const close = (...a) => signed(op.closeSigned, 4, n.change, ...a);
  const complete = (...a) => signed(op.completeSigned, 4, n.change, ...a);
  const granted = uint(op.partGranted, 32).storeCoins(ton('5')).storeAddress(n.stranger.address).endCell();
  const part = uint(op.payoutPart, 32).storeCoins(5).storeCoins(5).storeAddress(n.change).endCell();
  await each(n, n.proxy, [
    ...ignored,
    ['payout request, just enough', 'stranger', '0.1', body(op.payoutRequest, 6, n.change)],
    ['payout request, too little', 'stranger', ton('0.1') - 1n, body(op.payoutRequest, 6, n.change)],
    ['raise stake, just enough', 'stranger', '5.1', body(op.increaseStake, 6, ton('5'), n.change)],
    ['raise stake, too little', 'stranger', ton('5.1') - 1n, body(op.increaseStake, 6, ton('5'), n.change)],
    ['text w', 'proxyOwner', '0.2', text('w')],
    ['text w by a stranger', 'stranger', '0.2', text('w')],
    ['text x', 'proxyOwner', '0.2', text('x')],
    ['text of two letters', 'proxyOwner', '0.2', uint(0, 32).storeUint(0x6363, 16).endCell()],
    ['owner close by a stranger', 'stranger', '1', body(op.ownerClose, 1, n.change)],
    ['owner close, too little', 'proxyOwner', '0.05', body(op.ownerClose, 1, n.change)],
    ['client that is not derived', 'stranger', '1', body(op.clientRequest, 1, n.stranger.address, shown, uint(1, 1), granted)],
    ['worker that is not derived', 'stranger', '1', body(op.workerRequest, 1, n.workerOwner.address, uint(0, 66).storeMaybeRef(part))],
    ['client notification', 'stranger', '1', body(op.clientRequest, 1, n.bob.address, shown, uint(0, 1))],
    ['worker notification', 'stranger', '1', body(op.workerRequest, 1, n.bob.address, uint(0, 66 + 1))],
    ['close: other key', 'stranger', '1', close(n.proxy, undefined, { key: strangerKey })],
    ['close: op inside differs', 'stranger', '1', close(n.proxy, undefined, { op: op.completeSigned })],
    ['close: too little', 'stranger', '0.05', close(n.proxy)],
    ['close: for another contract', 'stranger', '1', close(n.worker)],
    ['complete: not closing', 'stranger', '1', complete(n.proxy)],
    ['finish: not closing', 'proxyOwner', '1', body(op.ownerFinish, 1)],
    ['close', 'stranger', '1', close(n.proxy)],
    ['close again', 'stranger', '1', close(n.proxy)],
    ['text c while closing', 'proxyOwner', '1', text('c')],
    ['complete: too early', 'stranger', '1', complete(n.proxy)],
    ['finish: too early', 'proxyOwner', '1', body(op.ownerFinish, 1)],
  ]);
  n.step('deposit while closing');
  await n.topUp(ton('20'));
  n.wait(n.p.proxyDelay);
  await each(n, n.proxy, [
    ['complete: for another contract', 'stranger', '1', complete(n.client)],
    ['complete', 'stranger', '1', complete(n.proxy)],
    ['complete again', 'stranger', '1', complete(n.proxy)],
    ['text c, closed', 'proxyOwner', '1', text('c')],
    ['text w, closed', 'proxyOwner', '1', text('w')],
    ['left-over', 'proxyOwner', '1', body(op.ownerFinish, 1)],
    ['payout request, closed', 'stranger', '1', body(op.payoutRequest, 1, n.change)],
    ['raise stake, closed', 'stranger', '1', body(op.increaseStake, 1, 5n, n.change)],
    ['owner close, closed', 'proxyOwner', '1', body(op.ownerClose, 1, n.change)],
  ]);
  n.step('payout from a closed proxy');
  await n.payout(1_100_000_000n);
  n.step('deposit to a closed proxy');
  await n.topUp(ton('20'));
  n.step('withdraw from a closed proxy');
  await n.send(n.alice, n.client, '0.7', body(op.withdraw, 7, n.change));
  n.step('cut of a closed proxy');
  await n.send(n.stranger, n.proxy, '1', body(op.payoutRequest, 1, n.change));
}

async function owner(n) {
  await n.topUp(ton('60'));
  await each(n, n.proxy, [['close', 'proxyOwner', '0.1', body(op.ownerClose, 1, n.change)]]);
  n.wait(n.p.proxyDelay + 30 * day - 1);
  await each(n, n.proxy, [
    ['finish: a second too early', 'proxyOwner', '0.2', body(op.ownerFinish, 1)],
    ['finish: by a stranger', 'stranger', '0.2', body(op.ownerFinish, 1)],
  ]);
  n.wait(1);
  await each(n, n.proxy, [['finish', 'proxyOwner', '0.2', body(op.ownerFinish, 1)]]);
}

async function client(n) {
  const charge = (...a) => signed(op.chargeSigned, 3, n.change, ...a);
  const grant = (...a) => signed(op.grantSigned, 3, n.change, ...a);
  await each(n, n.client, [
    ...ignored,
    ['register', 'alice', '1', body(op.register, 7, uint(0xabcdef, 64), n.change)],
    ['change secret', 'alice', '0.7', body(op.changeSecret, 7, uint(0x51n, 256), n.change)],
    ['secret and deposit', 'alice', '60.7', body(op.secretTopUp, 8, ton('60'), uint(0x52n, 256), n.change)],
    ['deposit by another', 'bob', '5.1', body(op.topUp, 8, ton('5'), n.change)],
    ['raise stake', 'alice', '0.7', body(op.raiseStake, 9, ton('20'), n.change)],
    ['charge', 'stranger', '0.7', charge(n.client, 1_000_000_000n)],
    ['charge again', 'stranger', '0.7', charge(n.client, 1_000_000_000n)],
    ['withdraw', 'alice', '0.7', body(op.withdraw, 7, n.change)],
    ['withdraw again', 'alice', '0.7', body(op.withdraw, 7, n.change)],
    ['deposit, too little', 'alice', '5.09', body(op.topUp, 1, ton('5'), n.change)],
    ['register by a stranger', 'stranger', '1', body(op.register, 1, uint(1, 64), n.change)],
    ['register without nonce', 'alice', '1', body(op.register, 1, n.change)],
    ['secret by a stranger', 'stranger', '1', body(op.changeSecret, 1, uint(1, 256), n.change)],
    ['secret and deposit by a stranger', 'stranger', '9', body(op.secretTopUp, 1, 5n, uint(1, 256), n.change)],
    ['stake by a stranger', 'stranger', '1', body(op.raiseStake, 1, ton('30'), n.change)],
    ['stake not higher', 'alice', '1', body(op.raiseStake, 1, ton('20'), n.change)],
    ['stake no reader can hold', 'alice', '1', body(op.raiseStake, 1, 1n << 119n, n.change)],
    ['withdraw by a stranger', 'stranger', '1', body(op.withdraw, 1, n.change)],
    ['refund by a stranger', 'stranger', '1', body(op.requestRefund, 1, n.change)],
    ['value below the commission', 'alice', ton('0.1') - 1n, body(op.withdraw, 1, n.change)],
    ['charge: other key', 'stranger', '1', charge(n.client, 1_100_000_000n, { key: strangerKey })],
    ['charge: op inside differs', 'stranger', '1', charge(n.client, 1_100_000_000n, { op: op.grantSigned })],
    ['charge: payload too long', 'stranger', '1', charge(n.client, 1_100_000_000n, { tail: uint(1, 1) })],
    ['charge: too little value', 'stranger', '0.05', charge(n.client, 1_100_000_000n)],
    ['charge: beyond int64', 'stranger', '1', charge(n.client, 1n << 63n)],
    ['charge: for another contract', 'stranger', '1', charge(n.worker, 1_100_000_000n)],
    ['grant: other key', 'stranger', '1', grant(n.client, 1_100_000_000n, { key: strangerKey })],
    ['grant: lower counter', 'stranger', '1', grant(n.client, 1n)],
    ['charge beyond the balance', 'stranger', '1', charge(n.client, 3_000_000_000n)],
    ['a deposit that settles half of it', 'alice', '20.7', body(op.topUp, 1, ton('10'), n.change)],
    ['a deposit that settles the rest', 'alice', '60.7', body(op.topUp, 1, ton('60'), n.change)],
    ['body too long', 'alice', '1', body(op.withdraw, 1, n.change, uint(0, 1))],
    ['refund, first step', 'alice', '0.7', body(op.requestRefund, 7, n.change)],
    ['refund too early', 'alice', '0.7', body(op.requestRefund, 7, n.change)],
    ['withdraw while closing', 'alice', '0.7', body(op.withdraw, 7, n.change)],
  ]);
  n.wait(n.p.clientDelay);
  await each(n, n.client, [['refund a second too early', 'alice', '0.7', body(op.requestRefund, 7, n.change)]]);
  n.wait(1);
  await each(n, n.client, [
    ['refund, second step', 'alice', '0.7', body(op.requestRefund, 7, n.change)],
    ['closed: refund', 'alice', '0.7', body(op.requestRefund, 7, n.change)],
    ['closed: deposit', 'alice', '9', body(op.topUp, 1, ton('5'), n.change)],
    ['closed: register', 'alice', '9', body(op.register, 1, uint(1, 64), n.change)],
    ['closed: secret', 'alice', '9', body(op.changeSecret, 1, uint(1, 256), n.change)],
    ['closed: secret and deposit', 'alice', '9', body(op.secretTopUp, 1, 5n, uint(1, 256), n.change)],
    ['closed: stake', 'alice', '9', body(op.raiseStake, 1, ton('200'), n.change)],
    ['closed: withdraw', 'alice', '9', body(op.withdraw, 1, n.change)],
    ['closed: charge', 'alice', '9', charge(n.client, 9_000_000_000n)],
    ['closed: grant', 'alice', '9', grant(n.client, 9_000_000_000n)],
    ['closed: left-over, by a stranger', 'stranger', '0.1', body(op.ownerFinish, 1)],
    ['closed: left-over', 'alice', '0.1', body(op.ownerFinish, 1)],
  ]);
}

async function grant(n) {
  await n.topUp(ton('60'));
  await each(n, n.client, [
    ['grant', 'stranger', '1', signed(op.grantSigned, 7, n.change, n.client, 1_000_000_000n)],
    ['grant again', 'stranger', '1', signed(op.grantSigned, 7, n.change, n.client, 1_000_000_000n)],
  ]);
  n.bobClient = await n.deploy('client', data.client(n.p, n.bob.address, n.proxy), '0.8');
  n.step('refund without surplus');
  await n.topUp(ton('15'), n.bob, n.bobClient);
  await n.send(n.bob, n.bobClient, '0.7', body(op.requestRefund, 7, n.change));
  n.step('grant while closing');
  await n.send(n.stranger, n.bobClient, '1', signed(op.grantSigned, 7, badAddresses.none, n.bobClient, 0n));
}

async function worker(n) {
  await n.topUp(ton('60'));
  const payout = (...a) => signed(op.payoutSigned, 3, n.change, ...a);
  const last = (...a) => signed(op.lastPayoutSigned, 3, n.change, ...a);
  await each(n, n.worker, [
    ...ignored,
    ['payout', 'stranger', '0.5', payout(n.worker, 100n)],
    ['register', 'workerOwner', '0.5', body(op.workerRegister, 9, n.change)],
    ['register by a stranger', 'stranger', '0.5', body(op.workerRegister, 9, n.change)],
    ['register, too little', 'workerOwner', '0.1', body(op.workerRegister, 9, n.change)],
    ['other key', 'stranger', '0.5', payout(n.worker, 200n, { key: strangerKey })],
    ['op inside differs', 'stranger', '0.5', payout(n.worker, 200n, { op: op.lastPayoutSigned })],
    ['query inside differs', 'stranger', '0.5', payout(n.worker, 200n, { query: 4 })],
    ['exactly the commission', 'stranger', '0.1', payout(n.worker, 200n)],
    ['for another contract', 'stranger', '0.5', payout(n.client, 200n)],
    ['same counter', 'stranger', '0.5', payout(n.worker, 100n)],
    ['last payout, lower counter', 'stranger', '0.5', last(n.worker, 99n)],
    ['beyond int64', 'stranger', '0.5', payout(n.worker, 1n << 63n)],
    ['payload too long', 'stranger', '0.5', payout(n.worker, 200n, { tail: uint(0, 1) })],
    ['no query', 'stranger', '0.5', uint(op.payoutSigned, 32).endCell()],
    ['left-over of an open one', 'workerOwner', '0.1', body(op.ownerFinish, 1)],
    ['last payout', 'stranger', '1', last(n.worker, 500n)],
    ['closed: left-over', 'workerOwner', '0.1', body(op.ownerFinish, 1)],
    ['closed: left-over, by a stranger', 'stranger', '0.1', body(op.ownerFinish, 1)],
    ['closed: last payout', 'stranger', '1', last(n.worker, 500n)],
    ['closed: payout', 'stranger', '1', payout(n.worker, 600n)],
    ['closed: register', 'workerOwner', '1', body(op.workerRegister, 9, n.change)],
    ['closed: an operation nobody knows', 'stranger', '1', body(0x12345678, 1)],
  ]);
}

// bounces are the requests that the proxy refuses or that find nobody.
async function bounces(n) {
  n.step('payout from an empty pool');
  await n.payout(1_000_000_000n);
  await n.payout(1_000_000_000n);
  n.step('last payout from an empty pool');
  await n.send(n.stranger, n.worker, '1', signed(op.lastPayoutSigned, 3, n.change, n.worker, 1_500_000_000n));
  n.step('the pool is filled');
  await n.topUp(ton('60'));
  const collect = (tokens) => body(op.collect, 4, uint(tokens, 64), n.change);
  await each(n, n.worker, [
    ['a part of what was owed', 'workerOwner', '0.5', collect(100_000_000)],
    ['a part, by a stranger', 'stranger', '0.5', collect(100_000_000)],
    ['more than was owed', 'workerOwner', '0.5', collect(2_000_000_000)],
    ['a part, too little', 'workerOwner', '0.1', collect(1)],
  ]);
  n.step('what was owed');
  await n.send(n.stranger, n.worker, '1', signed(op.lastPayoutSigned, 3, n.change, n.worker, 1_500_000_000n));
  n.step('a client whose money others were paid with');
  await n.send(n.alice, n.client, '0.7', body(op.withdraw, 7, n.change));
  await n.send(n.stranger, n.client, '1', signed(op.grantSigned, 8, n.change, n.client, 0n));
  n.step('the stake stands in');
  await n.send(n.proxyOwner, n.proxy, '30.2', body(op.increaseStake, 1, ton('30'), n.change));
  await n.send(n.alice, n.client, '0.7', body(op.requestRefund, 7, n.change, ton('1')));
  await n.send(n.alice, n.client, '0.7', body(op.requestRefund, 7, n.change));
  n.step('a deposit for a proxy that does not exist');
  n.other = await n.deploy('client', data.client(n.p, n.alice.address, nobody), '0.8');
  await n.topUp(ton('60'), n.alice, n.other);
  n.step('a worker whose owner cannot be paid');
  n.worker = await n.deploy('worker', data.worker(n.p, elsewhere, n.proxy), '0.3');
  n.bobClient = await n.deploy('client', data.client(n.p, n.bob.address, n.proxy), '0.8');
  await n.topUp(ton('60'), n.bob, n.bobClient);
  await n.payout(1000n);
  for (const who of ['root', 'proxy', 'worker', 'client']) {
    n.step(`something bounced to the ${who}`);
    await n.stranger.send({ to: n[who], value: ton('0.1'), bounce: false, bounced: true, body: body(0xffffffff, 1) });
    await n.stranger.send({ to: n[who], value: ton('0.1'), bounce: false, bounced: true, body: uint(0xffffffff, 32).endCell() });
  }
}

async function change(n) {
  await n.topUp(ton('100'));
  let tokens = 0n;
  for (const [name, address] of Object.entries(badAddresses)) {
    tokens += 1_000_000n;
    n.step(`the change goes to ${name}`);
    await n.payout(tokens, address);
    await n.send(n.stranger, n.client, '0.7', signed(op.chargeSigned, 2, address, n.client, tokens));
    await n.send(n.alice, n.client, '0.7', body(op.withdraw, 3, address));
    await n.send(n.stranger, n.proxy, '0.2', body(op.payoutRequest, 6, address));
    await n.send(n.stranger, n.proxy, '0.2', body(op.increaseStake, 6, 1n, address));
  }
}

async function wallet(n) {
  const letter = (to, value = '0.5', more = {}) => beginCell()
    .store(storeMessageRelaxed(internal({ to, value: ton(value), bounce: true, body: uint(42, 32).endCell(), ...more }))).endCell();
  // order is signed with the number that the wallet waits for, unless fields say otherwise.
  const order = async (messages, fields = {}, init) => {
    const there = (await n.chain.getContract(n.wallet)).accountState?.type === 'active';
    const seqno = there ? (await n.get(n.wallet, 'seqno')).readNumber() : 0;
    const o = { subwallet: 0, until: n.chain.now + 60, seqno, modes: messages.map(() => 1), key: walletKey, ...fields };
    const b = uint(o.subwallet, 32).storeUint(o.until, 32).storeUint(o.seqno, 32);
    for (const m of o.modes) b.storeUint(m, 8);
    for (const m of messages) b.storeRef(m);
    const cell = b.endCell();
    await n.order(n.wallet, beginCell().storeBuffer(sign(cell.hash(), o.key.secretKey)).storeSlice(cell.beginParse()).endCell(), init);
  };
  const init = { code: code('wallet'), data: data.wallet(n.alice.address) };
  n.wallet = n.at('wallet', init);
  const one = [letter(n.bob.address)];
  n.step('an order to a wallet that is not there');
  await order(one);
  n.step('money first, code with the first order');
  await n.alice.send({ to: n.wallet, value: ton('40'), bounce: false });
  await order(one, {}, init);
  for (const count of [0, 1, 2, 4]) {
    n.step(`an order of ${count}`);
    await order(Array(count).fill(letter(n.bob.address)));
  }
  for (const [name, fields] of Object.entries({
    expired: { until: start }, 'wrong number': { seqno: 99 }, 'other subwallet': { subwallet: 1 },
    'other key': { key: strangerKey }, 'mode missing': { modes: [] }, 'mode too many': { modes: [1, 1] },
  })) {
    n.step(name);
    await order(one, fields);
  }
  n.step('an order cut short');
  await n.order(n.wallet, uint(1, 600).endCell());
  for (const [name, message] of Object.entries({
    'to no workchain': letter(elsewhere), 'more than there is': letter(n.bob.address, '1000'),
    'not a message': uint(1, 7).endCell(), 'with init': letter(n.bob.address, '0.2', { bounce: false, init }),
    'a long body': letter(n.bob.address, '0.2', { body: beginCell().storeUint(1, 1000).storeRef(code('proxy')).endCell() }),
  })) {
    n.step(`an order ${name}`);
    await order([message, letter(n.bob.address)]);
  }
  for (const modes of [[0], [3], [64], [128], [17], [255]]) {
    n.step(`an order with mode ${modes}`);
    await order(one, { modes });
    await n.alice.send({ to: n.wallet, value: ton('5'), bounce: false });
  }
  const send = (mode, message) => body(op.walletSend, 1, uint(mode, 8), message);
  await each(n, n.wallet, [
    ...ignored,
    ['send', 'alice', '0.5', send(64, letter(n.bob.address, '0'))],
    ['send by a stranger', 'stranger', '0.5', send(64, letter(n.bob.address, '0'))],
    ['send too much', 'alice', '0.5', send(1, letter(n.bob.address, '1000'))],
    ['send nonsense', 'alice', '0.5', send(1, uint(1, 7).endCell())],
    ['text b by a stranger', 'stranger', '0.1', text('b')],
    ['text b', 'alice', '0.1', text('b')],
  ]);
  n.step('blocked');
  await order(one);
  await each(n, n.wallet, [
    ['send while blocked', 'alice', '0.5', send(64, letter(n.bob.address, '0'))],
    ['text u', 'alice', '0.1', text('u')],
    ['text x', 'alice', '0.1', text('x')],
    ['excesses', 'stranger', '0.1', body(op.excesses, 1)],
    ['payout', 'stranger', '0.1', body(op.payout, 1)],
    ['text w', 'alice', '0.1', text('w')],
    ['text w again', 'alice', 1n, text('w')],
  ]);
  n.step('everything leaves'); // nobody here has code: what may bounce came back
  await order([letter(n.bob.address, '0', { bounce: false })], { modes: [128] });
  n.step('too poor to hear an order');
  await order(one);
  n.step('too poor to obey it');
  await n.alice.send({ to: n.wallet, value: ton('1.9'), bounce: false });
  await order(one);
}

// rent is what time does: storage is paid, owed, and at last the account is
// frozen, and comes back with its state.
async function rent(n) {
  const poor = { code: code('worker'), data: data.worker(n.p, n.bob.address, n.proxy) };
  n.other = n.at('poor worker', poor);
  n.step('a worker with little of its own');
  await n.rootOwner.send({ to: n.other, value: ton('0.012'), bounce: false, init: poor });
  const register = body(op.workerRegister, 9, n.change);
  for (const days of [1, 30, 365, 365, 730, 730, 1500, 1500]) {
    n.wait(days * day);
    n.step(`${days} days later`);
    await n.send(n.bob, n.other, 1n, register);
    await n.send(n.bob, n.other, '0.005', register);
    await n.send(n.workerOwner, n.worker, '0.3', register);
    await n.send(n.alice, n.client, '0.12', body(op.changeSecret, 1, uint(1, 256), n.change));
    await n.send(n.stranger, n.proxy, '0.1', body(op.payoutRequest, 1, n.change));
    await n.send(n.rootOwner, n.root, '0.02', body(op.addWorker, 1, uint(days, 256)));
  }
  n.step('thirty years later');
  n.wait(30 * 365 * day);
  for (const who of ['other', 'worker', 'client', 'proxy', 'root']) await n.stranger.send({ to: n[who], value: 1n, bounce: false });
  for (const who of ['other', 'worker', 'client', 'proxy', 'root']) await n.stranger.send({ to: n[who], value: ton('0.2'), bounce: true });
  n.step('back to life');
  await n.rootOwner.send({ to: n.other, value: ton('1'), bounce: false, init: poor });
  await n.rootOwner.send({ to: n.other, value: ton('5'), bounce: false, init: poor });
  await n.send(n.bob, n.other, '0.5', register);
}

// gas sweeps the value until the gas that it buys is enough: the machine
// stops at another instruction each time.
async function gas(n) {
  await n.topUp(ton('60'));
  const cases = {
    worker: [n.workerOwner, body(op.workerRegister, 9, n.change)],
    client: [n.alice, body(op.register, 7, uint(1, 64), n.change)],
    proxy: [n.stranger, signed(op.closeSigned, 4, n.change, n.worker)],
    root: [n.rootOwner, body(op.changePrice, 1, 30n, 25n)],
  };
  for (const [who, [from, message]] of Object.entries(cases)) {
    for (let value = 1n; value < 6_000_000n; value = value * 5n / 4n + 40_003n) {
      n.step(`${who} gets ${value}`);
      await n.send(from, n[who], value, message);
    }
  }
}

async function shape(n) {
  await n.topUp(ton('60'));
  await n.payout(1_000_000n);
  await n.charge(1_000_000n);
  n.step('text c');
  await n.send(n.proxyOwner, n.proxy, '0.2', text('c'));
  n.step('change price');
  await n.send(n.rootOwner, n.root, '0.05', body(op.changePrice, 1, 30n, 25n));
}

// deployments that do not come about.
async function deployments(n) {
  const init = { code: code('worker'), data: data.worker(n.p, n.bob.address, n.proxy) };
  n.other = n.at('worker of bob', init);
  const wrong = { code: code('client'), data: init.data };
  for (const bounce of [true, false]) {
    for (const [name, state] of Object.entries({ nothing: undefined, 'the wrong state': wrong })) {
      n.step(`with ${name}, bounce ${bounce}`);
      await n.bob.send({ to: n.other, value: ton('0.1'), bounce, init: state, body: body(op.workerRegister, 9, n.change) });
    }
  }
  n.step('with too little');
  await n.bob.send({ to: n.other, value: 1n, bounce: true, init, body: body(op.workerRegister, 9, n.change) });
  n.step('with the first request');
  await n.bob.send({ to: n.other, value: ton('0.5'), bounce: true, init, body: body(op.workerRegister, 9, n.change) });
  n.step('again');
  await n.bob.send({ to: n.other, value: ton('0.5'), bounce: true, init, body: body(op.workerRegister, 9, n.change) });
  n.step('a contract that fails on its first message');
  const bob = { code: code('client'), data: data.client(n.p, n.bob.address, n.proxy) };
  n.bobClient = n.at('client', bob);
  await n.alice.send({ to: n.bobClient, value: ton('0.5'), bounce: true, init: bob, body: body(op.withdraw, 1, n.change) });
}

function lot(seed) {
  return (k) => { seed = (Math.imul(seed, 1103515245) + 12345) >>> 0; return (seed >>> 16) % k; };
}

// nonsense sends every operation with a body cut or lengthened by lot.
async function nonsense(n) {
  const random = lot(2);
  await n.topUp(ton('60'));
  for (const who of ['root', 'proxy', 'worker', 'client']) {
    const from = { root: n.rootOwner, proxy: n.proxyOwner, worker: n.workerOwner, client: n.alice }[who];
    for (const [name, o] of Object.entries(op)) {
      const b = uint(o, 32).storeUint(random(1000), 64);
      for (let i = random(12); i > 0; i--) b.storeUint(random(65536), 1 + random(64) + 15);
      for (let i = random(4); i > 0; i--) b.storeRef(random(2) ? shown : beginCell().storeRef(empty).storeUint(random(256), 8).endCell());
      n.step(`${name} at the ${who}`);
      await n.send(from, n[who], '0.3', b.endCell());
    }
  }
}

function drawn(seed) {
  return async (n) => {
    const random = lot(seed);
    n.bobClient = await n.deploy('client', data.client(n.p, n.bob.address, n.proxy), '0.8');
    const used = { client: 0n, bobClient: 0n };
    let earned = 0n;
    for (let i = 0; i < 40; i++) {
      const [who, at] = random(2) ? [n.alice, 'client'] : [n.bob, 'bobClient'];
      n.wait(random(5000));
      n.step(`${i}`);
      switch (random(12)) {
        case 0: case 1: case 2: await n.topUp(ton(String(1 + random(60))), who, n[at]); break;
        case 3: case 4:
          used[at] += BigInt(1 + random(60_000)) * 10_000n;
          await n.charge(used[at], n[at]);
          break;
        case 5: case 6:
          earned += BigInt(1 + random(60_000)) * 10_000n;
          await n.payout(earned, random(4) ? n.change : badAddresses.external);
          break;
        case 7: await n.send(who, n[at], '0.7', body(op.withdraw, 1, who.address)); break;
        case 8: await n.send(n.proxyOwner, n.proxy, '0.2', text('w')); break;
        case 9: await n.send(who, n[at], '0.7', body(op.raiseStake, 1, ton(String(10 + random(30))), who.address)); break;
        case 10: {
          const message = random(3) ? body(op.changeSecret, 1, uint(i, 256), who.address) : body(op.requestRefund, 1, who.address);
          await n.send(who, n[at], '0.7', message);
          break;
        }
        default: await (random(4) ? n.send(n.bob, n.proxy, '3.2', body(op.increaseStake, 1, ton('3'), n.change)) : n.closeProxy());
      }
    }
  };
}

const histories = [
  ['registry', root], ['keys', keys, { struct: 4 }], ['keys of shape 5', keys, { struct: 5 }], ['proxy', proxy],
  ['owner of a proxy', owner], ['client', client], ['grant', grant], ['worker', worker], ['bounces', bounces], ['change', change],
  ['wallet', wallet], ['rent', rent], ['gas', gas], ['deployments', deployments],
  ['nonsense', nonsense], ['unknown shape', shape, { struct: 2 }], ['shape 5', shape, { struct: 5 }],
  ['no price', shape, { price: 0n, fee: 0n }], ['drawn 1', drawn(1)], ['drawn 2', drawn(2)], ['drawn 3', drawn(3)],
];

async function run(name, history, change) {
  const n = await Box.open(change);
  await history(n);
  return { name, steps: n.steps };
}

module.exports = { histories, run };
