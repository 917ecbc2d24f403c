// Writes what a training logs for TensorBoard, as transformers' callback does: `loss` as train/loss, `eval_loss` as
// eval/loss, and the arguments as a text.
import { join } from 'node:path';
import { checkOptions } from '../../../ir/options.ts';
import type { TrainingArguments } from '../arguments.ts';
import type { CallbackContext, TrainerCallback } from '../callbacks.ts';
import type { TrainerControl, TrainerState } from '../trainer-state.ts';
import { EventFile } from './event-file.ts';

/** Options of TensorBoardCallback. */
export interface TensorBoardOptions {
  /** Where event files go: TENSORBOARD_LOGGING_DIR, or a folder for this run in `runs` of output_dir. */
  readonly logging_dir?: string;
}

/** Writes logs as TensorBoard's event files. */
export class TensorBoardCallback implements TrainerCallback {
  /** Where event files go; undefined: a folder for this run in `runs` of output_dir. */
  readonly logging_dir: string | undefined;
  private file: EventFile | undefined;

  constructor(options: TensorBoardOptions = {}) {
    checkOptions('TensorBoardCallback', options, ['logging_dir'], { tb_writer: null });
    const { logging_dir = process.env.TENSORBOARD_LOGGING_DIR } = options;
    this.logging_dir = logging_dir;
  }

  /** Writes the arguments. */
  on_train_begin(args: TrainingArguments, state: TrainerState): void {
    if (state.is_world_process_zero) this.open(args).text('args', JSON.stringify(args, null, 2));
  }

  /** Writes a log. */
  on_log(args: TrainingArguments, state: TrainerState, _: TrainerControl, { logs }: CallbackContext): void {
    if (!state.is_world_process_zero) return;
    for (const [name, value] of Object.entries(logs ?? {}))
      this.open(args).scalar(tagOf(name), value, state.global_step);
  }

  /** Closes the file. */
  on_train_end(): void {
    this.file?.close();
    this.file = undefined;
  }

  /** The file of this run; an evaluation on its own has one too. */
  private open(args: TrainingArguments): EventFile {
    const run = new Date().toISOString().slice(0, 19).replace('T', '_').replaceAll(':', '-');
    return (this.file ??= new EventFile(this.logging_dir ?? join(args.output_dir, 'runs', run)));
  }
}

function tagOf(name: string): string {
  const group = /^(eval|test)_/.exec(name)?.[1];
  return group ? `${group}/${name.slice(group.length + 1)}` : `train/${name}`;
}
