// One executor for all that runs: generation and training on the interpreter and on the CPU give the same, states are
// moved, taken back, read and written in one way, and memory of one generation serves the next.
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test, vi } from 'vitest';
import type { Buffer, Device, LoadedProgram } from '../../backends/device.ts';
import { devices } from '../../runtime/execution/devices.ts';
import type { Executor, States } from '../../runtime/execution/executor.ts';
import { openExecutor } from '../../runtime/execution/open-executor.ts';
import { movesOf } from '../../runtime/execution/states.ts';
import { DynamicCache, StaticCache } from '../../runtime/index.ts';
import { executorOf, loadModel, openModel } from '../../runtime/models/open.ts';
import type { HostTensor } from '../../runtime/tensors/host-tensor.ts';
import { memoryWeights } from '../../runtime/tensors/weight-store.ts';
import { openEmulated } from '../support/cuda-device.ts';
import { relativeError } from '../support/golden.ts';
import { batchOf, itemsOf, madeWeights, smallTask, tracedTraining } from '../support/training-model.ts';

const example = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));
const targets = ['reference', 'cpu'] as const;
type Target = (typeof targets)[number];
const opened: Executor[] = [];
afterAll(() => {
  for (const executor of opened) executor.dispose();
});
const decoders = new Map<Target, Promise<Executor>>();

/** The executor of the example's decoder. */
function decoderOn(target: Target): Promise<Executor> {
  const open = async (): Promise<Executor> => {
    const executor = await executorOf(await openModel(example, { target, max_batch: 4, max_cache_len: 64 }));
    opened.push(executor);
    return executor;
  };
  const known = decoders.get(target) ?? open();
  decoders.set(target, known);
  return known;
}

/** Feeds tokens, which rows have at positions from states.length on; gives the logits that follow. */
async function feed(executor: Executor, states: States, rows: readonly (readonly number[])[]): Promise<number[]> {
  const shape = [rows.length, rows[0].length];
  const tensor = (data: HostTensor['data'], dtype: HostTensor['dtype']): HostTensor => ({ dtype, shape, data });
  const positions = rows.flatMap((row) => row.map((_, i) => states.length + i));
  const inputs = {
    input_ids: tensor(Int32Array.from(rows.flat()), 'i32'),
    padding: { dtype: 'i32', shape: [rows.length], data: new Int32Array(rows.length) } as const,
    position_ids: tensor(Int32Array.from(positions), 'i32'),
  };
  const { logits } = await executor.run(shape[1] === 1 ? 'decode' : 'prefill', inputs, states, ['logits']);
  return Array.from(logits.data as Float32Array);
}

const prompts = [
  [5, 9, 2, 7],
  [1, 30, 12, 4],
  [8, 8, 3, 20],
];

test('a generation: the interpreter and the CPU agree, through rows that move, growth, and runs that are taken back', async () => {
  const seen: number[][][] = [];
  for (const target of targets) {
    const executor = await decoderOn(target);
    expect([executor.rank, executor.ranks]).toEqual([0, 1]);
    expect(executor.limits).toEqual({ batch: 4, chunk: 64, length: 64, fixedLength: false });
    const states = executor.openStates({ batch: 3, capacity: 5 });
    const steps = [await feed(executor, states, prompts), await feed(executor, states, [[3], [4], [5]])];
    states.reorder([1, 0, 0]); // a circle, and a copy
    states.reorder([2, 1, 0]); // now rows 0, 0, 1
    states.grow(9);
    steps.push(await feed(executor, states, [[6], [6], [7]]));
    const others = executor.openStates({ batch: 3, capacity: 9 });
    for (const rows of [prompts, [[3], [4], [5]]]) await feed(executor, others, rows);
    const [first, second] = await Promise.all([0, 1].map(() => feed(executor, others, [[6], [7], [6]])));
    expect(first).not.toEqual(second); // one after the other, at the next position
    const size = first.length / 3;
    const row = (logits: readonly number[], r: number): number[] => logits.slice(r * size, (r + 1) * size);
    expect(relativeError(row(steps[2], 0), row(first, 0))).toBeLessThan(1e-6);
    expect(relativeError(row(steps[2], 2), row(first, 1))).toBeLessThan(1e-6);
    others.length = 5;
    expect(relativeError(await feed(executor, others, [[6], [7], [6]]), first)).toBeLessThan(1e-6);
    expect(others.bytes).toBe(states.bytes);
    seen.push([...steps, first, second]);
    for (const s of [states, others]) s.dispose();
  }
  const [reference, cpu] = seen;
  for (const [i, logits] of cpu.entries()) expect(relativeError(logits, reference[i]), `step ${i}`).toBeLessThan(1e-5);
});

