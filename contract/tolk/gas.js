// What each message costs in gas, beside the network's figure for the same
// work. Writes GAS.md; with --check it writes nothing and fails if the
// committed table is not what comes out.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { internal, external, storeMessageRelaxed } = require('@ton/core');
const { Network, op, body, signed, signedKey, text, ton, uint, code, data, netAddress, walletKey, managerKey, sign, beginCell } = require('./network');

// The network's gas: measured with its bytecode (contracts.md section 15),
// here and, where the proxy has work to do, there. A row that is dearer says
// why; one without a figure has no counterpart.
const rows = [
  ['client', 'register', 11300], ['client', 'change secret', 11600], ['client', 'raise stake', 11900],
  ['client', 'top up', 8900, 13200], ['client', 'secret and top up', 9200, 13200], ['client', 'charge', 15900],
  ['client', 'withdraw', 10600, 14900], ['client', 'refund step I, surplus', 13800, 15100],
  ['client', 'refund step II', 11100, 15100], ['client', 'grant refund', 15300, 14900], ['client', 'take left-over'],
  ['worker', 'register', 6500], ['worker', 'payout', 9400, 13100],
  ['worker', 'last payout', 9500, 13100, 'one message more: the contract\'s own TON goes to its owner'],
  ['worker', 'collect'], ['worker', 'take left-over'],
  ['proxy', 'payout request', 7500, undefined, 'looks at the deposits before it pays'],
  ['proxy', 'increase stake', 6400, undefined, 'carries the deposits along'],
  ['proxy', 'text w', 6900, undefined, 'looks at the deposits before it pays'],
  ['proxy', 'signed close', 10100], ['proxy', 'signed complete', 9000], ['proxy', 'owner finish'], ['proxy', 'do_not_process', 1200],
  ['root', 'add hash', 7900, undefined, 'more operations to tell apart'],
  ['root', 'register proxy', 9500], ['root', 'update proxy', 10700], ['root', 'unregister proxy', 8900],
  ['root', 'change price', 11700], ['root', 'change params', 11800], ['root', 'change params and multipliers'],
  ['root', 'upgrade contracts', 11900], ['root', 'upgrade code', 9300], ['root', 'reset', 9100],
  ['root', 'full upgrade', 7600, undefined, 'reads all of the new data before it takes it'],
  ['root', 'full upgrade to shape 4'], ['root', 'refused', 3000], ['root', 'offer owner'], ['root', 'accept owner'],
  ['root', 'change key manager'], ['root', 'add key'], ['root', 'add key, signed'], ['root', 'add key, signed, 24 live'],
  ['wallet', 'external, 1 message', 3400, undefined, 'looks whether a message names a sender'],
  ['wallet', 'external, 4 messages', 5400, undefined, 'looks whether a message names a sender'],
];

async function measure() {
  const seen = new Map();
  const n = await Network.open();
  const note = (name, r, next) => {
    if (r.exit !== 0 && name !== 'root refused') throw new Error(`${name}: exit code ${r.exit}`);
    const there = next && r.at(n.proxy)[0]?.description.computePhase.gasUsed;
    seen.set(name, [r.gas, there === undefined ? undefined : Number(there)]);
  };
  await measureClients(n, note);
  await measureWorkers(n, note);
  await measureProxy(n, note);
  await measureRoot(n, note);
  await measureWallet(n, seen);
  return seen;
}

async function measureClients(n, note) {
  const send = async (name, message, value = '1', from = n.alice) => note(`client ${name}`, await n.send(from, n.client, value, message), true);
  await send('register', body(op.register, 1, uint(1, 64), n.change));
  await send('change secret', body(op.changeSecret, 1, uint(1, 256), n.change));
  await send('raise stake', body(op.raiseStake, 1, ton('16'), n.change));
  await send('top up', body(op.topUp, 1, ton('60'), n.change), '61');
  await send('secret and top up', body(op.secretTopUp, 1, ton('60'), uint(1, 256), n.change), '61');
  await send('charge', signed(op.chargeSigned, 1, n.change, n.client, 1_000_000_000n));
  await send('withdraw', body(op.withdraw, 1, n.change));
  await n.topUp(ton('20'));
  await send('refund step I, surplus', body(op.requestRefund, 1, n.change));
  n.wait(n.p.clientDelay + 1);
  await send('refund step II', body(op.requestRefund, 1, n.change));
  await send('take left-over', body(op.ownerFinish, 1));
  const bobs = await n.deploy('client', data.client(n.p, n.bob.address, n.proxy), '0.8');
  await n.topUp(ton('60'), n.bob, bobs);
  note('client grant refund', await n.send(n.stranger, bobs, '1', signed(op.grantSigned, 1, n.change, bobs, 1_000_000_000n)), true);
}

async function measureWorkers(n, note) {
  const send = async (name, message, from = n.stranger) => note(`worker ${name}`, await n.send(from, n.worker, '1', message), true);
  await send('register', body(op.workerRegister, 1, n.change), n.workerOwner);
  await send('payout', signed(op.payoutSigned, 1, n.change, n.worker, 1_000_000_000n));
  await n.payout(11_000_000_000n);
  await send('collect', body(op.collect, 1, uint(1_000_000n, 64), n.change), n.workerOwner);
  await n.send(n.proxyOwner, n.proxy, '300', body(op.increaseStake, 1, ton('299'), n.change));
  await n.payout(11_000_000_000n);
  await send('last payout', signed(op.lastPayoutSigned, 1, n.change, n.worker, 11_100_000_000n));
  await send('take left-over', body(op.ownerFinish, 1), n.workerOwner);
}

