// Weights that are kept in another dtype than the checkpoint has: converted when they are bound, and saved as they are kept.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { checkpoint, writeWeights } from '../../bench/checkpoint.ts';
import { Module, Parameter, trace } from '../../frontends/dsl/index.ts';
import { op } from '../../frontends/dsl/tensor.ts';
import { readSafetensors, weightResolver } from '../../frontends/huggingface/index.ts';
import { loadModel, modelOf } from '../../runtime/models/open.ts';

const scratch = mkdtempSync(join(tmpdir(), 'modelc-dtype-'));
process.env.MODELC_BENCH_DIR = scratch;
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
writeWeights('tiny', 'f32');
writeWeights('tiny', 'bf16');

const settings = { input_ids: [[1, 5, 9, 300, 7]], max_new_tokens: 4, do_sample: false, return_dict_in_generate: true, output_logits: true } as const; // biome-ignore format: one row

test.each(['cpu', 'reference'] as const)('f32 kept in bf16 is what bf16 is, on %s', async (target) => {
  const kept = await loadModel(modelOf(checkpoint('tiny', 'f32'), { target, dtype: 'bfloat16', task: 'causal-lm' }));
  const stored = await loadModel(modelOf(checkpoint('tiny', 'bf16'), { target, task: 'causal-lm' }));
  const [got, want] = [await kept.generate(settings), await stored.generate(settings)];
  expect(got.sequences.data).toEqual(want.sequences.data);
  expect(got.logits!.map((l) => l.data)).toEqual(want.logits!.map((l) => l.data));
  await kept.save_pretrained(join(scratch, target));
  const { tensors } = await readSafetensors(join(scratch, target, 'model.safetensors'));
  expect(new Set([...tensors.values()].map((t) => t.dtype))).toEqual(new Set(['bf16']));
  kept.dispose();
  stored.dispose();
});

test('a dtype that is none is refused', () => {
  expect(() => modelOf(checkpoint('tiny', 'f32'), { dtype: 'int8' as 'bf16' })).toThrow(
    "dtype 'int8' is not supported; use one of auto, float32, fp32, bfloat16, bf16, float16, fp16",
  );
});

test('a parameter of codes is read as it is stored, and no other dtype', () => {
  class Packed extends Module {
    codes = new Parameter([4, 2], undefined, 'i32');
  }
  const span = { path: 'model.safetensors', offset: 0, bytes: 32 };
  const of = (dtype: 'i32' | 'u8') =>
    weightResolver({ dir: 'd', config: {}, generationConfig: {}, tensors: new Map([['codes', { dtype, shape: [4, 2], span }]]) }); // biome-ignore format: one row
  const model = new Packed();
  const traced = (dtype: 'i32' | 'u8') =>
    trace('g', model, of(dtype), (t) => t.result('y', op('mark', [model.codes.stored.cast('f32')], { prepare: true })));
  expect(traced('i32').graph.params[0].type.dtype).toBe('i32');
  expect(() => traced('u8')).toThrow('weight codes in model.safetensors is stored as u8; convert it to I32');
});
