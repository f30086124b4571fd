// What can be seen of a transaction from outside: exit codes, gas, messages,
// and the fields that the network's layouts have. None of it depends on the
// code itself, nor on the addresses that follow from it.
'use strict';
const { Box, start } = require('./box');
const { Dictionary, opOf, ton, code } = require('../network');
const { flatten } = require('./compare');
const { parts } = require('./rows');

const hash = (c) => c.hash().toString('hex');
const codeName = (c) => c && (['root', 'proxy', 'worker', 'client', 'wallet'].find((name) => code(name).equals(c)) ?? 'other');

function params(cell) {
  const s = cell.beginParse();
  const p = { struct: s.loadUint(8), version: s.loadUint(32), unique: s.loadUint(32), test: s.loadUint(1), price: s.loadCoins(), fee: s.loadCoins() };
  p.multipliers = [0, 0, 0, 0].map(() => s.loadUint(32));
  Object.assign(p, { proxyDelay: s.loadUint(32), clientDelay: s.loadUint(32), proxyStake: s.loadCoins(), clientStake: s.loadCoins() });
  p.codes = [0, 0, 0].map(() => codeName(s.loadMaybeRef()));
  s.endParse();
  return p;
}

// unlock is counted from the beginning, 0 is none.
const unlock = (at) => at && at - start;

// Readers of each contract's data; they end where the network's fields end.
const fields = {
  root(s, n) {
    const set = (v) => [...v.loadDict(Dictionary.Keys.BigUint(256), { parse: (e) => e.endParse() }).keys()];
    const entry = { parse: (v) => { const kind = v.loadUint(1); return kind ? `kind ${kind}` : v.loadBuffer(v.loadUint(7)).toString(); } };
    const r = { owner: n.role(s.loadAddress()), version: s.loadUint(32) };
    const v = s.loadRef().beginParse();
    r.proxyHashes = set(v);
    r.proxies = Object.fromEntries(v.loadDict(Dictionary.Keys.Uint(32), entry));
    r.lastProxy = v.loadUint(32);
    r.workerHashes = set(v);
    r.modelHashes = set(v);
    v.endParse();
    r.params = params(s.loadRef());
    return r;
  },
  proxy(s, n) {
    return { owner: n.role(s.loadAddress()), key: s.loadBuffer(32).toString('hex'), root: n.role(s.loadAddress()), state: s.loadUint(2),
      balance: s.loadCoins(), stake: s.loadCoins(), unlock: unlock(s.loadUint(32)), params: params(s.loadRef()) };
  },
  worker(s, n) {
    return { owner: n.role(s.loadAddress()), proxy: n.role(s.loadAddress()), key: s.loadBuffer(32).toString('hex'), state: s.loadUint(2),
      tokens: s.loadUintBig(64), params: hash(s.loadRef()) };
  },
  client(s, n) {
    const c = { state: s.loadUint(2), balance: s.loadCoins(), stake: s.loadCoins(), tokens: s.loadUintBig(64), unlock: unlock(s.loadUint(32)),
      secret: s.loadUintBig(256) };
    const who = s.loadRef().beginParse();
    Object.assign(c, { owner: n.role(who.loadAddress()), proxy: n.role(who.loadAddress()), key: who.loadBuffer(32).toString('hex') });
    c.params = hash(s.loadRef());
    return c;
  },
  wallet(s, n) {
    return { seqno: s.loadUint(32), subwallet: s.loadUint(32), key: s.loadBuffer(32).toString('hex'), status: s.loadUint(32),
      owner: n.role(s.loadAddress()) };
  },
};

const getters = {
  root: ['get_cocoon_data', 'get_cur_params', 'last_proxy_seqno'], proxy: ['get_cocoon_proxy_data'], worker: ['get_cocoon_worker_data'],
  client: ['get_cocoon_client_data'], wallet: ['seqno', 'get_public_key', 'get_owner_address'],
};

class Observer extends Box {
  async getters() {
    const seen = {};
    for (const [who, names] of Object.entries(getters)) {
      if (!this[who]) continue;
      for (const name of names) {
        const { items } = await this.get(this[who], name);
        seen[name] = items.map((item) => this.item(item));
      }
    }
    return { seen };
  }

  item(item) {
    if (item.type === 'slice') return this.role(item.cell.beginParse().loadAddress());
    const known = ['proxy', 'worker', 'client'].find((name) => item.value === BigInt(`0x${hash(code(name))}`));
    return known ? `code of ${known}` : item.value;
  }

  // state is what every contract holds.
  async state() {
    const all = {};
    for (const who of Object.keys(fields)) {
      const a = this[who] && (await this.chain.getContract(this[who])).accountState;
      if (a?.type === 'active') all[who] = fields[who](a.state.data.beginParse(), this);
    }
    return all;
  }
}

// messages that a contract sent. The value of one that carries the rest is
// what fees left of it; a bounced one is told by its first bits.
function messages(t, n) {
  const modes = (t.outActions ?? []).filter((a) => a.type === 'sendMsg').map((a) => a.mode);
  return [...t.outMessages.values()].map((m, i) => {
    const o = { to: n.role(m.info.dest), value: m.info.value.coins };
    if (m.info.bounced) return { ...o, bounced: true, rest: true };
    if (modes[i] & (64 | 128)) o.rest = true;
    return { ...o, bounce: m.info.bounce, op: opOf(m)?.toString(16), body: m.body.toBoc({ idx: false }).toString('hex') };
  });
}

function transaction(t, n) {
  const { computePhase: c, actionPhase: a } = t.description;
  const o = { at: n.role(t.inMessage.info.dest) };
  if (c.type === 'vm') Object.assign(o, { exit: c.exitCode, gas: Number(c.gasUsed), action: a?.resultCode ?? 'none' });
  else o.skipped = c.reason;
  const out = messages(t, n);
  if (out.length) o.out = out;
  return o;
}

// changes lists what became of every value that is not what it was.
function changes(before, after) {
  const [was, is] = [flatten(before), flatten(after)];
  const paths = [...new Set([...was.keys(), ...is.keys()])].filter((path) => was.get(path) !== is.get(path));
  if (paths.length) return Object.fromEntries(paths.map((path) => [path, is.has(path) ? is.get(path) : 'gone']));
}

async function play(name, rows) {
  const n = await Observer.open();
  let before = plain(await n.state());
  const seen = [{ row: `${name} / deployed`, state: changes({}, before) }];
  for (const [label, ...what] of rows) {
    const r = what.length === 1 ? await what[0](n) : await deliver(n, ...what);
    const after = plain(await n.state());
    seen.push(plain({
      row: `${name} / ${label}`, get: r?.seen, refused: r?.refused,
      did: r?.transactions?.filter((t) => !n.isPerson(t)).map((t) => transaction(t, n)), state: changes(before, after),
    }));
    before = after;
  }
  return seen;
}

const deliver = (n, from, to, value, message) =>
  n[from].send({ to: n[to], value: typeof value === 'bigint' ? value : ton(value), bounce: true, body: message(n) });

// plain is what JSON can hold; amounts and counters become text.
const plain = (v) => JSON.parse(JSON.stringify(v, (_, x) => (typeof x === 'bigint' ? x.toString() : x)));

async function observe() {
  const all = [];
  for (const [name, rows] of Object.entries(parts)) all.push(...await play(name, rows));
  return all;
}

module.exports = { observe };
