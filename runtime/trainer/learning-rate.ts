// The learning rate of a run: a schedule, and the place in it, which checkpoints keep.
import type { MetricState } from './metric-schedules.ts';
import type { Schedule } from './schedulers.ts';

/** Plain data. */
export interface SchedulePlace {
  /** Optimizer steps that were taken. */
  readonly steps: number;
  /** Of a schedule that follows a metric. */
  readonly metric: MetricState | null;
}

export class LearningRate {
  readonly schedule: Schedule;
  #place: SchedulePlace;

  constructor(schedule: Schedule, place?: SchedulePlace) {
    this.schedule = schedule;
    this.#place = place ?? { steps: 0, metric: schedule.kind === 'metric' ? schedule.start : null };
  }

  get place(): SchedulePlace {
    return this.#place;
  }

  /** The rate of the next step. */
  get current(): number {
    const { steps, metric } = this.#place;
    return this.schedule.kind === 'step' ? this.schedule.rate(steps) : (metric ?? this.schedule.start).learning_rate;
  }

  /** A step was taken. */
  step(): void {
    this.#place = { ...this.#place, steps: this.#place.steps + 1 };
  }

  /** An evaluation gave the metric that a schedule may follow. */
  observe(value: number): void {
    if (this.schedule.kind !== 'metric') return;
    this.#place = { ...this.#place, metric: this.schedule.next(this.#place.metric ?? this.schedule.start, value) };
  }
}
