// A row of the benchmark: what was measured, beside the floor that the machine allowed in the same minutes.
import type { BackendName } from '../backends/index.ts';
import type { LoadOptions } from '../runtime/models/load-options.ts';
import type { Probe } from './prober.ts';
import { decodeBytes, prefillFlops, type ShapeName, shapes, type WeightType } from './shapes.ts';

export type Workload = 'generate' | 'compile';

/** What a measuring process is told. */
export interface RowPlan {
  readonly workload: Workload;
  readonly shape: ShapeName;
  readonly dtype: WeightType;
  readonly target: BackendName;
  /** Of the prefill that is timed. */
  readonly promptTokens: number;
  /** Of the prompt before the new tokens, whose decoding is timed. */
  readonly contextTokens: number;
  readonly newTokens: number;
  readonly reps: number;
  /** How much the probes around a repetition may differ. */
  readonly tolerance: number;
  readonly load: LoadOptions;
  /** Longest time of a measuring process. */
  readonly limitMs: number;
  /** Probe as little as possible: the times mean nothing. */
  readonly smoke: boolean;
}

interface Speed {
  readonly msPerToken: number;
  readonly cpuShare: number;
}
export interface Repetition {
  readonly prefill: Speed;
  readonly decode: Speed;
}

/** What it answers. Shares are of the processor time that its threads could have used. */
export interface Measured {
  readonly peakRssMb: number;
  /** Weights, caches and arena, as planned. */
  readonly plannedMb?: number;
  /** Memory of the device that the model took at most, where the device can tell. */
  readonly deviceMb?: number;
  /** Of an element of its caches. */
  readonly cacheBytes?: number;
  readonly repetitions?: readonly Repetition[];
  /** Milliseconds from an open device to a model that is ready, without those that reading its weights took. */
  readonly ready?: { readonly ms: number; readonly cpuShare: number };
  readonly weightsMs?: number;
  /** Milliseconds from the start of the process to the first token of a 16-token prompt. */
  readonly firstTokenMs?: number;
}

export interface Row {
  readonly workload: 'prefill' | 'decode' | 'compile';
  readonly shape: ShapeName;
  readonly dtype: WeightType;
  readonly target: BackendName;
  readonly value: number;
  readonly unit: 'ms/token' | 'ms';
  /** The same unit as `value`: what the probed machine needs at least. */
  readonly floor: number | null;
  /** floor / value: 1 is as good as the machine. */
  readonly ratio: number | null;
  /** GB/s read for decode, GFLOP/s for prefill: of f32, or of the units that multiply matrices of the weights' type. */
  readonly probe: number | null;
  readonly tokens_per_second?: number;
  /** Repetitions during which the probes did not move, of all. Where none is, the calmest was taken. */
  readonly steady?: string;
  readonly cpu_share: number;
  readonly peak_rss_mb: number;
  readonly planned_mb?: number;
  readonly device_mb?: number;
  readonly cold_ms?: number;
  readonly warm_ms?: number;
  readonly weights_ms?: number;
  readonly first_token_ms?: number;
}

const round = (v: number, digits: number): number => Number(v.toFixed(digits));

/**
 * Rows of a measured model. `probes` were taken before, between and after the repetitions: each repetition is held against
 * the mean of the two around it, because what a shared machine gives changes by the minute; where the two differ by more
 * than the tolerance, it does not count. The repetition of the median ratio is the one that is told.
 */
