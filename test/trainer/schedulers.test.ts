// Learning-rate schedules beside transformers 5.18 and torch 2.13: the rates of given steps, and of given metrics.
import { expect, test } from 'vitest';
import {
  get_scheduler,
  type MetricName,
  type SchedulerArguments,
  SchedulerType,
  type StepName,
} from '../../runtime/trainer/schedulers.ts';

/** Relative: the formulas are evaluated in doubles on both sides. */
const close = (rates: readonly number[], expected: readonly number[]): void => {
  for (const [i, rate] of rates.entries()) {
    expect(Math.abs(rate - expected[i]), `${rate} is not ${expected[i]}`).toBeLessThanOrEqual(
      1e-12 * expected[i] + 1e-17,
    );
  }
};

type StepCase = {
  [N in StepName]: [N, number | undefined, number | undefined, SchedulerArguments[N], number[]];
}[StepName];
const steps = [0, 1, 2, 3, 5, 9, 10, 11];
/** Name, warmup steps, training steps, arguments, and the rates of `steps` for a learning rate of 0.02. */
const stepCases: StepCase[] = [
  [
    'linear',
    3,
    10,
    {},
    [0.0, 0.006666666666667, 0.01333333333333, 0.02, 0.01428571428571, 0.002857142857143, 0.0, 0.0],
  ],
  [
    'cosine',
    3,
    10,
    {},
    [0.0, 0.006666666666667, 0.01333333333333, 0.02, 0.01623489801859, 0.0009903113209758, 0.0, 0.0009903113209758],
  ],
  [
    'cosine',
    0,
    10,
    { num_cycles: 1.5 },
    [0.02, 0.01587785252292, 0.006909830056251, 0.0004894348370485, 0.01, 0.004122147477075, 0.0, 0.004122147477075],
  ],
  [
    'cosine_with_restarts',
    2,
    10,
    { num_cycles: 3 },
    [0.0, 0.01, 0.02, 0.01382683432365, 0.01923879532511, 0.006173165676349, 0.0, 0.0],
  ],
  ['polynomial', 2, 10, {}, [0.0, 0.01, 0.02, 0.0175000125, 0.0125000375, 0.0025000875, 1e-7, 1e-7]],
  [
    'polynomial',
    2,
    9,
    { lr_end: 0.001, power: 2.0 },
    [0.0, 0.01, 0.02, 0.01495918367347, 0.007204081632653, 0.001, 0.001, 0.001],
  ],
  ['constant', undefined, undefined, {}, [0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02]],
  ['constant_with_warmup', 4, undefined, {}, [0.0, 0.005, 0.01, 0.015, 0.02, 0.02, 0.02, 0.02]],
  [
    'inverse_sqrt',
    3,
    10,
    {},
    [
      0.0, 0.006666666666667, 0.01333333333333, 0.02, 0.01549193338483, 0.01154700538379, 0.0109544511501,
      0.01044465935734,
    ],
  ],
  [
    'inverse_sqrt',
    3,
    10,
    { timescale: 2 },
    [0.0, 0.006666666666667, 0.01333333333333, 0.02, 0.01414213562373, 0.01, 0.009428090415821, 0.008944271909999],
  ],
  [
    'inverse_sqrt',
    0,
    10,
    {},
    [
      0.02, 0.01999900007499, 0.01999800029995, 0.01999700067483, 0.01999500187422, 0.01999100607045, 0.01999000749376,
      0.01998900906669,
    ],
  ],
  [
    'cosine_with_min_lr',
    3,
    10,
    { min_lr: 0.004 },
    [0.0, 0.006666666666667, 0.01333333333333, 0.02, 0.01698791841487, 0.004792249056781, 0.004, 0.004792249056781],
  ],
  [
    'cosine_with_min_lr',
    3,
    10,
    { min_lr_rate: 0.1, num_cycles: 1.0 },
    [0.0, 0.006666666666667, 0.01333333333333, 0.02, 0.008997311594393, 0.01661140821673, 0.02, 0.01661140821673],
  ],
  [
    'cosine_warmup_with_min_lr',
    3,
    10,
    { min_lr_rate: 0.1 },
    [
      0.006666666666667, 0.01333333333333, 0.02, 0.01910871981112, 0.01300268840561, 0.002, 0.002891280188878,
      0.005388591783271,
    ],
  ],
  [
    'cosine_warmup_with_min_lr',
    3,
    10,
    { min_lr: 0.004, warmup_lr_rate: 0.05 },
    [0.001, 0.0105, 0.02, 0.01920775094322, 0.01378016747165, 0.004, 0.004792249056781, 0.00701208158513],
  ],
  [
    'warmup_stable_decay',
    3,
    10,
    { num_decay_steps: 4 },
    [0.0, 0.006666666666667, 0.01333333333333, 0.02, 0.02, 0.002928932188135, 0.0, 0.0],
  ],
  [
    'warmup_stable_decay',
    3,
    12,
    { num_decay_steps: 4, num_stable_steps: 2, warmup_type: 'cosine', decay_type: '1-sqrt', min_lr_ratio: 0.1 },
    [0.002, 0.0065, 0.0155, 0.02, 0.02, 0.002, 0.002, 0.002],
  ],
  [
    'warmup_stable_decay',
    3,
    10,
    { num_decay_steps: 5, warmup_type: '1-sqrt', decay_type: 'linear', min_lr_ratio: 0.2 },
    [0.004, 0.006936054705156, 0.01076239569297, 0.02, 0.02, 0.0072, 0.004, 0.004],
  ],
];
test.each(stepCases)('%s, %o warmup steps of %o, %o', (name, num_warmup_steps, num_training_steps, args, expected) => {
  const counts = {
    ...(num_warmup_steps !== undefined && { num_warmup_steps }),
    ...(num_training_steps !== undefined && { num_training_steps }),
  };
  const schedule = get_scheduler(name, { learning_rate: 0.02, ...counts, scheduler_specific_kwargs: args });
  close(
    steps.map((step) => schedule.rate(step)),
    expected,
  );
});

