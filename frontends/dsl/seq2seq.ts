// Encoder-decoder models: an encoder reads the source at once, a decoder continues the target and attends to what the
// encoder made of it, the memory. Whole pairs are a sequence task, for training and evaluation. To generate, `encode` gives
// the encoder's last hidden state, `memory` keeps the keys and values that every decoder layer takes from it as states
// `cross.*`, and prefill, decode and decode_sample are those of a language model, over the target alone.
import type { Dim } from '../../ir/dim.ts';
import { dimSub } from '../../ir/dim.ts';
import { type Cache, KVCache, NoCache } from './cache.ts';
import { crossEntropy } from './losses.ts';
import type { Module, WeightResolver } from './module.ts';
import { mostLikely, sampleTokens } from './sampling.ts';
import { samplingParameters } from './sampling-inputs.ts';
import { type SequenceTask, type ShiftedColumn, tensorOf } from './sequence-task.ts';
import { full, type Tensor } from './tensor.ts';
import { type Traced, type Tracer, trace } from './trace.ts';

type KeyAndValue = readonly [key: Tensor, value: Tensor];

/** What the decoder knows of the source. */
export interface Memory {
  /** Of every decoder layer, each [batch, heads, source, headDim]. */
  readonly layers: readonly KeyAndValue[];
  /** Positions of the source that may be attended to, bool [batch, source]. */
  readonly mask: Tensor;
}

/** What the decoder of an encoder-decoder is given in a run. */
export interface DecoderInputs {
  /** i32 [batch, seq]: the last `seq` of the `cache.length` positions so far. */
  readonly inputIds: Tensor;
  /** Positions of the target that may be attended to, bool [batch, cache.length]. */
  readonly mask: Tensor;
  /** Keys and values of earlier positions of the target. */
  readonly cache: Cache;
  /** What the encoder made of the source. */
  readonly memory: Memory;
}

/** What a model implements to be trained and to generate. */
export interface EncoderDecoder extends Module {
  /** The size of the encoder's hidden states. */
  readonly hiddenSize: number;
  /**
   * inputIds i32 and mask bool, both [batch, source]: the embeddings, then the output of every layer, the last one as the
   * decoder attends to it, each [batch, source, hiddenSize].
   */
  encode(inputIds: Tensor, mask: Tensor): Tensor[];
  /** The keys and values that the decoder's layers take from the encoder's last hidden state. */
  memory(hidden: Tensor): KeyAndValue[];
  /** The embeddings, then the output of every layer, the last one as `logits` takes it, each [batch, seq, size]. */
  decode(inputs: DecoderInputs): Tensor[];
  /** The last hidden states [.., size] to logits [.., vocab]. */
  logits(hidden: Tensor): Tensor;
}

const named = (name: string, states: readonly Tensor[]): Record<string, Tensor> =>
  Object.fromEntries(states.map((state, i) => [`${name}.${i}`, state]));

/**
 * Whole pairs: `logits` [batch, seq, vocab] of every position of the target, `encoder_last_hidden_state`, and the hidden
 * states of both sides. A target that is not given is made of the labels. The loss is the mean over the labels of this
 * batch that count, whatever is accumulated, as transformers defines it for these models.
 */
export function seq2seqTask(model: EncoderDecoder, target: Omit<ShiftedColumn, 'from'>): SequenceTask {
  return {
    model,
    inputs: [
      { name: 'input_ids', dtype: 'i32', axes: ['batch', 'source'] },
      { name: 'attention_mask', dtype: 'bool', axes: ['batch', 'source'], fill: 1 },
      { name: 'decoder_input_ids', dtype: 'i32', axes: ['batch', 'seq'], shifted: { from: 'labels', ...target } },
      { name: 'decoder_attention_mask', dtype: 'bool', axes: ['batch', 'seq'], fill: 1 },
    ],
    labels: [{ name: 'labels', dtype: 'i32', axes: ['batch', 'seq'] }],
    countsItems: false,
    outputs(inputs) {
      const mask = tensorOf(inputs, 'attention_mask');
      const encoded = model.encode(tensorOf(inputs, 'input_ids'), mask);
      const hidden = encoded[encoded.length - 1];
      const inputIds = tensorOf(inputs, 'decoder_input_ids');
      const states = model.decode({
        inputIds,
        mask: tensorOf(inputs, 'decoder_attention_mask'),
        cache: new NoCache(inputIds.shape[1]),
        memory: { layers: model.memory(hidden), mask },
      });
      return {
        logits: model.logits(states[states.length - 1]),
        encoder_last_hidden_state: hidden,
        ...named('encoder_hidden_states', encoded),
        ...named('decoder_hidden_states', states),
      };
    },
    loss: (outputs, labels, options) => crossEntropy(tensorOf(outputs, 'logits'), tensorOf(labels, 'labels'), options),
  };
}

