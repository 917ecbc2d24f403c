// Artifacts of every kind of model: a T5 that writes and a BERT that classifies, compiled for the CPU, for WebGPU and for the
// emulated CUDA driver, are imported from their folders and say what the models say in this process; their types are those
// of their kind.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BackendName } from '../../backends/index.ts';
import { openArtifact } from '../../runtime/artifact/open.ts';
import { writeArtifact } from '../../runtime/artifact/write.ts';
import {
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoTokenizer,
  defineModel,
} from '../../runtime/index.ts';
import { example, modelc, root } from '../support/command.ts';
import { emulatedDriver } from '../support/cuda-device.ts';
import { relativeError } from '../support/golden.ts';
import { chooseDriver, openWebGpuDevice } from '../support/webgpu-device.ts';

chooseDriver();
const gpu = await openWebGpuDevice().catch((e: Error) => e.message);
const scratch = mkdtempSync(join(tmpdir(), 'modelc-kinds-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const [t5, bert] = [join(scratch, 't5'), join(scratch, 'bert')];
const text = 'Once upon a time there was a river';
const options = { max_new_tokens: 8, do_sample: false } as const;

const configs = {
  t5: {
    model_type: 't5', architectures: ['T5ForConditionalGeneration'], vocab_size: 520, d_model: 32, d_kv: 8, d_ff: 48,
    num_layers: 2, num_heads: 4, initializer_factor: 4, eos_token_id: null, pad_token_id: 0, decoder_start_token_id: 0,
  },
  bert: {
    model_type: 'bert', architectures: ['BertForSequenceClassification'], vocab_size: 520, hidden_size: 32,
    num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 48, max_position_embeddings: 64,
    initializer_range: 0.5, id2label: { 0: 'bad', 1: 'fair', 2: 'good' },
  },
}; // biome-ignore format: one table

/** What the models say in this process. */
let said: { readonly ids: number[]; readonly logits: Float32Array };
beforeAll(async () => {
  const writer = await AutoModelForSeq2SeqLM.from_config(configs.t5, { target: 'reference' });
  const judge = await AutoModelForSequenceClassification.from_config(configs.bert, { target: 'reference' });
  for (const [folder, model] of [
    [t5, writer],
    [bert, judge],
  ] as const) {
    mkdirSync(folder);
    await model.save_pretrained(folder);
    cpSync(join(example, 'tokenizer.json'), join(folder, 'tokenizer.json'));
  }
  const [forWriter, forJudge] = [await AutoTokenizer.from_pretrained(t5), await AutoTokenizer.from_pretrained(bert)];
  const ids = await writer.generate({ ...forWriter(text), ...options });
  said = { ids: Array.from(ids.data, Number), logits: (await judge({ ...forJudge(text) })).logits.data };
  expect(new Set(said.ids).size).toBeGreaterThan(2); // else anything would do
  for (const model of [writer, judge]) model.dispose();
});

const compiled = async (source: string, target: BackendName): Promise<string> => {
  const folder = join(scratch, `${source === t5 ? 't5' : 'bert'}-${target}`);
  await writeArtifact(source, folder, { target, ...(source === t5 ? { max_length: 64, max_cache_len: 64 } : {}) });
  return folder;
};

/** What an app prints that imports an artifact from a folder where there is nothing else. */
function print(folder: string, body: string, env: NodeJS.ProcessEnv = {}): unknown {
  writeFileSync(join(folder, 'app.mjs'), `import model, { load } from './index.js';\n${body}\nawait model.dispose();`);
  const clean = { PATH: '', HOME: folder, MODELC_CACHE: join(folder, 'no-cache'), ...env };
  const { stdout, stderr } = spawnSync(process.execPath, ['app.mjs'], { cwd: folder, encoding: 'utf8', env: clean });
  expect(stderr).toBe('');
  rmSync(join(folder, 'app.mjs'));
  return JSON.parse(stdout);
}

const write = `
  let streamed = '';
  for await (const piece of model.generate(${JSON.stringify(text)}, ${JSON.stringify(options)})) streamed += piece;
  const written = await model.generate(${JSON.stringify(text)}, ${JSON.stringify(options)});
  const no = await model.forward('x').catch(({ code, message }) => ({ code, message }));
  console.log(JSON.stringify({ streamed, ...written, no }));`;
const judge = `
  const [{ logits }, scores] = [await model.forward(${JSON.stringify(text)}), await model.classify(${JSON.stringify(text)})];
  const { dims } = (await model.forward({ input_ids: [[1, 2], [3, 4]] })).logits;
  const no = await model.generate('x').then(() => 0, ({ code, message }) => ({ code, message }));
  console.log(JSON.stringify({ logits: [...logits.data], scores, dims, no }));`;

interface Written {
  readonly streamed: string;
  readonly new_text: string;
  readonly ids: number[];
  readonly no: object;
}
interface Judged {
  readonly logits: number[];
  readonly dims: number[];
  readonly scores: { readonly label: string; readonly score: number }[];
  readonly no: object;
}

function checkWritten({ streamed, new_text, ids, no }: Written): void {
  expect(ids).toEqual(said.ids);
  expect(streamed).toBe(new_text);
  expect(no).toEqual({
    code: 'unsupported',
    message: 'this model was compiled to generate; call generate(), not forward()',
  });
}

function checkJudged({ logits, scores, dims, no }: Judged): void {
  expect(relativeError(logits, said.logits)).toBeLessThan(1e-5);
  expect(dims).toEqual([2, 3]);
  const exps = Array.from(said.logits, Math.exp);
  const sum = exps.reduce((a, b) => a + b);
  const want = exps.map((x, i) => ({ label: ['bad', 'fair', 'good'][i], score: expect.closeTo(x / sum, 4) }));
  expect(scores).toEqual(want.sort((a, b) => b.score.sample - a.score.sample));
  expect(no).toMatchObject({
    code: 'unsupported',
    message: expect.stringMatching(/sequence-classification.*does not generate/),
  });
}

describe('an artifact for the CPU', () => {
  test('of a T5 writes, from an empty folder and for the command line', async () => {
    const folder = await compiled(t5, 'cpu');
    checkWritten(print(folder, write) as Written);
    expect(readFileSync(join(folder, 'index.d.ts'), 'utf8')).toContain('export type ArtifactModel = Model;');
    const { stdout, stderr } = modelc(['generate', folder, '-p', text, '--max-new-tokens', '8', '--greedy', '--json']);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout).ids).toEqual(said.ids);
  });

  test('of a BERT classifies', async () => {
    const folder = await compiled(bert, 'cpu');
    checkJudged(print(folder, judge) as Judged);
    expect(readFileSync(join(folder, 'index.d.ts'), 'utf8')).toContain('export type ArtifactModel = Classifier;');
    const { status, stderr } = modelc(['generate', folder, '-p', text]);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/bert-cpu holds a model for sequence-classification, which does not generate/);
  });
});