export function generateRows(plan: RowPlan, measured: Measured, probes: readonly Probe[]): Row[] {
  const shape = shapes[plan.shape];
  const flops = prefillFlops(shape, plan.promptTokens) / plan.promptTokens;
  const context = plan.contextTokens + plan.newTokens / 2;
  const bytes = decodeBytes(shape, plan.dtype, context, measured.cacheBytes ?? 4);
  const arithmetic = (p: Probe): number =>
    plan.dtype === 'f32' ? p.flopsPerSecond : (p.matrixFlopsPerSecond ?? p.flopsPerSecond);
  const row = (workload: 'prefill' | 'decode', work: number, probed: (p: Probe) => number): Row => {
    const all = (measured.repetitions ?? []).map((repetition, i) => {
      const [before, after] = [probed(probes[i]), probed(probes[i + 1])];
      const rate = (before + after) / 2;
      const floor = (work * 1000) / rate;
      const moved = Math.abs(before - after) / rate;
      return { ...repetition[workload], rate, floor, moved, ratio: floor / repetition[workload].msPerToken };
    });
    const calm = all.filter((r) => r.moved <= plan.tolerance);
    const counted = calm.length > 0 ? calm : [all.reduce((a, b) => (a.moved <= b.moved ? a : b))];
    const median = counted.sort((a, b) => a.ratio - b.ratio)[Math.floor(counted.length / 2)];
    return {
      workload,
      shape: plan.shape,
      dtype: plan.dtype,
      target: plan.target,
      value: round(median.msPerToken, 4),
      unit: 'ms/token',
      floor: round(median.floor, 4),
      ratio: round(median.ratio, 3),
      probe: round(median.rate / 1e9, 1),
      tokens_per_second: round(1000 / median.msPerToken, 1),
      steady: `${calm.length}/${all.length}`,
      cpu_share: round(median.cpuShare, 3),
      peak_rss_mb: measured.peakRssMb,
      ...(measured.plannedMb === undefined ? {} : { planned_mb: measured.plannedMb }),
      ...(measured.deviceMb === undefined ? {} : { device_mb: measured.deviceMb }),
    };
  };
  return [row('prefill', flops, arithmetic), row('decode', bytes, (p) => p.readBytesPerSecond)];
}

export function compileRow(plan: RowPlan, cold: Measured, warm: Measured): Row {
  if (!cold.ready || !warm.ready) throw new Error('a compile run did not report when it was ready');
  return {
    workload: 'compile',
    shape: plan.shape,
    dtype: plan.dtype,
    target: plan.target,
    value: round(cold.ready.ms, 1),
    unit: 'ms',
    floor: null,
    ratio: null,
    probe: null,
    cpu_share: round(cold.ready.cpuShare, 3),
    peak_rss_mb: cold.peakRssMb,
    cold_ms: round(cold.ready.ms, 1),
    warm_ms: round(warm.ready.ms, 1),
    ...(warm.weightsMs === undefined ? {} : { weights_ms: round(warm.weightsMs, 1) }),
    first_token_ms: round(warm.firstTokenMs ?? Number.NaN, 1),
  };
}

const columns: readonly (keyof Row)[] = [
  ...(['workload', 'shape', 'dtype', 'target', 'value', 'unit', 'tokens_per_second', 'floor', 'ratio'] as const),
  ...(['probe', 'steady', 'cold_ms', 'warm_ms', 'weights_ms', 'first_token_ms', 'cpu_share'] as const),
  ...(['peak_rss_mb', 'planned_mb', 'device_mb'] as const),
];

/** Rows as cells under their columns' names; a column that no row fills is left out. */
export function cells(rows: readonly Row[]): string[][] {
  const used = columns.filter((c) => rows.some((r) => r[c] !== undefined && r[c] !== null));
  return [used.map(String), ...rows.map((r) => used.map((c) => String(r[c] ?? '-')))];
}

/** Records under their keys, in the order of the longest of them. */
export function recordCells(records: readonly object[]): string[][] {
  const keys = Object.keys(records.reduce((a, b) => (Object.keys(b).length > Object.keys(a).length ? b : a)));
  return [keys, ...records.map((r) => keys.map((key) => String(Reflect.get(r, key) ?? '-')))];
}

export function aligned(lines: readonly (readonly string[])[]): string[] {
  const widths = lines[0].map((_, i) => Math.max(...lines.map((l) => l[i].length)));
  return lines.map((l) => `${l.map((cell, i) => cell.padEnd(widths[i])).join('  ')}`.trimEnd());
}

/** Rows as aligned columns. */
export const table = (rows: readonly Row[]): string => aligned(cells(rows)).join('\n');
