// What training costs: whole steps (forward, backward, clipping, AdamW) of a GPT-2 of random weights on random tokens,
// each between two probes of the machine, and the memory that the process took beside what was planned.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { hostTarget } from '../backends/cpu/target.ts';
import { AdamW, causalTask, traceTraining } from '../frontends/dsl/index.ts';
import { ModelcError } from '../ir/error.ts';
import { sizeOf } from '../ir/ndarray.ts';
import { Gpt2LMHeadModel } from '../models/gpt2.ts';
import { peakMemoryMb } from '../runtime/cli/peak-memory.ts';
import { devices } from '../runtime/execution/devices.ts';
import type { HostTensor } from '../runtime/tensors/host-tensor.ts';
import type { WeightStore } from '../runtime/tensors/weight-store.ts';
import { TrainingSession } from '../runtime/trainer/training-session.ts';
import { normalBlock } from './checkpoint.ts';
import type { Probe } from './prober.ts';

interface TrainShape {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly vocab: number;
  readonly batch: number;
  readonly seq: number;
  /** Steps that are timed together, where one is short beside a probe, after which it would find cold caches. */
  readonly together: number;
}
/** GPT-2 of 124 million parameters; nanoGPT's model of characters for CPUs; and a tiny one for smoke runs. */
export const trainShapes = {
  gpt2: { hidden: 768, layers: 12, heads: 12, vocab: 50257, batch: 4, seq: 512, together: 1 },
  char: { hidden: 128, layers: 4, heads: 4, vocab: 65, batch: 12, seq: 64, together: 20 },
  tiny: { hidden: 64, layers: 2, heads: 4, vocab: 512, batch: 2, seq: 32, together: 1 },
} as const satisfies Record<string, TrainShape>;
export const computeTypes = ['f32', 'bf16'] as const;

/** What a measuring process is told. */
export interface TrainPlan {
  readonly workload: 'train';
  readonly shape: keyof typeof trainShapes;
  readonly dtype: (typeof computeTypes)[number];
  readonly steps: number;
}

export interface TrainMeasured {
  readonly peakRssMb: number;
  readonly plannedMb: number;
  readonly steps: readonly { readonly ms: number; readonly cpuShare: number; readonly loss: number }[];
}

/** Rows of 4 h * h of attention and 8 h * h of the unit behind it a layer, and the output head: 6 operations each. */
export function flopsPerToken({ hidden, layers, vocab, seq }: TrainShape): number {
  const products = 6 * (layers * 12 * hidden * hidden + vocab * hidden);
  return products + 6 * layers * hidden * seq; // scores and their sums of values, half of them masked
}

function modelOf({ hidden, layers, heads, vocab, seq }: TrainShape): Gpt2LMHeadModel {
  return new Gpt2LMHeadModel({
    vocabSize: vocab,
    hiddenSize: hidden,
    innerSize: 4 * hidden,
    layers,
    heads,
    positions: 2 * seq,
    activation: 'gelu_new',
    normEps: 1e-5,
    tiedEmbeddings: true,
    attentionScales: Array.from({ length: layers }, () => (hidden / heads) ** -0.5),
    dropout: { embeddings: 0, probabilities: 0, residual: 0 },
  });
}

/** Random weights, made when they are asked for: scales of norms are 1, the rest is small. `forget` gives up their memory. */
function randomWeights(shapes: ReadonlyMap<string, readonly number[]>): WeightStore & { forget(): void } {
  const block = normalBlock();
  // One array for all, as the session copies each before it asks for the next: freed ones would stay with the process
  let all: Float32Array | undefined = new Float32Array(Math.max(...[...shapes.values()].map(sizeOf)));
  const made = (name: string): HostTensor => {
    const shape = shapes.get(name)!;
    if (!all) throw new ModelcError('input', 'the benchmark reads its weights once');
    const data = all.subarray(0, sizeOf(shape));
    if (/ln_.*weight$/.test(name)) data.fill(1);
    else for (let i = 0; i < data.length; i++) data[i] = block[i % block.length];
    return { dtype: 'f32', shape: [...shape], data };
  };
  const none = (): never => {
    throw new ModelcError('input', 'the benchmark trains all weights');
  };
  return {
    tensors: [...shapes].map(([name, shape]) => [name, 'f32', shape]),
    resolve: () => 'f32',
    stored: async (name) => made(name),
    read: async (name) => made(name),
    source: none,
    array: none,
    forget: () => {
      all = undefined;
    },
  };
}

