// Cases from the field: a folder with expected.json beside what a user has (`model`, `base` with `adapter`, `tokenizer`, or
// a tokenizer's files). What is in the folder and in expected.json says what is checked; fields that nobody knows are
// named as not run.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ModelcError } from '../../../ir/error.ts';
import { AutoTokenizer, type Message } from '../../index.ts';
import { readJson } from '../cases.ts';
import { CaseReport } from '../compare.ts';
import type { CaseOptions } from '../golden.ts';
import { checkModel, hasModel, type ModelCase } from './models.ts';
import { checkOption, type OptionCase, scopeOf } from './options.ts';
import { checkText, type TextCase } from './texts.ts';

interface Expected extends ModelCase {
  readonly cases?: readonly Partial<TextCase & OptionCase>[];
  readonly messages?: readonly Message[];
}

/** Every field that is checked or said of how; others are left out by name. */
const known: readonly string[] = [
  'input_ids', 'attention_mask', 'token_type_ids', 'decoder_input_ids', 'texts', 'text', 'text_pair', 'last_logits', 'logits',
  'start_logits', 'end_logits', 'logits_of_each_text_alone', 'greedy', 'greedy_max_new_tokens', 'cases', 'messages',
]; // biome-ignore format: one list
const knownOfCases: readonly string[] = [
  'case', 'text', 'text_pair', 'ids', 'tokens', 'token_type_ids', 'attention_mask', 'decoded', 'decoded_skip_special', 'stop',
  'stops_after_tokens', 'transformers_5_18', 'messages', 'template', 'variables', 'rendered', 'call', 'right',
]; // biome-ignore format: one list

/** The first of the folders that a user has which holds a file. */
const folderWith = (folder: string, names: readonly string[], file: string): string | undefined =>
  names.map((name) => join(folder, name)).find((path) => existsSync(join(path, file)));

export async function checkField(folder: string, options: CaseOptions): Promise<CaseReport> {
  const report = new CaseReport();
  const expected = readJson<Expected>(join(folder, 'expected.json'));
  for (const name of Object.keys(expected)) if (!known.includes(name)) report.leaveOut(name);

  const model = folderWith(folder, ['model', 'base', '.'], 'config.json');
  const adapter = folderWith(folder, ['adapter'], 'adapter_config.json');
  if (hasModel(expected)) {
    if (model === undefined) throw new ModelcError('parse', `${folder} has no model: is the case complete?`);
    await checkModel(report, { model, adapter }, expected, options);
  }
  if (expected.cases) await checkCases(report, folder, expected, expected.cases);
  if (report.checks === 0) report.failures.push('nothing in expected.json is known');
  return report;
}

async function checkCases(
  report: CaseReport,
  folder: string,
  expected: Expected,
  cases: NonNullable<Expected['cases']>,
): Promise<void> {
  const place = folderWith(folder, ['tokenizer', '.', 'model', 'base'], 'tokenizer.json');
  const tokenizer = place === undefined ? undefined : await AutoTokenizer.from_pretrained(place);
  const scope = scopeOf(folder, tokenizer, { ...expected });
  for (const [i, c] of cases.entries()) {
    const name = c.case ?? c.text ?? `cases[${i}]`;
    for (const key of Object.keys(c)) if (!knownOfCases.includes(key)) report.leaveOut(`${name}: ${key}`);
    const { call, right } = c;
    if (call !== undefined && right !== undefined) await checkOption(report, { call, right }, scope, tokenizer);
    else if (tokenizer) checkText(report, name, tokenizer, c, expected.messages);
  }
}
