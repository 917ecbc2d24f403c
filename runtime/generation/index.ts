// Text generation: configuration, processors, stopping criteria, streamers, caches.
export { DynamicCache, StaticCache } from './cache.ts';
export { GenerationConfig } from './configuration.ts';
export type { CausalLMOutput, ForwardOptions } from './forward.ts';
export { LogitsProcessor, LogitsProcessorList, LogitsWarper, type Scores } from './logits-processor.ts';
export type {
  GenerateOutput,
  GenerateResult,
  ModelInfo,
  PreTrainedModel,
} from './model.ts';
export type { GenerationParameters } from './parameters.ts';
export * from './processors.ts';
export type { EncoderOutputs, GenerateOptions } from './resolve.ts';
export type { EncodeOptions, Seq2SeqModel } from './seq2seq-model.ts';
export * from './stopping-criteria.ts';
export {
  BaseStreamer,
  type DecodeOptions,
  TextIteratorStreamer,
  TextStreamer,
  type TextStreamerOptions,
} from './streamers.ts';
export * from './warpers.ts';
