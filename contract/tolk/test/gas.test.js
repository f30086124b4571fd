// What each message costs in gas, beside the network's figure for the same
// work; "at the proxy" is the transaction that follows there.
'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { internal, external, storeMessageRelaxed } = require('@ton/core');
const { Network, op, body, signed, text, ton, uint, code, data, walletKey, sign, beginCell } = require('../network');

// contract, message, the network's gas here, and at the proxy if the proxy works on it.
const network = [
  ['client', 'register', 11300], ['client', 'change secret', 11600], ['client', 'raise stake', 11900],
  ['client', 'top up', 8900, 13200], ['client', 'secret and top up', 9200, 13200], ['client', 'charge', 15900],
  ['client', 'withdraw', 10600, 14900], ['client', 'refund step I, surplus', 13800, 15100],
  ['client', 'refund step II', 11100, 15100], ['client', 'grant refund', 15300, 14900],
  ['worker', 'register', 6500], ['worker', 'payout', 9400, 13100], ['worker', 'last payout', 9500, 13100],
  ['proxy', 'payout request', 7500], ['proxy', 'increase stake', 6400], ['proxy', 'text w', 6900],
  ['proxy', 'signed close', 10100], ['proxy', 'signed complete', 9000], ['proxy', 'do_not_process', 1200],
  ['root', 'add hash', 7900], ['root', 'register proxy', 9500], ['root', 'update proxy', 10700], ['root', 'unregister proxy', 8900],
  ['root', 'change price', 11700], ['root', 'change params', 11800], ['root', 'upgrade contracts', 11900],
  ['root', 'upgrade code', 9300], ['root', 'reset', 9100], ['root', 'full upgrade', 7600], ['root', 'refused', 3000],
  ['wallet', 'external, 1 message', 3400], ['wallet', 'external, 4 messages', 5400],
];