type MetricCase = { [N in MetricName]: [N, SchedulerArguments[N], number[]] }[MetricName];
const metrics = [1, 0.9, 0.9, 0.95, 0.9, 0.89, 0.9, 0.9, 0.9, 0.5, 0.6, 0.6, 0.6, 0.6, 0.3, 0.2, 0.1, 0.05, 0.04, 0.03];
/** Name, arguments, and the rate after each of `metrics` for a learning rate of 0.1. */
const metricCases: MetricCase[] = [
  [
    'reduce_lr_on_plateau',
    { patience: 1 },
    [
      0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001, 0.001, 0.001, 0.001, 0.0001, 0.0001, 1e-5, 1e-5, 1e-5, 1e-5, 1e-5,
      1e-5, 1e-5,
    ],
  ],
  [
    'reduce_lr_on_plateau',
    { patience: 0, factor: 0.5, cooldown: 2, min_lr: 0.01, threshold: 0.05 },
    [
      0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.0125, 0.0125, 0.0125, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01,
      0.01, 0.01,
    ],
  ],
  [
    'reduce_lr_on_plateau',
    { mode: 'max', patience: 2, threshold_mode: 'abs', threshold: 0.2 },
    [
      0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001, 0.001, 0.0001, 0.0001, 0.0001, 1e-5, 1e-5, 1e-5, 1e-6, 1e-6, 1e-6,
      1e-7, 1e-7,
    ],
  ],
  [
    'greedy',
    { patience: 1, factor: 0.5 },
    [
      0.1, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125, 0.025, 0.025, 0.05, 0.05,
      0.1,
    ],
  ],
  [
    'greedy',
    { patience: 1, factor: 0.8, cooldown: 1, warmup: 2, max_lr: 0.2, min_lr: 0.05 },
    [
      0.1, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.1, 0.1, 0.1, 0.1, 0.08, 0.08, 0.08, 0.08, 0.1, 0.1, 0.1, 0.1,
      0.125,
    ],
  ],
  [
    'greedy',
    { patience: 0, factor: 0.5, smooth: true, window_size: 3, reset_start: 2, min_lr: 0.02 },
    [0.2, 0.4, 0.8, 1.0, 0.5, 1.0, 1.0, 0.5, 0.25, 0.5, 1.0, 1.0, 0.5, 0.25, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0],
  ],
];
test.each(metricCases)('%s, %o', (name, args, expected) => {
  const schedule = get_scheduler(name, { learning_rate: 0.1, scheduler_specific_kwargs: args });
  let state = schedule.start;
  const rates = metrics.map((metric) => {
    // A checkpoint holds the state as JSON.
    state = JSON.parse(JSON.stringify(schedule.next(state, metric)));
    return state.learning_rate;
  });
  close(rates, expected);
});

test('every type of schedule has a test', () => {
  const tested = new Set<string>([...stepCases, ...metricCases].map(([name]) => name));
  expect([...tested].sort()).toEqual(Object.values(SchedulerType).sort());
});

test('wrong names and arguments are refused', () => {
  const options = { learning_rate: 0.1, num_warmup_steps: 0, num_training_steps: 10 };
  const named = (name: string, args: object = {}) =>
    get_scheduler(name as 'cosine', { ...options, scheduler_specific_kwargs: args });
  expect(() => named('cubic')).toThrow("unknown learning rate schedule 'cubic'; known: linear, cosine,");
  expect(() => named('toString')).toThrow("unknown learning rate schedule 'toString'");
  expect(() => named('linear', { num_cycles: 2 })).toThrow('linear has no argument num_cycles; it has none');
  expect(() => named('cosine', { num_cycles: 'two' })).toThrow('cosine takes a number as num_cycles, got two');
  expect(() => named('cosine_with_min_lr')).toThrow('needs min_lr or min_lr_rate');
  expect(() => named('warmup_stable_decay')).toThrow('needs num_decay_steps');
  expect(() => named('reduce_lr_on_plateau', { factor: 1 })).toThrow('takes a factor below 1, got 1');
  expect(() => get_scheduler('linear', { learning_rate: 0.1, num_warmup_steps: 0 })).toThrow(
    'needs num_training_steps',
  );
  expect(() => get_scheduler('linear', { ...options, learning_rate: Number.NaN })).toThrow('takes a learning_rate');
});
