// What must hold of a training step whatever the model: windows of micro-batches, clipping, states that can be saved and
// written back, memory, recomputation, narrow types, dropout, and batches that are wrong.
import { expect, test } from 'vitest';
import { hostTarget } from '../../backends/cpu/target.ts';
import { dropout, full, type SequenceTask, SGD, tensorOf, trace, withDropout } from '../../frontends/dsl/index.ts';
import { describeModel } from '../../frontends/huggingface/index.ts';
import { evaluate } from '../../ir/eval.ts';
import { ndarray } from '../../ir/ndarray.ts';
import type { Checkpointing } from '../../passes/remat.ts';
import { compile, compileRegions } from '../../runtime/compiler/compile.ts';
import { stateBytes } from '../../runtime/execution/planned-memory.ts';
import { fromNdArray, type HostTensor } from '../../runtime/tensors/host-tensor.ts';
import type { TrainingSession } from '../../runtime/trainer/training-session.ts';
import { relativeError } from '../support/golden.ts';
import { batchOf, itemsOf, openTraining, smallTask, tracedTraining, vocab } from '../support/training-model.ts';

const numbers = ({ data }: HostTensor): number[] => Array.from(data as ArrayLike<number>);
const number = (t: HostTensor): number => Number(t.data[0]);
const columns = (rows: HostTensor) => ({ input_ids: rows, labels: rows });

/** A batch none of whose labels count. */
const uncounted = (rows: HostTensor) => ({
  input_ids: rows,
  labels: { ...rows, data: Int32Array.from(rows.data as Int32Array).fill(-100) },
});

/** A step on one batch that is the whole window. */
const step = (session: TrainingSession, rows: HostTensor, learning_rate = 0.01) =>
  session.run('train', columns(rows), { learning_rate, num_items: itemsOf(rows) });

/** The values of all parameters in a row. */
async function parametersOf(session: TrainingSession): Promise<number[]> {
  const read = await Promise.all(session.training.parameters.map((name) => session.read(name)));
  return read.flatMap(numbers);
}

test('micro-batches give what one large batch gives, in every window', async () => {
  const sgd = { optimizer: SGD(), maxGradNorm: 1 };
  const whole = await openTraining(sgd);
  const parts = await openTraining({ ...sgd, entries: ['accumulate', 'train_accumulated'] });
  for (const seed of [1, 2]) {
    const all = batchOf(3, 16, seed);
    const rows = [0, 1, 2].map(
      (i): HostTensor => ({ ...all, shape: [1, 16], data: all.data.slice(16 * i, 16 * i + 16) }),
    );
    const large = await step(whole, all, 0.5);
    let loss = 0;
    for (const [i, row] of rows.entries()) {
      const entry = i < 2 ? 'accumulate' : 'train_accumulated';
      const given = await parts.run(entry, columns(row), { learning_rate: 0.5, num_items: itemsOf(all) });
      loss += number(given.loss);
      if (i === 2) expect(number(given.grad_norm)).toBeCloseTo(number(large.grad_norm), 5);
    }
    expect(loss).toBeCloseTo(number(large.loss), 5);
    expect(relativeError(await parametersOf(parts), await parametersOf(whole))).toBeLessThan(1e-6);
  }
});

test('gradients are clipped to their global norm, which is told as it was', async () => {
  const rows = batchOf(2, 16);
  const changes = await Promise.all(
    [0, 0.5, 1000].map(async (maxGradNorm) => {
      const session = await openTraining({ optimizer: SGD(), maxGradNorm });
      const before = await parametersOf(session);
      const { grad_norm } = await step(session, rows, 1);
      const after = await parametersOf(session);
      return { norm: number(grad_norm), change: Math.hypot(...after.map((v, i) => v - before[i])) };
    }),
  );
  const [free, clipped, wide] = changes;
  expect(free.norm).toBeGreaterThan(0.5);
  expect(clipped.norm).toBeCloseTo(free.norm, 5);
  expect(free.change / free.norm).toBeCloseTo(1, 4);
  expect(clipped.change).toBeCloseTo(0.5, 4);
  expect(wide.change).toBeCloseTo(free.change, 5);
});

test('a session that gets the states of another goes on as that one does, bit for bit', async () => {
  const [first, second] = [await openTraining(), await openTraining()];
  await step(first, batchOf(2, 16));
  for (const state of first.states) await second.write(state, await first.read(state));
  const results = await Promise.all([first, second].map((s) => step(s, batchOf(2, 12, 3))));
  expect(results[0]).toEqual(results[1]);
  expect(await parametersOf(second)).toEqual(await parametersOf(first));
});

