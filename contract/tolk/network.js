// A network in a box for tests: actors, contracts in the network's initial
// layouts, and builders of every message.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { Blockchain, createShardAccount, internal, loadConfig, updateConfig } = require('@ton/sandbox');
const { Address, Cell, Dictionary, beginCell, contractAddress, toNano } = require('@ton/core');
const { keyPairFromSeed, sign } = require('@ton/crypto');

const op = {
  excesses: 0x2565934c, payout: 0xc59a7cd3, doNotProcess: 0x9a1247c0,
  addWorker: 0xe34b1c60, deleteWorker: 0x8d94a79a, addModel: 0xc146134d, deleteModel: 0x92b11c18,
  addProxy: 0x71860e80, deleteProxy: 0x3c41d0b2,
  registerProxy: 0x927c7cb5, unregisterProxy: 0x6d49eaf2, updateProxy: 0x9c7924ba,
  changePrice: 0xc52ed8d4, changeParams: 0x022fa189, changeParamsFull: 0x9f1e69dc,
  upgradeContracts: 0xa2370f61, upgradeCode: 0x11aefd51, reset: 0x563c1d96, upgradeFull: 0x4f7c5789,
  offerOwner: 0xc4a1ae54, acceptOwner: 0x12f05f62,
  changeKeyManager: 0xb01c0fe9, addKey: 0x6e5a646a, addKeySigned: 0x9e0e1821,
  workerRequest: 0x4d725d2c, payoutPart: 0x08e7d036,
  clientRequest: 0x65448ff4, partTopUp: 0x5cfc6b87, partRegister: 0xa35cb580,
  partGranted: 0xc68ebc7b, partForced: 0xf4c354c9,
  increaseStake: 0x9713f187, payoutRequest: 0x7610e6eb, ownerClose: 0xb51d5a01, ownerFinish: 0x155ee04f,
  closeSigned: 0x636a4391, completeSigned: 0xe511abc7,
  payoutSigned: 0xa040ad28, lastPayoutSigned: 0xf5f26a36, workerRegister: 0x26ed7f65, collect: 0x5496813c,
  chargeSigned: 0xbb63ff93, grantSigned: 0xefd711e1,
  topUp: 0xf172e6c2, secretTopUp: 0x8473b408, register: 0xc45f9f3b, changeSecret: 0xa9357034,
  raiseStake: 0x6a1f6a60, withdraw: 0xda068e78, requestRefund: 0xfafa6cc1,
  walletSend: 0x9c69f376,
};

const proxyKey = keyPairFromSeed(Buffer.alloc(32, 7));
const walletKey = keyPairFromSeed(Buffer.alloc(32, 9));
const strangerKey = keyPairFromSeed(Buffer.alloc(32, 8));
const managerKey = keyPairFromSeed(Buffer.from(Array.from({ length: 32 }, (_, i) => i + 1)));

const code = (name) => Cell.fromBoc(fs.readFileSync(path.join(__dirname, 'build', `${name}.boc`)))[0];
const ton = (text) => toNano(text);
const uint = (value, bits) => beginCell().storeUint(value, bits);

const defaults = {
  struct: 3, version: 5, unique: 17, test: 0, price: 20n, fee: 18n, multipliers: [10000, 1000, 80000, 80000],
  proxyDelay: 86400, clientDelay: 43200, proxyStake: ton('1'), clientStake: ton('15'),
};

function params(p, codes = []) {
  const b = uint(p.struct, 8).storeUint(p.version, 32).storeUint(p.unique, 32).storeBit(p.test)
    .storeCoins(p.price).storeCoins(p.fee);
  for (const m of p.multipliers) b.storeUint(m, 32);
  b.storeUint(p.proxyDelay, 32).storeUint(p.clientDelay, 32).storeCoins(p.proxyStake).storeCoins(p.clientStake);
  for (const c of ['proxy', 'worker', 'client']) b.storeMaybeRef(codes.includes(c) ? code(c) : null);
  return b.endCell();
}

// netAddress is a network address as the registry writes it.
const netAddress = (t, kind = 0) => uint(kind, 1).storeUint(t.length, 7).storeBuffer(Buffer.from(t));

