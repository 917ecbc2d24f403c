// Prints what is logged, a line each, where no progress is shown.
import type { TrainingArguments } from '../arguments.ts';
import type { CallbackContext, TrainerCallback } from '../callbacks.ts';
import type { TrainerControl, TrainerState } from '../trainer-state.ts';

/** Prints logs as JSON. */
export class PrinterCallback implements TrainerCallback {
  /** Prints a log. */
  on_log(_: TrainingArguments, state: TrainerState, __: TrainerControl, { logs }: CallbackContext): void {
    if (state.is_local_process_zero && logs) console.log(JSON.stringify(logs));
  }
}