test('what is computed anew takes less memory and changes nothing', async () => {
  const kept = await openTraining();
  const anew = await openTraining({ checkpointing: 'layers' });
  for (const seed of [1, 2]) {
    const [a, b] = [await step(kept, batchOf(4, 16, seed)), await step(anew, batchOf(4, 16, seed))];
    expect(b).toEqual(a);
  }
  expect(await parametersOf(anew)).toEqual(await parametersOf(kept));

  const { entries } = tracedTraining({ dims: { batch: 8, seq: 256 } });
  const arena = (checkpointing: Checkpointing): number =>
    compile('training', { train: entries.train! }, hostTarget(), { training: { checkpointing } }).entries.train
      .arenaBytes;
  const [all, layers] = [arena('none'), arena('layers')];
  const some = arena({ bytes: 4_000_000 });
  expect(layers).toBeLessThan(some);
  expect(some).toBeLessThan(all);
});

test('parameters, moments and accumulators are updated where they are, and planned once', () => {
  const { entries, parameters } = tracedTraining({
    entries: ['train', 'accumulate', 'train_accumulated'],
    maxGradNorm: 1,
  });
  const copies = Object.values(entries).flatMap((traced) =>
    compileRegions(traced, hostTarget())
      .launches.flat()
      .filter(({ root }) => root.op === 'mark'),
  );
  expect(copies.map(({ root }) => root.attrs)).toEqual([]);
  const program = compile('training', { ...entries }, hostTarget());
  const bytes = stateBytes(program, {});
  const ofParameters = stateBytes(
    { ...program, states: program.states.filter((s) => parameters.includes(s.name)) },
    {},
  );
  expect(ofParameters).toBeGreaterThan(0);
  // beside the parameters two moments and an accumulator of each, and three counters
  expect(bytes).toBe(4 * ofParameters + 12);
});

test('products in bf16 give the losses of f32 as near as their digits allow', async () => {
  const [wide, narrow] = [await openTraining(), await openTraining({ compute: 'bf16' })];
  for (let i = 0; i < 3; i++) {
    const [a, b] = [await step(wide, batchOf(2, 16)), await step(narrow, batchOf(2, 16))];
    expect(Math.abs(number(b.loss) / number(a.loss) - 1)).toBeLessThan(2e-2);
    expect(b.loss).not.toEqual(a.loss);
  }
});

test('a step in f16 whose gradients overflow is left out, and the loss scale halved', async () => {
  const session = await openTraining({ compute: 'f16' });
  const before = await parametersOf(session);
  const scale = (value: number): HostTensor => ({ dtype: 'f32', shape: [], data: Float32Array.of(value) });
  expect(number(await session.read('loss_scale'))).toBe(65536);
  await session.write('loss_scale', scale(2 ** 40));
  const first = await step(session, batchOf(2, 16));
  expect(number(first.skipped)).toBe(1);
  expect(number(first.loss)).toBeGreaterThan(0);
  expect(await parametersOf(session)).toEqual(before);
  expect(number(await session.read('step'))).toBe(0);
  expect(number(await session.read('loss_scale'))).toBe(2 ** 39);
  await session.write('loss_scale', scale(1024));
  await session.write('loss_scale.growth', { dtype: 'i32', shape: [], data: Int32Array.of(1999) });
  const second = await step(session, batchOf(2, 16));
  expect(number(second.skipped)).toBe(0);
  expect(number(second.grad_norm)).toBeLessThan(100);
  expect(number(await session.read('loss_scale'))).toBe(2048);
  expect(number(await session.read('skipped'))).toBe(1);
  expect(await parametersOf(session)).not.toEqual(before);
});

test('a loss scale that would become infinite stays', async () => {
  const session = await openTraining({ compute: 'f16', maxGradNorm: 1 });
  const scale = async (value: number): Promise<void> => {
    await session.write('loss_scale', { dtype: 'f32', shape: [], data: Float32Array.of(value) });
    await session.write('loss_scale.growth', { dtype: 'i32', shape: [], data: Int32Array.of(1999) });
  };
  // nothing counts, so that no gradient overflows
  const rows = batchOf(2, 16);
  const scalars = { learning_rate: 0.01, num_items: 30 };
  await scale(2 ** 127);
  expect(number((await session.run('train', uncounted(rows), scalars)).skipped)).toBe(0);
  expect(number(await session.read('loss_scale'))).toBe(2 ** 127);
  expect(number((await session.run('train', columns(rows), scalars)).skipped)).toBe(1);
  expect(number(await session.read('loss_scale'))).toBe(2 ** 126);
  expect(number(await session.read('loss_scale.growth'))).toBe(0);
});

