// Learning-rate schedules under the names and with the arguments of transformers. Most are pure functions of the number of
// optimizer steps done; two follow a metric, and are pure functions of their state and its next value (metric-schedules.ts).
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import {
  type GreedyArguments,
  greedy,
  type MetricSchedule,
  type PlateauArguments,
  plateau,
} from './metric-schedules.ts';

/** The values of `lr_scheduler_type`. */
export const SchedulerType = {
  LINEAR: 'linear',
  COSINE: 'cosine',
  COSINE_WITH_RESTARTS: 'cosine_with_restarts',
  POLYNOMIAL: 'polynomial',
  CONSTANT: 'constant',
  CONSTANT_WITH_WARMUP: 'constant_with_warmup',
  INVERSE_SQRT: 'inverse_sqrt',
  REDUCE_ON_PLATEAU: 'reduce_lr_on_plateau',
  COSINE_WITH_MIN_LR: 'cosine_with_min_lr',
  COSINE_WARMUP_WITH_MIN_LR: 'cosine_warmup_with_min_lr',
  WARMUP_STABLE_DECAY: 'warmup_stable_decay',
  GREEDY: 'greedy',
} as const;
export type SchedulerType = (typeof SchedulerType)[keyof typeof SchedulerType];

type None = { readonly [name in never]: never };
type Ramp = 'linear' | 'cosine' | '1-sqrt';

/** One of the two gives the least rate of a cosine. */
interface Floor {
  readonly num_cycles?: number;
  readonly min_lr?: number;
  /** As a share of the learning rate. */
  readonly min_lr_rate?: number;
}

/** What `scheduler_specific_kwargs` may hold, by schedule. */
export interface SchedulerArguments {
  readonly linear: None;
  readonly cosine: { readonly num_cycles?: number };
  readonly cosine_with_restarts: { readonly num_cycles?: number };
  readonly polynomial: { readonly lr_end?: number; readonly power?: number };
  readonly constant: None;
  readonly constant_with_warmup: None;
  readonly inverse_sqrt: { readonly timescale?: number };
  readonly reduce_lr_on_plateau: PlateauArguments;
  readonly cosine_with_min_lr: Floor;
  readonly cosine_warmup_with_min_lr: Floor & { readonly warmup_lr_rate?: number };
  readonly warmup_stable_decay: {
    readonly num_decay_steps?: number;
    readonly num_stable_steps?: number;
    readonly warmup_type?: Ramp;
    readonly decay_type?: Ramp;
    readonly min_lr_ratio?: number;
    readonly num_cycles?: number;
  };
  readonly greedy: GreedyArguments;
}

export interface SchedulerOptions<N extends SchedulerType = SchedulerType> {
  /** The rate that the schedule scales. */
  readonly learning_rate: number;
  /** Steps in which the rate rises from 0; 0. */
  readonly num_warmup_steps?: number;
  /** All steps; schedules that end need it. */
  readonly num_training_steps?: number;
  /** What the schedule of that name takes besides. */
  readonly scheduler_specific_kwargs?: SchedulerArguments[N];
}

export interface StepSchedule {
  readonly kind: 'step';
  /** The learning rate of the optimizer step that follows `step` others. */
  rate(step: number): number;
}

export type Schedule = StepSchedule | MetricSchedule;

/** The options of one call; reading a step count that the caller left out throws. */
class Run {
  constructor(
    readonly name: SchedulerType,
    readonly options: SchedulerOptions,
  ) {}
  get rate(): number {
    return this.options.learning_rate;
  }
  get warmup(): number {
    return this.steps('num_warmup_steps');
  }
  get total(): number {
    return this.steps('num_training_steps');
  }
  fail(what: string): never {
    throw new ModelcError('input', `the learning rate schedule ${this.name} ${what}`);
  }
  private steps(option: 'num_warmup_steps' | 'num_training_steps'): number {
    const steps = this.options[option];
    if (steps === undefined) this.fail(`needs ${option}: pass it`);
    if (!(Number.isFinite(steps) && steps >= 0)) this.fail(`takes 0 or more ${option}, got ${steps}`);
    return steps;
  }
}

type Check = 'number' | 'boolean' | readonly string[];
interface Rule<A, S> {
  /** What values each argument takes. */
  readonly takes: { readonly [name in keyof Required<A>]: Check };
  build(run: Run, args: A): S;
}
/** Of a step: what the learning rate is multiplied by. */
type Multiplier = (step: number) => number;

const ramps = ['linear', 'cosine', '1-sqrt'] as const;
const floor = { num_cycles: 'number', min_lr: 'number', min_lr_rate: 'number' } as const;

/** From 0 to 1 in the first `warmup` steps, then `after`. */
const warmedUp =
  (warmup: number, after: Multiplier): Multiplier =>
  (step) =>
    step < warmup ? step / Math.max(1, warmup) : after(step);

