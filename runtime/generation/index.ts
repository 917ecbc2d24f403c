// Text generation: configuration, processors, stopping criteria, streamers, caches.
export type { DictOptions, EncoderOutputs, GenerateInputs, GenerateOptions } from './arguments.ts';
export {
  DynamicCache,
  type DynamicCacheOptions,
  EncoderDecoderCache,
  HybridCache,
  OffloadedCache,
  QuantizedCache,
  SlidingWindowCache,
  StaticCache,
  type StaticCacheOptions,
} from './cache.ts';
export { GenerationConfig, type GenerationConfigOptions } from './configuration.ts';
export type { CausalLMOutput, ForwardOptions } from './forward.ts';
export { LogitsProcessor, LogitsProcessorList, LogitsWarper, type Scores } from './logits-processor.ts';
export type {
  GenerateOutput,
  ModelInfo,
  PreTrainedModel,
} from './model.ts';
export type { GenerationParameters } from './parameters.ts';
export * from './processors.ts';
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
