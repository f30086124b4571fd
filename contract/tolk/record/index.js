// Runs every history in the official sandbox and writes what happened to
// contract/testdata, where the Go tests replay it in another machine:
// sandbox.json for people, sandbox.boc with the cells.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { Dictionary, beginCell } = require('@ton/core');
const { slimConfig } = require('@ton/sandbox/dist/config/slimConfig');
const { histories, run } = require('./histories');
const { Cell } = require('../network');

const testdata = path.join(__dirname, '..', '..', 'testdata');

async function record() {
  const all = [];
  for (const [name, history, change] of histories) all.push(await run(name, history, change));
  return all;
}

// files makes the two files of a recording.
const files = (all) => new Map([['sandbox.json', Buffer.from(index(all))], ['sandbox.boc', cells(all)]]);

// index has a line for each step, so that a change of the contracts shows as
// a change of the steps that it touches.
function index(all) {
  const line = ({ cells, ...facts }) => JSON.stringify(facts);
  const parts = all.map((h) => `{"name":${JSON.stringify(h.name)},"steps":[\n${h.steps.map(line).join(',\n')}\n]}`);
  return `[\n${parts.join(',\n')}\n]\n`;
}

// cells is one bag: the configuration, and a dictionary of all steps by their
// number, each with its message, transaction and account. A bag keeps equal
// cells once, which makes the code of every account free.
function cells(all) {
  const steps = Dictionary.empty(Dictionary.Keys.Uint(32), Dictionary.Values.Cell());
  for (const [i, step] of all.flatMap((h) => h.steps).entries()) {
    const b = beginCell();
    for (const c of step.cells) b.storeRef(c);
    steps.set(i, b.endCell());
  }
  return beginCell().storeRef(Cell.fromBase64(slimConfig)).storeDict(steps).endCell().toBoc({ idx: false });
}

async function main() {
  fs.mkdirSync(testdata, { recursive: true });
  for (const [name, data] of files(await record())) {
    fs.writeFileSync(path.join(testdata, name), data);
    console.log(`${name} ${data.length} bytes`);
  }
}

module.exports = { record, files, testdata };
if (require.main === module) main();
