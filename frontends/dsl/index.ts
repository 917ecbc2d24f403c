// modelc/nn: everything for writing an architecture. Models import this file and nothing else.
export type { Dim, DimLike } from '../../ir/dim.ts';
export type { DType } from '../../ir/dtype.ts';
export * from './activations.ts';
export * from './adafactor.ts';
export * from './cache.ts';
export * from './causal-lm.ts';
export * from './initializers.ts';
export * from './losses.ts';
export * from './module.ts';
export * from './muon.ts';
export * from './nn.ts';
export * from './optimizers.ts';
export * from './rope.ts';
export * from './sampling.ts';
export * from './sampling-inputs.ts';
export * from './sequence-task.ts';
export * from './tensor.ts';
export * from './trace.ts';
