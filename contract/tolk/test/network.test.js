// Our contracts and the network's do the same: the rows of record/rows.js,
// played here on ours, against what was observed on the network's
// (observed.json). Exit codes, action results, messages with every bit of
// their bodies, fields of storage and getters are compared, and gas must not
// be more. Where we differ on purpose is listed below with the reason; a
// difference that is not listed fails, and so does a listed one that is none.
'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { observe } = require('../record/observe');
const { differences } = require('../record/compare');

const observed = JSON.parse(fs.readFileSync(path.join(__dirname, 'observed.json')));
const readme = fs.readFileSync(path.join(__dirname, '..', 'README.md'), 'utf8');

// What follows from another exit code: what is sent and stored instead.
const outcome = ['did.0.exit', 'did.0.action', 'did.0.out.*', 'state.*'];

// On purpose: the words of the README's table, the rows in which it shows, and what differs there.
const deliberate = [
  ['amounts ≤ 2^62', { 'root: stake 2^64 / change parameters': outcome }],
  ['`9f1e69dc`: query, price, fee, four multipliers', { 'root: parameters / multipliers': outcome }],
  ['a code upgrade raises the version', { 'root: parameters / upgrade code': ['state.root.version'] }],
  ['`c4a1ae54` offers; the new owner sends `12f05f62`', {
    'root: owner / change owner': ['state.root.owner', 'state.root.proxies', 'state.root.proxies.4294967295'],
    'root: owner / the new owner answers': outcome,
    'root: owner / the new owner acts': ['state.root.version'],
  }],
  ['deposits are accepted, and refunds and payouts made, in every state', {
    'proxy: closing / a deposit': ['did.0.out.*'], 'proxy: closed / a deposit': ['did.0.out.*'],
    'proxy: closed / a refund': ['did.0.exit', 'did.0.action', 'did.0.out.*', 'did.1.*'],
    'proxy: closed / a forced refund': ['did.0.exit', 'did.0.action', 'did.0.out.*', 'did.1.*'],
  }],
  ['a payment that would touch other people\'s money: 1017', { 'proxy: closed / a worker\'s payout': ['did.1.exit'] }],
  ['forced refunds may use the stake when deposits are short', {
    'proxy: clients / a forced refund within the stake': ['state.proxy.stake'],
    'proxy: clients / a forced refund above the stake': ['did.0.out.0.value', 'state.proxy.stake'],
    'client: leaves without the proxy, which has a stake / step II': ['state.proxy.stake'],
    'client: leaves without the proxy, which has a stake / getters': ['get.get_cocoon_proxy_data.5'],
  }],
  ['the owner may finish too', { 'proxy: lost key / finish without key': outcome }],
  ['a client\'s stake at most 2^62, else 1003', { 'client: stake 2^64 / raise stake': [...outcome, 'did.1.*'] }],
  ['last payout and grant send the contract\'s own TON to its owner', {
    'client: grant / grant, counter equal': ['did.0.out.*', 'did.1.out.1.value'],
    'client: grant with a charge / grant': ['did.0.out.*', 'did.1.out.1.value'],
    'client: grant while closing / grant': ['did.0.out.*', 'did.1.out.1.value'],
    'worker: ordinary / last payout': ['did.0.out.*', 'did.1.out.1.value'],
    'worker: last payout with nothing new / last payout, counter equal': ['did.0.out.*', 'did.1.out.1.value'],
  }],
];

// More gas than the network's, where both succeed: why, and in which transactions of which rows.
const dearer = [
  ['the version is raised once for all operations, after a table of them',
    /^root: (lists|owner) \/ (add|delete|register|unregister|the new owner acts)/, 'did.0'],
  ['the offer is a proxy entry', /^root: owner \/ change owner$/, 'did.0'],
  ['what a full upgrade brings is read and checked', /^root: full upgrade \/ full upgrade$/, 'did.0'],
  ['deposits have a cell of their own, and are checked against the balance',
    /^(proxy|client): .* \/ (text w( while closing)?|payout request.*|raise (the proxy's )?stake.*)$/, 'did.0'],
  ['the contract\'s own TON takes a message of its own', /^worker: .* \/ last payout(, counter equal)?$/, 'did.0'],
  ['a claim that bounced is restored', /^proxy: closed \/ a worker's payout$/, 'did.2'],
  ['a message that bounced is looked at', /^proxy: clients \/ an unknown part$/, 'did.1'],
  ['the commission is computed from the price of gas', /^client: ordinary \/ secret and top up$/, 'did.0'],
  ['each message\'s mode is cleaned, and none may name a sender', /^wallet: orders \/ (one|two|four|not bounceable|without body|accepted again)$/, 'did.0'],
  ['an empty message may be a bounced one', /^client: refusals \/ nothing at all$/, 'did.0'],
];

const fits = (path, pattern) => (pattern.endsWith('*') ? path.startsWith(pattern.slice(0, -1)) : path === pattern);
const ours = observe();

// all lists every difference, with its row.
const all = (async () => {
  const rows = await ours;
  return observed.rows.flatMap((theirs, i) => differences(theirs, rows[i]).map((d) => ({ row: theirs.row, ...d })));
})();
const text = (d) => `${d.row}: ${d.path} is ${d.ours}, the network's ${d.theirs}`;

test('the rows are those that were observed', async () => {
  assert.deepEqual((await ours).map((r) => r.row), observed.rows.map((r) => r.row));
  for (const [contract, hash] of Object.entries(observed.codes)) {
    assert.notEqual(hash, require('../network').code(contract).hash().toString('hex'), `${contract}: observed on our own code`);
  }
});

test('what differs is listed, and what is listed differs', async () => {
  const listed = deliberate.flatMap(([, rows]) => Object.entries(rows).flatMap(([row, paths]) => paths.map((pattern) => ({ row, pattern }))));
  const found = (await all).filter((d) => !d.path.endsWith('.gas') || !isDearer(d));
  const of = (d) => listed.filter((l) => l.row === d.row && fits(d.path, l.pattern));
  assert.deepEqual(found.filter((d) => of(d).length === 0).map(text), []);
  for (const l of listed) {
    assert.ok(found.some((d) => d.row === l.row && fits(d.path, l.pattern)), `${l.row}: ${l.pattern} does not differ, but is listed`);
  }
});

test('what is listed is in the README', () => {
  for (const [words] of deliberate) assert.ok(readme.includes(words), `the README's table does not say: ${words}`);
});

const isDearer = (d) => dearer.some(([, row, at]) => row.test(d.row) && d.path === `${at}.gas`);

test('more gas only where listed', async (t) => {
  const more = (await all).filter(isDearer);
  for (const [why, row, at] of dearer) {
    const here = more.filter((d) => row.test(d.row) && d.path === `${at}.gas`);
    assert.ok(here.length > 0, `no row takes more gas because ${why}`);
    const most = here.reduce((a, b) => (b.ours / b.theirs > a.ours / a.theirs ? b : a));
    t.diagnostic(`${why}: ${here.length} rows, at most ${most.ours} for ${most.theirs} (${most.row})`);
  }
});
