// config.json of the Llama family to LlamaConfig: the defaults of transformers' config classes, old and new spellings
// (`rope_scaling` and `rope_parameters`, `type` and `rope_type`), every value checked.
import { activationNames, isActivation, type RopeOptions, type RopeScaling, ropeTypes } from '../dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { LlamaConfig } from '../../models/llama.ts';
import { isObject, type JsonObject, quote } from './json.ts';

/** Typed access to the fields of a JSON object. A field that is null counts as absent, as in Python. */
export class Fields {
  constructor(
    readonly json: JsonObject,
    /** File and place, for messages. */
    readonly where: string,
  ) {}

  fail(name: string, expected: string): never {
    const found = JSON.stringify(this.json[name]) ?? 'nothing';
    const shown = found.length > 80 ? `${found.slice(0, 80)}…` : found;
    throw new ModelcError('checkpoint', `${this.where}: ${name} must be ${expected}, found ${shown}`);
  }

  #value<T>(name: string, fallback: T | undefined, is: (v: unknown) => v is T, expected: string): T {
    const value = (Object.hasOwn(this.json, name) ? this.json[name] : undefined) ?? fallback;
    return is(value) ? value : this.fail(name, expected);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.json, name) && this.json[name] !== null;
  }
  count(name: string, fallback?: number): number {
    const is = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) > 0;
    return this.#value(name, fallback, is, 'a positive integer');
  }
  number(name: string, fallback?: number): number {
    const is = (v: unknown): v is number => typeof v === 'number' && Number.isFinite(v);
    return this.#value(name, fallback, is, 'a number');
  }
  positive(name: string, fallback?: number): number {
    const is = (v: unknown): v is number => typeof v === 'number' && Number.isFinite(v) && v > 0;
    return this.#value(name, fallback, is, 'a positive number');
  }
  flag(name: string, fallback: boolean): boolean {
    return this.#value(name, fallback, (v) => typeof v === 'boolean', 'true or false');
  }
  text(name: string, fallback?: string): string {
    return this.#value(name, fallback, (v) => typeof v === 'string', 'a string');
  }
  numbers(name: string, length: number): readonly number[] {
    const is = (v: unknown): v is number[] =>
      Array.isArray(v) && v.length === length && v.every((x) => typeof x === 'number' && Number.isFinite(x) && x > 0);
    return this.#value(name, undefined, is, `a list of ${length} positive numbers`);
  }
  object(name: string): Fields | undefined {
    if (!this.has(name)) return undefined;
    const value = this.json[name];
    return isObject(value) ? new Fields(value, `${this.where}: ${name}`) : this.fail(name, 'an object');
  }
  /** A token id, or undefined. */
  token(name: string): number | undefined {
    const is = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) >= 0;
    return this.has(name) ? this.#value(name, undefined, is, 'a token id') : undefined;
  }
  /** A token id, a list of them, or undefined. */
  tokens(name: string): number | readonly number[] | undefined {
    const value = this.json[name];
    if (!Array.isArray(value)) return this.token(name);
    const ok = value.length > 0 && value.every((v) => Number.isSafeInteger(v) && v >= 0);
    return ok ? (value as number[]) : this.fail(name, 'a token id or a list of them');
  }
}

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

/** What differs between the members of the family, beyond the fields that all of them have. */
export interface FamilyDefaults {
  readonly headDim?: number;
  readonly kvHeads?: number;
  readonly vocabSize?: number;
  readonly intermediateSize?: number;
  readonly maxPositions?: number;
  readonly activation?: string;
  readonly tied?: boolean;
  readonly eps?: number;
  /** Given the fields and what was read so far, the options in which this member departs from Llama. */
  readonly options?: (config: Fields, llama: LlamaConfig) => Partial<LlamaConfig>;
}

/** Reads the config of a member of the family. Throws ModelcError 'checkpoint'. */
export function readLlamaConfig(config: Fields, defaults: FamilyDefaults = {}): LlamaConfig {
  const hiddenSize = config.count('hidden_size', 4096);
  const heads = config.count('num_attention_heads', 32);
  const layers = config.count('num_hidden_layers', 32);
  const kvHeads = config.count('num_key_value_heads', defaults.kvHeads ?? heads);
  const given = config.has('head_dim') || defaults.headDim !== undefined;
  if (!given && hiddenSize % heads !== 0) {
    config.fail('hidden_size', `a multiple of num_attention_heads ${heads} when head_dim is not given`);
  }
  if (heads % kvHeads !== 0) config.fail('num_attention_heads', `a multiple of num_key_value_heads ${kvHeads}`);
  const headDim = config.count('head_dim', defaults.headDim ?? Math.trunc(hiddenSize / heads));
  const activation = config.text('hidden_act', defaults.activation ?? 'silu');
  if (!isActivation(activation)) config.fail('hidden_act', `one of ${activationNames.join(', ')}`);
  const bias = config.flag('attention_bias', false);
  const llama: LlamaConfig = {
    vocabSize: config.count('vocab_size', defaults.vocabSize ?? 32000),
    hiddenSize,
    intermediateSize: config.count('intermediate_size', defaults.intermediateSize ?? 11008),
    layers,
    heads,
    kvHeads,
    headDim,
    activation,
    normEps: config.positive('rms_norm_eps', defaults.eps ?? 1e-6),
    normOffset: 0,
    qkvBias: bias,
    outputBias: bias,
    mlpBias: config.flag('mlp_bias', false),
    qkNorm: false,
    tiedEmbeddings: config.flag('tie_word_embeddings', defaults.tied ?? false),
    rope: readRope(config, headDim, maxPositions(config, defaults)),
    windows: new Array<number>(layers).fill(0),
    embeddingScale: 1,
    attentionScale: headDim ** -0.5,
    residualScale: 1,
    logitsScale: 1,
  };
  return { ...llama, ...defaults.options?.(config, llama) };
}

export const maxPositions = (config: Fields, defaults: FamilyDefaults): number =>
  config.count('max_position_embeddings', defaults.maxPositions ?? 2048);
