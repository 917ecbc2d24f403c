// Keeps curve.svg and curve.html in output_dir: drawn at every checkpoint and evaluation, and at the end.
import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { isObject } from '../../../frontends/huggingface/json.ts';
import { checkOptions } from '../../../ir/options.ts';
import type { TrainingArguments } from '../arguments.ts';
import type { CallbackContext, TrainerCallback } from '../callbacks.ts';
import { curveSvg } from '../curve.ts';
import { curveHtml } from '../curve-page.ts';
import type { TrainerControl, TrainerState } from '../trainer-state.ts';

/** Draws the losses and the learning rate: curve.svg and curve.html in output_dir. */
/** Keeps the curve of a training as a picture and as a page. */
export class CurveCallback implements TrainerCallback {
  private readonly title: string | undefined;

  /** `title`: the name of the run; default its run_name, or the name of output_dir. */
  constructor(options: { readonly title?: string } = {}) {
    checkOptions('CurveCallback', options, ['title']);
    this.title = options.title;
  }

  /** Draws what was logged until now, as the other events do. */
  on_evaluate(args: TrainingArguments, state: TrainerState, _: TrainerControl, context: CallbackContext): void {
    this.draw(args, state, context);
  }
  /** As above. */
  on_save(args: TrainingArguments, state: TrainerState, _: TrainerControl, context: CallbackContext): void {
    this.draw(args, state, context);
  }
  /** As above. */
  on_train_end(args: TrainingArguments, state: TrainerState, _: TrainerControl, context: CallbackContext): void {
    this.draw(args, state, context);
  }

  private draw(args: TrainingArguments, state: TrainerState, context: CallbackContext): void {
    if (!state.is_world_process_zero) return;
    const { output_dir, run_name } = args;
    const title = this.title ?? run_name ?? basename(resolve(output_dir));
    mkdirSync(output_dir, { recursive: true });
    writeFileSync(join(output_dir, 'curve.svg'), curveSvg(state.log_history, title));
    writeFileSync(
      join(output_dir, 'curve.html'),
      curveHtml(state.log_history, { title, model: nameOf(context.model) }),
    );
  }
}

/** What the config of a model says that it is. */
function nameOf(model: unknown): string | undefined {
  const hasFields = (typeof model === 'object' || typeof model === 'function') && model !== null;
  const config: unknown = hasFields && 'config' in model ? model.config : undefined;
  if (!isObject(config)) return undefined;
  const [name] = [config.architectures, config.model_type].flat().filter((part) => typeof part === 'string');
  return name;
}
