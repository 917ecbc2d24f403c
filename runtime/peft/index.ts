// Low-rank adapters: configuration, models with adapters, and their files.
export type { SaveOptions } from './adapters.ts';
export type { CombinationType, CombineOptions } from './combine.ts';
export { type InitLoraWeights, LoraConfig, type LoraConfigOptions, TaskType } from './config.ts';
export { get_peft_model, type LoadAdapterOptions, type MergeOptions, PeftModel, type RowAdapters } from './model.ts';