// keyManager is the registry's cell of encryption keys: [key, kind, expire] each.
function keyManager({ keys = [], key = 0n, image = 0n, address = '' } = {}) {
  const life = { serialize: ([kind, expire], b) => b.storeUint(kind, 8).storeUint(expire, 32) };
  const all = Dictionary.empty(Dictionary.Keys.BigUint(256), life);
  for (const [k, kind, expire] of keys) all.set(k, [kind, expire]);
  return beginCell().storeDict(all).storeUint(key, 256).storeUint(image, 256).storeBuilder(netAddress(address)).endCell();
}

// newerRefs follow params from shape 4 and 5 on.
function newerRefs(p) {
  const b = beginCell();
  if (p.struct >= 4) b.storeRef(keyManager(p.keyManager));
  if (p.struct >= 5) b.storeRef(uint(0, 3).endCell());
  return b;
}

// Initial data of every contract.
const data = {
  root: (p, owner, lists, version = 2) => beginCell().storeAddress(owner).storeUint(version, 32)
    .storeRef(lists ?? uint(0, 2 + 32 + 2).endCell())
    .storeRef(params(p, ['proxy', 'worker', 'client'])).storeBuilder(newerRefs(p)).endCell(),
  proxy: (p, owner, root) => beginCell().storeAddress(owner).storeBuffer(proxyKey.publicKey).storeAddress(root)
    .storeUint(0, 2).storeCoins(0).storeCoins(0).storeUint(0, 32).storeRef(params(p, ['worker', 'client'])).endCell(),
  worker: (p, owner, proxy) => beginCell().storeAddress(owner).storeAddress(proxy).storeBuffer(proxyKey.publicKey)
    .storeUint(0, 2 + 64).storeRef(params(p)).endCell(),
  client: (p, owner, proxy) => uint(0, 2).storeCoins(0).storeCoins(p.clientStake).storeUint(0, 64 + 32).storeUint(0, 256)
    .storeRef(beginCell().storeAddress(owner).storeAddress(proxy).storeBuffer(proxyKey.publicKey).endCell())
    .storeRef(params(p)).endCell(),
  wallet: (owner) => uint(0, 64).storeBuffer(walletKey.publicKey).storeUint(0, 32).storeAddress(owner).endCell(),
};

// body builds op and query followed by fields: a number is 64 bits, a bigint
// an amount, null is no address; builders and cells go in as they are.
function body(o, query, ...fields) {
  const b = uint(o, 32).storeUint(query, 64);
  for (const f of fields) {
    if (typeof f === 'bigint') b.storeCoins(f);
    else if (f === null || f instanceof Address) b.storeAddress(f);
    else if (f instanceof Cell) b.storeRef(f);
    else b.storeBuilder(f);
  }
  return b.endCell();
}

const text = (letter) => uint(0, 32).storeUint(letter.charCodeAt(0), 8).endCell();

// signed is the envelope; fields override what is signed or shown.
function signed(o, query, excess, self, tokens, more = {}) {
  const inner = uint(more.op ?? o, 32).storeUint(more.query ?? query, 64);
  if (tokens !== undefined) inner.storeUint(tokens, 64);
  inner.storeAddress(self);
  if (more.tail) inner.storeBuilder(more.tail);
  return envelope(o, query, excess, inner.endCell(), more.key ?? proxyKey);
}

// signedKey is a new encryption key as the key manager announces it; root is
// left out, as by the network's, or names the registry.
function signedKey(key, expire, root, more = {}) {
  const o = op.addKeySigned, query = more.query ?? 1;
  const inner = uint(more.op ?? o, 32).storeUint(more.innerQuery ?? query, 64)
    .storeUint(key, 256).storeUint(more.kind ?? 1, 8).storeUint(expire, 32);
  if (root) inner.storeAddress(root);
  if (more.tail) inner.storeBuilder(more.tail);
  return envelope(o, query, more.excess ?? null, inner.endCell(), more.by ?? managerKey);
}

function envelope(o, query, excess, payload, key) {
  const signature = sign(payload.hash(), key.secretKey);
  const b = uint(o, 32).storeUint(query, 64);
  if (excess instanceof Address || excess === null) b.storeAddress(excess);
  else b.storeBuilder(excess);
  return b.storeBuffer(signature).storeRef(payload).endCell();
}

