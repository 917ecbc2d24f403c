// Hugging Face checkpoints in: config.json and safetensors to models and weights.
export { type Checkpoint, openCheckpoint, weightResolver } from './checkpoint.ts';
export {
  type Architecture,
  type Description,
  describeModel,
  type EntryLimits,
  type KindOf,
  kindOf,
  type TaskName,
  taskNames,
  taskOf,
} from './describe.ts';
export { type KindName, kindNames } from './families/family.ts';
export { supportedTypes } from './families/index.ts';
export type { FitOptions } from './fit.ts';
export { type Fitted, type FittedModel, type FittedOptions, fittedModel } from './fitted-model.ts';
export {
  decodeElements,
  readSafetensors,
  readSpan,
  readTensor,
  type SafetensorsFile,
  type StoredTensor,
  type TensorSource,
  writeSafetensors,
} from './safetensors.ts';
