// Stops a training whose metric has not become better for some evaluations, as transformers' EarlyStoppingCallback does.
import { ModelcError } from '../../../ir/error.ts';
import { checkOptions } from '../../../ir/options.ts';
import type { TrainingArguments } from '../arguments.ts';
import type { CallbackContext, TrainerCallback } from '../callbacks.ts';
import { metricOf } from '../metrics.ts';
import type { CallbackState, TrainerControl, TrainerState } from '../trainer-state.ts';

/** Options of EarlyStoppingCallback: names and defaults are those of transformers. */
export interface EarlyStoppingOptions {
  /** How many evaluations without progress there are before the training stops; 1. */
  readonly early_stopping_patience?: number;
  /** By how much a metric must beat the best; 0. */
  readonly early_stopping_threshold?: number;
}

/**
 * Ends a training whose metric_for_best_model does not get better, as transformers' class does.
 *
 *     callbacks: [new EarlyStoppingCallback({ early_stopping_patience: 3 })]
 */
export class EarlyStoppingCallback implements TrainerCallback {
  /** Evaluations without progress before the end (1). */
  readonly early_stopping_patience: number;
  /** By how much a metric must beat the best (0). */
  readonly early_stopping_threshold: number;
  /** Evaluations without progress so far. */
  early_stopping_patience_counter = 0;

  constructor(options: EarlyStoppingOptions = {}) {
    checkOptions('EarlyStoppingCallback', options, ['early_stopping_patience', 'early_stopping_threshold']);
    const { early_stopping_patience = 1, early_stopping_threshold = 0 } = options;
    this.early_stopping_patience = early_stopping_patience;
    this.early_stopping_threshold = early_stopping_threshold;
  }

  /** Throws ModelcError 'input' where there is no metric_for_best_model, or no eval_strategy. */
  on_train_begin(args: TrainingArguments): void {
    if (args.metric_for_best_model === null || args.eval_strategy === 'no') {
      throw new ModelcError(
        'input',
        'EarlyStoppingCallback needs metric_for_best_model and an eval_strategy: set both',
      );
    }
  }

  /** Looks at the metric. */
  on_evaluate(
    args: TrainingArguments,
    state: TrainerState,
    control: TrainerControl,
    { metrics }: CallbackContext,
  ): void {
    const { name, value } = metricOf(args.metric_for_best_model ?? 'loss', metrics ?? {});
    if (value === undefined) {
      console.warn(`early stopping looks at ${name}, which this evaluation does not give; it is off`);
      return;
    }
    const best = state.best_metric;
    const better =
      best === null ||
      ((args.greater_is_better ? value > best : value < best) &&
        Math.abs(value - best) > this.early_stopping_threshold);
    this.early_stopping_patience_counter = better ? 0 : this.early_stopping_patience_counter + 1;
    if (this.early_stopping_patience_counter >= this.early_stopping_patience) control.should_training_stop = true;
  }

  state(): CallbackState {
    const { early_stopping_patience, early_stopping_threshold, early_stopping_patience_counter } = this;
    return {
      args: { early_stopping_patience, early_stopping_threshold },
      attributes: { early_stopping_patience_counter },
    };
  }
}