test('an overflow in one micro-batch leaves out the step of its window, and the next window begins anew', async () => {
  const session = await openTraining({ compute: 'f16', entries: ['accumulate', 'train_accumulated'] });
  const before = await parametersOf(session);
  const scale = (value: number): HostTensor => ({ dtype: 'f32', shape: [], data: Float32Array.of(value) });
  const rows = batchOf(2, 16);
  const scalars = { learning_rate: 0.01, num_items: 2 * itemsOf(rows) };
  await session.write('loss_scale', scale(2 ** 40));
  await session.run('accumulate', columns(rows), scalars);
  await session.write('loss_scale', scale(1024));
  expect(number((await session.run('train_accumulated', columns(rows), scalars)).skipped)).toBe(1);
  expect(await parametersOf(session)).toEqual(before);
  await session.run('accumulate', columns(rows), scalars);
  const { skipped, grad_norm } = await session.run('train_accumulated', columns(rows), scalars);
  expect([number(skipped), number(await session.read('skipped'))]).toEqual([0, 1]);
  expect(number(grad_norm)).toBeGreaterThan(0);
  expect(number(await session.read('step'))).toBe(1);
});

test.each(['f32', 'f16'] as const)('micro-batches without a label that counts add nothing: %s', async (compute) => {
  const sgd = { optimizer: SGD(), compute, maxGradNorm: 1 } as const;
  const session = await openTraining({ ...sgd, entries: ['accumulate', 'train_accumulated'] });
  const rows = batchOf(2, 16);
  const none = uncounted(rows);
  const scalars = { learning_rate: 1, num_items: itemsOf(rows) };
  const alone = await session.run('accumulate', columns(rows), scalars);
  expect(number((await session.run('accumulate', none, scalars)).loss)).toBe(0);
  const last = await session.run('train_accumulated', none, scalars);
  const whole = await openTraining(sgd);
  const direct = await whole.run('train', columns(rows), scalars);
  expect(number(alone.loss)).toBe(number(direct.loss));
  expect(number(last.grad_norm)).toBeCloseTo(number(direct.grad_norm), 6);
  expect(relativeError(await parametersOf(session), await parametersOf(whole))).toBeLessThan(1e-6);
});

test.each(['reference', 'cpu'] as const)('losses that are no numbers move no parameter: %s', async (target) => {
  const session = await openTraining({ target, maxGradNorm: 1, optimizer: SGD() });
  const rows = batchOf(2, 16);
  const before = await parametersOf(session);
  // no label counts: the loss is NaN, and the gradients are 0, as in PyTorch
  const none = await session.run('train', uncounted(rows), { learning_rate: 1, num_items: 0 });
  expect([number(none.loss), number(none.grad_norm), number(none.skipped)]).toEqual([Number.NaN, 0, 1]);
  expect(await parametersOf(session)).toEqual(before);

  // gradients of NaN: clipping does not make numbers of them
  const { data, ...rest } = await session.read('lm_head.weight');
  const poisoned = Float32Array.from(data as Float32Array);
  poisoned[3] = Number.NaN;
  await session.write('lm_head.weight', { ...rest, data: poisoned });
  const { loss, grad_norm } = await step(session, rows);
  expect([number(loss), number(grad_norm)]).toEqual([Number.NaN, Number.NaN]);
  const after = await session.read('lm_head.weight');
  expect(numbers(after)).toEqual([...poisoned]);
  expect(number(await session.read('skipped'))).toBe(2);
});

/** Ones of which a share is dropped. */
async function dropped(rate: number, count: number): Promise<HostTensor> {
  const traced = trace(
    'drop',
    smallTask().model,
    () => 'f32',
    (t) => {
      const key = t.input('key', 'u32', [2]);
      t.result('y', withDropout(() => key, () => dropout(full([count], 1), rate))); // biome-ignore format: one row
    },
  );
  const { results } = evaluate(traced.graph, { params: new Map([['key', ndarray('u32', [2], [1, 2])]]) });
  return fromNdArray(results.get('y')!);
}

/** The small model with its logits dropped at random. */
function droppingTask(rate: number): SequenceTask {
  const task = smallTask();
  return { ...task, outputs: (inputs) => ({ logits: dropout(tensorOf(task.outputs(inputs), 'logits'), rate) }) };
}

test('dropout draws anew in every run, from the seed, and does nothing in evaluation', async () => {
  const rows = batchOf(2, 16);
  const options = { task: droppingTask(0.3), entries: ['train', 'evaluate'] as const };
  const plain = await openTraining({ entries: ['evaluate'] });
  const evaluated = number((await plain.run('evaluate', columns(rows), { num_items: itemsOf(rows) })).loss);
  const draw = async (seed: number, checkpointing: Checkpointing): Promise<number[]> => {
    const session = await openTraining({ ...options, checkpointing });
    await session.write('random', { dtype: 'u32', shape: [2], data: Uint32Array.of(seed, 0) });
    expect(number((await session.run('evaluate', columns(rows), { num_items: itemsOf(rows) })).loss)).toBeCloseTo(
      evaluated,
      5,
    );
    const [first, second] = [await step(session, rows, 0), await step(session, rows, 0)];
    return [first, second].flatMap(({ loss, grad_norm }) => [number(loss), number(grad_norm)]);
  };
  const drawn = await draw(42, 'none');
  expect(new Set([...drawn, ...(await draw(43, 'none')), evaluated]).size).toBe(9);
  expect(await draw(42, 'layers')).toEqual(drawn);
});