test('a training step: the interpreter and the CPU agree in losses and in every state', async () => {
  const task = smallTask();
  const weights = memoryWeights(madeWeights(task));
  const { entries, parameters, initial } = tracedTraining({ task, entries: ['train', 'evaluate'] });
  const rows = batchOf(2, 8);
  const scalar = (value: number): HostTensor => ({ dtype: 'f32', shape: [], data: Float32Array.of(value) });
  const batch = { input_ids: rows, attention_mask: { ...rows, dtype: 'bool' as const, data: new Uint8Array(16).fill(1) }, labels: rows, num_items: scalar(itemsOf(rows)) }; // biome-ignore format: one row
  const seen: { losses: number[]; values: Map<string, number[]> }[] = [];
  expect(initial.size).toBe(0);
  for (const target of targets) {
    const executor = await openExecutor({
      target,
      name: 'training',
      entries: () => ['train', 'evaluate'],
      graphs: () => (entry) => entries[entry as 'train' | 'evaluate']!,
      key: () => ({ test: 'a training step' }),
      weights,
    });
    opened.push(executor);
    const states = executor.openStates({});
    for (const name of parameters) await states.write(name, await weights.read(name));
    const losses: number[] = [];
    for (const entry of ['train', 'train', 'evaluate']) {
      const inputs = entry === 'train' ? { ...batch, learning_rate: scalar(0.01) } : batch;
      losses.push(Number((await executor.run(entry, inputs, states)).loss.data[0]));
    }
    const values = new Map<string, number[]>();
    for (const name of states.names) values.set(name, Array.from((await states.read(name)).data, Number));
    seen.push({ losses, values });
    expect(losses[2]).toBeLessThan(losses[0]);
  }
  const [reference, cpu] = seen;
  expect(relativeError(cpu.losses, reference.losses)).toBeLessThan(1e-5);
  expect([...cpu.values.keys()].sort()).toEqual([...reference.values.keys()].sort());
  for (const [name, value] of cpu.values) {
    const expected = reference.values.get(name)!;
    if (expected.every((v) => v === 0)) expect(value, name).toEqual(expected);
    else expect(relativeError(value, expected), name).toBeLessThan(1e-4);
  }
});

describe.each(targets)('%s: refusals', (target) => {
  test('states of another executor, too many rows or positions, full caches, unknown entries and inputs', async () => {
    const executor = await decoderOn(target);
    const message = (promise: Promise<unknown>) => expect(promise).rejects;
    expect(() => executor.openStates({ batch: 5, capacity: 8 })).toThrow('load it with max_batch: 5');
    expect(() => executor.openStates({ batch: 1, capacity: 65 })).toThrow('load it with max_cache_len: 65');
    const states = executor.openStates({ batch: 1, capacity: 4 });
    expect(() => states.reorder([1])).toThrow('cannot reorder a batch of 1 rows by [1]');
    const other = await executorOf(await openModel(example, { target: 'reference', max_batch: 4, max_cache_len: 64 }));
    await message(feed(other, states, [[1, 2]])).toThrow('the states belong to another executor');
    await feed(executor, states, [prompts[0]]);
    await message(feed(executor, states, [[1]])).toThrow('the cache has room for 4 positions, 4 are taken and 1 more');
    await message(executor.run('sing', {}, states)).toThrow(/no entry 'sing'/);
    await message(executor.run('decode', {}, states)).toThrow('entry decode needs the input input_ids');
    const wrong: HostTensor = { dtype: 'f32', shape: [1, 1], data: Float32Array.of(1) };
    await message(executor.run('decode', { input_ids: wrong }, states)).toThrow('must be i32, but is f32');
    await message(states.read('nothing')).toThrow("the program has no state 'nothing'");
    await message(states.write(states.names[0], wrong)).toThrow(/the state .* is .*, but the value is f32 \[1,1\]/);
    states.length = 0;
    states.dispose();
    await message(feed(executor, states, [[1]])).toThrow('the states have been disposed');
    other.dispose();
    expect(() => other.openStates({ batch: 1, capacity: 4 })).toThrow('the model has been disposed');
  });
});

