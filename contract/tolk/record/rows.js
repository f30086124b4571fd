// Ordinary use of the five contracts, one row for each thing that a node or a
// person does and for each refusal, with the boundary values. Every part
// begins with a new network. test/network.test.js plays it on our contracts
// and compares with what was observed on the network's.
'use strict';
const { internal, storeMessageRelaxed } = require('@ton/core');
const { Sender } = require('./box');
const { op, body, signed, text, ton, uint, data, code, netAddress, walletKey, strangerKey, sign, beginCell } = require('../network');

const empty = beginCell().endCell();
const ignored = (to) => [
  ['nothing at all', 'stranger', to, '0.1', () => empty],
  ['do_not_process', 'stranger', to, '0.1', () => uint(op.doNotProcess, 32).endCell()],
  ['an unknown operation', 'stranger', to, '0.5', () => body(0x12345678, 1)],
];
// part is a part inside a request: an operation and its fields.
const part = (o, ...fields) => uint(o, 32).storeSlice(body(0, 0, ...fields).beginParse().skip(96)).endCell();
const wait = (seconds) => [`${seconds} s later`, (n) => n.wait(seconds)];

// A row is its name, then from, to, value and body; or a function of the network.
const root = (() => {
  const own = (name, message) => [name, 'rootOwner', 'root', '0.05', message];
  const by = (name, message) => [`${name}, by a stranger`, 'stranger', 'root', '0.05', message];
  const hash = (o) => () => body(o, 1, uint(7, 256));
  const register = (t) => () => body(op.registerProxy, 1, netAddress(t));
  const update = (seqno, t) => () => body(op.updateProxy, 1, uint(seqno, 32), netAddress(t));
  const price = () => body(op.changePrice, 1, 30n, 25n);
  const params = () => body(op.changeParams, 1, 40n, 35n, uint(1000, 32), uint(999, 32), ton('2'), ton('3'));
  const contracts = () => body(op.upgradeContracts, 1, code('client'), code('proxy'), code('worker'));
  const offer = (n) => body(op.offerOwner, 1, n.bob.address);
  const lists = ['addWorker', 'deleteWorker', 'addModel', 'deleteModel', 'addProxy', 'deleteProxy'];
  const next = (n) => data.root({ ...n.p, version: 90, unique: 99 }, n.rootOwner.address, undefined, 999);
  return {
    'root: lists': [
      ...ignored('root'),
      ...lists.map((name) => by(name, hash(op[name]))),
      ...lists.map((name) => own(name, hash(op[name]))),
      own('addWorker twice', hash(op.addWorker)), own('addWorker again', hash(op.addWorker)),
      own('deleteModel that is not there', hash(op.deleteModel)),
      own('register', register('10.0.0.1:1')), own('register a second', register('10.0.0.2:1 10.0.0.2:2')),
      own('register a third', register('10.0.0.3:1')), own('register 114 bytes', register('x'.repeat(114))),
      by('register', register('10.0.0.1:1')), by('unregister', () => body(op.unregisterProxy, 1, uint(1, 32))),
      own('update', update(1, '10.0.0.9:1')), own('update with 110 bytes', update(2, 'y'.repeat(110))),
      own('update what is not there', update(77, '10.0.0.9:1')),
      own('register another kind', () => body(op.registerProxy, 1, netAddress('10.0.0.1:1', 1))),
      own('unregister', () => body(op.unregisterProxy, 1, uint(1, 32))),
      own('unregister what is not there', () => body(op.unregisterProxy, 1, uint(77, 32))),
      by('reset', () => body(op.reset, 1)), own('reset', () => body(op.reset, 1)),
      own('too long', () => body(op.reset, 1, uint(0, 1))), own('no query', () => uint(op.reset, 32).endCell()),
    ],
    'root: parameters': [
      by('change price', price), own('change price', price), by('change parameters', params), own('change parameters', params),
      own('price 0', () => body(op.changePrice, 1, 0n, 0n)),
      by('upgrade contracts', contracts), own('upgrade contracts', contracts),
      own('multipliers', () => body(op.changeParamsFull, 1, 50n, 50n, ...[1, 1, 1, 1, 10, 9].map((m) => uint(m, 32)), 0n, 1n)),
      by('upgrade code', () => body(op.upgradeCode, 1, code('root'))), own('upgrade code', () => body(op.upgradeCode, 1, code('root'))),
    ],
    'root: stake 2^64': [
      own('change parameters', () => body(op.changeParams, 1, 40n, 35n, uint(1000, 32), uint(999, 32), ton('2'), 1n << 64n)),
    ],
    'root: full upgrade': [
      by('full upgrade', (n) => body(op.upgradeFull, 1, next(n), code('root'))),
      own('full upgrade', (n) => body(op.upgradeFull, 1, next(n), code('root'))),
    ],
    'root: owner': [
      by('change owner', offer), own('change owner', offer), ['the new owner answers', 'bob', 'root', '0.05', () => body(op.acceptOwner, 1)],
      ['the new owner acts', 'bob', 'root', '0.05', hash(op.addWorker)], own('the old owner acts', hash(op.addWorker)),
    ],
  };
})();

