// Shows on stderr how far a training is: on a terminal a bar with loss, speed and the time that is left; elsewhere a line
// for each log, so that files stay readable.
import { checkOptions } from '../../../ir/options.ts';
import type { TrainingArguments } from '../arguments.ts';
import type { CallbackContext, TrainerCallback } from '../callbacks.ts';
import type { Metrics, TrainerControl, TrainerState } from '../trainer-state.ts';

/** What progress is written to: process.stderr. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Options of ProgressCallback. */
export interface ProgressOptions {
  /** Where it writes (process.stderr). */
  readonly stream?: ProgressStream;
  /** Seconds now. */
  readonly clock?: () => number;
}

/** Steps whose time tells the speed. */
const timedSteps = 50;
const secondsBetweenDrawings = 0.1;

/** Shows on stderr how far a training is. */
export class ProgressCallback implements TrainerCallback {
  private readonly stream: ProgressStream;
  private readonly clock: () => number;
  private times: number[] = [];
  private loss: number | undefined;
  private evaluated = 0;
  private drawn = Number.NEGATIVE_INFINITY;

  constructor(options: ProgressOptions = {}) {
    checkOptions('ProgressCallback', options, ['stream', 'clock']);
    const { stream = process.stderr, clock = () => performance.now() / 1000 } = options;
    this.stream = stream;
    this.clock = clock;
  }

  /** Begins the bar. */
  on_train_begin(_: TrainingArguments, state: TrainerState): void {
    this.times = [this.clock()];
    this.loss = undefined;
    this.evaluated = 0;
    this.draw(state, true);
  }

  /** Moves the bar. */
  on_step_end(_: TrainingArguments, state: TrainerState): void {
    this.times.push(this.clock());
    if (this.times.length > timedSteps + 1) this.times.shift();
    this.draw(state, state.global_step === state.max_steps);
  }

  /** Says which batch of an evaluation is run. */
  on_prediction_step(
    _: TrainingArguments,
    state: TrainerState,
    __: TrainerControl,
    { eval_dataloader }: CallbackContext,
  ): void {
    this.evaluated++;
    const total = eval_dataloader?.length;
    this.show(state, `evaluating batch ${this.evaluated}${total === undefined ? '' : ` of ${total}`}`);
  }

  /** Goes on with the bar. */
  on_evaluate(_: TrainingArguments, state: TrainerState): void {
    this.endEvaluation(state);
  }
  /** Goes on with the bar. */
  on_predict(_: TrainingArguments, state: TrainerState): void {
    this.endEvaluation(state);
  }

  /** Writes a line. */
  on_log(_: TrainingArguments, state: TrainerState, __: TrainerControl, { logs }: CallbackContext): void {
    if (!state.is_world_process_zero || !logs) return;
    this.loss = logs.loss ?? this.loss;
    const where = `step ${state.global_step}${state.max_steps > 0 ? ` of ${state.max_steps}` : ''}`;
    const left = this.stream.isTTY ? '' : this.speed(state);
    this.write(`${[`${where}: ${described(logs)}`, left].filter(Boolean).join(', ')}\n`);
    this.draw(state, true);
  }

  /** Removes the bar. */
  on_train_end(_: TrainingArguments, state: TrainerState): void {
    if (this.stream.isTTY && state.is_world_process_zero) this.write('');
  }

  private endEvaluation(state: TrainerState): void {
    this.evaluated = 0;
    // Evaluations are no part of the time that steps take.
    const pause = this.clock() - (this.times.at(-1) ?? this.clock());
    this.times = this.times.map((time) => time + pause);
    this.draw(state, true);
  }

  private draw(state: TrainerState, now: boolean): void {
    const loss = this.loss === undefined ? '' : `loss ${short(this.loss)}`;
    this.show(state, [loss, this.speed(state)].filter(Boolean).join(', '), now);
  }

  /** Replaces the bar. */
  private show(state: TrainerState, text: string, now = false): void {
    const time = this.clock();
    if (!this.stream.isTTY || !state.is_world_process_zero || (!now && time - this.drawn < secondsBetweenDrawings))
      return;
    this.drawn = time;
    const part = state.max_steps > 0 ? Math.min(1, state.global_step / state.max_steps) : 0;
    const filled = Math.round(part * 20);
    const bar = '\u2588'.repeat(filled) + '\u2591'.repeat(20 - filled);
    const line = `${String(Math.floor(part * 100)).padStart(3)} % ${bar} ${state.global_step}/${state.max_steps}  ${text}`;
    this.write(line.slice(0, (this.stream.columns ?? 80) - 1));
  }

  /** Writes over the bar. */
  private write(text: string): void {
    this.stream.write(this.stream.isTTY ? `\r\u001b[K${text}` : text);
  }

  private speed(state: TrainerState): string {
    const steps = this.times.length - 1;
    const seconds = this.times[steps] - this.times[0];
    if (steps < 1 || !(seconds > 0)) return '';
    const speed = steps / seconds;
    const perStep = speed >= 1 ? `${short(speed)} steps/s` : `${short(1 / speed)} s/step`;
    const left = state.max_steps - state.global_step;
    return left > 0 ? `${perStep}, ${duration(left / speed)} left` : perStep;
  }
}

/** What the history keeps, but no line needs. */
const unshown = /^total_flos$|^step$|_per_second$|^eval_.*runtime$/;

const described = (logs: Metrics): string =>
  Object.entries(logs)
    .filter(([name]) => !unshown.test(name))
    .map(([name, value]) => `${name} ${short(value)}`)
    .join(', ');

const short = (value: number): string => String(Number(value.toPrecision(4)));

export function duration(seconds: number): string {
  const total = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(total / 3600), Math.floor((total % 3600) / 60)];
  const pad = (n: number): string => String(n).padStart(2, '0');
  if (hours > 0) return `${hours} h ${pad(minutes)} min`;
  return minutes > 0 ? `${minutes} min ${pad(total % 60)} s` : `${total} s`;
}
