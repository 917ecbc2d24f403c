// Logits processors one by one against the outputs of transformers' classes of the same names.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { NdArray } from '../../ir/ndarray.ts';
import * as generation from '../../runtime/generation/index.ts';
import { threefry } from '../../runtime/generation/random.ts';
import { argmax, sampleRow, topK } from '../../runtime/generation/scores.ts';
import { LogitsProcessorList, Tensor } from '../../runtime/index.ts';
import { hasMaterial, material, readArrays, readJson } from '../support/golden.ts';

if (!hasMaterial)
  console.warn('processors.test.ts: the material beside the repository is missing, golden cases are skipped');

type Args = Readonly<Record<string, unknown>>;
type Ids = bigint[][];

/** Constructors take the arguments of the Python classes, in their order. */
const parameters: Readonly<Record<string, readonly string[]>> = {
  TemperatureLogitsWarper: ['temperature'],
  TopKLogitsWarper: ['top_k', 'min_tokens_to_keep'],
  TopPLogitsWarper: ['top_p', 'min_tokens_to_keep'],
  TopHLogitsWarper: ['top_h'],
  MinPLogitsWarper: ['min_p', 'min_tokens_to_keep'],
  TypicalLogitsWarper: ['mass', 'min_tokens_to_keep'],
  EpsilonLogitsWarper: ['epsilon', 'min_tokens_to_keep'],
  EtaLogitsWarper: ['epsilon', 'min_tokens_to_keep'],
  RepetitionPenaltyLogitsProcessor: ['penalty', 'prompt_ignore_length'],
  EncoderRepetitionPenaltyLogitsProcessor: ['penalty', 'encoder_input_ids'],
  NoRepeatNGramLogitsProcessor: ['ngram_size'],
  EncoderNoRepeatNGramLogitsProcessor: ['encoder_ngram_size', 'encoder_input_ids'],
  SequenceBiasLogitsProcessor: ['sequence_bias'],
  NoBadWordsLogitsProcessor: ['bad_words_ids', 'eos_token_id'],
  MinLengthLogitsProcessor: ['min_length', 'eos_token_id'],
  MinNewTokensLengthLogitsProcessor: ['prompt_length_to_skip', 'min_new_tokens', 'eos_token_id'],
  ForcedBOSTokenLogitsProcessor: ['bos_token_id'],
  ForcedEOSTokenLogitsProcessor: ['max_length', 'eos_token_id'],
  InfNanRemoveLogitsProcessor: [],
  LogitNormalization: [],
  ExponentialDecayLengthPenalty: ['exponential_decay_length_penalty', 'eos_token_id', 'input_ids_seq_length'],
  SuppressTokensLogitsProcessor: ['suppress_tokens'],
  SuppressTokensAtBeginLogitsProcessor: ['begin_suppress_tokens', 'begin_index'],
};

function build(name: string, args: Args, encoder: Ids): generation.LogitsProcessor {
  if (name === 'LogitsProcessorList') {
    const chain = args.chain as readonly (readonly [string, Args])[];
    return new LogitsProcessorList(chain.map(([inner, innerArgs]) => build(inner, innerArgs, encoder)));
  }
  const values = parameters[name].map((p) => (p === 'encoder_input_ids' ? encoder : args[p]));
  const constructors = generation as unknown as Readonly<
    Record<string, new (...values: unknown[]) => generation.LogitsProcessor>
  >;
  return new constructors[name](...values);
}

function apply(processor: generation.LogitsProcessor, ids: Ids, logits: NdArray): Float32Array {
  return processor._call(ids, new Tensor('float32', Float32Array.from(logits.data), logits.shape)).data;
}

function expectScores(got: Float32Array, want: Float64Array, tolerance: number): void {
  expect(got.length).toBe(want.length);
  for (const [i, w] of want.entries()) {
    const isEqual = Number.isFinite(w)
      ? Math.abs(got[i] - w) <= tolerance * Math.max(1, Math.abs(w))
      : Object.is(got[i], w);
    if (!isEqual) throw new Error(`entry ${i}: ${got[i]} instead of ${w}`);
  }
}

const toIds = (rows: readonly (readonly number[])[]): Ids => rows.map((row) => row.map(BigInt));