const proxy = (() => {
  const c = [() => text('c'), () => text('w')];
  const close = (more, to = 'proxy') => (n) => signed(op.closeSigned, 4, n.change, n[to], undefined, more);
  const complete = (more, to = 'proxy') => (n) => signed(op.completeSigned, 5, n.change, n[to], undefined, more);
  const payout = (n) => body(op.payoutRequest, 6, n.change);
  const stake = (amount) => (n) => body(op.increaseStake, 6, ton(amount), n.change);
  const ownerClose = (n) => body(op.ownerClose, 6, n.change);
  const earn = [['deposit', (n) => n.topUp(ton('60'))], ['payout', (n) => n.payout(1_000_000_000n)]];
  // What the client's contract asks for, without what it does itself.
  const ask = (n, p) => new Sender(n, n.client).send({
    to: n.proxy, value: ton('20.7'), body: body(op.clientRequest, 1, n.alice.address, shown, uint(1, 1), p),
  });
  const amount = (name, o, coins) => [name, (n) => ask(n, part(o, ton(coins), n.change))];
  const nonce = (name, o) => [name, (n) => ask(n, part(o, uint(1, 64)))];
  const finish = [['close', 'stranger', 'proxy', '1', close()], wait(86400), ['complete at the very second', 'stranger', 'proxy', '1', complete()]];
  return {
    'proxy: text c': [
      ['by a stranger', 'stranger', 'proxy', '1', c[0]], ['too little', 'proxyOwner', 'proxy', '0.05', c[0]],
      ['text c, with exactly the commission', 'proxyOwner', 'proxy', '0.1', c[0]], ['again', 'proxyOwner', 'proxy', '1', c[0]],
    ],
    'proxy: text w': [
      ...earn, ['by a stranger', 'stranger', 'proxy', '1', c[1]], ['too little', 'proxyOwner', 'proxy', '0.05', c[1]],
      ['text w', 'proxyOwner', 'proxy', '0.2', c[1]], ['another letter', 'proxyOwner', 'proxy', '0.2', () => text('x')],
      ['text c', 'proxyOwner', 'proxy', '1', c[0]], ['text w while closing', 'proxyOwner', 'proxy', '0.2', c[1]],
    ],
    'proxy: owner close': [
      ...ignored('proxy'), ['by a stranger', 'stranger', 'proxy', '1', ownerClose], ['too little', 'proxyOwner', 'proxy', '0.05', ownerClose],
      ['owner close', 'proxyOwner', 'proxy', '0.1', ownerClose], ['again', 'proxyOwner', 'proxy', '0.1', ownerClose],
    ],
    'proxy: signed close': [
      ['close: other key', 'stranger', 'proxy', '1', close({ key: strangerKey })],
      ['close: other op inside', 'stranger', 'proxy', '1', close({ op: op.completeSigned })],
      ['close: for another contract', 'stranger', 'proxy', '1', close({}, 'worker')],
      ['close: too little', 'stranger', 'proxy', '0.05', close()],
      ['complete: not closing', 'stranger', 'proxy', '1', complete()],
      ['close', 'stranger', 'proxy', '1', close()], ['close again', 'stranger', 'proxy', '1', close()],
      ['complete: other key', 'stranger', 'proxy', '1', complete({ key: strangerKey })],
      ['complete: for another contract', 'stranger', 'proxy', '1', complete({}, 'client')],
      wait(86399), ['complete: a second too early', 'stranger', 'proxy', '1', complete()],
    ],
    'proxy: money': [
      ...earn, ['getters', (n) => n.getters()],
      ['payout request', 'stranger', 'proxy', '0.2', payout], ['payout request, exactly the commission', 'stranger', 'proxy', '0.1', payout],
      ['payout request, too little', 'stranger', 'proxy', ton('0.1') - 1n, payout],
      ['raise stake', 'stranger', 'proxy', '5.2', stake('5')], ['raise stake, exactly', 'stranger', 'proxy', '1.1', stake('1')],
      ['raise stake, too little', 'stranger', 'proxy', ton('1.1') - 1n, stake('1')], ['raise stake by 0', 'stranger', 'proxy', '0.1', stake('0')],
      ['worker that is not derived', 'stranger', 'proxy', '1', (n) => body(op.workerRequest, 1, n.workerOwner.address,
        uint(0, 66).storeMaybeRef(uint(op.payoutPart, 32).storeCoins(5).storeCoins(5).storeAddress(n.change).endCell()))],
      ['worker notification', 'stranger', 'proxy', '1', (n) => body(op.workerRequest, 1, n.bob.address, uint(0, 67))],
      ['client that is not derived', 'stranger', 'proxy', '1', (n) => body(op.clientRequest, 1, n.alice.address, shown,
        uint(1, 1), uint(op.partGranted, 32).storeCoins(5).storeAddress(n.change).endCell())],
      ['client notification', 'stranger', 'proxy', '1', (n) => body(op.clientRequest, 1, n.bob.address, shown, uint(0, 1))],
    ],
    'proxy: clients': [
      ...earn, amount('a deposit', op.partTopUp, '20'), nonce('a nonce', op.partRegister), amount('a refund', op.partGranted, '5'),
      ['raise stake', 'stranger', 'proxy', '20.2', stake('20')],
      amount('a forced refund within the stake', op.partForced, '15'), amount('a forced refund above the stake', op.partForced, '15'),
      nonce('an unknown part', 0x12345678),
    ],
    'proxy: closed': [
      ...finish, ['getters', (n) => n.getters()],
      ['text c', 'proxyOwner', 'proxy', '1', c[0]], ['text w', 'proxyOwner', 'proxy', '1', c[1]],
      ['payout request', 'stranger', 'proxy', '1', payout], ['raise stake', 'stranger', 'proxy', '6', stake('5')],
      ['owner close', 'proxyOwner', 'proxy', '1', ownerClose], ['complete again', 'stranger', 'proxy', '1', complete()],
      ['a worker\'s payout', (n) => n.payout(1_000n)], amount('a deposit', op.partTopUp, '20'), amount('a refund', op.partGranted, '0.01'),
      amount('a forced refund', op.partForced, '0.01'), nonce('a nonce', op.partRegister),
    ],
    'proxy: closing': [
      ...earn, ['close', 'stranger', 'proxy', '1', close()], ['a worker\'s payout', (n) => n.payout(1_100_000_000n)],
      amount('a deposit', op.partTopUp, '20'), amount('a refund', op.partGranted, '5'), ['payout request', 'stranger', 'proxy', '1', payout],
      ['raise stake', 'stranger', 'proxy', '6', stake('5')],
    ],
    'proxy: finish': [['raise stake', 'stranger', 'proxy', '6', stake('5')], ...finish],
    'proxy: lost key': [
      ['text c', 'proxyOwner', 'proxy', '1', c[0]], wait(31 * 86400),
      ['finish without key', 'proxyOwner', 'proxy', '1', () => body(op.ownerFinish, 1)],
    ],
  };
})();