class Network {
  static async open(change = {}) {
    const n = new Network();
    n.chain = await Blockchain.create();
    n.chain.now = change.now ?? 1_800_000_000;
    n.p = { ...defaults, ...change };
    for (const who of ['rootOwner', 'proxyOwner', 'workerOwner', 'alice', 'bob', 'stranger']) {
      n[who] = await n.chain.treasury(who);
    }
    n.change = n.stranger.address;
    n.root = await n.deploy('root', data.root(n.p, n.rootOwner.address, n.p.lists), '1');
    await n.generation();
    return n;
  }

  // generation deploys the contracts of the current parameters.
  async generation() {
    this.proxy = await this.deploy('proxy', data.proxy(this.p, this.proxyOwner.address, this.root), '0.3');
    this.worker = await this.deploy('worker', data.worker(this.p, this.workerOwner.address, this.proxy), '0.3');
    this.client = await this.deploy('client', data.client(this.p, this.alice.address, this.proxy), '0.8');
  }

  // follow reads the parameters in the registry as nodes do and enters their generation.
  async follow() {
    const s = (await this.dataOf(this.root)).refs[1].beginParse();
    this.p = {
      ...this.p, struct: s.loadUint(8), version: s.loadUint(32), unique: s.loadUint(32), test: s.loadUint(1),
      price: s.loadCoins(), fee: s.loadCoins(), multipliers: [0, 0, 0, 0].map(() => s.loadUint(32)),
      proxyDelay: s.loadUint(32), clientDelay: s.loadUint(32), proxyStake: s.loadCoins(), clientStake: s.loadCoins(),
    };
    await this.generation();
  }

  // dataOf is the account's state as it is stored.
  async dataOf(to) {
    return (await this.chain.getContract(to)).account.account.storage.state.state.data;
  }

  // deploy sends the state init with no body, as the network's nodes do.
  async deploy(name, init, value) {
    const state = { code: code(name), data: init };
    const to = contractAddress(0, state);
    if (value !== undefined) {
      await this.rootOwner.send({ to, value: ton(value), bounce: false, init: state });
    }
    return to;
  }

  // place puts an account there as it is, for data that no single message could bring.
  async place(address, name, init, value) {
    await this.chain.setShardAccount(address, createShardAccount({ address, code: code(name), data: init, balance: ton(value) }));
  }

  // send delivers a message and everything that follows from it.
  async send(from, to, value, message) {
    const r = await from.send({ to, value: typeof value === 'bigint' ? value : ton(value), bounce: true, body: message });
    return new Outcome(r.transactions, to);
  }

  async get(to, method, args = []) {
    return (await this.chain.provider(to).get(method, args)).stack;
  }

  async proxyData() {
    const s = await this.get(this.proxy, 'get_cocoon_proxy_data');
    const d = { owner: s.readAddress(), key: s.readBigNumber(), root: s.readAddress(), state: s.readNumber(),
      balance: s.readBigNumber(), stake: s.readBigNumber(), unlock: s.readNumber(), price: s.readBigNumber(),
      fee: s.readBigNumber(), minProxyStake: s.readBigNumber(), minClientStake: s.readBigNumber(), version: s.readNumber() };
    d.deposits = (await this.get(this.proxy, 'get_cocoon_proxy_deposits')).readBigNumber();
    return d;
  }

  async clientData(client = this.client) {
    const s = await this.get(client, 'get_cocoon_client_data');
    const d = { owner: s.readAddress(), proxy: s.readAddress(), key: s.readBigNumber(), state: s.readNumber(),
      balance: s.readBigNumber(), stake: s.readBigNumber(), tokens: s.readBigNumber(), unlock: s.readNumber(), secret: s.readBigNumber() };
    d.debt = (await this.get(client, 'get_cocoon_client_debt')).readBigNumber();
    return d;
  }

  async workerData() {
    const s = await this.get(this.worker, 'get_cocoon_worker_data');
    return { owner: s.readAddress(), proxy: s.readAddress(), key: s.readBigNumber(), state: s.readNumber(), tokens: s.readBigNumber() };
  }

  // owed is what the proxy could not pay the worker, in tokens.
  async owed() {
    const s = (await this.dataOf(this.worker)).beginParse().skip(2 * 267 + 256 + 2 + 64);
    return s.remainingBits === 0 ? 0n : s.loadUintBig(64);
  }

  async rootData() {
    const s = await this.get(this.root, 'get_cocoon_data');
    return { version: s.readNumber(), lastProxy: s.readNumber(), params: s.readNumber(), unique: s.readNumber(), test: s.readNumber(),
      price: s.readBigNumber(), fee: s.readBigNumber(), minProxyStake: s.readBigNumber(), minClientStake: s.readBigNumber(), owner: s.readAddress() };
  }

