// Random histories of three clients, two workers and a proxy whose messages
// overtake each other: no nanoTON appears, and none is lost.
'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { Network, Outcome, op, opOf, body, signed, ton, uint, data } = require('../network');

const PRICE = 20n, FEE = 18n;

class History {
  static async begin(seed) {
    const h = new History();
    const n = h.n = await Network.open();
    h.seed = seed;
    const carol = await n.chain.treasury('carol');
    h.clients = [];
    for (const who of [n.alice, n.bob, carol]) {
      const at = who === n.alice ? n.client : await n.deploy('client', data.client(n.p, who.address, n.proxy), '0.8');
      h.clients.push({ who, at, used: 0n, deposited: 0n, returned: 0n });
    }
    const mate = await n.chain.treasury('mate');
    h.workers = [];
    for (const who of [n.workerOwner, mate]) {
      const at = who === mate ? await n.deploy('worker', data.worker(n.p, who.address, n.proxy), '0.3') : n.worker;
      h.workers.push({ who, at, earned: 0n, paid: 0n });
    }
    h.cut = 0n;
    h.kinds = new Set();
    h.refused = new Set();
    return h;
  }

  random(k) {
    this.seed = (Math.imul(this.seed, 1103515245) + 12345) >>> 0;
    return (this.seed >>> 16) % k;
  }

  // act picks one message that somebody may send at any time.
  act() {
    const { n } = this;
    const c = this.clients[this.random(3)], w = this.workers[this.random(2)];
    const value = ['0.12', '0.3', '0.7', '2'][this.random(4)];
    const kind = this.random(14);
    this.kinds.add(kind);
    switch (kind) {
      case 0: case 1: case 2: {
        const amount = ton(String(1 + this.random(20)));
        return [this.random(3) ? c.who : n.stranger, c.at, amount + ton(value), body(op.topUp, 1, amount, c.who.address)];
      }
      case 3: case 4: case 5: {
        // One request: the client's counter rises, and the same at a worker.
        const more = BigInt(this.random(120_000)) * 10_000n;
        c.used += more;
        w.earned += more;
        return [n.stranger, c.at, value, signed(op.chargeSigned, 2, n.change, c.at, c.used)];
      }
      case 6: case 7: case 8: return [n.stranger, w.at, value, signed(op.payoutSigned, 3, n.change, w.at, w.earned)];
      case 9: return [c.who, c.at, value, body(op.withdraw, 4, c.who.address)];
      case 10: return [c.who, c.at, value, body(op.requestRefund, 5, c.who.address)];
      case 11: return [n.stranger, n.proxy, value, body(op.payoutRequest, 6, n.change)];
      case 12: return [w.who, w.at, value, body(op.collect, 7, uint(1 + this.random(1_000_000), 64), w.who.address)];
      default: return [n.stranger, c.at, value, signed(op.chargeSigned, 8, n.change, c.at, c.used)];
    }
  }

  // book writes down what left and entered the pool.
  book(outcomes) {
    const { n } = this;
    for (const r of outcomes) {
      for (const tx of r.at(n.proxy)) {
        if (Outcome.exitOf(tx) === 1017) this.refused.add(opOf(tx.inMessage));
        if (Outcome.exitOf(tx) !== 0 || tx.inMessage.info.bounced) continue;
        const c = this.clients.find((x) => x.at.equals(tx.inMessage.info.src));
        if (!c) continue;
        const part = tx.inMessage.body.beginParse().skip(32 + 64 + 267);
        part.loadRef();
        const s = part.loadMaybeRef()?.beginParse();
        if (s?.loadUint(32) === op.partTopUp) c.deposited += s.loadCoins();
      }
      for (const c of this.clients) c.returned += r.paid(n.proxy, c.who.address);
      for (const w of this.workers) w.paid += r.paid(n.proxy, w.who.address);
      this.cut += r.paid(n.proxy, n.proxyOwner.address);
    }
  }

  // check holds when nothing is under way.
  async check(step) {
    const { n } = this;
    const p = await n.proxyData();
    const sum = (list, f) => list.reduce((a, x) => a + f(x), 0n);
    const deposited = sum(this.clients, (c) => c.deposited), returned = sum(this.clients, (c) => c.returned);
    const paid = sum(this.workers, (w) => w.paid);
    assert.equal(p.deposits + p.balance + this.cut + paid + returned, deposited, `${step}: what came in is there or has been paid`);
    assert.ok(await n.balance(n.proxy) >= p.deposits + p.balance + p.stake, `${step}: the pool has it`);
    for (const c of this.clients) {
      const d = await n.clientData(c.at);
      assert.equal(d.balance - d.debt, c.deposited - c.returned - d.tokens * PRICE, `${step}: a client's balance is its own money`);
    }
    for (const w of this.workers) {
      n.worker = w.at;
      const [tokens, owed] = [(await n.workerData()).tokens, await n.owed()];
      assert.equal(w.paid, (tokens - owed) * FEE, `${step}: a worker is paid for each token once`);
    }
    return p;
  }
}

for (const seed of [2, 9, 2026]) {
  test(`history ${seed}`, async () => {
    const h = await History.begin(seed);
    const { n } = h;
    for (let step = 0; step < 40; step++) {
      const messages = Array.from({ length: 1 + h.random(4) }, () => h.act());
      h.book(await n.race((k) => h.random(k), ...messages));
      if (h.random(6) === 0) n.wait(n.p.clientDelay / 4);
      await h.check(step);
    }
    assert.ok(h.kinds.size > 12 && h.workers.every((w) => w.paid > 0n) && h.clients.some((c) => c.returned > 0n), 'the history did something');
    assert.ok(h.refused.has(op.workerRequest), 'the pool was short at times');

    // The end: everybody leaves, whatever happened before.
    const bring = async (...message) => h.book(await n.race(() => 0, message));
    await bring(n.stranger, n.proxy, '1', signed(op.closeSigned, 9, n.change, n.proxy));
    for (const c of h.clients) {
      const { debt, state } = await n.clientData(c.at);
      if (state !== 2) await bring(n.stranger, c.at, debt + ton('1'), body(op.topUp, 10, debt, c.who.address));
      await bring(n.stranger, c.at, '1', signed(op.chargeSigned, 11, n.change, c.at, c.used));
    }
    for (const w of h.workers) await bring(n.stranger, w.at, '1', signed(op.lastPayoutSigned, 12, n.change, w.at, w.earned));
    for (const c of h.clients) await bring(n.stranger, c.at, '1', signed(op.grantSigned, 13, n.change, c.at, c.used));
    await h.check('settled');
    n.wait(n.p.proxyDelay);
    const { balance, deposits } = await n.proxyData();
    const r = await n.completeProxy();
    const paid = r.paid(n.proxy, n.proxyOwner.address);
    assert.ok(paid >= balance, 'the cut leaves last');
    h.cut += balance;
    assert.equal((await h.check('finished')).deposits, deposits);
    assert.equal(await n.balance(n.proxy), deposits + ton('0.01'));
  });
}