const shown = uint(0, 2).storeCoins(0).storeCoins(0).storeUint(0, 64 + 256).endCell();

const client = (() => {
  const row = (name, message, from = 'alice', value = '0.7') => [name, from, 'client', value, message];
  const topUp = (amount) => (n) => body(op.topUp, 1, ton(amount), n.change);
  const register = (n) => body(op.register, 1, uint(0xabcdef, 64), n.change);
  const secret = (n) => body(op.changeSecret, 1, uint(0x51n, 256), n.change);
  const both = (n) => body(op.secretTopUp, 1, ton('5'), uint(0x52n, 256), n.change);
  const stake = (amount) => (n) => body(op.raiseStake, 1, amount, n.change);
  const withdraw = (n) => body(op.withdraw, 1, n.change);
  const refund = (n) => body(op.requestRefund, 1, n.change);
  const charge = (tokens, more, to = 'client') => (n) => signed(op.chargeSigned, 2, n.change, n[to], tokens, more);
  const grant = (tokens, more, to = 'client') => (n) => signed(op.grantSigned, 3, n.change, n[to], tokens, more);
  const all = (prefix, value = '9') => [
    row(`${prefix}top up`, topUp('5'), 'alice', value), row(`${prefix}register`, register, 'alice', value),
    row(`${prefix}secret`, secret, 'alice', value), row(`${prefix}secret and top up`, both, 'alice', value),
    row(`${prefix}raise stake`, stake(ton('20')), 'alice', value), row(`${prefix}withdraw`, withdraw, 'alice', value),
    row(`${prefix}request refund`, refund, 'alice', value), row(`${prefix}charge`, charge(9_000_000_000n), 'stranger', value),
  ];
  return {
    'client: refusals': [
      ...ignored('client'), ['getters', (n) => n.getters()],
      row('top up, too little', topUp('5'), 'alice', ton('5.1') - 1n), row('register, too little', register, 'alice', ton('0.1') - 1n),
      ...all('by a stranger: ').filter(([name]) => !/top up$|charge$/.test(name)).map(([name, , ...rest]) => [name, 'stranger', ...rest]),
      row('secret and top up by a stranger', both, 'stranger', '9'),
      row('stake equal', stake(ton('15'))), row('stake lower', stake(ton('14'))), row('withdraw with nothing', withdraw),
      row('charge: other key', charge(9n, { key: strangerKey }), 'stranger'),
      row('charge: other op inside', charge(9n, { op: op.grantSigned }), 'stranger'),
      row('charge: for another contract', charge(9n, {}, 'worker'), 'stranger'), row('charge of nothing', charge(0n), 'stranger'),
      row('charge, too little', charge(9n), 'stranger', '0.05'), row('charge: payload too long', charge(9n, { tail: uint(0, 1) }), 'stranger'),
      row('grant: other key', grant(9n, { key: strangerKey }), 'stranger'), row('grant: for another contract', grant(9n, {}, 'worker'), 'stranger'),
      row('too long', (n) => body(op.withdraw, 1, n.change, uint(0, 1))),
    ],
    'client: ordinary': [
      row('register', register, 'alice', '1'), row('change secret', secret), row('change secret, exactly the commission', secret, 'alice', '0.1'),
      row('top up', topUp('60'), 'alice', '60.7'), row('top up by another', topUp('5'), 'bob', '5.7'),
      row('top up, exactly', topUp('1'), 'alice', '1.1'),
      row('top up with 0', topUp('0'), 'alice', '0.7'),
      row('secret and top up', both, 'alice', '5.7'), row('raise stake', stake(ton('20'))),
      row('charge', charge(100n), 'stranger'), row('charge to 250', charge(250n), 'stranger'), row('charge to 500', charge(500n), 'stranger'),
      row('charge, counter equal', charge(500n), 'stranger'), row('charge, counter lower', charge(499n), 'stranger'),
      row('charge a million', charge(1_000_500n), 'stranger'),
      row('withdraw', withdraw), row('withdraw again', withdraw), row('top up after it', topUp('3'), 'alice', '3.7'), row('withdraw that', withdraw),
      ['getters', (n) => n.getters()],
    ],
    'client: stake 2^64': [row('raise stake', stake(1n << 64n))],
    'client: leaves without the proxy, which has a stake': [
      ['raise the proxy\'s stake', 'stranger', 'proxy', '20.2', (n) => body(op.increaseStake, 6, ton('20'), n.change)],
      row('top up', topUp('60'), 'alice', '60.7'), row('step I with a surplus', refund), row('step II too early', refund),
      row('withdraw while closing', withdraw), row('charge while closing', charge(500n), 'stranger'),
      wait(43200), row('step II at the very second', refund), wait(1), row('step II', refund),
      ['getters', (n) => n.getters()], ...all('closed: '),
    ],
    'client: grant': [
      row('top up', topUp('60'), 'alice', '60.7'), row('charge', charge(500n), 'stranger'), row('grant, counter lower', grant(499n), 'stranger', '1'),
      row('grant, counter equal', grant(500n), 'stranger', '1'), row('grant again', grant(500n), 'stranger', '1'), ...all('closed: '),
    ],
    'client: grant with a charge': [row('top up', topUp('60'), 'alice', '60.7'), row('grant', grant(1_000_000_000n), 'stranger', '1')],
    'client: grant while closing': [
      row('top up', topUp('60'), 'alice', '60.7'), row('step I', refund), row('grant', grant(1_000_000n), 'stranger', '1'),
    ],
  };
})();