describe.skipIf(!hasMaterial)('processors_pure', async () => {
  const folder = join(material, 'hf-oracle/generate/processors_pure');
  interface Oracle {
    readonly input_ids: number[][];
    readonly encoder_input_ids: number[][];
    readonly cases: readonly {
      readonly index: number;
      readonly processor: string;
      readonly args: Args;
      readonly input: string;
      readonly output: string;
    }[];
  }
  if (!hasMaterial) return;
  const oracle = readJson<Oracle>(join(folder, 'golden.json'));
  const arrays = await readArrays(join(folder, 'golden.safetensors'));
  for (const c of oracle.cases) {
    // Watermarks need another library's random permutation; the option is refused.
    test.skipIf(c.processor === 'WatermarkLogitsProcessor')(
      `${c.index} ${c.processor} ${JSON.stringify(c.args)}`,
      () => {
        const processor = build(c.processor, c.args, toIds(oracle.encoder_input_ids));
        const got = apply(processor, toIds(oracle.input_ids), arrays.get(c.input)!);
        expectScores(got, arrays.get(c.output)!.data, 1e-5);
      },
    );
  }
});

describe.skipIf(!hasMaterial)('_logits_processors', async () => {
  if (!hasMaterial) return;
  const arrays = await readArrays(join(material, 'hf-golden/_logits_processors/golden.safetensors'));
  const { shape, data } = arrays.get('input_ids')!;
  const ids = Array.from({ length: shape[0] }, (_, r) =>
    Array.from(data.subarray(r * shape[1], (r + 1) * shape[1]), BigInt),
  );
  const cases: Readonly<Record<string, readonly [name: string, args: Args]>> = {
    'epsilon_0.02': ['EpsilonLogitsWarper', { epsilon: 0.02 }],
    'eta_0.02': ['EtaLogitsWarper', { epsilon: 0.02 }],
    forced_bos_1: ['ForcedBOSTokenLogitsProcessor', { bos_token_id: 1 }],
    forced_eos_len10: ['ForcedEOSTokenLogitsProcessor', { max_length: 10, eos_token_id: 2 }],
    min_length_12_eos2: ['MinLengthLogitsProcessor', { min_length: 12, eos_token_id: 2 }],
    'min_p_0.1': ['MinPLogitsWarper', { min_p: 0.1 }],
    no_repeat_ngram_2: ['NoRepeatNGramLogitsProcessor', { ngram_size: 2 }],
    'repetition_1.5': ['RepetitionPenaltyLogitsProcessor', { penalty: 1.5 }],
    suppress_3_4_5: ['SuppressTokensLogitsProcessor', { suppress_tokens: [3, 4, 5] }],
    'temperature_0.7': ['TemperatureLogitsWarper', { temperature: 0.7 }],
    'top_h_0.4': ['TopHLogitsWarper', { top_h: 0.4 }],
    top_k_5: ['TopKLogitsWarper', { top_k: 5 }],
    'top_p_0.8': ['TopPLogitsWarper', { top_p: 0.8 }],
    'typical_0.5': ['TypicalLogitsWarper', { mass: 0.5 }],
  };
  for (const [name, [processor, args]] of Object.entries(cases)) {
    test(name, () => {
      expectScores(
        apply(build(processor, args, []), ids, arrays.get('logits')!),
        arrays.get(`out_${name}`)!.data,
        1e-6,
      );
    });
  }
});

describe('arithmetic of scores', () => {
  test('topK selects as a stable sort does', () => {
    let state = 1;
    const row = Float32Array.from({ length: 1000 }, () => ((state = (state * 48271) % 2147483647) % 97) / 7);
    const sorted = [...row.keys()].sort((a, b) => row[b] - row[a] || a - b);
    for (const k of [1, 2, 50, 999, 1000, 2000]) expect(topK(row, k)).toEqual(sorted.slice(0, k));
    expect(argmax(row)).toBe(sorted[0]);
  });

  test('sampling follows the distribution and never draws what is masked', () => {
    const row = Float32Array.from([Math.log(1), Number.NEGATIVE_INFINITY, Math.log(3)]);
    expect([0, 0.2, 0.26, 0.9999999].map((u) => sampleRow(row, u))).toEqual([0, 0, 2, 2]);
  });

  test('Threefry-2x32-20 gives the published values', () => {
    const hex = (pair: readonly number[]): string => pair.map((v) => v.toString(16)).join(' ');
    expect(hex(threefry(0, 0, 0, 0))).toBe('6b200159 99ba4efe');
    expect(hex(threefry(0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff))).toBe('1cb996fc bb002be7');
    expect(hex(threefry(0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3))).toBe('c4923a9c 483df7a0');
  });
});
