// The checks of one case: tensors of a whole forward pass against the oracle's, then generated tokens. Parts that this
// build cannot run are recorded by name, never silently passed over.
import { ModelcError } from '../../ir/error.ts';
import type { TensorData } from '../tensors/host-tensor.ts';
import { type CaseReport, relativeError } from './compare.ts';
import type { GenerateSettings, Subject } from './subject.ts';
import type { TrainGolden } from './train.ts';

/** f32 against f32 in another order of summation, relative to the largest entry. */
export const tolerance = 1e-4;

export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly data: TensorData;
}
/** Tensors of golden.safetensors by name. */
export type GoldenTensors = ReadonlyMap<string, GoldenTensor>;

export const rowsOf = (t: GoldenTensor): number[][] => {
  const [rows, columns] = t.shape;
  return Array.from({ length: rows }, (_, r) =>
    Array.from(t.data.subarray(r * columns, (r + 1) * columns) as Iterable<number | bigint>, Number),
  );
};

/** Logits and hidden states of the golden input, with and without its attention mask. */
export async function checkTensors(report: CaseReport, subject: Subject, golden: GoldenTensors): Promise<void> {
  const ids = golden.get('input_ids');
  const logits = golden.get('logits');
  if (!ids || !logits) throw new ModelcError('parse', 'the case has no tensors input_ids and logits: is it complete?');
  const rows = rowsOf(ids);
  const got = await subject.forward(rows);
  report.error('logits', relativeError(got.logits, logits.data), tolerance);
  for (const [name, want] of golden) {
    const index = /^hidden_(\d+)$/.exec(name)?.[1];
    if (index !== undefined) report.error(name, relativeError(got.hidden[Number(index)] ?? [], want.data), tolerance);
  }
  const mask = golden.get('attention_mask');
  const tail = golden.get('logits_masked_row1_tail');
  if (mask && tail) {
    const masked = await subject.forward(rows, rowsOf(mask));
    const [, seq] = ids.shape;
    const vocab = logits.shape[2];
    const part = masked.logits.subarray((seq + 3) * vocab, 2 * seq * vocab);
    report.error('logits_masked_row1_tail', relativeError(part, tail.data), tolerance);
  }
}

/** Generated ids of one prompt; a way of generating that is not supported is left out by name. */
export async function checkGenerated(
  report: CaseReport,
  name: string,
  subject: Subject,
  prompt: readonly number[],
  want: readonly (readonly number[])[],
  settings: GenerateSettings,
): Promise<void> {
  try {
    const newTokens = Math.max(...want.map((w) => w.length)) - prompt.length;
    const got = await subject.generate(prompt, { ...settings, max_new_tokens: newTokens });
    for (const [i, ids] of want.entries()) report.same(want.length > 1 ? `${name}[${i}]` : name, got[i] ?? [], ids);
  } catch (error) {
    if (!(error instanceof ModelcError && error.code === 'unsupported')) throw error;
    report.leaveOut(name);
  }
}

/** kind 'causal-lm' of hf-golden. */
export interface CausalGolden {
  readonly kind: string;
  readonly prompt: readonly number[];
  readonly greedy: readonly number[];
  readonly 'greedy_rep_penalty_1.3_no_repeat_2'?: readonly number[];
  readonly beam3?: readonly (readonly number[])[];
  readonly train?: TrainGolden;
}

export async function checkCausal(
  report: CaseReport,
  subject: Subject,
  golden: CausalGolden,
  tensors: GoldenTensors,
): Promise<void> {
  await checkTensors(report, subject, tensors);
  const check = (name: string, want: readonly (readonly number[])[], settings: GenerateSettings): Promise<void> =>
    checkGenerated(report, name, subject, golden.prompt, want, settings);
  await check('greedy', [golden.greedy], {});
  const penalized = golden['greedy_rep_penalty_1.3_no_repeat_2'];
  if (penalized) await check('penalties', [penalized], { repetition_penalty: 1.3, no_repeat_ngram_size: 2 });
  if (golden.beam3) await check('beam3', golden.beam3, { num_beams: 3, num_return_sequences: 3 });
}

/** golden.json of a trained model under lm. */
export interface LanguageModelGolden {
  readonly items: readonly { readonly text: string; readonly ids: readonly number[]; readonly sum_nll: number }[];
  readonly tokenizer_extra?: readonly { readonly text: string; readonly ids: readonly number[] }[];
  readonly greedy: readonly number[];
  readonly greedy_from_bos: readonly number[];
  readonly 'greedy_rep1.2_ngram3'?: readonly number[];
  readonly beam4?: readonly (readonly number[])[];
}
/** greedy100.json. */
export interface GreedyText {
  readonly prompt: string;
  readonly prompt_ids: readonly number[];
  readonly ids: readonly number[];
  readonly text: string;
}

export async function checkLanguageModel(
  report: CaseReport,
  subject: Subject,
  golden: LanguageModelGolden,
  spoken: GreedyText,
  tensors: GoldenTensors,
  texts: number,
): Promise<void> {
  report.same('prompt ids', await subject.encode(spoken.prompt), spoken.prompt_ids);
  const check = (name: string, prompt: readonly number[], want: readonly number[][], settings: GenerateSettings) =>
    checkGenerated(report, name, subject, prompt, want, settings);
  await check('greedy100', spoken.prompt_ids, [[...spoken.ids]], {});
  report.sameText('greedy100 text', await subject.decode(spoken.ids), spoken.text);
  await checkTensors(report, subject, tensors);
  // the reference encoder of these ids splits runs of spaces differently from the tokenizer that the model came with
  const plain = (golden.tokenizer_extra ?? []).filter(({ text }) => !text.includes('  '));
  for (const [i, { text, ids }] of plain.entries()) {
    report.same(`tokenizer_extra[${i}]`, await subject.encode(text), ids);
  }
  for (const [i, item] of golden.items.slice(0, texts).entries()) {
    const { logits } = await subject.forward([item.ids]);
    const nll = negativeLogLikelihood(logits, item.ids);
    report.error(`nll[${i}]`, Math.abs(nll - item.sum_nll) / item.sum_nll, tolerance);
  }
  if (texts < golden.items.length) report.leaveOut(`nll of ${golden.items.length - texts} texts`);
  await check('greedy', spoken.prompt_ids, [[...golden.greedy]], {});
  await check('greedy from bos', [1], [[...golden.greedy_from_bos]], {});
  const penalized = golden['greedy_rep1.2_ngram3'];
  if (penalized) {
    await check('penalties', spoken.prompt_ids, [[...penalized]], { repetition_penalty: 1.2, no_repeat_ngram_size: 3 });
  }
  if (golden.beam4) {
    const settings = { num_beams: 4, num_return_sequences: 4 };
    await check('beam4', spoken.prompt_ids, golden.beam4.map((ids) => [...ids]), settings); // biome-ignore format: short
  }
  report.leaveOut('quantized weights and caches');
}

/** Sum over positions of -log p(next token), from logits [1, ids.length, vocab]. */
function negativeLogLikelihood(logits: Float32Array, ids: readonly number[]): number {
  const vocab = logits.length / ids.length;
  let sum = 0;
  for (let t = 0; t + 1 < ids.length; t++) {
    const row = logits.subarray(t * vocab, (t + 1) * vocab);
    const top = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    sum += top + Math.log(row.reduce((a, b) => a + Math.exp(b - top), 0)) - row[ids[t + 1]];
  }
  return sum;
}