async function measure() {
  const seen = new Map();
  const n = await Network.open();
  const note = (name, r) => seen.set(name, [r.gas, r.at(n.proxy)[0]?.description.computePhase.gasUsed]);
  const client = async (name, message, value = '1', from = n.alice) => note(`client ${name}`, await n.send(from, n.client, value, message));
  await client('register', body(op.register, 1, uint(1, 64), n.change));
  await client('change secret', body(op.changeSecret, 1, uint(1, 256), n.change));
  await client('raise stake', body(op.raiseStake, 1, ton('16'), n.change));
  await client('top up', body(op.topUp, 1, ton('60'), n.change), '61');
  await client('secret and top up', body(op.secretTopUp, 1, ton('60'), uint(1, 256), n.change), '61');
  await client('charge', signed(op.chargeSigned, 1, n.change, n.client, 1_000_000_000n));
  await client('withdraw', body(op.withdraw, 1, n.change));
  await n.topUp(ton('20'));
  await client('refund step I, surplus', body(op.requestRefund, 1, n.change));
  n.wait(n.p.clientDelay + 1);
  await client('refund step II', body(op.requestRefund, 1, n.change));
  n.bobClient = await n.deploy('client', data.client(n.p, n.bob.address, n.proxy), '0.8');
  await n.topUp(ton('60'), n.bob, n.bobClient);
  note('client grant refund', await n.send(n.stranger, n.bobClient, '1', signed(op.grantSigned, 1, n.change, n.bobClient, 1_000_000_000n)));

  const worker = async (name, message, from = n.stranger) => note(`worker ${name}`, await n.send(from, n.worker, '1', message));
  await worker('register', body(op.workerRegister, 1, n.change), n.workerOwner);
  await worker('payout', signed(op.payoutSigned, 1, n.change, n.worker, 1_000_000_000n));
  await worker('last payout', signed(op.lastPayoutSigned, 1, n.change, n.worker, 1_100_000_000n));

  const proxy = async (name, message, from = n.stranger) => seen.set(`proxy ${name}`, [(await n.send(from, n.proxy, '6', message)).gas]);
  await proxy('payout request', body(op.payoutRequest, 1, n.change));
  await proxy('increase stake', body(op.increaseStake, 1, ton('5'), n.change));
  await proxy('text w', text('w'), n.proxyOwner);
  await proxy('do_not_process', uint(op.doNotProcess, 32).endCell());
  await proxy('signed close', signed(op.closeSigned, 1, n.change, n.proxy));
  n.wait(n.p.proxyDelay);
  await proxy('signed complete', signed(op.completeSigned, 1, n.change, n.proxy));

  const root = async (name, message, from = n.rootOwner) => seen.set(`root ${name}`, [(await n.send(from, n.root, '0.05', message)).gas]);
  const info = () => uint(0, 1).storeUint(10, 7).storeBuffer(Buffer.from('10.0.0.1:1'));
  await root('add hash', body(op.addWorker, 1, uint(7, 256)));
  await root('register proxy', body(op.registerProxy, 1, info()));
  await root('update proxy', body(op.updateProxy, 1, uint(1, 32), info()));
  await root('unregister proxy', body(op.unregisterProxy, 1, uint(1, 32)));
  await root('change price', body(op.changePrice, 1, 20n, 18n));
  await root('change params', body(op.changeParams, 1, 20n, 18n, uint(100, 32), uint(50, 32), 1n, 1n));
  await root('upgrade contracts', body(op.upgradeContracts, 1, code('proxy'), code('worker'), code('client')));
  await root('upgrade code', body(op.upgradeCode, 1, code('root')));
  await root('reset', body(op.reset, 1));
  await root('refused', body(op.reset, 1), n.stranger);
  const next = beginCell().storeAddress(n.rootOwner.address).storeUint(100, 32)
    .storeSlice(data.root({ ...n.p, version: 100 }, n.rootOwner.address).beginParse().skip(267 + 32)).endCell();
  await root('full upgrade', body(op.upgradeFull, 1, next, code('root')));

  n.wallet = await n.deploy('wallet', data.wallet(n.alice.address), '10');
  const message = beginCell().store(storeMessageRelaxed(internal({ to: n.bob.address, value: ton('0.1'), body: uint(1, 32).endCell() }))).endCell();
  for (const [seqno, count] of [[0, 1], [1, 4]]) {
    const b = uint(0, 32).storeUint(n.chain.now + 60, 32).storeUint(seqno, 32);
    for (let i = 0; i < count; i++) b.storeUint(1, 8).storeRef(message);
    const cell = beginCell().storeBuffer(sign(b.endCell().hash(), walletKey.secretKey)).storeBuilder(b).endCell();
    const r = await n.chain.sendMessage(external({ to: n.wallet, body: cell }));
    seen.set(`wallet external, ${count} message${count > 1 ? 's' : ''}`, [Number(r.transactions[0].description.computePhase.gasUsed)]);
  }
  return seen;
}

test('no message costs more gas than half above the network\'s', async (t) => {
  const seen = await measure();
  const rows = ['message                              gas  network  at the proxy  network'];
  for (const [contract, name, limit, proxyLimit] of network) {
    const [gas, atProxy] = seen.get(`${contract} ${name}`).map((v) => v === undefined ? undefined : Number(v));
    rows.push(`${`${contract} ${name}`.padEnd(33)} ${String(gas).padStart(6)} ${String(limit).padStart(8)}`
      + (proxyLimit ? ` ${String(atProxy).padStart(13)} ${String(proxyLimit).padStart(8)}` : ''));
  }
  t.diagnostic('\n' + rows.join('\n'));
  for (const [contract, name, limit, proxyLimit] of network) {
    const [gas, atProxy] = seen.get(`${contract} ${name}`);
    assert.ok(gas <= 1.5 * limit, `${contract} ${name}: ${gas} gas, the network's takes ${limit}`);
    if (proxyLimit) assert.ok(Number(atProxy) <= 1.5 * proxyLimit, `${contract} ${name} at the proxy: ${atProxy} gas, ${proxyLimit}`);
  }
});