test.skipIf(typeof gpu === 'string')(
  `artifacts for WebGPU do, too${typeof gpu === 'string' ? ` (skipped: ${gpu})` : ''}`,
  { timeout: 240_000 },
  async () => {
    const writer = await openArtifact(await compiled(t5, 'webgpu'));
    const judge = await openArtifact(await compiled(bert, 'webgpu'));
    if (writer.kind !== 'seq2seq-lm' || judge.kind !== 'encoder') throw new Error('artifacts of other kinds');
    const ids = await writer.model.generate({ ...writer.tokenizer!(text), ...options });
    expect(Array.from(ids.data, Number)).toEqual(said.ids);
    const { logits } = (await judge.model({ ...judge.tokenizer!(text) })) as { logits: { data: Float32Array } };
    expect(relativeError(logits.data, said.logits)).toBeLessThan(1e-4);
    for (const { model } of [writer, judge]) model.dispose();
  },
);

test('artifacts for CUDA do, too, on the emulated driver', { timeout: 240_000 }, async () => {
  const driver = await emulatedDriver();
  const before = process.env.NVCC;
  process.env.NVCC = join(root, 'test', 'support', 'cuda-emulation', 'nvcc');
  try {
    const folders = [await compiled(t5, 'cuda'), await compiled(bert, 'cuda')];
    checkWritten(print(folders[0], write, { MODELC_CUDA_DRIVER: driver }) as Written);
    checkJudged(print(folders[1], judge, { MODELC_CUDA_DRIVER: driver }) as Judged);
  } finally {
    if (before === undefined) delete process.env.NVCC;
    else process.env.NVCC = before;
  }
});

describe('defineModel', () => {
  test('makes a classifier of a definition that names the task', async () => {
    const model = defineModel({ checkpoint: bert, task: 'sequence-classification' });
    const [{ label }] = await model.classify(text);
    expect(label).toBe(['bad', 'fair', 'good'][said.logits.indexOf(Math.max(...said.logits))]);
    await model.dispose();
  });

  test('makes a model that writes of one with an encoder, and asks for the task of others', async () => {
    const model = defineModel({ checkpoint: t5, max_length: 64, max_cache_len: 64 });
    expect((await model.generate(text, options)).ids).toEqual(said.ids);
    await model.dispose();
    await expect(defineModel({ checkpoint: bert }).load()).rejects.toThrow(
      /does not generate; say in defineModel\(\) what/,
    );
    expect(() => defineModel({ checkpoint: bert, task: 'classify' as 'encoder' })).toThrow(
      /`task` .* must be one of causal-lm,/,
    );
  });
});
