// Causal language models with adapters: they generate, and may have an adapter for every row of a batch.
import { causalTask } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import {
  type CallInputs,
  callOptions,
  type DictOptions,
  type GenerateInputs,
  type GenerateOptions,
} from '../generation/arguments.ts';
import type { CausalLMOutput, ForwardOptions } from '../generation/forward.ts';
import { createModel, type GenerateOutput, type PreTrainedModel } from '../generation/model.ts';
import type { TokenRows } from '../generation/token-rows.ts';
import { loadModel, type ModelSource, modelOf, openSession, rewritten } from '../models/models.ts';
import type { Tensor } from '../tensors/tensor.ts';
import { type AdaptableModel, AdaptedModel, type FirstAdapter, rewriteOf } from './adapted-model.ts';
import { baseRows } from './adapters.ts';
import type { CheckpointChange } from './resize.ts';
import { RowSession } from './row-session.ts';

/** An adapter for every row of a batch; '__base__' for none. */
export interface RowAdapters {
  /** The name for each row; null: the active adapters for all. */
  adapter_names?: readonly string[] | null;
}

interface CausalSource extends AdaptableModel<PreTrainedModel> {
  readonly made: ModelSource;
}

function adaptable(made: ModelSource): CausalSource {
  const { opened, target, device } = made;
  const { checkpoint, model, weights, limits } = opened;
  return {
    made,
    checkpoint,
    modelType: model.config.modelType,
    vocabSize: model.config.vocabSize,
    loraTargets: model.loraTargets,
    head: 'lm_head',
    weights,
    task: causalTask(model.model),
    target,
    ...(device ? { device } : {}),
    maxPositions: limits.length,
    replicates: true,
    graph: () => opened.trace('forward').graph,
    open: (tensors, rewrite) => loadModel(rewritten(opened, tensors, rewrite), target, device),
  };
}

/** What a model was made of, its checkpoint changed. */
function changed(made: ModelSource, change: CheckpointChange): ModelSource {
  const { checkpoint, options } = made.opened;
  return { ...made, opened: modelOf(change(checkpoint), { ...options, dtype: null }) };
}

/** A decoder with adapters, which generates and is trained as the decoder is. */
export class PeftModelForCausalLM extends AdaptedModel<PreTrainedModel, CausalSource> {
  /** How the model generates. */
  generation_config: PreTrainedModel['generation_config'];
  #rowBound: { readonly key: string; readonly session: RowSession; readonly model: PreTrainedModel } | undefined;

  constructor(model: PreTrainedModel, made: ModelSource, first: FirstAdapter) {
    super(model, (change) => adaptable(change ? changed(made, change) : made), first);
    this.generation_config = model.generation_config;
  }

  /** The forward pass over all positions, as of a model without adapters; `adapter_names` gives every row its own. */
  async forward({ adapter_names, ...options }: ForwardOptions & RowAdapters): Promise<CausalLMOutput> {
    return (await this.#model(adapter_names)).forward(options);
  }

  /** Continues the rows of input_ids, as a model without adapters does; `adapter_names` gives every row its own. */
  generate(options: DictOptions & RowAdapters): Promise<GenerateOutput>;
  generate(options?: GenerateOptions & RowAdapters): Promise<Tensor<'int64'>>;
  generate(inputs: TokenRows | GenerateInputs, options: DictOptions & RowAdapters): Promise<GenerateOutput>;
  generate(inputs: TokenRows | GenerateInputs, options: GenerateOptions & RowAdapters): Promise<Tensor<'int64'>>;
  generate(inputs: TokenRows): Promise<Tensor<'int64'>>;
  async generate(first?: CallInputs, more?: GenerateOptions & RowAdapters): Promise<GenerateOutput | Tensor<'int64'>> {
    const { adapter_names, ...options } = callOptions<GenerateOptions & RowAdapters>(first, more);
    return (await this.#model(adapter_names)).generate(options);
  }

  /** The new ids of each step, one per row, as they are decoded. */
  async *stream(options: GenerateOptions & RowAdapters): AsyncGenerator<bigint[], void, undefined> {
    const { adapter_names, ...rest } = options;
    yield* (await this.#model(adapter_names)).stream(rest);
  }

  async #model(names?: readonly string[] | null): Promise<PreTrainedModel> {
    const model = await (names ? this.#rowModel(names) : this.current());
    model.generation_config = this.generation_config;
    return model;
  }

  async #rowModel(names: readonly string[]): Promise<PreTrainedModel> {
    if (!Array.isArray(names) || !names.every((name) => typeof name === 'string') || names.length === 0) {
      throw new ModelcError('input', 'adapter_names must be a list with the name of an adapter for every row');
    }
    const columns = [...new Set(names)].filter((name) => name !== baseRows).sort();
    for (const name of columns) {
      const { config, saved, tokens } = this.adapters.get(name);
      if (!config.use_dora && saved.length === 0 && tokens.length === 0) continue;
      throw new ModelcError(
        'unsupported',
        `adapter_names cannot name '${name}', which has DoRA, token rows or modules_to_save; run its rows by themselves`,
      );
    }
    if (this.adapters.merged.length > 0) {
      throw new ModelcError('input', 'adapter_names needs adapters that are not merged; call unmerge_adapter() first');
    }
    if (columns.length === 0) return this.disable_adapter(() => this.current());
    const key = `${this.adapters.version} ${columns.join()}`;
    if (this.#rowBound?.key !== key) {
      this.#rowBound?.model.dispose();
      const { opened, target, device } = this.source.made;
      const effect = await this.adapters.effect(columns);
      const bound = rewritten(opened, effect.tensors, rewriteOf(effect));
      const session = new RowSession(await openSession(bound, target, device), columns);
      const model = createModel(session, opened.info, opened.checkpoint.config, this.generation_config);
      this.#rowBound = { key, session, model };
    }
    this.#rowBound.session.names = names;
    return this.#rowBound.model;
  }

  override dispose(): void {
    super.dispose();
    this.#rowBound?.model.dispose();
    this.#rowBound = undefined;
  }
}