test('a second generation, of one row and of beams, allocates nothing, and is the same as on a new model', async () => {
  const device = await devices.cpu.open();
  const model = await loadModel(await openModel<'causal-lm'>(example, { max_cache_len: 64 }), device);
  const [alloc, free] = [vi.spyOn(device, 'alloc'), vi.spyOn(device, 'free')];
  const tokens = async (ids: readonly number[], options: object): Promise<unknown> =>
    (await model.generate({ input_ids: [[...ids]], max_new_tokens: 6, ...options })).tolist();
  for (const options of [{}, { num_beams: 3 }]) {
    await tokens(prompts[0], options);
    alloc.mockClear();
    free.mockClear();
    const again = await tokens(prompts[1], options);
    for (const spy of [alloc, free]) expect(spy).not.toHaveBeenCalled();
    const fresh = await loadModel(await openModel<'causal-lm'>(example, { max_cache_len: 64 }));
    expect(again).toEqual((await fresh.generate({ input_ids: [prompts[1]], max_new_tokens: 6, ...options })).tolist());
    fresh.dispose();
  }
  // Caches that were made for a size have that size; others take what there is.
  const [fixed, growing] = [new StaticCache(11), new DynamicCache()];
  for (const past_key_values of [fixed, growing]) await model.forward({ input_ids: [prompts[2]], past_key_values });
  expect(fixed.get_max_length()).toBe(11);
  fixed.dispose();
  growing.dispose();
  model.dispose();
});

test('a second generation on a GPU allocates nothing and records no launches anew', async () => {
  const { model, device } = await openEmulated(example, { max_cache_len: 64 }, ['prefill', 'decode', 'decode_sample']);
  const native = Reflect.get(device, 'native') as { graph(...args: unknown[]): object };
  const [alloc, recorded] = [vi.spyOn(device, 'alloc'), vi.spyOn(native, 'graph')];
  for (const options of [{}, { do_sample: true, seed: 1 }, { num_beams: 3, num_return_sequences: 3 }]) {
    const generated = async (): Promise<unknown> =>
      (await model.generate({ input_ids: [prompts[0]], max_new_tokens: 6, ...options })).tolist();
    const first = await generated();
    expect(recorded.mock.calls.length).toBeGreaterThan(0);
    for (const spy of [alloc, recorded]) spy.mockClear();
    expect(await generated()).toEqual(first);
    for (const spy of [alloc, recorded]) expect(spy).not.toHaveBeenCalled();
  }
  model.dispose();
}, 240_000);

test('rows of every permutation and choice move in place', () => {
  for (let code = 0; code < 4 ** 4; code++) {
    const rows = [0, 1, 2, 3].map((i) => Math.floor(code / 4 ** i) % 4);
    const { moves, needsSpare } = movesOf(rows);
    const held: (string | number)[] = [0, 1, 2, 3];
    let spare: string | number = 'nothing';
    for (const { from, to } of moves) {
      const value: string | number = from === 'spare' ? spare : held[from];
      if (to === 'spare') spare = value;
      else held[to] = value;
    }
    expect(held, `${rows}`).toEqual(rows);
    expect(moves.some(({ to }) => to === 'spare')).toBe(needsSpare);
    expect(moves.length).toBeLessThanOrEqual(rows.filter((row, i) => row !== i).length + 2);
  }
});

test('a program whose weights do not fit it leaves no memory and no code behind', async () => {
  const device = await devices.cpu.open();
  const live = new Set<unknown>();
  const counted: Device = Object.assign(Object.create(device) as Device, {
    alloc: (...args: Parameters<Device['alloc']>) => added(device.alloc(...args)),
    map: (...args: Parameters<Device['map']>) => added(device.map(...args)),
    free(buffer: Buffer) {
      live.delete(buffer);
      device.free(buffer);
    },
    async load(...args: Parameters<Device['load']>) {
      const loaded = added(await device.load(...args));
      return Object.assign(Object.create(loaded) as LoadedProgram, {
        dispose() {
          live.delete(loaded);
          loaded.dispose();
        },
      });
    },
  });
  const added = <T>(resource: T): T => {
    live.add(resource);
    return resource;
  };
  const { weights, ...model } = await openModel(example, { target: 'cpu' });
  const last = weights.tensors[weights.tensors.length - 1][0];
  const source = (name: string) => (name === last ? new Uint8Array(4) : weights.source(name));
  await expect(executorOf({ ...model, weights: { ...weights, source }, device: counted })).rejects.toThrow(
    /has 4 bytes, but .* reads \d+; they do not belong together/,
  );
  await vi.waitFor(() => expect(live.size).toBe(0));
});
