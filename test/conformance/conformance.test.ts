// The conformance runner itself: a case made with the interpreter passes on the CPU, a falsified one fails, what it cannot
// run is skipped by name, and the closing line and exit code say so.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeSafetensors } from '../../frontends/huggingface/index.ts';
import { AutoModelForCausalLM } from '../../runtime/index.ts';
import { example, type Result, root } from '../support/command.ts';

let scratch = '';
const input = [
  [5, 9, 300, 41],
  [8, 8, 17, 2],
];
const prompt = [1, 50, 60];

/** A case of the hf-golden layout whose oracle is the interpreter; `falsify` changes its logits. */
async function writeCase(name: string, falsify: (logits: Float32Array) => void = () => {}): Promise<string> {
  const folder = join(scratch, name);
  cpSync(example, folder, { recursive: true });
  const model = await AutoModelForCausalLM.from_pretrained(example, { target: 'reference' });
  const output = await model({ input_ids: input, output_hidden_states: true });
  const fixed = { do_sample: false, eos_token_id: null, pad_token_id: 0, max_new_tokens: 4 } as const;
  const greedy = Array.from((await model.generate({ input_ids: [prompt], ...fixed })).data, Number);
  falsify(output.logits.data);
  const tensor = (
    name: string,
    dtype: 'f32' | 'i64',
    shape: readonly number[],
    data: Float32Array | BigInt64Array,
  ) => ({
    name,
    dtype,
    shape,
    data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  });
  await writeSafetensors(join(folder, 'golden.safetensors'), [
    tensor('input_ids', 'i64', [2, 4], BigInt64Array.from(input.flat(), BigInt)),
    tensor('logits', 'f32', output.logits.dims, output.logits.data),
    ...(output.hidden_states ?? []).map((h, i) => tensor(`hidden_${i}`, 'f32', h.dims, h.data)),
  ]);
  writeFileSync(join(folder, 'golden.json'), JSON.stringify({ kind: 'causal-lm', prompt, greedy }));
  return folder;
}

const conformance = (...args: string[]): Result =>
  spawnSync(process.execPath, [join(root, 'dist', 'conformance.js'), ...args], { encoding: 'utf8' });

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'modelc-conformance-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

test('passes, failures and skips are told apart', async () => {
  await writeCase('right');
  await writeCase('wrong', (logits) => {
    logits[7] += 0.01 * Math.max(...logits);
  });
  const tokens = await writeCase('tokens');
  const golden = JSON.parse(readFileSync(join(tokens, 'golden.json'), 'utf8'));
  golden.greedy[4]++;
  writeFileSync(join(tokens, 'golden.json'), JSON.stringify(golden));
  mkdirSync(join(scratch, 'audio'));
  writeFileSync(join(scratch, 'audio', 'golden.json'), '{"kind": "audio"}');
  writeFileSync(join(scratch, 'audio', 'config.json'), '{"model_type": "wav2vec2"}');
  const { status, stdout } = conformance(scratch);
  expect(stdout).toMatch(/^pass {2}right +5 checks, worst error \S+e-\d+/m);
  expect(stdout).toMatch(/^FAIL {2}wrong .*logits is off by 1\.0e-2/m);
  expect(stdout).toMatch(/^FAIL {2}tokens .*greedy differs at 4/m);
  expect(stdout).toMatch(/^skip {2}audio +kind audio/m);
  expect(stdout.trimEnd().split('\n').at(-1)).toBe('1 passed, 2 failed, 1 skipped');
  expect(status).toBe(1);
  expect(conformance(join(scratch, 'right')).status).toBe(0);
});

test('a recorded training is repeated, and every result is printed beside what was wanted', async () => {
  const data = join(scratch, 'trained');
  const text = join(data, 'text/tinyshakespeare');
  mkdirSync(text, { recursive: true });
  writeFileSync(join(text, 'input.txt'), 'abcd'.repeat(100));
  const config = {
    model_type: 'gpt2',
    vocab_size: 4,
    n_positions: 8,
    n_embd: 8,
    n_layer: 1,
    n_head: 1,
    resid_pdrop: 0,
    embd_pdrop: 0,
    attn_pdrop: 0,
    initializer_range: 1e-8,
  };
  // weights of nearly 0 say nothing about the next of four characters
  const blank = Math.log(4);
  const writeRun = async (name: string, loss: number): Promise<void> => {
    const folder = join(data, 'hf-trained', name);
    mkdirSync(join(folder, 'init'), { recursive: true });
    const model = await AutoModelForCausalLM.from_config(config, { target: 'reference' });
    await model.trainable!.write(join(folder, 'init'));
    writeFileSync(join(folder, 'vocab.json'), '{"a": 0, "b": 1, "c": 2, "d": 3}');
    writeFileSync(
      join(folder, 'golden.json'),
      JSON.stringify({ train_loss: [loss], val_loss: { 0: blank, 1: blank } }),
    );
    const offsets = Int32Array.from({ length: 12 }, (_, i) => i);
    const bytes = new Uint8Array(offsets.buffer);
    const path = join(folder, 'batch_offsets.safetensors');
    await writeSafetensors(path, [{ name: 'data', dtype: 'i32', shape: [1, 12], data: bytes }]);
  };
  await writeRun('right', blank);
  await writeRun('wrong', blank + 0.1);
  const { status, stdout } = conformance(join(data, 'hf-trained'));
  expect(stdout).toMatch(/^pass {2}right +3 checks, worst error \S+ \(loss of step 1\)/m);
  expect(stdout).toMatch(/^FAIL {2}wrong .*loss of step 1 is off by 1\.0e-1/m);
  expect(stdout).toMatch(/^ +validation loss after 0 steps: want 1\.3863, got 1\.3863, margin 0\.01$/m);
  expect(status).toBe(1);
});

test('a classifier is trained on sentences and their classes', () => {
  const folder = join(scratch, 'sentences');
  mkdirSync(folder);
  const lines = Array.from({ length: 1920 }, (_, i) => (i % 2 ? '1 a good film' : '0 a bad film'));
  writeFileSync(join(folder, 'stsa.binary.train'), `${lines.join('\n')}\n`);
  writeFileSync(join(folder, 'stsa.binary.dev'), `${lines.slice(0, 20).join('\n')}\n`);
  const { status, stdout } = conformance(folder);
  expect(stdout).toMatch(/^pass {2}sentences +1 checks; not run: epochs 2 to 3 \(--full\)$/m);
  expect(stdout).toMatch(/^ +accuracy on the development set after one epoch: want 0\.6500, got 1\.0000, margin 0$/m);
  expect(status).toBe(0);
  writeFileSync(join(folder, 'stsa.binary.train'), '1 good\n2 neither\n');
  expect(conformance(folder).stdout).toMatch(
    /^FAIL .*stsa\.binary\.train, line 2 is not a class, 0 or 1, and a sentence/m,
  );
});

test('a folder without cases is an error', () => {
  mkdirSync(join(scratch, 'empty'));
  const { status, stderr } = conformance(join(scratch, 'empty'));
  expect(stderr).toMatch(/^modelc: there is no case below [^\n]+\n$/);
  expect(status).toBe(1);
});