/** The entries of generation. */
export const seq2seqEntries = ['encode', 'memory', 'prefill', 'decode', 'decode_sample'] as const;
/** One of seq2seqEntries. */
export type Seq2SeqEntry = (typeof seq2seqEntries)[number];

/** Upper bounds of the dims: rows, tokens of the source, positions of the target, and new ones of them per run. */
export interface Seq2SeqLimits {
  /** Rows that run together, at most. */
  readonly maxBatch: number;
  /** Tokens of a source, at most. */
  readonly maxSource: number;
  /** Positions of a target, at most. */
  readonly maxLength: number;
  /** New positions of a target in one run, at most. */
  readonly chunk: number;
}

/** The states that hold the memory: one for the mask, and two for every layer. */
function memoryStates(t: Tracer, shapes: readonly KeyAndValue[], batch: Dim, source: Dim): Memory {
  const like = (layer: number, name: string, { dtype, shape }: Tensor): Tensor =>
    t.state(`cross.${layer}.${name}`, dtype, shape, { kind: 'cross', layer, rows: 0, positions: 2 });
  return {
    layers: shapes.map(([key, value], i) => [like(i, 'key', key), like(i, 'value', value)]),
    mask: t.state('cross.mask', 'bool', [batch, source], { kind: 'cross', rows: 0, positions: 1 }),
  };
}

/**
 * Graph of an entry. encode: input_ids i32 and attention_mask bool [batch, source] to `encoder_last_hidden_state`.
 * memory: that as `encoder_hidden_states`, and attention_mask, into the states. prefill, decode and decode_sample: as of traceCausalLM, without position ids.
 */
export function traceSeq2Seq(
  model: EncoderDecoder,
  entry: Seq2SeqEntry,
  limits: Seq2SeqLimits,
  weights: WeightResolver,
): Traced {
  return trace(entry, model, weights, (t) => {
    const batch = t.dim('batch', 1, limits.maxBatch);
    const source = t.dim('source', 1, limits.maxSource);
    if (entry === 'encode') {
      const inputIds = t.input('input_ids', 'i32', [batch, source]);
      const states = model.encode(inputIds, t.input('attention_mask', 'bool', [batch, source]));
      t.result('encoder_last_hidden_state', states[states.length - 1]);
      return;
    }
    if (entry === 'memory') {
      const hidden = t.input('encoder_hidden_states', 'f32', [batch, source, model.hiddenSize]);
      const mask = t.input('attention_mask', 'bool', [batch, source]);
      const computed = model.memory(hidden);
      const states = memoryStates(t, computed, batch, source);
      for (const [i, pair] of computed.entries()) {
        for (const [j, tensor] of pair.entries()) t.update(states.layers[i][j], tensor);
      }
      t.update(states.mask, mask);
      return;
    }
    const seq: Dim | 1 = entry === 'prefill' ? t.dim('seq', 1, limits.chunk) : 1;
    const past = t.dim('past', 0, limits.maxLength);
    const capacity = t.dim('capacity', 1, limits.maxLength);
    const inputIds = t.input('input_ids', 'i32', [batch, seq]);
    const attentionMask = t.input('attention_mask', 'bool', [batch, seq]);
    const cache = new KVCache(t, { capacity, past, seq });
    // Only the shapes of these are looked at: what they would compute is in the states.
    const shapes = model.memory(full([batch, source, model.hiddenSize], 0));
    const memory = memoryStates(t, shapes, batch, source);
    const states = model.decode({ inputIds, mask: cache.mask(attentionMask), cache, memory });
    const last = states[states.length - 1];
    const logits = model.logits(last.slice(1, dimSub(seq, 1)).squeeze(1));
    if (entry === 'decode_sample') {
      const sampling = t.input('sampling', 'f32', [samplingParameters.length]);
      t.result('next_token', sampleTokens(logits, sampling, t.input('uniform', 'f32', [batch])));
      return;
    }
    t.result('logits', logits);
    t.result('next_token', mostLikely(logits));
  });
}
