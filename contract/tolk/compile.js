// Compiles every contract and writes build/*.boc with their hashes and the
// addresses they give for fixed inputs.
// With --check it writes nothing and fails if a committed byte differs.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { runTolkCompiler, getTolkCompilerVersion } = require('@ton/tolk-js');

const contracts = ['root', 'proxy', 'client', 'worker', 'wallet'];
const build = path.join(__dirname, 'build');

async function compile(name) {
  const result = await runTolkCompiler({
    entrypointFileName: `${name}.tolk`,
    fsReadCallback: (file) => fs.readFileSync(path.join(__dirname, file), 'utf8'),
    optimizationLevel: 2,
    withStackComments: false,
  });
  if (result.status === 'error') throw new Error(`${name}: ${result.message}`);
  return { boc: Buffer.from(result.codeBoc64, 'base64'), hash: result.codeHashHex.toLowerCase() };
}

async function outputs() {
  const files = new Map();
  const hashes = { compiler: `tolk ${await getTolkCompilerVersion()}`, contracts: {} };
  for (const name of contracts) {
    const { boc, hash } = await compile(name);
    files.set(`${name}.boc`, boc);
    hashes.contracts[name] = hash;
  }
  files.set('hashes.json', Buffer.from(JSON.stringify(hashes, null, 2) + '\n'));
  return files;
}

// addresses derives one contract of each kind from fixed inputs, for other
// implementations to compare with.
function addresses() {
  const { Address, data, defaults, contractAddress, code } = require('./network');
  const filled = (byte) => new Address(0, Buffer.alloc(32, byte));
  const at = (name, init) => contractAddress(0, { code: code(name), data: init });
  const p = { ...defaults, clientDelay: 86400 };
  const wallet = at('wallet', data.wallet(filled(0x44)));
  const proxy = at('proxy', data.proxy(p, filled(0x22), filled(0x11)));
  const worker = at('worker', data.worker(p, filled(0x33), proxy));
  const client = at('client', data.client(p, wallet, proxy));
  const raw = Object.entries({ wallet, proxy, worker, client }).map(([name, a]) => [name, a.toRawString()]);
  return Buffer.from(JSON.stringify(Object.fromEntries(raw), null, 2) + '\n');
}

function put(check, name, data) {
  const file = path.join(build, name);
  if (!check) fs.writeFileSync(file, data);
  else if (!fs.readFileSync(file).equals(data)) throw new Error(`${name} differs from the sources: run npm run build`);
  console.log(`${name} ${data.length} bytes`);
}

async function main(check) {
  if (!check) fs.mkdirSync(build, { recursive: true });
  for (const [name, data] of await outputs()) put(check, name, data);
  put(check, 'addresses.json', addresses());
}

main(process.argv.includes('--check')).catch((err) => {
  console.error(err.message);
  process.exit(1);
});
