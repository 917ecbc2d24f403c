// Models that read whole sequences at once, with adapters: classifiers and other encoders.
import { ModelcError } from '../../ir/error.ts';
import type { SequenceInputs, SequenceModel } from '../sequence-model.ts';
import { type OpenedTask, openTask, rewrittenTask } from '../task-models.ts';
import { AdaptedModel, type AdaptableModel } from './adapted-model.ts';
import type { LoraConfig } from './config.ts';

function adaptable<O>(opened: OpenedTask): AdaptableModel<SequenceModel<O>> {
  const { model, limits, weights, target } = opened;
  const { checkpoint, modelType, vocabSize, loraTargets, task } = model;
  return {
    checkpoint,
    modelType,
    vocabSize,
    loraTargets,
    head: undefined,
    weights,
    task,
    target,
    maxPositions: limits.seq,
    graph: () => model.graph('forward', limits).graph,
    open: (tensors, rewrite) => openTask(rewrittenTask(opened, tensors, rewrite)),
    replicated() {
      throw new ModelcError('unsupported', 'layer_replication is served for causal language models only');
    },
  };
}

export class PeftModelForSequences<O> extends AdaptedModel<SequenceModel<O>> {
  constructor(model: SequenceModel<O>, made: OpenedTask, config: LoraConfig) {
    super(model, adaptable(made), config);
  }

  /** Runs the model on a batch, as without adapters. */
  async forward(inputs: SequenceInputs): Promise<O> {
    return (await this.current()).forward(inputs);
  }
}
