// Low-rank adapters: configuration, models with adapters, and their files.
export type { LoadAdapterOptions, MergeOptions } from './adapted-model.ts';
export type { SaveOptions } from './adapters.ts';
export { PeftModelForCausalLM, type RowAdapters } from './causal-model.ts';
export type { CombinationType, CombineOptions } from './combine.ts';
export { type InitLoraWeights, LoraConfig, type LoraConfigOptions, TaskType } from './config.ts';
export { get_peft_model, type NewAdapterOptions, PeftModel } from './model.ts';
export { PeftModelForSeq2SeqLM } from './seq2seq-model.ts';
export { PeftModelForSequences } from './sequence-model.ts';