  async balance(to) { return (await this.chain.getContract(to)).balance; }

  wait(seconds) { this.chain.now += seconds; }

  // fees makes gas and forwarding in the basechain so many times as expensive.
  fees(factor) {
    const config = loadConfig(this.chain.config);
    const [gas, forward] = [config[21], config[25]];
    const prices = gas.anon0.other ?? gas.anon0;
    prices.gas_price *= BigInt(factor);
    if (gas.anon0.flat_gas_price !== undefined) gas.anon0.flat_gas_price *= BigInt(factor);
    for (const name of ['lump_price', 'bit_price', '_cell_price']) forward.anon0[name] *= BigInt(factor);
    this.chain.setConfig(updateConfig(this.chain.config, gas, forward));
  }

  // race delivers messages that overtake each other: pick chooses of so many
  // under way whose next transaction runs. A message is [from, to, value, body].
  async race(pick, ...messages) {
    let runs = [];
    for (const [from, to, value, message] of messages) {
      const m = internal({ from: from.address, to, value: typeof value === 'bigint' ? value : ton(value), bounce: true, body: message });
      runs.push({ to, all: [], next: await this.chain.sendMessageIter(m, { allowParallel: true }) });
    }
    const started = runs;
    while (runs.length > 0) {
      const run = runs[pick(runs.length)];
      const { value, done } = await run.next.next();
      if (value) run.all.push(value);
      if (done) runs = runs.filter((r) => r !== run);
    }
    return started.map((r) => new Outcome(r.all, r.to));
  }

  topUp(amount, from = this.alice, client = this.client) {
    return this.send(from, client, amount + ton('0.7'), body(op.topUp, 1, amount, from.address));
  }

  charge(tokens, client = this.client) {
    return this.send(this.stranger, client, '0.7', signed(op.chargeSigned, 2, this.change, client, tokens));
  }

  payout(tokens, excess = this.change, value = '0.5') {
    return this.send(this.stranger, this.worker, value, signed(op.payoutSigned, 3, excess, this.worker, tokens));
  }

  closeProxy() {
    return this.send(this.stranger, this.proxy, '1', signed(op.closeSigned, 4, this.change, this.proxy));
  }

  completeProxy() {
    return this.send(this.stranger, this.proxy, '1', signed(op.completeSigned, 5, this.change, this.proxy));
  }
}

// Outcome is what one message led to.
class Outcome {
  constructor(transactions, to) {
    this.transactions = transactions;
    this.first = this.at(to)[0];
  }

  at(to) { return this.transactions.filter((t) => t.inMessage?.info.dest?.equals?.(to)); }

  static exitOf(t) {
    const d = t.description;
    if (d.computePhase.type !== 'vm') return d.computePhase.reason;
    return d.computePhase.exitCode || d.actionPhase?.resultCode || 0;
  }

  get exit() { return Outcome.exitOf(this.first); }

  get gas() { return Number(this.first.description.computePhase.gasUsed); }

  // messages sent from one account to another, in order.
  sent(from, to) {
    const all = this.transactions.flatMap((t) => [...t.outMessages.values()]);
    return all.filter((m) => m.info.type === 'internal' && m.info.src.equals(from) && (!to || m.info.dest.equals(to)));
  }

  // paid is the value of all payouts from one account to another.
  paid(from, to) {
    return this.sent(from, to).filter((m) => opOf(m) === op.payout).reduce((sum, m) => sum + m.info.value.coins, 0n);
  }
}

function opOf(m) {
  const s = m.body.beginParse();
  return s.remainingBits < 32 ? undefined : s.loadUint(32);
}

// bad addresses for the change: none, external, another workchain, a short one.
const badAddresses = {
  none: uint(0, 2),
  external: uint(0b01, 2).storeUint(8, 9).storeUint(0xab, 8),
  workchain5: beginCell().storeAddress(new Address(5, Buffer.alloc(32, 1))),
};

module.exports = {
  Network, Outcome, op, opOf, body, signed, signedKey, text, ton, uint, code, data, params, defaults, badAddresses,
  netAddress, keyManager, proxyKey, walletKey, strangerKey, managerKey, Address, Cell, Dictionary, beginCell, contractAddress, sign,
};
