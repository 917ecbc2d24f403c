// WebGPU beyond the tables of ops, kernels and states that all devices share: every module of the example model on Dawn's
// null backend, which checks WGSL and the limits that every implementation has; models on the software driver, where
// there is one; memory and errors of the device.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { WebGpuDevice } from '../../backends/webgpu/device.ts';
import { printProgram } from '../../backends/webgpu/print.ts';
import { groupThreads } from '../../backends/webgpu/target.ts';
import { dim } from '../../ir/dim.ts';
import { type DType, dtypeInfo, dtypes, roundTo } from '../../ir/dtype.ts';
import { evaluate } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import { index, type Kernel, type Stmt, variable } from '../../ir/loop.ts';
import { make } from '../../ir/make.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import type { Node } from '../../ir/node.ts';
import type { Program } from '../../ir/program.ts';
import { compile } from '../../runtime/compiler/compile.ts';
import { deviceOf } from '../../runtime/execution/devices.ts';
import { AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, type Tensor } from '../../runtime/index.ts';
import { openModel } from '../../runtime/models/open.ts';
import { bytesOf, storeNumbers } from '../../runtime/tensors/host-tensor.ts';
import { uniform } from '../support/cases/case.ts';
import { difference } from '../support/compare.ts';
import { runCompiled } from '../support/cpu-device.ts';
import { hasMaterial, material, readArrays, readJson, relativeError } from '../support/golden.ts';
import { chooseDriver, openNullDevice, openWebGpuDevice } from '../support/webgpu-device.ts';

const example = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));
const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const opened: WebGpuDevice | string = await openWebGpuDevice().catch(reasonOf);
const missing = typeof opened === 'string' ? ` (skipped: ${opened})` : '';
const nothing: WebGpuDevice | string = await openNullDevice().catch(reasonOf);
const noDawn = typeof nothing === 'string' ? ` (skipped: ${nothing})` : '';

const graphOf = (result: Node, params: readonly Node<'param'>[]): Graph => ({
  name: 'g',
  params,
  results: new Map([['y', result]]),
  updates: new Map(),
});
const input = (name: string, shape: readonly number[], dtype: DType = 'f32'): Node<'param'> =>
  make('param', [], { name, kind: 'input', dtype, shape: shape.map((d) => dim(d)) });
const idsOf = (ids: Tensor<'int64'>): number[] => Array.from(ids.data, Number);

describe.skipIf(noDawn !== '')(`the null backend takes every module, at default limits${noDawn}`, () => {
  const device = nothing as WebGpuDevice;

  test.each(['dynamic', 'static'] as const)('of the example model, %s cache', async (cache_implementation) => {
    const model = await openModel(example, { cache_implementation });
    const entries = Object.fromEntries(['prefill', 'decode', 'forward'].map((e) => [e, model.trace(e)]));
    const program = compile('tiny', entries, device.target, { cache: model.cache });
    expect(printProgram(program).length).toBeGreaterThan(20);
    (await device.load(program)).dispose();
  });

  test('a refused kernel is named, with what the compiler says', async () => {
    // All that a group has, and what the reduction needs
    const one = { kind: 'const', value: 1, dtype: 'f32', lanes: 1 } as const;
    const body: Stmt[] = [
      { kind: 'alloc', buffer: 't', dtype: 'f32', size: 4096, scope: 'group' },
      { kind: 'reduce', op: 'add', width: 64, values: [{ name: 'r', value: one }] },
    ];
    const store: Stmt = { kind: 'store', buffer: 't', index: variable('thread'), value: variable('r', 'f32') };
    await expect(device.load(programOf([...body, store]))).rejects.toThrow(
      /WebGPU refuses kernel k: .*(storage|16384)/s,
    );
  });
});

