// Rotary options of a config.json, old and new spellings (`rope_scaling` and `rope_parameters`, `type` and `rope_type`).
import { ModelcError } from '../../ir/error.ts';
import { type RopeOptions, type RopeScaling, ropeTypes } from '../dsl/index.ts';
import { Fields } from './fields.ts';
import { quote } from './json.ts';

const nonEmpty = (fields: Fields | undefined): Fields | undefined =>
  fields && Object.keys(fields.json).length > 0 ? fields : undefined;

/** Rotary options of a config, in either spelling. Defaults are those of transformers' `RotaryEmbeddingConfigMixin`. */
export function readRope(config: Fields, headDim: number, maxPositions: number): RopeOptions {
  const rope =
    nonEmpty(config.object('rope_scaling')) ?? config.object('rope_parameters') ?? new Fields({}, config.where);
  const type = rope.text('rope_type', rope.text('type', 'default'));
  const theta = rope.positive('rope_theta', config.positive('rope_theta', 10000));
  const fraction = rope.positive('partial_rotary_factor', config.positive('partial_rotary_factor', 1));
  const dim = Math.trunc(headDim * fraction);
  if (dim < 2 || dim > headDim || dim % 2 !== 0) {
    throw new ModelcError(
      'checkpoint',
      `${config.where}: rotary embeddings turn ${dim} of the ${headDim} dimensions of a head; it must be an even number of at least 2`,
    );
  }
  return { dim, theta, scaling: readScaling(rope, config, type, dim, maxPositions) };
}

function readScaling(rope: Fields, config: Fields, type: string, dim: number, maxPositions: number): RopeScaling {
  const original = (): number =>
    config.count('original_max_position_embeddings', rope.count('original_max_position_embeddings', maxPositions));
  switch (type) {
    case 'default':
      return { type };
    case 'linear':
      return { type, factor: rope.positive('factor') };
    case 'dynamic':
      if (dim === 2) config.fail('head_dim', "more than 2 for rope_type 'dynamic'");
      return { type, factor: rope.positive('factor'), maxPositions };
    case 'yarn': {
      const originalPositions = original();
      const factor = rope.positive('factor', maxPositions / originalPositions);
      // Attention temperature of the YaRN paper; DeepSeek's configs give two scales whose ratio it is.
      const mscale = (scale = 1): number => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
      const [m, all] = [rope.number('mscale', 0), rope.number('mscale_all_dim', 0)];
      return {
        type,
        factor,
        originalPositions,
        betaFast: rope.number('beta_fast', 32) || 32,
        betaSlow: rope.number('beta_slow', 1) || 1,
        truncate: rope.flag('truncate', true),
        attentionFactor: rope.positive('attention_factor', m && all ? mscale(m) / mscale(all) : mscale()),
      };
    }
    case 'llama3': {
      const lowFreqFactor = rope.positive('low_freq_factor');
      const highFreqFactor = rope.positive('high_freq_factor');
      if (highFreqFactor <= lowFreqFactor) rope.fail('high_freq_factor', `more than low_freq_factor ${lowFreqFactor}`);
      return { type, factor: rope.positive('factor'), originalPositions: original(), lowFreqFactor, highFreqFactor };
    }
    case 'longrope': {
      const originalPositions = original();
      const factor = rope.positive('factor', maxPositions / originalPositions);
      const attentionFactor = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalPositions));
      return {
        type,
        originalPositions,
        shortFactor: rope.numbers('short_factor', dim / 2),
        longFactor: rope.numbers('long_factor', dim / 2),
        attentionFactor: rope.positive('attention_factor', attentionFactor),
      };
    }
    default:
      throw new ModelcError(
        'checkpoint',
        `${rope.where}: unknown rope_type ${quote(type)}; known: ${ropeTypes.join(', ')}`,
      );
  }
}
