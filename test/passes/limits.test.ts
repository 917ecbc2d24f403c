// Models on targets that bind small arrays: weights are split, embeddings that are tied share their parts, prompts are
// read in chunks that fit; what cannot be made to fit is refused when it is compiled, with the option that makes it smaller.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { Device } from '../../backends/device.ts';
import { layoutProgram } from '../../backends/webgpu/layout.ts';
import { createNodeWebGpuDevice } from '../../backends/webgpu/node.ts';
import { webgpuTarget } from '../../backends/webgpu/target.ts';
import { checkpoint, writeWeights } from '../../bench/checkpoint.ts';
import { SGD, traceTraining } from '../../frontends/dsl/index.ts';
import { describeModel } from '../../frontends/huggingface/index.ts';
import { parseGraph } from '../../frontends/text/index.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import { evalShape, type Program } from '../../ir/program.ts';
import { compile } from '../../runtime/compiler/compile.ts';
import { ProgramExecutor } from '../../runtime/execution/program-executor.ts';
import { GenerationConfig } from '../../runtime/generation/configuration.ts';
import { createModel } from '../../runtime/generation/model.ts';
import type { PreTrainedModel } from '../../runtime/index.ts';
import type { LoadOptions } from '../../runtime/models/load-options.ts';
import { fitted, loadModel, modelOf } from '../../runtime/models/open.ts';
import { weightSource } from '../../runtime/tensors/prepare-weight.ts';
import { emulatedDevice } from '../support/cuda-device.ts';
import { relativeError } from '../support/golden.ts';
import { chooseDriver } from '../support/webgpu-device.ts';

chooseDriver();
const scratch = mkdtempSync(join(tmpdir(), 'modelc-limits-'));
process.env.MODELC_BENCH_DIR = scratch;
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Tied embeddings of 512 x 64; the other matrices have 32 to 128 rows. */
const stored = checkpoint('tiny', 'bf16');
writeWeights('tiny', 'bf16');
const embeddings = 'model.embed_tokens.weight';

async function compiled(bindingBytes: number, target = webgpuTarget(), options: LoadOptions = {}) {
  const limited = { ...target, bindingBytes };
  const opened = fitted(modelOf<'causal-lm'>(stored, options), 'prefill', limited);
  const entries = Object.fromEntries(['prefill', 'decode'].map((e) => [e, opened.trace(e)]));
  return { opened, program: compile('tiny', entries, limited, { cache: opened.cache }) };
}

async function modelOn(device: Device, bindingBytes: number): Promise<PreTrainedModel> {
  const { opened, program } = await compiled(bindingBytes, device.target, { max_batch: 1 });
  const { checkpoint: files, info } = opened;
  const executor = await ProgramExecutor.open({
    program,
    device,
    weight: (w, of) => weightSource(opened.weights, w, of),
  });
  return createModel(executor, info, files.config, GenerationConfig.from_model_config(files.config));
}

const bytesOf = (t: Program['weights'][number]): number =>
  evalShape(t.shape, {}).reduce((n, d) => n * d, dtypeInfo[t.dtype].bytes);

/** The stored weights that a weight of a program is, or is made of. */
const reads = ({ prepare }: Program, { name, prepare: at }: Program['weights'][number]): string[] =>
  at === undefined ? [name] : parseGraph(prepare[at]).params.map((p) => p.attrs.name);

test.each([
  [65_536, 1],
  [32_768, 2],
  [20_000, 4],
  [6_000, 12],
])('bindings of %i bytes: the embeddings are in %i parts', async (bindingBytes, count) => {
  const { program, opened } = await compiled(bindingBytes, webgpuTarget(), { max_batch: 1 });
  const parts = program.weights.filter((w) => reads(program, w).includes(embeddings));
  expect(parts.length).toBe(count); // nobody reads the whole beside its parts
  for (const w of program.weights) expect(bytesOf(w), w.name).toBeLessThanOrEqual(bindingBytes);
  for (const m of layoutProgram(program).modules) expect(m.writes.length, m.kernel.name).toBeLessThanOrEqual(8);
  for (const plan of Object.values(program.entries)) expect(plan.arenaBytes).toBeLessThanOrEqual(bindingBytes);
  const spans = (await Promise.all(parts.map((w) => weightSource(opened.weights, w, program)))).flatMap((span) =>
    span instanceof Uint8Array ? [] : [span],
  );
  spans.sort((a, b) => a.offset - b.offset);
  const whole = opened.checkpoint.tensors.get(embeddings)!.span;
  let { offset } = whole; // consecutive pieces of the file, none of them copied
  for (const [i, span] of spans.entries()) {
    const rows = Math.min(Math.ceil(512 / count), 512 - i * Math.ceil(512 / count));
    expect(span).toEqual({ path: whole.path, offset, bytes: (rows * whole.bytes) / 512 });
    offset += span.bytes;
  }
  expect(offset).toBe(whole.offset + whole.bytes);
});

describe.each([
  ['webgpu', createNodeWebGpuDevice],
  ['cuda (emulated)', () => emulatedDevice([])],
] as const)('a model of parts on %s', (name, open) => {
  test('gives the tokens and logits of the whole one', { timeout: 240_000 }, async (context) => {
    const device = await open().catch((error: Error) => error);
    if (device instanceof Error) return context.skip(`${name} is not here: ${device.message}`);
    const cpu = await loadModel(modelOf<'causal-lm'>(stored));
    const prompt = Array.from({ length: 21 }, (_, i) => 1 + ((i * 197) % 511));
    const model = await modelOn(device, 12_000);
    const settings = { input_ids: [prompt], max_new_tokens: 5, do_sample: false, return_dict_in_generate: true, output_logits: true } as const; // biome-ignore format: one row
    const [got, want] = [await model.generate(settings), await cpu.generate(settings)];
    expect(got.sequences.data).toEqual(want.sequences.data);
    got.logits!.forEach((l, i) => expect(relativeError(l.data, want.logits![i].data)).toBeLessThan(1e-5));
    model.dispose();
    cpu.dispose();
  });
});

test('what does not fit is refused, with what to lower', async () => {
  const refused = (bindingBytes: number, options: LoadOptions) =>
    expect(compiled(bindingBytes, webgpuTarget(), options)).rejects;
  await refused(65_536, { chunk: 512 }).toMatchObject({
    code: 'unsupported',
    message: expect.stringMatching(/^the intermediate results of prefill take \d+ bytes.*at most 65536; lower chunk or max_batch$/), // biome-ignore format: one row
  });
  await refused(65_536, { cache_implementation: 'static', max_cache_len: 2048 }).toThrow(
    /^the cache cache\.\S+ takes 262144 bytes.*; lower max_cache_len$/,
  );
  await refused(100, {}).toThrow(/^weight \S+ has rows of 128 bytes, and the target binds arrays of at most 100/);
});

test('a parameter that is trained and larger than a binding is named', () => {
  const config = { model_type: 'gpt2', n_embd: 768, n_layer: 1, n_head: 12, n_positions: 32, vocab_size: 50257 };
  const task = describeModel(config, 'config', 'causal-lm').task;
  const { entries } = traceTraining(task, ['train'], { optimizer: SGD(), dims: { batch: 1, seq: 8 } }, () => 'f32');
  const target = { ...webgpuTarget(), bindingBytes: 2 ** 27 };
  expect(() => compile('training', { train: entries.train! }, target)).toThrow(
    'the state transformer.wte.weight takes 154389504 bytes, and this target binds arrays of at most 134217728; lower the size of the model, or train on the target cpu',
  );
});
