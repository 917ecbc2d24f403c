// The model of a checkpoint: what its config.json describes, with the weights that the checkpoint has for it.
import { ModelcError } from '../../ir/error.ts';
import type { Checkpoint } from './checkpoint.ts';
import { type Architecture, type Description, describeModel, type TaskName } from './describe.ts';
import { families } from './families/index.ts';
import { Fields } from './fields.ts';
import { type Fit, type FitOptions, fitted, type Wanted } from './fit.ts';

/** What a checkpoint has for a model. */
export interface Fitted extends Pick<Fit, 'fresh' | 'notes'> {
  /** The checkpoint, those of its weights that the model reads, under the names that it has for them. */
  readonly checkpoint: Checkpoint;
}

/** A model that a checkpoint holds. */
export interface FittedModel extends Description, Fitted {}

/** How the model of a checkpoint is made. */
export interface FittedOptions extends FitOptions {
  /** Makes the model, in place of the family that model_type names. */
  readonly architecture?: Architecture | undefined;
}

/** The model of a checkpoint. Errors are those of describeModel, and 'checkpoint' for weights that do not fit it. */
export function fittedModel(checkpoint: Checkpoint, name: TaskName, options: FittedOptions = {}): FittedModel {
  const { config, dir } = checkpoint;
  const where = `${dir}/config.json`;
  refuseQuantized(new Fields(config, where));
  const { described, fit } = fitted(
    checkpoint,
    ({ tensors, ...beside }) =>
      describeModel(config, where, name, {
        architecture: options.architecture,
        has: (weight) => tensors.has(weight),
        beside,
      }),
    wantedOf,
    options,
  );
  const { tensors, fresh, notes } = fit;
  return { ...described, checkpoint: { ...checkpoint, tensors }, fresh, notes };
}

/** The weights that a model wants, and which of them may be made new: those of heads. */
function wantedOf({ kind, name, modelType, task: { model }, prefix, isOwn }: Description): Wanted {
  switch (kind) {
    case 'causal-lm':
      return { model, prefix, isNew: (path) => !isOwn && !path.startsWith(`${prefix}.`), isOwn };
    case 'seq2seq-lm':
      return { model, prefix, isNew: (path) => path.startsWith('lm_head.') };
    case 'encoder':
      return {
        model,
        prefix,
        ...(name === 'encoder' ? { outer: families[modelType].prefix } : {}),
        isNew: (path) => (prefix !== '' && !path.startsWith(`${prefix}.`)) || /^(\w+\.)?(pooler|lm_head)\./.test(path),
      };
    default:
      return kind satisfies never;
  }
}

/** Throws ModelcError 'unsupported' for weights that are packed. */
function refuseQuantized(fields: Fields): void {
  if (!fields.has('quantization_config')) return;
  throw new ModelcError(
    'unsupported',
    `${fields.where} has a quantization_config; use the checkpoint with unquantized weights`,
  );
}
