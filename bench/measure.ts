// What a measuring process does: opens the checkpoint as any user would, generates, and notes when each token came.
// Everything goes through the public API, so the figures are those that a program would see.
import { hostTarget } from '../backends/cpu/target.ts';
import { AutoModelForCausalLM, BaseStreamer } from '../runtime/index.ts';
import { peakMemoryMb } from '../runtime/peak-memory.ts';
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
/** Elapsed milliseconds, and the share of this machine's threads that this process used meanwhile. */
interface Span {
  readonly ms: number;
  readonly cpuShare: number;
}

function between(start: Moment, end: Moment): Span {
  const ms = end.ms - start.ms;
  return { ms, cpuShare: (end.cpu - start.cpu) / (ms * hostTarget().threads) };
}

/** Notes the moment of every new token. */
class Stopwatch extends BaseStreamer {
  readonly tokens: Moment[] = [];
  private isPrompt = true;
  override put(): void {
    if (!this.isPrompt) this.tokens.push(now());
    this.isPrompt = false;
  }
  override end(): void {}
}

const prompt = (tokens: number, vocab: number): number[] =>
  Array.from({ length: tokens }, (_, i) => 300 + ((i * 7919) % (vocab - 300)));

/**
 * Prefill of the prompt, to the first token, and decoding of what follows, as many times as the plan says. Before each
 * repetition it awaits `turn`, so that the machine can be probed between them.
 */
export async function measureGenerate(plan: RowPlan, turn: () => Promise<void>): Promise<Measured> {
  const model = await AutoModelForCausalLM.from_pretrained(plan.folder);
  const input_ids = [prompt(plan.promptTokens, shapes[plan.shape].vocab)];
  const run = async (newTokens: number): Promise<Moment[]> => {
    const streamer = new Stopwatch();
    const start = now();
    await model.generate({ input_ids, max_new_tokens: newTokens, do_sample: false, streamer });
    return [start, ...streamer.tokens];
  };
  await run(2); // pages of the weights, threads
  const repetitions: Repetition[] = [];
  for (let i = 0; i < plan.reps; i++) {
    await turn();
    const moments = await run(plan.newTokens + 1);
    const [p, d] = [between(moments[0], moments[1]), between(moments[1], moments[moments.length - 1])];
    repetitions.push({
      prefill: { msPerToken: p.ms / plan.promptTokens, cpuShare: p.cpuShare },
      decode: { msPerToken: d.ms / plan.newTokens, cpuShare: d.cpuShare },
    });
  }
  await turn();
  // Caches grow by doubling, so they have room for the next power of two.
  const capacity = 2 ** Math.ceil(Math.log2(plan.promptTokens + plan.newTokens + 1));
  const plannedMb = Math.round((model.planned_bytes(1, capacity) ?? 0) / 2 ** 20);
  await model.dispose();
  return { peakRssMb: peakMemoryMb(), plannedMb, repetitions };
}

/** From the start of the process to the first token of a 16-token prompt. */
export async function measureStart(plan: RowPlan): Promise<Measured> {
  const start = now();
  const model = await AutoModelForCausalLM.from_pretrained(plan.folder);
  const ready = between(start, now());
  const streamer = new Stopwatch();
  const input_ids = [prompt(16, shapes[plan.shape].vocab)];
  await model.generate({ input_ids, max_new_tokens: 1, do_sample: false, streamer });
  const firstTokenMs = streamer.tokens[0].ms; // performance.now() counts from the start of the process
  await model.dispose();
  return { peakRssMb: peakMemoryMb(), ready, firstTokenMs };
}
