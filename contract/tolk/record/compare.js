// Compares what two sets of contracts did with the same rows.
'use strict';

// What is left of a message after fees differs by the gas of either code, and
// by what its cells cost to forward: this much is no difference, in nanoTON.
const fees = 20_000_000n;

// flatten names every value of a row by its path.
function flatten(value, path = '', into = new Map()) {
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value);
    if (path && entries.length === 0) into.set(path, Array.isArray(value) ? '[]' : '{}');
    for (const [key, v] of entries) flatten(v, path ? `${path}.${key}` : key, into);
  } else into.set(path, value);
  return into;
}

// differences lists the paths at which two rows differ. Gas differs when
// ours is more, and only where both succeed: who is refused pays less anyway.
function differences(theirs, ours) {
  const a = flatten(theirs), b = flatten(ours);
  const paths = [...new Set([...a.keys(), ...b.keys()])];
  return paths.filter((path) => {
    const [x, y] = [a.get(path), b.get(path)];
    if (x === y) return false;
    const at = path.slice(0, path.lastIndexOf('.'));
    if (path.endsWith('.gas') && x !== undefined && y !== undefined) {
      return y > x && a.get(`${at}.exit`) === 0 && b.get(`${at}.exit`) === 0;
    }
    if (path.endsWith('.value') && a.get(`${at}.rest`) && b.get(`${at}.rest`)) {
      const d = BigInt(x) - BigInt(y);
      return d > fees || -d > fees;
    }
    return true;
  }).map((path) => ({ path, theirs: a.get(path), ours: b.get(path) }));
}

module.exports = { flatten, differences };