/** A program of one kernel without buffers. */
function programOf(body: readonly Stmt[], language = 'wgsl'): Program {
  const kernel: Kernel = { name: 'k', buffers: [], dims: [], grid: index(1), body, note: '' };
  const plan = { inputs: [], results: [], dims: [], arenaBytes: 0, steps: [{ do: 'launch', parts: [{ kernel: 0, args: [] }], origin: '' }] } as const; // biome-ignore format: one row
  const target = { language, features: [] };
  return { version: 1, name: 'p', target, entries: { main: plan }, kernels: [kernel], prepare: [], weights: [], constants: [], states: [] }; // biome-ignore format: one row
}

describe('printing', () => {
  test('what is malformed is refused, not printed', () => {
    const unknown: Stmt = { kind: 'let', name: 'x', value: variable('); evil('), mutable: false };
    expect(() => printProgram(programOf([unknown]))).toThrow(/unknown variable/);
    const wrong: Stmt = { kind: 'alloc', buffer: 't', dtype: 'f64' as DType, size: 1, scope: 'thread' };
    expect(() => printProgram(programOf([wrong]))).toThrow(/unknown type/);
  });

  test('names and notes of kernels stay within their comment', () => {
    const program = programOf([]);
    const kernels = [{ ...program.kernels[0], note: 'x\nfn evil() {}' }];
    expect(printProgram({ ...program, kernels })[0]).not.toMatch(/^fn evil/m);
  });
});

test('targets are named by one table', () => {
  expect(deviceOf(undefined, undefined)).toBe('cpu');
  expect(deviceOf(undefined, 'webgpu')).toBe('webgpu');
  expect(deviceOf('webgpu', 'webgpu')).toBe('webgpu');
  expect(() => deviceOf('abacus', undefined)).toThrow(/cpu, cuda, webgpu, reference/);
  expect(() => deviceOf('cpu', 'webgpu')).toThrow(/contradict/);
});

