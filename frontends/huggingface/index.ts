// Hugging Face checkpoints in: config.json and safetensors to models and weights.
export { type Checkpoint, openCheckpoint, weightResolver } from './checkpoint.ts';
export type { FitOptions } from './fit.ts';
export {
  type Architecture,
  type CausalDescription,
  type CausalLM,
  causalLM,
  describeCausalLM,
  type Fitted,
  supportedModels,
} from './models.ts';
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
export {
  describeSeq2Seq,
  type Seq2SeqDescription,
  type Seq2SeqGraph,
  type Seq2SeqLM,
  seq2seqGraph,
  seq2seqLM,
  supportedSeq2Seq,
} from './seq2seq.ts';
export {
  describeTask,
  supportedEncoders,
  type TaskDescription,
  type TaskModel,
  type TaskName,
  taskModel,
} from './tasks.ts';