const gpt2 = { model_type: 'gpt2', n_embd: 16, n_layer: 2, n_head: 2, n_positions: 32, vocab_size: vocab };
const opt = { ...gpt2, model_type: 'opt', hidden_size: 16, ffn_dim: 32, num_hidden_layers: 2, num_attention_heads: 2 };
const none = { embd_pdrop: 0, attn_pdrop: 0, resid_pdrop: 0, dropout: 0 };
test.each([
  ['GPT-2 by default', gpt2, true],
  ['GPT-2 with the attention alone', { ...gpt2, ...none, attn_pdrop: 0.2 }, true],
  ['GPT-2 with rates of 0', { ...gpt2, ...none }, false],
  ['OPT by default', opt, true],
  [
    'GPT-NeoX with hidden states alone',
    { ...opt, model_type: 'gpt_neox', intermediate_size: 32, hidden_dropout: 0.2 },
    true,
  ],
  ['OPT with rates of 0', { ...opt, ...none }, false],
])('the rates of config.json count in training alone: %s', async (_name, config, isDropping) => {
  const task = describeModel(config, 'config', 'causal-lm').task;
  const session = await openTraining({ task, entries: ['train', 'evaluate'] });
  const rows = batchOf(2, 16);
  const { loss } = await session.run('evaluate', columns(rows), { num_items: itemsOf(rows) });
  expect(Math.abs(number((await step(session, rows)).loss) - number(loss)) > 1e-4).toBe(isDropping);
});

test('what is dropped is a share of the elements, and the mean stays', async () => {
  const drawn = numbers(await dropped(0.25, 10_000));
  const zeros = drawn.filter((v) => v === 0).length;
  expect(zeros / drawn.length).toBeGreaterThan(0.23);
  expect(zeros / drawn.length).toBeLessThan(0.27);
  expect(new Set(drawn)).toEqual(new Set([0, Math.fround(4 / 3)]));
});

test('a step with everything in it gives on the CPU what it gives in the interpreter', async () => {
  const options = {
    task: droppingTask(0.1),
    entries: ['train', 'accumulate', 'train_accumulated'] as const,
    maxGradNorm: 0.5,
    checkpointing: 'layers',
  } as const;
  const sessions = [await openTraining(options), await openTraining({ ...options, target: 'cpu' })];
  const told: number[][] = [];
  for (const session of sessions) {
    await session.write('random', { dtype: 'u32', shape: [2], data: Uint32Array.of(5, 0) });
    const own: number[] = [];
    for (const entry of ['train', 'accumulate', 'train_accumulated'] as const) {
      const rows = batchOf(2, 16, own.length);
      const given = await session.run(entry, columns(rows), { learning_rate: 0.01, num_items: 60 });
      own.push(...Object.values(given).map(number));
    }
    told.push(own);
  }
  expect(relativeError(told[1], told[0])).toBeLessThan(1e-5);
  const [a, b] = [await parametersOf(sessions[0]), await parametersOf(sessions[1])];
  expect(relativeError(b, a)).toBeLessThan(1e-4);
});

test('a label that is no class is named, and a loss that is no number comes out as that', async () => {
  const session = await openTraining();
  const rows = batchOf(2, 8);
  const labels = Int32Array.from(rows.data as Int32Array);
  labels[11] = 48;
  const wrong = { input_ids: rows, labels: { ...rows, data: labels } };
  const scalars = { learning_rate: 0.01, num_items: 14 };
  expect(() => session.run('train', wrong, scalars)).toThrow(
    'labels has 48 in row 1, position 3, but the model knows the classes 0 to 47',
  );
  labels.fill(-100);
  const { loss } = await session.run('train', wrong, { ...scalars, num_items: 0 });
  expect(number(loss)).toBeNaN();
  await expect(session.run('train', columns(rows), { num_items: 14 })).rejects.toThrow('needs the input learning_rate');
  await expect(session.run('evaluate', columns(rows), { num_items: itemsOf(rows) })).rejects.toThrow(
    "no entry 'evaluate'; it has train",
  );
  await expect(session.read('momentum')).rejects.toThrow("no state 'momentum'");
});