async function openSession(plan: TrainPlan): Promise<TrainingSession> {
  const shape = trainShapes[plan.shape];
  const { batch, seq } = shape;
  const options = { optimizer: AdamW(), dims: { batch, seq }, maxGradNorm: 1, compute: plan.dtype };
  const training = traceTraining(causalTask(modelOf(shape)), ['train'], options, () => 'f32');
  const states = training.entries.train!.graph.params.filter((p) => p.attrs.kind === 'state');
  const weights = randomWeights(new Map(states.map((p) => [p.attrs.name, p.type.shape.map((d) => d.min)])));
  const session = await TrainingSession.open({ training, target: await devices.cpu.open(), weights });
  weights.forget();
  return session;
}

/** What making the weights left behind is no part of a step's memory. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  collect();
}

/** Trains as the plan says; before and after every step it awaits `turn`. */
export async function measureTrain(plan: TrainPlan, turn: () => Promise<void>): Promise<TrainMeasured> {
  const shape = trainShapes[plan.shape];
  const { batch, seq, vocab, together } = shape;
  const session = await openSession(plan);
  collectGarbage();
  const data = Int32Array.from({ length: batch * seq }, (_, i) => (i * 7919) % vocab);
  const ids: HostTensor = { dtype: 'i32', shape: [batch, seq], data };
  const step = async () => {
    const before = { ms: performance.now(), cpu: process.cpuUsage() };
    const scalars = { learning_rate: 1e-4, num_items: batch * (seq - 1) };
    let loss = 0;
    for (let i = 0; i < together; i++) {
      const result = await session.run('train', { input_ids: ids, labels: ids }, scalars);
      loss = Number(result.loss.data[0]);
    }
    const ms = performance.now() - before.ms;
    const { user, system } = process.cpuUsage(before.cpu);
    return { ms: ms / together, cpuShare: (user + system) / 1000 / (ms * hostTarget().threads), loss };
  };
  const first = await step(); // pages, clocks
  const steps: Awaited<ReturnType<typeof step>>[] = [];
  for (let i = 0; i < plan.steps; i++) {
    await turn();
    steps.push(await step());
  }
  await turn();
  if (!steps.every(({ loss }) => loss < first.loss)) {
    throw new ModelcError('unsupported', `${plan.shape} ${plan.dtype}: the loss does not fall; its times mean nothing`);
  }
  const plannedMb = Math.round((session.plannedBytes ?? 0) / 2 ** 20);
  session.dispose();
  return { peakRssMb: peakMemoryMb(), plannedMb, steps };
}

export interface TrainRow {
  readonly workload: 'train';
  readonly shape: TrainPlan['shape'];
  readonly dtype: TrainPlan['dtype'];
  readonly ms_per_step: number;
  readonly tokens_per_second: number;
  readonly gflops: number;
  /** GFLOP/s of f32 that the probes around the step gave. */
  readonly probe: number;
  /** Model flops utilisation: gflops / probe. */
  readonly ratio: number;
  /** Tokens per second beside those of f32 in the same run, each over its own probes. */
  readonly over_f32?: number;
  readonly cpu_share: number;
  readonly peak_rss_mb: number;
  readonly planned_mb: number;
  /** peak_rss_mb / planned_mb. */
  readonly memory_ratio: number;
}

const round = (v: number, digits: number): number => Number(v.toFixed(digits));

/** The step of the median ratio. */
export function trainRow(plan: TrainPlan, measured: TrainMeasured, probes: readonly Probe[], f32?: TrainRow): TrainRow {
  const shape = trainShapes[plan.shape];
  const tokens = shape.batch * shape.seq;
  const all = measured.steps.map(({ ms, cpuShare }, i) => {
    const probe = (probes[i].flopsPerSecond + probes[i + 1].flopsPerSecond) / 2e9;
    const gflops = (flopsPerToken(shape) * tokens) / ms / 1e6;
    return { ms, cpuShare, probe, gflops, ratio: gflops / probe };
  });
  const median = all.sort((a, b) => a.ratio - b.ratio)[Math.floor(all.length / 2)];
  return {
    ...{ workload: 'train', shape: plan.shape, dtype: plan.dtype },
    ms_per_step: round(median.ms, 1),
    tokens_per_second: round((1000 * tokens) / median.ms, 1),
    gflops: round(median.gflops, 1),
    probe: round(median.probe, 1),
    ratio: round(median.ratio, 3),
    ...(f32 ? { over_f32: round(median.ratio / f32.ratio, 2) } : {}),
    cpu_share: round(median.cpuShare, 3),
    peak_rss_mb: measured.peakRssMb,
    planned_mb: measured.plannedMb,
    memory_ratio: round(measured.peakRssMb / Math.max(1, measured.plannedMb), 3),
  };
}
