// Layouts against golden vectors of the network: initial data and everything signed.
'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { op, data, params, defaults, signed, Address } = require('../network');

const p = { ...defaults, clientDelay: 86400 };
const filled = (byte) => new Address(0, Buffer.alloc(32, byte));
const hex = (cell) => cell.hash().toString('hex');
const wallet = Address.parse('0:d0104a67f2cbf87e41a9d963154a67cf99e85559a752dac972cac7caf4fd94f5');
const proxy = Address.parse('0:57d3776e229d9a85f010b941044d7efe1bddb3a0f4dd7c33f4d1345e30948ce9');
const worker = Address.parse('0:eb5cd5ec9277bcb46a6c4677fbd8a5897041f8834b290e9ff4b0d5d15c29460e');
const client = Address.parse('0:dbc541992d2a8548b0aeb4cee201fe1231295ee3e7d7bf6504714eeb47d168d9');

test('initial data', () => {
  assert.equal(hex(params(p)), '20fb49178d95e2c866ca2d5b5a035b6862bf1237cd5b536da17a25c6b27f448c');
  assert.equal(hex(data.wallet(filled(0x44))), '872c0e2d21e95d94537ac41ff2b6e001a23fe9ab1987adaffa66cd38a18ce6c6');
  assert.equal(hex(data.worker(p, filled(0x33), proxy)), '0e25fe29b98354369a6911c53f91019210b0124510850a774190a5c1a0614498');
  assert.equal(hex(data.client(p, wallet, proxy)), '4b1cf06466badb654df316d1bedaa94b7baca05d1d0e51808f7bef97a9845cb3');
});

for (const [name, o, self, tokens, payload, envelope] of [
  ['charge', op.chargeSigned, client, 100000000n, '1bfb4d7fbb864852cd0107b9158ee4eec1b4111375851e5088010b3f9228fefb', '3be377d5f2fda7f1362cffac57995310b7b9700c35a1b4dc8fa2329f12d7e0fb'],
  ['grant refund', op.grantSigned, client, 100000000n, '5c977123ac1ee6c4ea2a3cae75de3a712c44a38cedfb790803c713afb5325285', '726596173e90bd1461831b06f39ed877d451bff6b1eb20a1fb50d0f01b999412'],
  ['payout', op.payoutSigned, worker, 100000000n, '5c32c48c19110b92c954ed6eb4105c110c73acbbfcbaa2f0120265213b97c523', '35e203eb5a90cd684fb98e68c08a1ad12999355a62c8a996dba8b9a4e4339caf'],
  ['last payout', op.lastPayoutSigned, worker, 100000000n, '84a9eb6afa52aa1a0373c5fab419437611655937897cd8deeff6153fff4a1c88', '0782e5ad20b84f1b812f159522a9a95e6cde201d5a329b2feb9b727676549ccc'],
  ['close request', op.closeSigned, proxy, undefined, '71ec0aacad19ff7c31ef9ec60678dedb93ba48be2dc15503fabcc3b829064545', 'cabe667069f1b2cdc2e8f25db3f1e503b7b6ede83ec2b0d12bc079375d370402'],
  ['close complete', op.completeSigned, proxy, undefined, '5bbf7e530980f7f51910d7381648e1ad28a55125368847b98df5220a4766469c', '5921b048eade16d0119bd3ecc25c73c4de4711c9490ab6e3824137549b6afb1c'],
]) {
  test(`signed: ${name}`, () => {
    const cell = signed(o, 77, filled(0x55), self, tokens);
    assert.equal(hex(cell.refs[0]), payload);
    assert.equal(hex(cell), envelope);
  });
}
