// The classes of models with adapters, one for each kind of model: what they have in common is in adapted-model.ts, and
// here is what each is called with.
import { ModelcError } from '../../ir/error.ts';
import {
  type CallInputs,
  callOptions,
  type DictOptions,
  type EncoderOutputs,
  type GenerateInputs,
  type GenerateOptions,
} from '../generation/arguments.ts';
import type { CausalLMOutput, ForwardOptions } from '../generation/forward.ts';
import type { GenerateOutput } from '../generation/generation-model.ts';
import { createModel, type PreTrainedModel } from '../generation/model.ts';
import type { EncodeOptions } from '../generation/seq2seq-model.ts';
import type { TokenRows } from '../generation/token-rows.ts';
import type { Models } from '../models/bind.ts';
import { executorOf, type OpenedModel, rewritten } from '../models/open.ts';
import type { Seq2SeqLMOutput, SequenceInputs, SequenceModel } from '../models/sequence-model.ts';
import type { Tensor } from '../tensors/tensor.ts';
import { AdaptedModel, type FirstAdapter, rewriteOf } from './adapted-model.ts';
import { AdapterRows } from './adapter-rows.ts';
import { baseRows } from './adapters.ts';

/** A model with adapters that generates. `X`: what its calls take besides. */
export abstract class AdaptedGenerator<K extends 'causal-lm' | 'seq2seq-lm', X = object> extends AdaptedModel<
  K,
  Models[K]
> {
  /** How the model generates. */
  generation_config: Models[K]['generation_config'];

  constructor(model: Models[K], opened: OpenedModel<K>, first: FirstAdapter) {
    super(model, opened, first);
    this.generation_config = model.generation_config;
  }

  /** The model that a call is for, and the options that are left to it. */
  protected abstract bound<O extends object>(options: O & X): Promise<readonly [model: Models[K], rest: O]>;

  /** Generates as a model without adapters does. */
  generate(options: DictOptions & X): Promise<GenerateOutput>;
  generate(options?: GenerateOptions & X): Promise<Tensor<'int64'>>;
  generate(inputs: TokenRows | GenerateInputs, options: DictOptions & X): Promise<GenerateOutput>;
  generate(inputs: TokenRows | GenerateInputs, options: GenerateOptions & X): Promise<Tensor<'int64'>>;
  generate(inputs: TokenRows): Promise<Tensor<'int64'>>;
  async generate(first?: CallInputs, more?: GenerateOptions & X): Promise<GenerateOutput | Tensor<'int64'>> {
    const [model, options] = await this.bound<GenerateOptions>(callOptions<GenerateOptions & X>(first, more));
    model.generation_config = this.generation_config;
    return model.generate(options);
  }

  /** The new ids of each step, one per row, as they are decoded. */
  async *stream(options: GenerateOptions & X): AsyncGenerator<bigint[], void, undefined> {
    const [model, rest] = await this.bound<GenerateOptions>(options);
    model.generation_config = this.generation_config;
    yield* model.stream(rest);
  }
}

/** An adapter for every row of a batch; '__base__' for none. */
export interface RowAdapters {
  /** The name for each row; null: the active adapters for all. */
  adapter_names?: readonly string[] | null;
}

/** A decoder with adapters, which generates and is trained as the decoder is, and may have an adapter for every row. */
export class PeftModelForCausalLM extends AdaptedGenerator<'causal-lm', RowAdapters> {
  #rowBound: { readonly key: string; readonly rows: AdapterRows; readonly model: PreTrainedModel } | undefined;

  /** The forward pass over all positions, as of a model without adapters; `adapter_names` gives every row its own. */
  async forward(options: ForwardOptions & RowAdapters): Promise<CausalLMOutput> {
    const [model, rest] = await this.bound<ForwardOptions>(options);
    return model.forward(rest);
  }

  protected override async bound<O extends object>(
    options: O & RowAdapters,
  ): Promise<readonly [model: PreTrainedModel, rest: O]> {
    const { adapter_names: names, ...rest } = options;
    return [await (names ? this.#rowModel(names) : this.current()), rest as unknown as O];
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
      const { info, checkpoint } = this.opened;
      const effect = await this.adapters.effect(columns);
      const rows = new AdapterRows(columns);
      const executor = await executorOf(rewritten(this.opened, effect.tensors, rewriteOf(effect)), rows.input);
      const model = createModel(executor, info, checkpoint.config, this.generation_config);
      this.#rowBound = { key, rows, model };
    }
    this.#rowBound.rows.names = names;
    return this.#rowBound.model;
  }

  override dispose(): void {
    super.dispose();
    this.#rowBound?.model.dispose();
    this.#rowBound = undefined;
  }
}

/** An encoder-decoder with adapters, which generates and is trained as the model is. */
export class PeftModelForSeq2SeqLM extends AdaptedGenerator<'seq2seq-lm'> {
  /** Runs the model on whole pairs, as without adapters. */
  async forward(inputs: SequenceInputs): Promise<Seq2SeqLMOutput> {
    return (await this.current()).forward(inputs);
  }

  /** What the encoder makes of a source. */
  async encode(options: EncodeOptions): Promise<EncoderOutputs> {
    return (await this.current()).encode(options);
  }

  protected override async bound<O extends object>(
    options: O,
  ): Promise<readonly [model: Models['seq2seq-lm'], rest: O]> {
    return [await this.current(), options];
  }
}

/** An encoder with adapters, which runs and is trained as the encoder is. */
export class PeftModelForSequences<O> extends AdaptedModel<'encoder', SequenceModel<O>> {
  /** Runs the model on a batch, as without adapters. */
  async forward(inputs: SequenceInputs): Promise<O> {
    return (await this.current()).forward(inputs);
  }
}
