// A row of the benchmark: what was measured, beside the floor that the machine allowed in the same minutes.
import type { Probe } from '../backends/cpu/probe.ts';
import { decodeBytes, prefillFlops, type ShapeName, shapes, type WeightType } from './shapes.ts';

export type Workload = 'generate' | 'compile';

/** What a measuring process is told. */
export interface RowPlan {
  readonly workload: Workload;
  readonly shape: ShapeName;
  readonly dtype: WeightType;
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly reps: number;
  readonly folder: string;
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
  readonly repetitions?: readonly Repetition[];
  /** Milliseconds from the start of `from_pretrained` to a model that is ready. */
  readonly ready?: { readonly ms: number; readonly cpuShare: number };
  /** Milliseconds from the start of the process to the first token of a 16-token prompt. */
  readonly firstTokenMs?: number;
}

export interface Row {
  readonly workload: 'prefill' | 'decode' | 'compile';
  readonly shape: ShapeName;
  readonly dtype: WeightType;
  readonly target: 'cpu';
  readonly value: number;
  readonly unit: 'ms/token' | 'ms';
  /** The same unit as `value`: what the probed machine needs at least. */
  readonly floor: number | null;
  /** floor / value: 1 is as good as the machine. */
  readonly ratio: number | null;
  /** GB/s read for decode, f32 GFLOP/s for prefill. */
  readonly probe: number | null;
  readonly tokens_per_second?: number;
  readonly cpu_share: number;
  readonly peak_rss_mb: number;
  readonly planned_mb?: number;
  readonly cold_ms?: number;
  readonly warm_ms?: number;
  readonly first_token_ms?: number;
}

const round = (v: number, digits: number): number => Number(v.toFixed(digits));

/**
 * Rows of a measured model. `probes` were taken before, between and after the repetitions: each repetition is held against
 * the mean of the two around it, because what a shared machine gives changes by the minute. The repetition of the median
 * ratio is the one that is told.
 */
export function generateRows(plan: RowPlan, measured: Measured, probes: readonly Probe[]): Row[] {
  const shape = shapes[plan.shape];
  const context = plan.promptTokens + plan.newTokens / 2;
  const flops = prefillFlops(shape, plan.promptTokens) / plan.promptTokens;
  const bytes = decodeBytes(shape, plan.dtype, context, 4); // caches are f32
  const row = (workload: 'prefill' | 'decode', work: number, probed: 'flopsPerSecond' | 'readBytesPerSecond'): Row => {
    const found = (measured.repetitions ?? []).map((repetition, i) => {
      const rate = (probes[i][probed] + probes[i + 1][probed]) / 2;
      const floor = (work * 1000) / rate;
      return { ...repetition[workload], rate, floor, ratio: floor / repetition[workload].msPerToken };
    });
    const median = found.sort((a, b) => a.ratio - b.ratio)[Math.floor(found.length / 2)];
    return {
      workload,
      shape: plan.shape,
      dtype: plan.dtype,
      target: 'cpu',
      value: round(median.msPerToken, 4),
      unit: 'ms/token',
      floor: round(median.floor, 4),
      ratio: round(median.ratio, 3),
      probe: round(median.rate / 1e9, 1),
      tokens_per_second: round(1000 / median.msPerToken, 1),
      cpu_share: round(median.cpuShare, 3),
      peak_rss_mb: measured.peakRssMb,
      ...(measured.plannedMb === undefined ? {} : { planned_mb: measured.plannedMb }),
    };
  };
  return [row('prefill', flops, 'flopsPerSecond'), row('decode', bytes, 'readBytesPerSecond')];
}

export function compileRow(plan: RowPlan, cold: Measured, warm: Measured): Row {
  if (!cold.ready || !warm.ready) throw new Error('a compile run did not report when it was ready');
  return {
    workload: 'compile',
    shape: plan.shape,
    dtype: plan.dtype,
    target: 'cpu',
    value: round(cold.ready.ms, 1),
    unit: 'ms',
    floor: null,
    ratio: null,
    probe: null,
    cpu_share: round(cold.ready.cpuShare, 3),
    peak_rss_mb: cold.peakRssMb,
    cold_ms: round(cold.ready.ms, 1),
    warm_ms: round(warm.ready.ms, 1),
    first_token_ms: round(warm.firstTokenMs ?? Number.NaN, 1),
  };
}

/** Rows as aligned columns; a column that no row fills is left out. */
export function table(rows: readonly Row[]): string {
  const columns = [
    ['workload', 'shape', 'dtype', 'value', 'unit', 'tokens_per_second', 'floor', 'ratio', 'probe'],
    ['cold_ms', 'warm_ms', 'first_token_ms', 'cpu_share', 'peak_rss_mb', 'planned_mb'],
  ].flat() as (keyof Row)[];
  const used = columns.filter((c) => rows.some((r) => r[c] !== undefined && r[c] !== null));
  const lines = [used.map(String), ...rows.map((r) => used.map((c) => String(r[c] ?? '-')))];
  const widths = used.map((_, i) => Math.max(...lines.map((l) => l[i].length)));
  return lines.map((l) => `${l.map((cell, i) => cell.padEnd(widths[i])).join('  ')}`.trimEnd()).join('\n');
}
