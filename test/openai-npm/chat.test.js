// Drives a running network with OpenAI's npm package:
//   cocoon devnet &
//   cd test/openai-npm && npm ci && OPENAI_BASE_URL=http://127.0.0.1:10000/v1 npm test
import test from 'node:test';
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const baseURL = process.env.OPENAI_BASE_URL;
assert.ok(baseURL, 'OPENAI_BASE_URL is not set: start `cocoon devnet` and set it to the printed base URL');
const client = new OpenAI({ baseURL, apiKey: 'unused', maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const question = { model, messages: [{ role: 'user', content: 'Hello! What is Cocoon?' }], seed: 7, max_tokens: 24 };

function checkUsage(u) {
  assert.ok(u.prompt_tokens > 0 && u.completion_tokens > 0);
  assert.equal(u.total_tokens, u.prompt_tokens + u.completion_tokens);
}

test('plain and streamed answers agree', async () => {
  const plain = await client.chat.completions.create(question);
  checkUsage(plain.usage);
  let text = '', usage, chunks = 0;
  const stream = await client.chat.completions.create({ ...question, stream: true, stream_options: { include_usage: true } });
  for await (const c of stream) {
    chunks++;
    text += c.choices[0]?.delta?.content ?? '';
    usage = c.usage ?? usage;
  }
  assert.equal(text, plain.choices[0].message.content);
  assert.ok(chunks >= 3, `the stream came in ${chunks} chunks`);
  checkUsage(usage);
});

test('an unknown model is a NotFoundError', async () => {
  await assert.rejects(client.chat.completions.create({ ...question, model: 'no-such-model' }), (e) => {
    assert.equal(e.status, 404);
    assert.equal(e.code, 'model_not_found');
    return true;
  });
});

test('the model can be asked for by its id', async () => {
  assert.equal((await client.models.retrieve(model)).id, model);
});
