// The public face of `modelc`: loading checkpoints, generating text, and the pieces that steer generation.
export { type ErrorCode, ModelcError } from '../ir/error.ts';
export type { Model } from './artifact/api.ts';
export * from './data/index.ts';
export * from './generation/index.ts';
export { defineModel, type ModelDefinition } from './models/define-model.ts';
export { AutoModelForCausalLM, type LoadOptions } from './models/models.ts';
export { AutoModelForSeq2SeqLM, type Seq2SeqLoadOptions } from './models/seq2seq-models.ts';
export type {
  Column,
  EncoderOutput,
  LogitsOutput,
  Seq2SeqLMOutput,
  SequenceInputs,
  SequenceModel,
  SpanOutput,
} from './models/sequence-model.ts';
export {
  AutoModel,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
  type NewTaskOptions,
  type TaskLoadOptions,
} from './models/task-models.ts';
export * from './peft/index.ts';
export {
  type PipelineOptions,
  type Pipelines,
  pipeline,
  supportedTasks,
  type Task,
  type TextGenerationPipeline,
} from './pipelines/index.ts';
export type { Chat, GeneratedIds, GeneratedText, TextGenerator } from './pipelines/text-generation.ts';
export type { TextGenerationOptions } from './pipelines/text-generation-options.ts';
export {
  type NestedList,
  type SliceSpec,
  Tensor,
  type TensorDataTypes,
  type TensorTypeName,
} from './tensors/tensor.ts';
export * from './tokenization/index.ts';
export * from './trainer/index.ts';
