// Learning-rate schedules that follow a metric: each value that it takes gives the next state from the last one. States
// are plain data, so that a checkpoint can hold them as JSON; their fields have the names of torch and transformers.
import { ModelcError } from '../../ir/error.ts';

export interface MetricState {
  readonly learning_rate: number;
  /** The best value so far; null before the first. */
  readonly best: number | null;
  readonly num_bad_epochs: number;
  readonly num_good_epochs: number;
  /** Values to let pass after the rate fell. */
  readonly cooldown_counter: number;
  /** Values to let pass after the rate rose. */
  readonly warmup_counter: number;
  /** How often the rate may yet be found at its least before the schedule starts anew. */
  readonly reset_start: number;
  /** The last values, of which the mean is looked at, and their running sum. */
  readonly recent: readonly number[];
  readonly recent_sum: number;
}

export interface MetricSchedule {
  readonly kind: 'metric';
  readonly start: MetricState;
  next(state: MetricState, metric: number): MetricState;
}

interface Watch {
  /** Whether the metric is good when small or when large. */
  readonly mode?: 'min' | 'max';
  readonly factor?: number;
  /** How many values without progress pass before the rate changes. */
  readonly patience?: number;
  /** By how much a value must beat the best, as a share of it or absolute. */
  readonly threshold?: number;
  readonly threshold_mode?: 'rel' | 'abs';
  readonly cooldown?: number;
  readonly min_lr?: number;
  /** Changes of the rate that are no larger are left out. */
  readonly eps?: number;
}
export type PlateauArguments = Watch;
export interface GreedyArguments extends Watch {
  readonly warmup?: number;
  readonly max_lr?: number;
  /** Whether to look at the mean of the last `window_size` values. */
  readonly smooth?: boolean;
  readonly window_size?: number;
  readonly reset_start?: number;
}

const startOf = (learning_rate: number, reset_start: number): MetricState => ({
  learning_rate,
  best: null,
  num_bad_epochs: 0,
  num_good_epochs: 0,
  cooldown_counter: 0,
  warmup_counter: 0,
  reset_start,
  recent: [],
  recent_sum: 0,
});

function checkFactor(name: string, factor: number): void {
  if (factor >= 1) {
    throw new ModelcError('input', `the learning rate schedule ${name} takes a factor below 1, got ${factor}`);
  }
}

function isBetter(value: number, best: number | null, { mode, threshold, threshold_mode }: Required<Watch>): boolean {
  const least = mode === 'min';
  const bar = best ?? (least ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY);
  if (threshold_mode === 'rel') return least ? value < bar * (1 - threshold) : value > bar * (1 + threshold);
  return least ? value < bar - threshold : value > bar + threshold;
}

const reduced = (rate: number, { factor, min_lr, eps }: Required<Watch>): number => {
  const lower = Math.max(rate * factor, min_lr);
  return rate - lower > eps ? lower : rate;
};

/** torch's ReduceLROnPlateau: the rate is multiplied by `factor` when the metric has not become better for a while. */
export function plateau(learning_rate: number, args: PlateauArguments): MetricSchedule {
  const watch: Required<Watch> = {
    mode: 'min',
    factor: 0.1,
    patience: 10,
    threshold: 1e-4,
    threshold_mode: 'rel',
    cooldown: 0,
    min_lr: 0,
    eps: 1e-8,
    ...args,
  };
  checkFactor('reduce_lr_on_plateau', watch.factor);
  return {
    kind: 'metric',
    start: startOf(learning_rate, 0),
    next(state, metric) {
      const better = isBetter(metric, state.best, watch);
      const cooling = state.cooldown_counter > 0;
      const bad = better || cooling ? 0 : state.num_bad_epochs + 1;
      const reduce = bad > watch.patience;
      return {
        ...state,
        learning_rate: reduce ? reduced(state.learning_rate, watch) : state.learning_rate,
        best: better ? metric : state.best,
        num_bad_epochs: reduce ? 0 : bad,
        cooldown_counter: reduce ? watch.cooldown : cooling ? state.cooldown_counter - 1 : 0,
      };
    },
  };
}

/** transformers' GreedyLR: the rate falls when the metric does not become better and rises while it does. */
export function greedy(learning_rate: number, args: GreedyArguments): MetricSchedule {
  const options: Required<GreedyArguments> = {
    mode: 'min',
    factor: 0.95,
    patience: 10,
    threshold: 1e-6,
    threshold_mode: 'abs',
    cooldown: 0,
    warmup: 0,
    min_lr: 1e-3,
    max_lr: 1,
    eps: 1e-8,
    smooth: false,
    window_size: 50,
    reset_start: 500,
    ...args,
  };
  const { factor, patience, cooldown, warmup, min_lr, max_lr, eps, smooth, window_size, reset_start } = options;
  checkFactor('greedy', factor);
  if (!(window_size >= 1)) {
    throw new ModelcError(
      'input',
      `the learning rate schedule greedy takes a window_size of 1 or more, got ${window_size}`,
    );
  }
  const start = startOf(learning_rate, reset_start);

  const lower = (state: MetricState): MetricState => {
    const rate = reduced(state.learning_rate, options);
    const left = rate > min_lr ? state.reset_start : state.reset_start - 1;
    if (rate <= min_lr && left <= 0) return start;
    return { ...state, learning_rate: rate, reset_start: left, num_bad_epochs: 0, cooldown_counter: cooldown };
  };
  const raise = (state: MetricState): MetricState => {
    const higher = Math.min(state.learning_rate / factor, max_lr);
    const rate = higher - state.learning_rate > eps ? higher : state.learning_rate;
    return { ...state, learning_rate: rate, reset_start, num_good_epochs: 0, warmup_counter: warmup };
  };
  const watched = (state: MetricState, metric: number): MetricState => {
    if (!smooth) return state;
    const recent = [...state.recent, metric];
    let recent_sum = state.recent_sum + metric;
    if (recent.length > window_size) recent_sum -= recent.shift() ?? 0;
    return { ...state, recent, recent_sum };
  };
  return {
    kind: 'metric',
    start,
    next(last, metric) {
      const state = watched(last, metric);
      const value = smooth ? state.recent_sum / state.recent.length : metric;
      const idle = { ...state, num_bad_epochs: 0, num_good_epochs: 0 };
      if (state.cooldown_counter > 0) return { ...idle, cooldown_counter: state.cooldown_counter - 1 };
      if (state.warmup_counter > 0) return { ...idle, warmup_counter: state.warmup_counter - 1 };
      if (isBetter(value, state.best, options)) {
        const good = { ...idle, best: value, num_good_epochs: state.num_good_epochs + 1 };
        return good.num_good_epochs > patience ? raise(good) : good;
      }
      const bad = { ...idle, num_bad_epochs: state.num_bad_epochs + 1 };
      return bad.num_bad_epochs > patience ? lower(bad) : bad;
    },
  };
}
