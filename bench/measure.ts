// What a measuring process does: opens a model of random weights and generates, as a user's program does. Prefill is the
// time of one new token, decoding that of many less that of one: tokens may come in bursts, so when each came says little.
import { hostTarget } from '../backends/cpu/target.ts';
import type { Device } from '../backends/device.ts';
import { dtypeInfo } from '../ir/dtype.ts';
import { ModelcError } from '../ir/error.ts';
import { peakMemoryMb } from '../runtime/cli/peak-memory.ts';
import { devices } from '../runtime/execution/devices.ts';
import type { PreTrainedModel } from '../runtime/index.ts';
import { loadModel, modelOf, type OpenedModel } from '../runtime/models/open.ts';
import { checkpoint } from './checkpoint.ts';
import type { Measured, Repetition, RowPlan } from './row.ts';
import { shapes } from './shapes.ts';

interface Moment {
  readonly ms: number;
  /** Processor milliseconds that this process has used. */
  readonly cpu: number;
}
function now(): Moment {
  const { user, system } = process.cpuUsage();
  return { ms: performance.now(), cpu: (user + system) / 1000 };
}
/** The same, of a stretch of time. */
type Span = Moment;
const less = (a: Moment, b: Moment): Span => ({ ms: a.ms - b.ms, cpu: a.cpu - b.cpu });

/** The share of this machine's threads that this process used. */
const cpuShare = ({ ms, cpu }: Span): number => cpu / (ms * hostTarget().threads);
const speed = (span: Span, tokens: number) => ({ msPerToken: span.ms / tokens, cpuShare: cpuShare(span) });

const prompt = (tokens: number, vocab: number): number[] =>
  Array.from({ length: tokens }, (_, i) => 300 + ((i * 7919) % (vocab - 300)));

interface Loaded {
  readonly device: Device;
  readonly opened: OpenedModel;
  readonly model: PreTrainedModel;
  readonly ready: Span;
  /** Milliseconds of `ready` in which weights were read. */
  readonly weightsMs: number;
  /** Free memory of the device before. */
  readonly free: number | undefined;
}

async function load(plan: RowPlan): Promise<Loaded> {
  const device: Device = await devices[plan.target].open();
  let weightsMs = 0;
  let depth = 0; // a device may map by writing
  for (const name of ['map', 'write'] as const) {
    const call: (...args: never[]) => unknown = device[name].bind(device);
    const timed = (...args: never[]): unknown => {
      const start = performance.now();
      depth++;
      const result = call(...args);
      if (--depth === 0) weightsMs += performance.now() - start;
      return result;
    };
    Object.assign(device, { [name]: timed });
  }
  const free = device.freeMemory?.();
  const start = now();
  const opened = modelOf<'causal-lm'>(checkpoint(plan.shape, plan.dtype), { ...plan.load, target: plan.target });
  const model = await loadModel(opened, device);
  return { device, opened, model, ready: less(now(), start), weightsMs, free };
}

/**
 * Prefill of the prompt, to the first token, and decoding of what follows, as many times as the plan says. Before each
 * repetition it awaits `turn`, so that the machine can be probed between them. Throws ModelcError 'unsupported' when
 * repetitions disagree, or the logits are no numbers: times of wrong results are void.
 */
export async function measureGenerate(plan: RowPlan, turn: () => Promise<void>): Promise<Measured> {
  const { device, opened, model, free } = await load(plan);
  const { vocab } = shapes[plan.shape];
  const seen = new Map<string, string>();
  const run = async (promptTokens: number, newTokens: number): Promise<Span> => {
    const start = now();
    const options = { max_new_tokens: newTokens, do_sample: false };
    const { data } = await model.generate({ input_ids: [prompt(promptTokens, vocab)], ...options });
    const span = less(now(), start);
    const key = `${promptTokens} ${newTokens}`;
    const ids = data.join();
    if ((seen.get(key) ?? ids) !== ids) throw void_(plan, 'repetitions of one prompt give different tokens');
    seen.set(key, ids);
    return span;
  };
  await checkLogits(plan, model);
  await run(plan.promptTokens, 1); // pages of the weights, threads, clocks
  const repetitions: Repetition[] = [];
  let least = free;
  for (let i = 0, disturbed = 0; i < plan.reps; ) {
    if (disturbed === 0) await turn();
    const reading = await run(plan.promptTokens, 1);
    const first = plan.promptTokens === plan.contextTokens ? reading : await run(plan.contextTokens, 1);
    const all = await run(plan.contextTokens, plan.newTokens + 1);
    if (all.ms <= first.ms) {
      // the machine did something else meanwhile
      if (++disturbed > 10) throw void_(plan, 'one token keeps taking longer than many');
      continue;
    }
    i++;
    disturbed = 0;
    repetitions.push({ prefill: speed(reading, plan.promptTokens), decode: speed(less(all, first), plan.newTokens) });
    if (least !== undefined) least = Math.min(least, device.freeMemory?.() ?? least);
  }
  await turn();
  // Caches grow by doubling, so they have room for the next power of two.
  const positions = Math.max(plan.promptTokens, plan.contextTokens + plan.newTokens + 1);
  const plannedMb = Math.round((model.planned_bytes(1, 2 ** Math.ceil(Math.log2(positions))) ?? 0) / 2 ** 20);
  model.dispose();
  return {
    peakRssMb: peakMemoryMb(),
    plannedMb,
    cacheBytes: dtypeInfo[opened.cache.store].bytes,
    ...(free === undefined || least === undefined ? {} : { deviceMb: Math.round((free - least) / 2 ** 20) }),
    repetitions,
  };
}

const void_ = (plan: RowPlan, problem: string): ModelcError =>
  new ModelcError('unsupported', `${plan.shape} ${plan.dtype} on ${plan.target}: ${problem}; its times mean nothing`);

/** The greedy tokens are those of the largest logits, and all logits are finite. */
async function checkLogits(plan: RowPlan, model: PreTrainedModel): Promise<void> {
  const input_ids = [prompt(plan.contextTokens, shapes[plan.shape].vocab)];
  const max_new_tokens = Math.min(4, plan.newTokens);
  const options = { input_ids, max_new_tokens, do_sample: false };
  const fast = await model.generate(options);
  const slow = await model.generate({ ...options, output_logits: true, return_dict_in_generate: true });
  slow.past_key_values?.dispose();
  for (const { data } of slow.logits ?? []) {
    if (!data.every(Number.isFinite)) throw void_(plan, 'logits are infinite or no numbers');
  }
  if (fast.data.join() !== slow.sequences.data.join()) throw void_(plan, 'greedy tokens are not those of the logits');
}

/** From the start of the process to the first token of a 16-token prompt. */
export async function measureStart(plan: RowPlan): Promise<Measured> {
  const { model, ready, weightsMs } = await load(plan);
  const input_ids = [prompt(16, shapes[plan.shape].vocab)];
  await model.generate({ input_ids, max_new_tokens: 1, do_sample: false });
  const firstTokenMs = performance.now(); // it counts from the start of the process
  model.dispose();
  const compiling = { ms: ready.ms - weightsMs, cpuShare: cpuShare(ready) };
  return { peakRssMb: peakMemoryMb(), ready: compiling, weightsMs, firstTokenMs };
}
