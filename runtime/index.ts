// The public face of `modelc`: loading checkpoints, generating text, and the pieces that steer generation.
export { type ErrorCode, ModelcError } from '../ir/error.ts';
export type { Model } from './artifact/api.ts';
export {
  AutoModel,
  type AutoModelClass,
  AutoModelForCausalLM,
  AutoModelForImageClassification,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
} from './auto/auto-models.ts';
export * from './data/index.ts';
export * from './generation/index.ts';
export { defineModel, type ModelDefinition } from './models/define-model.ts';
export type { LoadOptions, NewTaskOptions, Seq2SeqLoadOptions, TaskLoadOptions } from './models/load-options.ts';
export type {
  Column,
  EncoderOutput,
  LogitsOutput,
  Seq2SeqLMOutput,
  SequenceInputs,
  SequenceModel,
  SpanOutput,
} from './models/sequence-model.ts';
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
