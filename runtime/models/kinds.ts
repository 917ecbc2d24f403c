// Kinds of models as rows: what tells decoders, encoder-decoders and encoders apart, for everything that opens, compiles,
// trains, adapts and ships models. Their graphs are those of their descriptions (frontends/huggingface/describe.ts), their
// classes those of bind.ts.
import type { Description, EntryLimits, KindName } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { ExecutorLimits } from '../execution/executor.ts';
import type { Infos } from './bind.ts';
import type { LabelOptions, OpenOptions } from './load-options.ts';

/** The most that a model is compiled for; `source`: tokens of a source, beside an encoder. */
export type Limits = ExecutorLimits & EntryLimits;

/** What sets a kind of models apart. */
export interface ModelKind<K extends KindName = KindName> {
  readonly name: K;
  /** Whether its models generate, so that they have a generation_config.json and caches. */
  readonly generates: boolean;
  /** Options of from_pretrained beside those that all models have. */
  readonly options: readonly (keyof OpenOptions)[];
  /**
   * Entries that are compiled when a model is opened; others are at their first use. `generation`: those of a decoder on the
   * device.
   */
  entries(generation: readonly string[]): readonly string[];
  /** Entries of an artifact, which compiles none later. */
  artifactEntries(generation: readonly string[]): readonly string[];
  limits(description: Description, options: OpenOptions): Limits;
  /**
   * Which limit shrinks, and the entry whose intermediate results must fit then, where `entry` is compiled for a target
   * that binds little; undefined where nothing may shrink.
   */
  fit(
    entry: string,
    options: OpenOptions,
  ): { readonly limit: 'chunk' | 'batch'; readonly measured: string } | undefined;
  /** Positions of the longest sequence that a model is trained on; undefined without a bound. */
  trainedPositions(description: Description, limits: Limits): number | undefined;
  /** The name of the output layer, for adapters; undefined where heads are modules like any others. */
  readonly head: string | undefined;
  /** The module, by the end of its path, whose weight others hold, so that nobody reads a copy of it. */
  readonly bypassed: string | undefined;
  info(description: Description, limits: Limits): Infos[K];
}

const defaultBatch = 8;
/** Where a model has no bound, tokens of a sequence, of a source and of a target. */
const defaultLength = 512;
/** Tokens of a prompt that are read in one run; targets begin with a token or a few. */
const defaultChunk = { 'causal-lm': 512, 'seq2seq-lm': 64 } as const;

function count(name: string, value: number): number {
  if (Number.isInteger(value) && value > 0) return value;
  throw new ModelcError('input', `\`${name}\` must be a positive integer, but is ${value}`);
}

const batchOf = ({ max_batch }: OpenOptions): number => count('max_batch', max_batch ?? defaultBatch);

/** An option that positions of the model bound. */
function positions(name: 'max_length' | 'max_cache_len', { maxPositions }: Description, options: OpenOptions): number {
  const wanted = count(name, options[name] ?? maxPositions ?? defaultLength);
  if (maxPositions === undefined || wanted <= maxPositions) return wanted;
  throw new ModelcError('input', `${name} is ${wanted}, but the model has positions for ${maxPositions} tokens`);
}

/** Limits of a decoder. */
const decoderLimits = (kind: keyof typeof defaultChunk, length: number, options: OpenOptions): Limits => ({
  batch: batchOf(options),
  chunk: Math.min(count('chunk', options.chunk ?? defaultChunk[kind]), length),
  length,
  fixedLength: options.cache_implementation === 'static',
});

const cacheOptions = ['cache_implementation', 'max_cache_len', 'chunk'] as const;
const labelOptions: readonly (keyof LabelOptions)[] = ['num_labels', 'id2label', 'label2id', 'problem_type'];

/** Decoders, which continue texts. Prompts are read in chunks, which may be short. */
const causal: ModelKind<'causal-lm'> = {
  name: 'causal-lm',
  generates: true,
  options: [...cacheOptions, 'architecture'],
  entries: (generation) => generation,
  artifactEntries: (generation) => generation,
  limits: ({ maxPositions = defaultLength }, options) =>
    decoderLimits('causal-lm', count('max_cache_len', options.max_cache_len ?? maxPositions), options),
  fit: (_, options) => (options.chunk === undefined ? { limit: 'chunk', measured: 'prefill' } : undefined),
  trainedPositions: (_, { length }) => length,
  head: 'lm_head',
  bypassed: undefined,
  info: ({ vocabSize, maxPositions = defaultLength, bosTokenId }) => ({
    vocabSize,
    maxPositionEmbeddings: maxPositions,
    ...(bosTokenId === undefined ? {} : { bosTokenId }),
  }),
};

/** Entries of a model with an encoder that share the caches of generation, and so their rows. */
const cached = ['memory', 'prefill', 'decode', 'decode_sample'];

/** Encoder-decoders, which translate and summarize: an encoder reads the source at once, a decoder writes the target. */
const seq2seq: ModelKind<'seq2seq-lm'> = {
  name: 'seq2seq-lm',
  generates: true,
  options: [...cacheOptions, 'max_length'],
  entries: (generation) => ['memory', ...generation],
  artifactEntries: (generation) => ['encode', 'memory', ...generation],
  limits: (description, options) => ({
    ...decoderLimits('seq2seq-lm', positions('max_cache_len', description, options), options),
    source: positions('max_length', description, options),
  }),
  fit: (entry) => (cached.includes(entry) ? undefined : { limit: 'batch', measured: entry }),
  trainedPositions: ({ maxPositions }) => maxPositions,
  head: 'lm_head',
  bypassed: 'shared', // encoder and decoder hold its table as their embed_tokens
  info: ({ task: { inputs, labels }, vocabSize, maxPositions, start }, { source, length }) => ({
    inputs,
    labels,
    vocabSize,
    ...(maxPositions === undefined ? {} : { maxPositionEmbeddings: maxPositions }),
    ...(start === undefined ? {} : { start }),
    maxSource: source ?? length,
  }),
};

/** Encoders, alone or with a head, which read whole sequences at once. */
const encoder: ModelKind<'encoder'> = {
  name: 'encoder',
  generates: false,
  options: ['max_length', ...labelOptions],
  entries: () => ['forward'],
  artifactEntries: () => ['forward'],
  limits(description, options) {
    const length = positions('max_length', description, options);
    return { batch: batchOf(options), chunk: length, length, fixedLength: false };
  },
  fit: () => ({ limit: 'batch', measured: 'forward' }),
  trainedPositions: (_, { length }) => length,
  head: undefined,
  bypassed: undefined,
  info: ({ task: { inputs, labels }, vocabSize }) => ({ inputs, labels, vocabSize }),
};

/** All kinds, by name. */
export const kinds: { readonly [K in KindName]: ModelKind<K> } = {
  'causal-lm': causal,
  'seq2seq-lm': seq2seq,
  encoder,
};