describe.skipIf(missing !== '')(`on the software driver${missing}`, () => {
  const device = opened as WebGpuDevice;
  const run = async (graph: Graph, params: Map<string, NdArray>, on = device) => {
    const [result] = await runCompiled(on, [{ graph, params }], printProgram);
    if (result instanceof Error) throw result;
    const want = evaluate(graph, { params, dims: {} }).results.get('y')!;
    expect(difference(result.results.get('y')!, want, 1e-5)).toBeUndefined();
  };

  test.each(dtypes)('memory of %s holds what was written', async (dtype) => {
    const { min, kind } = dtypeInfo[dtype];
    const values = kind === 'bool' ? [1, 0, 1, 1, 0] : [3, 0, 1, 0.5, min < 0 ? -7 : 7].map((v) => (kind === 'float' ? v : Math.ceil(v))); // biome-ignore format: one row
    const bytes = bytesOf(storeNumbers(dtype, values));
    const size = dtypeInfo[dtype].bytes;
    const [a, b] = [device.alloc(bytes.length, dtype), device.alloc(2 * bytes.length, dtype)];
    device.write(a, bytes);
    expect(await device.read(a, 0, bytes.length)).toEqual(bytes);
    device.write(a, bytes.subarray(0, size), 2 * size);
    expect(await device.read(a, 2 * size, size)).toEqual(bytes.subarray(0, size));
    device.copy({ buffer: a, offset: 0, step: 2 * size }, { buffer: b, offset: 0, step: 4 * size }, size, 2);
    const copied = await device.read(b, 0, b.bytes);
    expect(copied.subarray(4 * size, 5 * size)).toEqual(bytes.subarray(0, size));
    expect(copied.subarray(size, 4 * size).every((x) => x === 0)).toBe(true);
    device.copy({ buffer: b, offset: 0, step: 4 * size }, { buffer: b, offset: size, step: 4 * size }, size, 2); // within one
    expect(await device.read(b, size, size)).toEqual(bytes.subarray(0, size));
    for (const buffer of [a, b]) device.free(buffer);
  });

  test.each(dtypes)('weights of %s stay packed, and are unpacked on load', async (dtype) => {
    const { kind, min } = dtypeInfo[dtype];
    const data = Array.from({ length: 15 }, (_, i) => {
      if (kind === 'bool') return i % 3 === 0 ? 1 : 0;
      return kind === 'float' ? (i - 7) * 0.375 : min < 0 ? (i - 7) * 18 : i * 17;
    });
    const w = make('param', [], { name: 'w', kind: 'weight', dtype, shape: [dim(3), dim(5)] });
    await run(graphOf(make('cast', [w], { dtype: 'f32' }), [w]), new Map([['w', ndarray(dtype, [3, 5], data)]]));
  });

  test.each(['f32', 'f16', 'bf16'] as const)(
    'products with weights of %s and odd sizes',
    async (dtype) => {
      for (const [rows, k, columns] of [
        [1, 33, 7],
        [3, 64, 5],
        [70, 37, 41],
        [70, 32, 65],
      ] as const) {
        // biome-ignore format: one row
        const [x, w] = [input('x', [rows, k]), make('param', [], { name: 'w', kind: 'weight', dtype, shape: [dim(columns), dim(k)] })]; // biome-ignore format: one row
        const wide = make('cast', [w], { dtype: 'f32' });
        const y = make('dot_general', [x, wide], { batch: [[], []], contract: [[1], [1]], acc: 'f32' });
        const stored = ndarray(
          dtype,
          [columns, k],
          uniform([columns, k], 2).data.map((v) => roundTo(dtype, v)),
        );
        await run(graphOf(y, [x, w]), new Map([['x', uniform([rows, k], 1)], ['w', stored]])); // biome-ignore format: one row
      }
    },
    60_000,
  );

  test('weights of f16 as they are, where the adapter has that type', async (context) => {
    const half = await openWebGpuDevice(['shader-f16', 'subgroups']).catch(reasonOf);
    if (typeof half === 'string') return context.skip(half);
    for (const [k, columns] of [
      [33, 7],
      [256, 96],
    ]) {
      const x = input('x', [1, k]);
      const w = make('param', [], { name: 'w', kind: 'weight', dtype: 'f16', shape: [dim(columns), dim(k)] });
      const wide = make('cast', [w], { dtype: 'f32' });
      const y = make('dot_general', [x, wide], { batch: [[], []], contract: [[1], [1]], acc: 'f32' });
      const data = uniform([columns, k], 2).data.map((v) => roundTo('f16', v));
      const params = new Map([['x', uniform([1, k], 1)], ['w', ndarray('f16', [columns, k], data)]]); // biome-ignore format: one row
      await run(graphOf(y, [x, w]), params, half);
    }
  });

  test('a kernel never binds more than the limit: a sum of many inputs is cut into several', async () => {
    const params = Array.from({ length: 19 }, (_, i) => input(`x${i}`, [5, 7]));
    const sum = params.reduce<Node>((a, b) => make('add', [a, b], {}), params[0]);
    const values = new Map(params.map((p, i) => [p.attrs.name, uniform([5, 7], i + 1)]));
    await run(graphOf(sum, params), values);
  });

  test('more workgroups than one dimension of a dispatch has', async () => {
    const rows = 65_536;
    const x = input('x', [rows, groupThreads + 1]);
    const norm = make('reduce', [x], { op: 'max', axes: [1], acc: 'f32' });
    await run(graphOf(norm, [x]), new Map([['x', uniform([rows, groupThreads + 1], 1)]]));
  }, 120_000);

  test('errors are typed and say the way out', async () => {
    expect(() => device.alloc(2 ** 40)).toThrow(/larger than the \d+ that this graphics device allows/);
    await expect(device.load(programOf([], 'c'))).rejects.toThrow(/compiled for c, not for wgsl/);
    const buffer = device.alloc(8, 'f32');
    expect(() => device.write(buffer, new Uint8Array(12))).toThrow(/outside of a buffer of 8/);
    expect(() => device.map({ path: 'x', offset: 0, bytes: 4 }, 'f32')).toThrow(/no files here/);
    device.free(buffer);
    expect(() => device.write(buffer, new Uint8Array(4))).toThrow(/after it was freed/);
    const program = await device.load(programOf([]));
    const bindings = { weights: [], constants: [], states: [], inputs: [], results: [] };
    await program.run('main', bindings, {});
    await expect(program.run('other', bindings, {})).rejects.toThrow(/no entry 'other'/);
    program.dispose();
    await expect(program.run('main', bindings, {})).rejects.toThrow(/disposed/);
  });

  test('tiny-llama says what it says on the CPU', { timeout: 240_000 }, async () => {
    chooseDriver();
    const model = await AutoModelForCausalLM.from_pretrained(example, { device: 'webgpu' });
    const cpu = await AutoModelForCausalLM.from_pretrained(example);
    const tokenizer = await AutoTokenizer.from_pretrained(example);
    const ids = idsOf(tokenizer('Once upon a time').input_ids);
    for (const rows of [[ids], [ids, ids.toReversed()]]) {
      const settings = { input_ids: rows, max_new_tokens: 16, do_sample: false, pad_token_id: 0 } as const;
      expect(idsOf(await model.generate(settings))).toEqual(idsOf(await cpu.generate(settings)));
    }
    for (const m of [model, cpu]) m.dispose();
  });

  describe.skipIf(!hasMaterial)(hasMaterial ? 'golden files' : 'golden files (skipped: no ../shared/data)', () => {
    test('stories260K: the greedy text', { timeout: 240_000 }, async () => {
      const root = join(material, 'lm/stories260K');
      const want = readJson<{ prompt: string; ids: number[]; max_new_tokens: number; text: string }>(join(root, 'greedy100.json')); // biome-ignore format: one row
      const model = await AutoModelForCausalLM.from_pretrained(join(root, 'hf'), { target: 'webgpu' });
      const tokenizer = await AutoTokenizer.from_pretrained(join(root, 'hf'));
      const output = await model.generate({ ...tokenizer(want.prompt), max_new_tokens: want.max_new_tokens });
      expect(idsOf(output)).toEqual(want.ids);
      expect(tokenizer.batch_decode(output, { skip_special_tokens: true })).toEqual([want.text]);
      model.dispose();
    });

    test('t5_gated: greedy tokens, beside an encoder', { timeout: 240_000 }, async () => {
      const dir = join(material, 'hf-golden/t5_gated');
      const model = await AutoModelForSeq2SeqLM.from_pretrained(dir, { target: 'webgpu' });
      const golden = await readArrays(join(dir, 'golden.safetensors'));
      const column = (name: string): number[][] => {
        const { shape, data } = golden.get(name)!;
        return Array.from({ length: shape[0] }, (_, i) => [...data.slice(i * shape[1], (i + 1) * shape[1])]);
      };
      const { greedy } = readJson<{ greedy: number[][] }>(join(dir, 'golden.json'));
      const settings = { max_new_tokens: 10, eos_token_id: null, pad_token_id: 0 } as const;
      const source = { input_ids: column('input_ids'), attention_mask: column('attention_mask'), ...settings };
      expect(idsOf(await model.generate(source))).toEqual(greedy.flat());
      model.dispose();
    });

    test.each(['llama', 'gemma', 'qwen2'])('%s: logits and hidden states', { timeout: 240_000 }, async (name) => {
      const dir = join(material, 'hf-golden', name);
      const model = await AutoModelForCausalLM.from_pretrained(dir, { target: 'webgpu' });
      const golden = await readArrays(join(dir, 'golden.safetensors'));
      const ids = golden.get('input_ids')!;
      const rows = Array.from({ length: ids.shape[0] }, (_, i) => [...ids.data.slice(i * ids.shape[1], (i + 1) * ids.shape[1])]); // biome-ignore format: one row
      const got = await model({ input_ids: rows, output_hidden_states: true });
      expect(relativeError(got.logits.data, golden.get('logits')!.data)).toBeLessThan(1e-4);
      got.hidden_states!.forEach((h, i) => {
        expect(relativeError(h.data, golden.get(`hidden_${i}`)!.data)).toBeLessThan(1e-4);
      });
      model.dispose();
    });
  });
});
