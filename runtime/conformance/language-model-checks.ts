// The checks of a trained language model: its tokenizer, its logits and the likelihood that it gives to texts, and what it
// generates.
import { AutoTokenizer, type GenerateOptions, type Tensor } from '../index.ts';
import type { CaseReport } from './compare.ts';
import { type CaseOptions, type GoldenTensors, tolerance } from './golden.ts';
import { checkGenerated, checkOutputs, type Generator, openRunnable } from './model-checks.ts';

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
  folder: string,
  golden: LanguageModelGolden,
  spoken: GreedyText,
  tensors: GoldenTensors,
  options: CaseOptions,
): Promise<void> {
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  const model = (await openRunnable(folder, 'causal-lm', options)) as Generator;
  try {
    report.same('prompt ids', tokenizer.encode(spoken.prompt), spoken.prompt_ids);
    const text = tokenizer.decode(spoken.ids, { skip_special_tokens: true });
    report.sameText('greedy100 text', text, spoken.text);
    // the reference encoder of these ids splits runs of spaces differently from the tokenizer that the model came with
    const plain = (golden.tokenizer_extra ?? []).filter((extra) => !extra.text.includes('  '));
    for (const [i, extra] of plain.entries()) {
      report.same(`tokenizer_extra[${i}]`, tokenizer.encode(extra.text), extra.ids);
    }
    await checkOutputs(report, model, 'causal-lm', tensors);
    // the interpreter is a specification, not an engine: a text is enough to hold it to
    const texts = options.target === 'reference' ? 1 : golden.items.length;
    await checkLikelihood(report, model, golden, texts);
    await checkSpoken(report, model, golden, spoken);
  } finally {
    model.dispose();
  }
  report.leaveOut('quantized weights and caches');
}

async function checkLikelihood(
  report: CaseReport,
  model: Generator,
  { items }: LanguageModelGolden,
  texts: number,
): Promise<void> {
  for (const [i, item] of items.slice(0, texts).entries()) {
    const { logits } = (await model.forward({ input_ids: [item.ids] })) as { readonly logits: Tensor<'float32'> };
    const nll = negativeLogLikelihood(logits.data, item.ids);
    report.error(`nll[${i}]`, Math.abs(nll - item.sum_nll) / item.sum_nll, tolerance);
  }
  if (texts < items.length) report.leaveOut(`nll of ${items.length - texts} texts`);
}

async function checkSpoken(
  report: CaseReport,
  model: Generator,
  golden: LanguageModelGolden,
  { prompt_ids: prompt, ids }: GreedyText,
): Promise<void> {
  const check = async (
    name: string,
    from: readonly number[],
    want: readonly (readonly number[])[],
    options: GenerateOptions = {},
  ): Promise<void> => {
    const max_new_tokens = Math.max(...want.map((w) => w.length)) - from.length;
    await checkGenerated(report, name, model, want, { input_ids: [from], max_new_tokens, ...options });
  };
  await check('greedy100', prompt, [ids]);
  await check('greedy', prompt, [golden.greedy]);
  await check('greedy from bos', [1], [golden.greedy_from_bos]);
  const penalized = golden['greedy_rep1.2_ngram3'];
  if (penalized) await check('penalties', prompt, [penalized], { repetition_penalty: 1.2, no_repeat_ngram_size: 3 });
  if (golden.beam4) await check('beam4', prompt, golden.beam4, { num_beams: 4, num_return_sequences: 4 });
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
