// A network whose every transaction is kept, as it went in and as it came out.
//
// People here are addresses without code, so that the recording holds no
// contract but ours; what they send appears out of nothing.
'use strict';
const { createHash } = require('node:crypto');
const { Blockchain, LocalBlockchainStorage } = require('@ton/sandbox');
const { external, storeMessage } = require('@ton/core');
const { Network, data, code, defaults, ton, uint, Address, Cell, beginCell, contractAddress } = require('../network');

const start = 1_800_000_000;
const people = ['rootOwner', 'proxyOwner', 'workerOwner', 'alice', 'bob', 'stranger'];

const addressOf = (name) => new Address(0, createHash('sha256').update(`person ${name}`).digest());

// Sender is a person, or a contract when only what it sends matters.
class Sender {
  constructor(box, address) {
    this.box = box;
    this.address = address;
  }

  send({ to, value, bounce, bounced, init, body }) {
    return this.box.deliver({
      info: {
        type: 'internal', ihrDisabled: true, bounce: bounce ?? true, bounced: bounced ?? false, src: this.address, dest: to,
        value: { coins: value }, ihrFee: 0n, forwardFee: 0n, createdLt: 0n, createdAt: 0,
      },
      init, body: body ?? Cell.EMPTY,
    });
  }
}

// Accounts begins with nothing at every address, as a chain does; the
// sandbox's own storage begins with accounts that exist and are empty.
class Accounts extends LocalBlockchainStorage {
  async getContract(blockchain, address) {
    const fresh = !this.contracts.has(address.toString());
    const contract = await super.getContract(blockchain, address);
    if (fresh) contract.account = { account: null, lastTransactionHash: 0n, lastTransactionLt: 0n };
    return contract;
  }
}

class Box extends Network {
  // open makes a network under the small configuration, which is the one
  // that the embedded chain has, and deploys the four contracts.
  static async open(change = {}) {
    const n = new this();
    n.chain = await Blockchain.create({ config: 'slim', storage: new Accounts() });
    n.chain.now = start;
    n.p = { ...defaults, ...change };
    n.steps = [];
    n.label = '';
    n.names = new Map();
    for (const name of people) n[name] = new Sender(n, addressOf(name));
    n.change = n.stranger.address;
    n.step('deploy');
    n.root = await n.deploy('root', data.root(n.p, n.rootOwner.address, n.p.lists), '1');
    await n.generation();
    return n;
  }

  // step names what follows.
  step(label) { this.label = label; }

  // role is what an address is called in the recording.
  role(address) {
    return this.names.get(address.toRawString()) ?? people.find((name) => this[name].address.equals(address)) ?? 'nobody';
  }

  isPerson(t) { return !this.names.has(t.inMessage.info.dest.toRawString()); }

  // at computes where a contract will be and gives it its name.
  at(name, state) {
    const address = contractAddress(0, state);
    this.names.set(address.toRawString(), name);
    return address;
  }

  deploy(name, init, value) {
    this.at(name, { code: code(name), data: init });
    return super.deploy(name, init, value);
  }

  // deliver executes a message and everything that follows from it.
  async deliver(message) {
    const transactions = [];
    const next = await this.chain.sendMessageIter(message);
    for (let t = await next.next(); !t.done; t = await next.next()) {
      transactions.push(t.value);
      await this.keep(t.value);
    }
    return { transactions };
  }

  async keep(t) {
    if (this.isPerson(t)) return;
    const at = t.inMessage.info.dest;
    // The account as the machine wrote it: parsing and storing it again could lose a field.
    const account = Cell.fromBase64((await this.chain.getContract(at))._account);
    this.steps.push({
      name: this.label, at: this.role(at), now: this.chain.now, lt: Number(this.chain.lt), ...outcome(t),
      cells: [beginCell().store(storeMessage(t.inMessage)).endCell(), t.raw, account],
    });
  }

  // order delivers a message from outside; one that is not accepted leaves no
  // transaction, and its exit code is all there is. Without code to refuse it
  // there is not even that.
  async order(to, cell, init) {
    const message = external({ to, body: cell, init });
    try {
      return await this.deliver(message);
    } catch (err) {
      if (err.constructor.name !== 'EmulationError') throw err;
      this.steps.push({
        name: this.label, at: this.role(to), now: this.chain.now, lt: Number(this.chain.lt), refused: true, exit: err.exitCode,
        cells: [beginCell().store(storeMessage(message)).endCell()],
      });
      return { transactions: [], refused: err.exitCode ?? 'before execution' };
    }
  }
}

// outcome is what a person reading the recording wants to see; the cells hold the rest.
function outcome(t) {
  const { computePhase: c, actionPhase: a } = t.description;
  const o = c.type === 'vm' ? { exit: c.exitCode, gas: Number(c.gasUsed) } : { skipped: c.reason };
  if (a) o.action = a.resultCode;
  if (t.description.aborted) o.aborted = true;
  if (t.outMessagesCount) o.out = t.outMessagesCount;
  return o;
}

module.exports = { Box, Sender, start };