const worker = (() => {
  const row = (name, message, from = 'stranger', value = '0.5') => [name, from, 'worker', value, message];
  const payout = (tokens, more, to = 'worker') => (n) => signed(op.payoutSigned, 3, n.change, n[to], tokens, more);
  const last = (tokens, more, to = 'worker') => (n) => signed(op.lastPayoutSigned, 3, n.change, n[to], tokens, more);
  const register = (n) => body(op.workerRegister, 9, n.change);
  const filled = ['deposit', (n) => n.topUp(ton('60'))];
  return {
    'worker: refusals': [
      ...ignored('worker'), ['getters', (n) => n.getters()],
      row('payout: other key', payout(9n, { key: strangerKey })), row('payout: for another contract', payout(9n, {}, 'client')),
      row('payout: other op inside', payout(9n, { op: op.lastPayoutSigned })), row('payout of nothing', payout(0n)),
      row('payout, exactly the commission', payout(9n), 'stranger', '0.1'), row('last payout: other key', last(9n, { key: strangerKey })),
      row('register by a stranger', register), row('register, exactly the commission', register, 'workerOwner', '0.1'),
    ],
    'worker: ordinary': [
      filled, row('register', register, 'workerOwner'), row('payout', payout(1_000_000n)),
      row('payout, a nano more than the commission', payout(1_000_001n), 'stranger', ton('0.1') + 1n),
      row('payout, counter equal', payout(1_000_001n)), row('payout, a lot', payout(1_000_000_000n)), row('last payout, counter lower', last(999n)),
      row('last payout', last(1_100_000_000n), 'stranger', '1'), ['getters', (n) => n.getters()],
      row('closed: payout', payout(2_000_000_000n)), row('closed: last payout', last(2_000_000_000n)),
      row('closed: register', register, 'workerOwner'),
      row('closed: an unknown operation', () => body(0x12345678, 1)),
    ],
    'worker: last payout with nothing new': [filled, row('payout', payout(100n)), row('last payout, counter equal', last(100n), 'stranger', '1')],
  };
})();

