// Generation as transformers did it: the cases of an oracle's folder, and the check of one on a model of any kind.
import { join } from 'node:path';
import { expect } from 'vitest';
import type { NdArray } from '../../ir/ndarray.ts';
import type {
  GenerateOptions,
  GenerateOutput,
  PreTrainedModel,
  PreTrainedTokenizer,
  Seq2SeqModel,
  Tensor,
} from '../../runtime/index.ts';
import { hasMaterial, readJson } from './golden.ts';

export const rowsOf = (t: Tensor): number[][] => t.tolist().map((row) => (row as (number | bigint)[]).map(Number));

export interface OracleCase {
  readonly case: string;
  readonly input: string;
  readonly kwargs: GenerateOptions;
  readonly extra?: GenerateOptions;
  readonly sequences: number[][];
  readonly stable: boolean;
  readonly sequences_scores?: number[];
  readonly beam_indices?: number[][];
  readonly transition_scores?: number[][];
}
export interface Oracle {
  readonly inputs: Readonly<Record<string, { readonly input_ids: number[][]; readonly attention_mask: number[][] }>>;
  readonly streamer: Readonly<Record<string, readonly (readonly [string, boolean])[]>>;
  readonly errors: readonly {
    readonly kwargs: GenerateOptions;
    readonly error?: string;
    readonly message?: string;
    readonly ok?: boolean;
  }[];
  readonly cases: readonly OracleCase[];
}

/** The cases of a folder; none where the material is not there. */
export const readOracle = (folder: string): Oracle =>
  hasMaterial ? readJson<Oracle>(join(folder, 'golden.json')) : { inputs: {}, streamer: {}, errors: [], cases: [] };

/** Speculative decoding is not built; it must not change tokens, but here it must be refused. */
const isAssisted = (c: OracleCase): boolean => c.case.startsWith('assisted') || c.case.startsWith('prompt_lookup');

/** The cases that Python could run, whose results do not hang on rounding. */
export const servedCases = (oracle: Oracle): OracleCase[] =>
  oracle.cases.filter((c) => c.stable && c.sequences !== undefined && !isAssisted(c));

export interface OracleFiles {
  readonly oracle: Oracle;
  /** Of golden.safetensors. */
  readonly golden: ReadonlyMap<string, NdArray>;
  readonly tokenizer: PreTrainedTokenizer;
}

export async function checkCase(
  model: PreTrainedModel | Seq2SeqModel,
  { oracle, golden, tokenizer }: OracleFiles,
  c: OracleCase,
): Promise<void> {
  const options: GenerateOptions = { ...oracle.inputs[c.input], ...c.kwargs, ...c.extra };
  if (c.kwargs.stop_strings) options.tokenizer = tokenizer;
  if (c.case === 'prefix_allowed') {
    options.prefix_allowed_tokens_fn = (batch) =>
      Array.from({ length: 512 }, (_, i) => i).filter((i) => i >= 4 + batch && (i - 4 - batch) % (3 + batch) === 0);
  }
  const output: GenerateOutput = await model.generate({
    ...options,
    return_dict_in_generate: true,
    output_scores: true,
    output_logits: true,
  });
  expect(rowsOf(output.sequences)).toEqual(c.sequences);
  compareSteps(golden.get(`scores/${c.case}`), output.scores);
  compareSteps(golden.get(`logits/${c.case}`), output.logits);
  if (c.sequences_scores) expectClose([...output.sequences_scores!.data], c.sequences_scores, 1e-4);
  if (c.beam_indices) expect(output.beam_indices!.tolist()).toEqual(padRows(c.beam_indices));
  if (c.transition_scores) {
    const got = model.compute_transition_scores(output.sequences, output.scores!, output.beam_indices);
    for (const [i, row] of c.transition_scores.entries()) {
      const [, steps] = got.dims;
      const finite = row.map((v, s) => ({ v, s })).filter(({ v }) => Number.isFinite(v) && v !== 0);
      expectClose(
        finite.map(({ s }) => got.data[i * steps + s]),
        finite.map(({ v }) => v),
        2e-4,
      );
    }
  }
  output.past_key_values?.dispose();
}

function padRows(rows: readonly (readonly number[])[]): number[][] {
  const length = Math.max(...rows.map((r) => r.length));
  return rows.map((r) => [...r, ...new Array<number>(length - r.length).fill(-1)]);
}

function expectClose(got: readonly number[], want: readonly number[], tolerance: number): void {
  expect(got.length).toBe(want.length);
  for (const [i, v] of want.entries()) expect(Math.abs(got[i] - v)).toBeLessThan(tolerance);
}

/** The first steps of scores, [steps, rows, vocab]; infinities at the same places. */
function compareSteps(
  want: { readonly shape: readonly number[]; readonly data: Float64Array } | undefined,
  got: Tensor<'float32'>[] | undefined,
): void {
  if (!want) return;
  const [steps, rows, vocab] = want.shape;
  for (let s = 0; s < steps; s++) {
    const values = got![s].data;
    expect(values.length).toBe(rows * vocab);
    for (let i = 0; i < values.length; i++) {
      const expected = want.data[s * rows * vocab + i];
      if (
        Number.isFinite(expected)
          ? Math.abs(values[i] - expected) > 2e-4 * Math.max(1, Math.abs(expected) / 10)
          : values[i] !== expected
      ) {
        throw new Error(`step ${s}, entry ${i}: ${values[i]} instead of ${expected}`);
      }
    }
  }
}
