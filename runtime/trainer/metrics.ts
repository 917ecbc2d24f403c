// Metrics of a run: their names, and how fast it was.
import { ModelcError } from '../../ir/error.ts';
import type { Metrics } from './trainer-state.ts';

export type { Metrics };

/** The metric that metric_for_best_model names, under its whole name. */
export function metricOf(
  metric: string,
  metrics: Metrics,
): { readonly name: string; readonly value: number | undefined } {
  const name = metric.startsWith('eval_') ? metric : `eval_${metric}`;
  return { name, value: Object.hasOwn(metrics, name) ? metrics[name] : undefined };
}

/** The value of the metric that metric_for_best_model names. Throws ModelcError 'input' where there is none. */
export function requireMetric(metric: string, metrics: Metrics): number {
  const { name, value } = metricOf(metric, metrics);
  if (value !== undefined) return value;
  throw new ModelcError(
    'input',
    `metric_for_best_model is ${name}, which the evaluation does not give; it gives ${Object.keys(metrics).join(', ')}`,
  );
}

/** The metrics, whose names all begin with `prefix`. */
export function prefixed(prefix: string, metrics: Readonly<Metrics>): Metrics {
  return Object.fromEntries(
    Object.entries(metrics).map(([name, value]) => [name.startsWith(`${prefix}_`) ? name : `${prefix}_${name}`, value]),
  );
}

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));

/** Seconds since `start` (of performance.now()), and what was done in each of them. */
export function speedMetrics(
  prefix: string,
  start: number,
  done: { readonly samples?: number; readonly steps?: number; readonly tokens?: number },
): Metrics {
  const seconds = (performance.now() - start) / 1000;
  const metrics: Metrics = { [`${prefix}_runtime`]: rounded(seconds, 4) };
  const rate = (count: number): number => rounded(count / Math.max(seconds, 1e-9), 3);
  if (done.samples !== undefined) metrics[`${prefix}_samples_per_second`] = rate(done.samples);
  if (done.steps !== undefined) metrics[`${prefix}_steps_per_second`] = rate(done.steps);
  if (done.tokens !== undefined) metrics[`${prefix}_tokens_per_second`] = rate(done.tokens);
  return metrics;
}
