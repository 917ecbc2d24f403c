// Cases of models: logits of given ids or of texts through the tokenizer, with an adapter where there is one, and what the
// model generates, in this process and as a compiled artifact.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { defaultBackend } from '../../../backends/index.ts';
import { type TaskName, taskOf } from '../../../frontends/huggingface/index.ts';
import { ModelcError } from '../../../ir/error.ts';
import type { Model } from '../../artifact/api.ts';
import { builtFile } from '../../artifact/package-files.ts';
import { autoModels } from '../../auto/auto-models.ts';
import { AutoTokenizer, PeftModel, type PreTrainedModel, Tensor } from '../../index.ts';
import { type CaseReport, relativeError } from '../compare.ts';
import type { CaseOptions } from '../golden.ts';
import type { Runnable } from '../model-checks.ts';

type Nested = number | readonly Nested[];
type Rows = readonly (readonly number[])[];

/** Fields of expected.json about a model; what a case has is checked. */
export interface ModelCase {
  readonly input_ids?: Rows;
  readonly attention_mask?: Rows;
  readonly token_type_ids?: Rows;
  readonly decoder_input_ids?: Rows;
  readonly texts?: readonly string[];
  readonly text?: string;
  readonly text_pair?: string;
  readonly last_logits?: Nested;
  readonly logits?: Nested;
  readonly start_logits?: Nested;
  readonly end_logits?: Nested;
  readonly logits_of_each_text_alone?: Nested;
  /** Prompt and continuation: of each row, or of the only one. */
  readonly greedy?: Rows | readonly number[];
  readonly greedy_max_new_tokens?: number;
}

export const hasModel = (expected: ModelCase): boolean =>
  Object.keys(expected).some((key) => key === 'greedy' || key.includes('logits'));

/** The folders of a case that has a model. */
export interface ModelFolders {
  readonly model: string;
  readonly adapter: string | undefined;
}

/** Relative to the largest entry: f32 in another order of summation, and the six digits that are written. */
const [lastTolerance, tolerance] = [2e-5, 1e-4];

const numbersOf = (value: Nested): number[] => (typeof value === 'number' ? [value] : value.flatMap(numbersOf));
const flat = (value: Nested): Float32Array => Float32Array.from(numbersOf(value));

/** What a folder's model is for: the class that a user would load it with. */
export function taskOfFolder(folder: string): TaskName {
  const task = taskOf(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>);
  return task === 'encoder' ? 'sequence-classification' : task;
}

export async function checkModel(
  report: CaseReport,
  { model: folder, adapter }: ModelFolders,
  expected: ModelCase,
  { target, cache }: CaseOptions,
): Promise<void> {
  const task = taskOfFolder(folder);
  const base = await autoModels[task].from_pretrained(folder, { target });
  const adapted = adapter === undefined ? base : await PeftModel.from_pretrained(base as PreTrainedModel, adapter);
  const model: Runnable & { generate?(inputs: object): Promise<unknown> } = adapted;
  try {
    const inputs = await inputsOf(report, folder, expected);
    await checkLogits(report, model, inputs, expected);
    if (expected.logits_of_each_text_alone !== undefined) await checkAlone(report, model, folder, expected);
    if (expected.greedy && model.generate) {
      const options = { max_new_tokens: expected.greedy_max_new_tokens, do_sample: false };
      report.same('greedy', rowOf(await model.generate({ ...inputs, ...options })), numbersOf(expected.greedy));
    }
  } finally {
    model.dispose();
  }
  if (expected.greedy && task === 'causal-lm' && adapter === undefined && target === defaultBackend)
    await checkArtifact(report, folder, expected, cache);
}

/** The given ids, or those that the tokenizer makes of the texts, which are compared. */
async function inputsOf(report: CaseReport, folder: string, expected: ModelCase): Promise<object> {
  const names = ['input_ids', 'attention_mask', 'token_type_ids', 'decoder_input_ids'] as const;
  const given = names.flatMap((name) => (expected[name] ? [[name, expected[name]] as const] : []));
  const texts = expected.texts ?? expected.text;
  if (texts === undefined) return Object.fromEntries(given);
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  const encoded = tokenizer(texts, { padding: true, text_pair: expected.text_pair ?? null });
  for (const [name, rows] of given) {
    const got = Object.entries(encoded).find(([key]) => key === name)?.[1] as unknown;
    report.same(name, rowOf(got), rows.flat());
  }
  return { ...encoded, ...(expected.decoder_input_ids && { decoder_input_ids: expected.decoder_input_ids }) };
}

const rowOf = (value: unknown): number[] =>
  value instanceof Tensor ? Array.from(value.data as ArrayLike<number | bigint>, Number) : [];

async function checkLogits(report: CaseReport, model: Runnable, inputs: object, expected: ModelCase): Promise<void> {
  const wanted = ['last_logits', 'logits', 'start_logits', 'end_logits'] as const;
  if (!wanted.some((name) => expected[name] !== undefined)) return;
  const output = new Map(Object.entries(await model.forward(inputs)));
  for (const name of wanted) {
    const want = expected[name];
    if (want === undefined) continue;
    const isLast = name === 'last_logits';
    const got: unknown = output.get(isLast ? 'logits' : name);
    if (!(got instanceof Tensor)) {
      report.failures.push(`the model gives no ${name}`);
      continue;
    }
    const data = isLast ? lastRows(got) : (got.data as Float32Array);
    report.error(name, relativeError(data, flat(want)), isLast ? lastTolerance : tolerance);
  }
}

/** The logits of the last position of each row. */
function lastRows({ data, dims: [rows, length, vocab] }: Tensor): Float32Array {
  const all = data as Float32Array;
  return Float32Array.from(
    Array.from({ length: rows }, (_, r) => [
      ...all.subarray(((r + 1) * length - 1) * vocab, (r + 1) * length * vocab),
    ]).flat(),
  );
}

/** A text has the same logits in a batch and alone. */
async function checkAlone(report: CaseReport, model: Runnable, folder: string, expected: ModelCase): Promise<void> {
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  const want = expected.logits_of_each_text_alone as readonly Nested[];
  for (const [i, text] of (expected.texts ?? []).entries()) {
    await checkLogits(report, model, tokenizer(text), { logits: want[i] });
  }
}

/** The command `compile`, and what the artifact that it writes generates. */
async function checkArtifact(
  report: CaseReport,
  folder: string,
  { input_ids, greedy, greedy_max_new_tokens }: ModelCase,
  cache: CaseOptions['cache'],
): Promise<void> {
  const rows = (typeof greedy?.[0] === 'number' ? [greedy] : greedy) as Rows;
  const scratch = mkdtempSync(join(tmpdir(), 'modelc-artifact-'));
  const output = join(scratch, 'artifact');
  try {
    await promisify(execFile)(process.execPath, [
      builtFile('cli.js'),
      'compile',
      folder,
      '-o',
      output,
      '--cache',
      cache,
    ]);
    const { load } = (await import(pathToFileURL(join(output, 'index.js')).href)) as { load(): Promise<Model> };
    const model = await load();
    for (const [i, ids] of (input_ids ?? []).entries()) {
      const options = { max_new_tokens: greedy_max_new_tokens ?? 20, do_sample: false };
      report.same(`greedy of the artifact[${i}]`, (await model.generate(ids, options)).ids, rows[i] ?? []);
    }
    await model.dispose();
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    throw said === '' ? error : new ModelcError('input', `modelc compile: ${said}`, { cause: error });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
