// What a Trainer needs of a model: its task, its weights, where it runs, and what its checkpoints say of it.
import type { Device } from '../../backends/device.ts';
import type { DeviceName } from '../../backends/index.ts';
import type { SequenceTask } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import type { WeightStore } from '../tensors/weight-store.ts';

type JsonObject = Readonly<Record<string, unknown>>;

export interface TrainableModel {
  readonly task: SequenceTask;
  readonly weights: WeightStore;
  readonly target: DeviceName;
  /** The target's device, when it is open already. */
  readonly device?: Device;
  /** Positions of the longest sequence; undefined where a model has no bound. */
  readonly maxPositions: number | undefined;
  /** config.json */
  readonly config: JsonObject;
  /** generation_config.json; empty where there is none. */
  readonly generationConfig: JsonObject;
  /** Which parameters are trained (all). */
  readonly isTrained?: (name: string) => boolean;
  /** Gives the model these weights, all in f32: from now on it computes with them. They are those that are trained. */
  adopt(weights: ReadonlyMap<string, HostTensor>): Promise<void>;
  /** Writes the files of the model as it is now into a folder. */
  write(folder: string): Promise<void>;
  /** How checkpoints keep the weights that are trained, where that is not as a whole model: as adapters. */
  readonly saved?: SavedWeights;
}

export interface SavedWeights {
  /** Writes the files of the weights that are trained, f32 by name. */
  write(folder: string, weights: ReadonlyMap<string, HostTensor>): Promise<void>;
  /** Reads them back. Throws ModelcError 'checkpoint' where they do not fit. */
  read(folder: string): Promise<ReadonlyMap<string, HostTensor>>;
}

/** A model that can be trained: one that from_pretrained or from_config gave. */
export interface Trainable {
  /** What a Trainer trains of it; undefined where the model came compiled. */
  readonly trainable: TrainableModel | undefined;
}

/** Of a model that takes the place of another: which parameters are trained stays as it was. */
export const frozenAs = (model: TrainableModel | undefined): Pick<TrainableModel, 'isTrained'> =>
  model?.isTrained ? { isTrained: model.isTrained } : {};

/**
 * The model with some of its parameters trained or not. Throws ModelcError 'input' where `which` accepts none of them.
 */
export function withGradients(
  model: TrainableModel | undefined,
  isOn: boolean,
  which: (name: string) => boolean = () => true,
): TrainableModel {
  const known = requireTrainable(model);
  const before = known.isTrained ?? (() => true);
  if (![...known.task.model.named().keys()].some(which)) {
    const names = [...known.task.model.named().keys()].slice(0, 3).join(', ');
    throw new ModelcError('input', `requires_grad_() names no parameter of the model; it has ${names}, …`);
  }
  return { ...known, isTrained: (name) => (which(name) ? isOn : before(name)) };
}

/** Throws ModelcError 'unsupported' for a model that came compiled. */
export function requireTrainable(model: TrainableModel | undefined): TrainableModel {
  if (model) return model;
  throw new ModelcError(
    'unsupported',
    'a compiled artifact holds no weights to train or save; take a model of from_pretrained or from_config',
  );
}
