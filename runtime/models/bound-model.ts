// What all models have in common that users load: an executor that runs them, and, where they were not compiled elsewhere,
// weights that can be trained and saved.
import type { Executor } from '../execution/executor.ts';
import { requireTrainable, type Trainable, type TrainableModel, withGradients } from '../trainer/trainable.ts';

export abstract class BoundModel<I> implements Trainable {
  /** What a Trainer trains; absent where the model came compiled. */
  trainable: TrainableModel | undefined;

  constructor(
    /** What runs the model. */
    protected executor: Executor,
    /** What running it takes to know. */
    protected readonly info: I,
    /** config.json of the checkpoint. */
    readonly config: Readonly<Record<string, unknown>>,
  ) {}

  /** Whether the parameters that `which` names (all) are trained from now on. */
  requires_grad_(requires_grad = true, which?: (name: string) => boolean): this {
    this.trainable = withGradients(this.trainable, requires_grad, which);
    return this;
  }

  /** Writes the model's config.json, generation_config.json and weights, so that from_pretrained loads them. */
  save_pretrained(folder: string): Promise<void> {
    return requireTrainable(this.trainable).write(folder);
  }

  /** Goes on with another executor, of the same model with other weights. */
  replaceExecutor(executor: Executor): void {
    this.executor.dispose();
    this.executor = executor;
  }

  /** Frees code, weights and memory. */
  dispose(): void {
    this.executor.dispose();
  }
}
