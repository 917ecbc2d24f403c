// Keeps curve.svg and curve.html in output_dir: drawn at every checkpoint and evaluation, and at the end.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TrainingArguments } from '../arguments.ts';
import type { TrainerCallback } from '../callbacks.ts';
import { curveHtml, curveSvg } from '../curve.ts';
import type { TrainerState } from '../trainer-state.ts';

/** Draws the losses and the learning rate: curve.svg and curve.html in output_dir. */
export class CurveCallback implements TrainerCallback {
  private readonly title: string;
  constructor({ title = 'Training' }: { readonly title?: string } = {}) {
    this.title = title;
  }

  /** Draws anew. */
  on_evaluate(args: TrainingArguments, state: TrainerState): void {
    this.draw(args, state);
  }
  /** Draws anew. */
  on_save(args: TrainingArguments, state: TrainerState): void {
    this.draw(args, state);
  }
  /** Draws anew. */
  on_train_end(args: TrainingArguments, state: TrainerState): void {
    this.draw(args, state);
  }

  private draw({ output_dir }: TrainingArguments, { log_history, is_world_process_zero }: TrainerState): void {
    if (!is_world_process_zero) return;
    mkdirSync(output_dir, { recursive: true });
    writeFileSync(join(output_dir, 'curve.svg'), curveSvg(log_history, this.title));
    writeFileSync(join(output_dir, 'curve.html'), curveHtml(log_history, this.title));
  }
}