/** How much of the steps after the warmup is done, 1 at the last. */
const progress = (step: number, { warmup, total }: { warmup: number; total: number }): number =>
  (step - warmup) / Math.max(1, total - warmup);

const wave = (cycles: number, at: number): number => 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * at));
const raise = (factor: number, least: number): number => Math.max(0, factor * (1 - least) + least);

/** The least multiplier that the caller asked for. */
function leastOf(run: Run, { min_lr, min_lr_rate }: Floor): number {
  if (min_lr !== undefined && min_lr_rate !== undefined) run.fail('takes min_lr or min_lr_rate, not both');
  if (min_lr !== undefined) return min_lr / run.rate;
  return min_lr_rate ?? run.fail('needs min_lr or min_lr_rate in scheduler_specific_kwargs');
}

/** From 0 to 1 as `at` goes from 0 to 1. */
function rise(type: Ramp, at: number): number {
  switch (type) {
    case 'linear':
      return at;
    case 'cosine':
      return 0.5 * (1 - Math.cos(Math.PI * at));
    case '1-sqrt':
      return 1 - Math.sqrt(1 - at);
    default:
      return type satisfies never;
  }
}

/** From 1 to 0 as `at` goes from 0 to 1. */
function fall(type: Ramp, at: number, cycles: number): number {
  switch (type) {
    case 'linear':
      return 1 - at;
    case 'cosine':
      return wave(cycles, at);
    case '1-sqrt':
      return 1 - Math.sqrt(at);
    default:
      return type satisfies never;
  }
}

export type MetricName = 'reduce_lr_on_plateau' | 'greedy';
export type StepName = Exclude<SchedulerType, MetricName>;
type Rules<Name extends SchedulerType, S> = { readonly [N in Name]: Rule<SchedulerArguments[N], S> };

const metricRules: Rules<MetricName, MetricSchedule> = {
  reduce_lr_on_plateau: {
    takes: {
      mode: ['min', 'max'],
      factor: 'number',
      patience: 'number',
      threshold: 'number',
      threshold_mode: ['rel', 'abs'],
      cooldown: 'number',
      min_lr: 'number',
      eps: 'number',
    },
    build: ({ rate }, args) => plateau(rate, args),
  },
  greedy: {
    takes: {
      mode: ['min', 'max'],
      factor: 'number',
      patience: 'number',
      threshold: 'number',
      threshold_mode: ['rel', 'abs'],
      cooldown: 'number',
      warmup: 'number',
      min_lr: 'number',
      max_lr: 'number',
      eps: 'number',
      smooth: 'boolean',
      window_size: 'number',
      reset_start: 'number',
    },
    build: ({ rate }, args) => greedy(rate, args),
  },
};

const stepRules: Rules<StepName, Multiplier> = {
  constant: { takes: {}, build: () => () => 1 },
  constant_with_warmup: { takes: {}, build: ({ warmup }) => warmedUp(warmup, () => 1) },
  linear: {
    takes: {},
    build: ({ warmup, total }) => warmedUp(warmup, (step) => Math.max(0, (total - step) / Math.max(1, total - warmup))),
  },
  cosine: {
    takes: { num_cycles: 'number' },
    build: ({ warmup, total }, { num_cycles = 0.5 }) =>
      warmedUp(warmup, (step) => wave(num_cycles, progress(step, { warmup, total }))),
  },
  cosine_with_restarts: {
    takes: { num_cycles: 'number' },
    build: ({ warmup, total }, { num_cycles = 1 }) =>
      warmedUp(warmup, (step) => {
        const at = progress(step, { warmup, total });
        return at >= 1 ? 0 : wave(0.5, (num_cycles * at) % 1);
      }),
  },
  polynomial: {
    takes: { lr_end: 'number', power: 'number' },
    build: (run, { lr_end = 1e-7, power = 1 }) => {
      const { warmup, total, rate } = run;
      if (!(rate > lr_end)) run.fail(`takes an lr_end (${lr_end}) below the learning rate (${rate})`);
      return warmedUp(warmup, (step) => {
        const left = step > total ? 0 : (1 - progress(step, { warmup, total })) ** power;
        return ((rate - lr_end) * left + lr_end) / rate;
      });
    },
  },
  inverse_sqrt: {
    takes: { timescale: 'number' },
    build: (run, { timescale }) => {
      const { warmup } = run;
      const scale = timescale ?? (warmup || 10_000);
      if (!(scale > 0)) run.fail(`takes a timescale above 0, got ${scale}`);
      return warmedUp(warmup, (step) => 1 / Math.sqrt((step + scale - warmup) / scale));
    },
  },
  cosine_with_min_lr: {
    takes: floor,
    build: (run, { num_cycles = 0.5, ...rest }) => {
      const { warmup, total } = run;
      const least = leastOf(run, rest);
      return warmedUp(warmup, (step) => raise(wave(num_cycles, progress(step, { warmup, total })), least));
    },
  },
  // The first step already has a rate, and the last one has the least.
  cosine_warmup_with_min_lr: {
    takes: { ...floor, warmup_lr_rate: 'number' },
    build: (run, { num_cycles = 0.5, warmup_lr_rate: first, ...rest }) => {
      const { warmup, total } = run;
      const least = leastOf(run, rest);
      return (step) => {
        if (step >= warmup) return raise(wave(num_cycles, progress(step + 1, { warmup, total })), least);
        return first === undefined
          ? (step + 1) / Math.max(1, warmup)
          : first + ((1 - first) * step) / Math.max(1, warmup - 1);
      };
    },
  },
  warmup_stable_decay: {
    takes: {
      num_decay_steps: 'number',
      num_stable_steps: 'number',
      warmup_type: ramps,
      decay_type: ramps,
      min_lr_ratio: 'number',
      num_cycles: 'number',
    },
    build: (run, args) => {
      const { warmup_type = 'linear', decay_type = 'cosine', min_lr_ratio: least = 0, num_cycles = 0.5 } = args;
      const { warmup } = run;
      const decay = args.num_decay_steps ?? run.fail('needs num_decay_steps in scheduler_specific_kwargs');
      const stable = args.num_stable_steps ?? run.total - warmup - decay;
      return (step) => {
        if (step < warmup) return raise(rise(warmup_type, step / Math.max(1, warmup)), least);
        if (step < warmup + stable) return 1;
        if (step >= warmup + stable + decay) return least;
        return raise(fall(decay_type, (step - warmup - stable) / Math.max(1, decay), num_cycles), least);
      };
    },
  },
};

