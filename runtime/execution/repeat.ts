// Running an entry again and again, each result becoming an input of the next run: how tokens are generated. Where the
// device queues runs, several submissions are under way: while the host looks at one result, the next runs are on their
// way, fed on the device. Elsewhere the host carries every result over.
import type { Repeats } from '../../backends/device.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { evalShape, type Plan } from '../../ir/program.ts';
import { bytesOf, type HostTensor, viewOf } from '../tensors/host-tensor.ts';
import { checkRoom } from './cache-errors.ts';
import type { Executor, RepeatOptions, Sizes, States, Tensors } from './executor.ts';

/** Submissions that are under way at once: one that runs, and one that the device goes on with. */
const submissions = 2;

/** Runs of an executor, one by one. */
export async function* repeatByHost(
  executor: Pick<Executor, 'run'>,
  entry: string,
  inputs: Tensors,
  states: States,
  { count, result, feed, inputs: next }: RepeatOptions,
): AsyncGenerator<HostTensor, void, undefined> {
  let current = inputs;
  for (let i = 0; i < count; i++) {
    const given = (await executor.run(entry, current, states, [result]))[result];
    const fed = current[feed.input];
    if (!given || given.data.byteLength !== fed.data.byteLength) throw cannotFeed(entry, result, feed.input);
    yield given;
    const bytes = bytesOf(fed.data).slice();
    for (const { offset, bytes: size } of liveSpans(feed.live, bytes.length)) {
      bytes.set(bytesOf(given.data).subarray(offset, offset + size), offset);
    }
    current = { ...current, [feed.input]: { ...fed, data: viewOf(fed.dtype, bytes) }, ...next(i + 1) };
  }
}

/** What is settled before the first run is submitted; its inputs are written. */
export interface PreparedRuns {
  readonly entry: string;
  readonly plan: Pick<Plan, 'inputs' | 'results'>;
  readonly dims: Sizes;
  /** Positions that a run adds to the states. */
  readonly added: number;
  readonly states: States;
  readonly submit: (runs: Repeats) => Promise<Uint8Array>[];
}

/** Runs that the device queues. */
export async function* repeatOnDevice(
  { entry, plan, dims, added, states, submit }: PreparedRuns,
  { count, result: name, feed, inputs, together = 1 }: RepeatOptions,
): AsyncGenerator<HostTensor, void, undefined> {
  const result = plan.results.findIndex((r) => r.name === name);
  const input = plan.inputs.findIndex((t) => t.name === feed.input);
  const tensor = plan.results[result];
  const shape = tensor ? evalShape(tensor.shape, dims) : [];
  const resultBytes = tensor ? shape.reduce((n, d) => n * d, dtypeInfo[tensor.dtype].bytes) : 0;
  const target = plan.inputs[input];
  if (!tensor || !target || tensor.dtype !== target.dtype || sizeOf(evalShape(target.shape, dims)) !== sizeOf(shape)) {
    throw cannotFeed(entry, name, feed.input);
  }
  const spans = liveSpans(feed.live, resultBytes);
  const start = states.length;
  checkRoom(start, count * added, states.dims.capacity);
  const pending: Promise<Uint8Array>[] = [];
  let submitted = 0;
  const proceed = (size: number): void => {
    const runs = Array.from({ length: size }, (_, i) => submitted + i);
    const given = runs.map((run): Tensors => (run === 0 ? {} : inputs(run)));
    // Not every model reads all that the caller knows.
    const roles = Object.keys(given[size - 1]).filter((role) => plan.inputs.some((t) => t.name === role));
    const writes = roles.map((role) => ({
      input: plan.inputs.findIndex((t) => t.name === role),
      data: given.map((tensors) => (tensors[role] ? bytesOf(tensors[role].data) : undefined)),
    }));
    const results = submit({
      dims: runs.map((run) => ({ ...dims, past: start + run * added })),
      writes,
      feed: { input, spans },
      result,
      resultBytes,
    });
    for (const r of results) r.catch(() => undefined); // told when its turn comes, if it does
    pending.push(...results);
    submitted += size;
  };
  try {
    for (let given = 0; given < count; given++) {
      while (submitted < count && pending.length <= (submissions - 1) * together) {
        proceed(Math.min(together, count - submitted));
      }
      const data = await pending[0];
      pending.shift();
      states.length = start + (given + 1) * added;
      yield { dtype: tensor.dtype, shape, data: viewOf(tensor.dtype, data) };
    }
  } finally {
    await Promise.allSettled(pending);
  }
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

/** The parts of a tensor of `bytes` that belong to live rows. */
function liveSpans(live: readonly boolean[], bytes: number): { offset: number; bytes: number }[] {
  const row = bytes / live.length;
  const spans: { offset: number; bytes: number }[] = [];
  for (const [i, isLive] of live.entries()) {
    if (!isLive) continue;
    const last = spans.at(-1);
    if (last && last.offset + last.bytes === i * row) last.bytes += row;
    else spans.push({ offset: i * row, bytes: row });
  }
  return spans;
}

const cannotFeed = (entry: string, result: string, input: string): ModelcError =>
  new ModelcError(
    'input',
    `the result ${result} of ${entry} cannot become its input ${input}: they differ in type or size`,
  );