async function measureProxy(n, note) {
  const send = async (name, message, from = n.stranger) => note(`proxy ${name}`, await n.send(from, n.proxy, '6', message));
  await send('payout request', body(op.payoutRequest, 1, n.change));
  await send('increase stake', body(op.increaseStake, 1, ton('5'), n.change));
  await send('text w', text('w'), n.proxyOwner);
  await send('do_not_process', uint(op.doNotProcess, 32).endCell());
  await send('signed close', signed(op.closeSigned, 1, n.change, n.proxy));
  n.wait(n.p.proxyDelay);
  await send('signed complete', signed(op.completeSigned, 1, n.change, n.proxy));
  await send('owner finish', body(op.ownerFinish, 1), n.proxyOwner);
}

async function measureRoot(n, note) {
  const send = async (name, message, from = n.rootOwner) => note(`root ${name}`, await n.send(from, n.root, '0.4', message));
  const limits = [uint(100, 32), uint(50, 32), 1n, 1n];
  await send('add hash', body(op.addWorker, 1, uint(7, 256)));
  await send('register proxy', body(op.registerProxy, 1, netAddress('10.0.0.1:1')));
  await send('update proxy', body(op.updateProxy, 1, uint(1, 32), netAddress('10.0.0.1:1')));
  await send('unregister proxy', body(op.unregisterProxy, 1, uint(1, 32)));
  await send('change price', body(op.changePrice, 1, 20n, 18n));
  await send('change params', body(op.changeParams, 1, 20n, 18n, ...limits));
  await send('change params and multipliers', body(op.changeParamsFull, 1, 20n, 18n, uint(1, 32).storeUint(1, 32).storeUint(1, 32).storeUint(1, 32), ...limits));
  await send('upgrade contracts', body(op.upgradeContracts, 1, code('proxy'), code('worker'), code('client')));
  await send('upgrade code', body(op.upgradeCode, 1, code('root')));
  await send('reset', body(op.reset, 1));
  await send('refused', body(op.reset, 1), n.stranger);
  await send('offer owner', body(op.offerOwner, 1, n.bob.address));
  await send('accept owner', body(op.acceptOwner, 1), n.bob);
  const same = data.root({ ...n.p, version: 100 }, n.bob.address, undefined, 100);
  await send('full upgrade', body(op.upgradeFull, 1, same, code('root')), n.bob);
  const publicKey = BigInt('0x' + managerKey.publicKey.toString('hex'));
  const next = { ...n.p, struct: 4, version: 100, keyManager: { key: publicKey } };
  await send('full upgrade to shape 4', body(op.upgradeFull, 1, data.root(next, n.bob.address, undefined, 101), code('root')), n.bob);
  const manager = uint(publicKey, 256).storeUint(1, 256).storeBuilder(netAddress('10.0.0.3:13001'));
  await send('change key manager', body(op.changeKeyManager, 1, manager), n.bob);
  const life = n.chain.now + 86400;
  await send('add key', body(op.addKey, 1, uint(1, 256).storeUint(1, 8).storeUint(life, 32)), n.bob);
  await send('add key, signed', signedKey(1n << 255n, life), n.stranger);
  for (let i = 1n; i < 23n; i++) await n.send(n.stranger, n.root, '0.4', signedKey((i << 251n) + 7n, life));
  await send('add key, signed, 24 live', signedKey(47n << 250n, life), n.stranger);
}

async function measureWallet(n, seen) {
  const wallet = await n.deploy('wallet', data.wallet(n.alice.address), '10');
  const message = beginCell().store(storeMessageRelaxed(internal({ to: n.bob.address, value: ton('0.1'), body: uint(1, 32).endCell() }))).endCell();
  for (const [seqno, count] of [[0, 1], [1, 4]]) {
    const b = uint(0, 32).storeUint(n.chain.now + 60, 32).storeUint(seqno, 32);
    for (let i = 0; i < count; i++) b.storeUint(1, 8).storeRef(message);
    const cell = beginCell().storeBuffer(sign(b.endCell().hash(), walletKey.secretKey)).storeBuilder(b).endCell();
    const r = await n.chain.sendMessage(external({ to: wallet, body: cell }));
    seen.set(`wallet external, ${count} message${count > 1 ? 's' : ''}`, [Number(r.transactions[0].description.computePhase.gasUsed)]);
  }
}

// table is GAS.md.
function table(seen) {
  const lines = [
    '# Gas', '',
    'Written by `npm run gas`, checked by `npm run check`. The network\'s figures were measured with its bytecode; "at the proxy" is the',
    'transaction that follows there. A basechain pays 400 nanoTON for each. Rows without a figure have no counterpart in the network.', '',
    '| message | ours | network | ratio | at the proxy | network | ratio | why dearer |', '|---|--:|--:|--:|--:|--:|--:|---|',
  ];
  const ratio = (a, b) => (a === undefined || b === undefined ? '' : (a / b).toFixed(2));
  for (const [contract, name, here, there, why] of rows) {
    const [gas, next] = seen.get(`${contract} ${name}`);
    const atProxy = there === undefined ? undefined : next;
    lines.push(`| ${contract}: ${name} | ${gas} | ${here ?? ''} | ${ratio(gas, here)} | ${atProxy ?? ''} | ${there ?? ''} | ${ratio(atProxy, there)} | ${why ?? ''} |`);
  }
  return lines.join('\n') + '\n';
}

async function main(check) {
  const file = path.join(__dirname, 'GAS.md');
  const now = table(await measure());
  if (!check) fs.writeFileSync(file, now);
  else if (fs.readFileSync(file, 'utf8') !== now) throw new Error('GAS.md differs from what the contracts take: run npm run gas');
  console.log(`GAS.md ${rows.length} messages`);
}

module.exports = { rows, measure };

if (require.main === module) {
  main(process.argv.includes('--check')).catch((err) => {
    console.error(err.message);
    process.exit(1);
  });
}
