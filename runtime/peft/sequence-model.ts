// Models that read whole sequences at once, with adapters: classifiers and other encoders.
import { taskModel } from '../../frontends/huggingface/index.ts';
import type { SequenceInputs, SequenceModel } from '../models/sequence-model.ts';
import { type OpenedTask, openTask, rewrittenTask } from '../models/task-models.ts';
import { checkpointWeights } from '../tensors/weight-store.ts';
import { type AdaptableModel, AdaptedModel, type FirstAdapter } from './adapted-model.ts';
import type { CheckpointChange } from './resize.ts';

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
  };
}

/** An opened model, its checkpoint changed. */
function changed(opened: OpenedTask, change: CheckpointChange): OpenedTask {
  const model = taskModel(change(opened.model.checkpoint), opened.model.name);
  return { ...opened, model, weights: checkpointWeights(model.checkpoint) };
}

/** An encoder with adapters, which runs and is trained as the encoder is. */
export class PeftModelForSequences<O> extends AdaptedModel<SequenceModel<O>> {
  constructor(model: SequenceModel<O>, made: OpenedTask, first: FirstAdapter) {
    super(model, (change) => adaptable(change ? changed(made, change) : made), first);
  }

  /** Runs the model on a batch, as without adapters. */
  async forward(inputs: SequenceInputs): Promise<O> {
    return (await this.current()).forward(inputs);
  }
}
