// PreTrainedModel: a causal language model bound to its weights, with the methods that users of transformers know.
import { ModelcError } from '../../ir/error.ts';
import { callable } from '../models/callable.ts';
import { type GenerateOptions, targetArguments } from './arguments.ts';
import { DynamicCache } from './cache.ts';
import { DecodeLoop } from './decode-loop.ts';
import { type CausalLMOutput, type ForwardOptions, forward } from './forward.ts';
import { type Beginning, type FeedOptions, GenerationModel, type Guided } from './generation-model.ts';
import { guidance } from './guidance.ts';
import { expansion } from './processor-list.ts';
import { resolveParameters } from './resolve.ts';
import type { ResolvedCall } from './resolved-call.ts';
import { attentionMask, tokenRows } from './token-rows.ts';
import { warnOnce } from './warnings.ts';

export type { GenerateOutput, ModelInfo } from './generation-model.ts';

export class CausalLanguageModel extends GenerationModel {
  /** The forward pass over all positions. Without past_key_values, nothing is kept. */
  _call(options: ForwardOptions): Promise<CausalLMOutput> {
    return this.forward(options);
  }

  /** The forward pass over all positions, as calling the model does. */
  forward(options: ForwardOptions): Promise<CausalLMOutput> {
    return forward(this.executor, this.info.vocabSize, options);
  }

  protected override promptOf(options: GenerateOptions): bigint[][] {
    const given = options.input_ids ?? options.inputs ?? null;
    if (given !== null) return tokenRows('input_ids', given, this.info.vocabSize);
    const bos = resolveParameters(options, this.generation_config).bos_token_id ?? this.info.bosTokenId;
    if (bos === undefined || bos < 0) {
      throw new ModelcError(
        'input',
        'generate() needs input_ids: the model has no beginning-of-sequence token to start from',
      );
    }
    return tokenRows('bos_token_id', [[bos]], this.info.vocabSize);
  }

  protected override begin(call: ResolvedCall, prompt: bigint[][], feed: FeedOptions): Beginning {
    const { parameters: g, options, eos } = call;
    refuseTargets(options);
    const mask = attentionMask(options.attention_mask, prompt, g.pad_token_id, eos);
    const isMasked = !this.executor.takes('padding');
    if (isMasked && mask && prompt.some((row, r) => mask[(r + 1) * row.length - 1] === 0)) {
      warnOnce(
        'The inputs are padded on the right, but generation continues from the last column; pad them on the left.',
      );
    }
    return {
      mask,
      source: prompt,
      guided: this.guide(
        call,
        prompt.flatMap((row) => new Array<bigint[]>(expansion(call)).fill(row)),
        feed,
      ),
    };
  }

  private guide(call: ResolvedCall, prompt: readonly (readonly bigint[])[], feed: FeedOptions): Guided | undefined {
    const { parameters: g, options } = call;
    if (g.guidance_scale === null || g.guidance_scale === 1) return undefined;
    if (g.num_beams > 1) {
      throw new ModelcError('unsupported', '`guidance_scale` is not supported in beam search; set `num_beams` to 1');
    }
    const negative = options.negative_prompt_ids
      ? tokenRows('negative_prompt_ids', options.negative_prompt_ids, this.info.vocabSize)
      : prompt.map((row) => [row[row.length - 1]]);
    const mask = attentionMask(
      options.negative_prompt_attention_mask,
      negative,
      null,
      [],
      'negative_prompt_attention_mask',
    );
    const cache = new DynamicCache();
    return { guide: guidance(g.guidance_scale, new DecodeLoop({ ...feed, cache }), negative, mask), cache };
  }
}

/** Throws ModelcError 'unsupported' for what only models with an encoder take. */
function refuseTargets(options: GenerateOptions): void {
  const name = targetArguments.find((argument) => (options[argument] ?? null) !== null);
  if (name)
    throw new ModelcError('unsupported', `the argument \`${name}\` of generate() is not supported for this model`);
}

/** A model is called like a function: `await model({ input_ids })` is `model.forward`. */
export type PreTrainedModel = CausalLanguageModel & ((options: ForwardOptions) => Promise<CausalLMOutput>);

export function createModel(...args: ConstructorParameters<typeof CausalLanguageModel>): PreTrainedModel {
  return callable<[ForwardOptions], Promise<CausalLMOutput>, CausalLanguageModel>(new CausalLanguageModel(...args));
}
