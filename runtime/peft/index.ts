// Low-rank adapters: configuration, models with adapters, and their files.
export type { LoadAdapterOptions, MergeOptions, NewAdapterOptions } from './adapted-model.ts';
export type { SaveOptions } from './adapters.ts';
export type { CombinationType, CombineOptions } from './combine.ts';
export { LoraConfig } from './config.ts';
export { type InitLoraWeights, type LoraConfigOptions, TaskType } from './config-options.ts';
export { get_peft_model, PeftModel } from './model.ts';
export { PeftModelForCausalLM, PeftModelForSeq2SeqLM, PeftModelForSequences, type RowAdapters } from './models.ts';