const wallet = (() => {
  const letter = (n, more = {}) => beginCell()
    .store(storeMessageRelaxed(internal({ to: n.bob.address, value: ton('0.5'), bounce: true, body: uint(42, 32).endCell(), ...more }))).endCell();
  const order = (count, change = {}, more = {}) => (n) => {
    const o = { subwallet: 0, until: n.chain.now + 60, key: walletKey, ...change };
    const b = uint(o.subwallet, 32).storeUint(o.until, 32).storeUint(o.seqno, 32);
    for (let i = 0; i < count; i++) b.storeUint(1, 8).storeRef(letter(n, more));
    const cell = b.endCell();
    return n.order(n.wallet, beginCell().storeBuffer(sign(cell.hash(), o.key.secretKey)).storeSlice(cell.beginParse()).endCell());
  };
  const deploy = (value) => ['deploy', async (n) => { n.wallet = await n.deploy('wallet', data.wallet(n.alice.address), value); }];
  const row = (name, message, from = 'alice', value = '0.5') => [name, from, 'wallet', value, message];
  const send = (n) => body(op.walletSend, 1, uint(64, 8), letter(n, { value: 0n }));
  return {
    'wallet: orders': [
      deploy('10'), ...ignored('wallet'), ['getters', (n) => n.getters()],
      ['no message', order(0, { seqno: 0 })], ['one', order(1, { seqno: 1 })], ['two', order(2, { seqno: 2 })], ['four', order(4, { seqno: 3 })],
      ['not bounceable', order(1, { seqno: 4 }, { bounce: false })], ['without body', order(1, { seqno: 5 }, { body: empty })],
      ['expired this second', order(1, { seqno: 6, until: 1_800_000_000 })], ['wrong number', order(1, { seqno: 5 })],
      ['wrong subwallet', order(1, { seqno: 6, subwallet: 1 })], ['other key', order(1, { seqno: 6, key: strangerKey })],
      row('send', send), row('send by a stranger', send, 'stranger'),
      row('text b by a stranger', () => text('b'), 'stranger'), row('text b', () => text('b')), ['blocked', order(1, { seqno: 6 })],
      row('send while blocked', send), row('text u', () => text('u')), ['accepted again', order(1, { seqno: 6 })],
      row('text x', () => text('x')), row('an unknown operation', () => body(0x12345678, 1)),
      row('excesses', () => body(op.excesses, 1), 'stranger'), row('payout', () => body(op.payout, 1), 'stranger'),
      row('text w by a stranger', () => text('w'), 'stranger'), row('text w', () => text('w')),
    ],
    'wallet: poor': [deploy('0.5'), ['half a TON', order(1, { seqno: 0 })]],
  };
})();

module.exports = { parts: { ...root, ...proxy, ...client, ...worker, ...wallet } };