const schedulerTypes: readonly string[] = Object.values(SchedulerType);
const isSchedulerType = (name: string): name is SchedulerType => schedulerTypes.includes(name);
const isMetricName = (name: SchedulerType): name is MetricName => Object.hasOwn(metricRules, name);

function build<A, S>(run: Run, { takes, build }: Rule<A, S>, args: A): S {
  const checks: Readonly<Record<string, Check>> = takes;
  for (const [name, value] of Object.entries(args ?? {})) {
    if (value === undefined) continue;
    const check = Object.hasOwn(checks, name) ? checks[name] : undefined;
    if (!check) run.fail(`has no argument ${name}; it has ${Object.keys(checks).join(', ') || 'none'}`);
    if (
      check === 'number'
        ? !Number.isFinite(value)
        : check === 'boolean'
          ? typeof value !== 'boolean'
          : !check.includes(String(value))
    ) {
      run.fail(`takes ${typeof check === 'string' ? `a ${check}` : check.join(' or ')} as ${name}, got ${value}`);
    }
  }
  return build(run, args);
}

const schedulerOptions = [
  'learning_rate', 'num_warmup_steps', 'num_training_steps', 'scheduler_specific_kwargs',
] as const satisfies readonly (keyof SchedulerOptions)[]; // biome-ignore format: one table

/**
 * The schedule of that name. Throws ModelcError 'input' for an unknown one and for arguments that it lacks or has not.
 *
 *     const schedule = get_scheduler('linear', { learning_rate: 5e-5, num_warmup_steps: 10, num_training_steps: 100 })
 *     schedule.rate(5) // 2.5e-5
 */
export function get_scheduler<N extends MetricName>(name: N, options: SchedulerOptions<N>): MetricSchedule;
export function get_scheduler<N extends StepName>(name: N, options: SchedulerOptions<N>): StepSchedule;
export function get_scheduler<N extends SchedulerType>(name: N, options: SchedulerOptions<N>): Schedule;
export function get_scheduler(name: string, options: SchedulerOptions): Schedule {
  if (!isSchedulerType(name)) {
    throw new ModelcError('input', `unknown learning rate schedule '${name}'; known: ${schedulerTypes.join(', ')}`);
  }
  checkOptions('get_scheduler()', options, schedulerOptions);
  const run = new Run(name, options);
  const rate = options.learning_rate;
  if (!(Number.isFinite(rate) && rate >= 0)) run.fail(`takes a learning_rate of 0 or more, got ${rate}`);
  const args = options.scheduler_specific_kwargs ?? {};
  if (isMetricName(name))
    return build<PlateauArguments | GreedyArguments, MetricSchedule>(run, metricRules[name], args);
  const multiplier = build<SchedulerArguments[typeof name], Multiplier>(run, stepRules[name], args);
  return { kind: 'step', rate: (step) => rate * multiplier(step) };
}
