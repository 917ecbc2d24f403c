// `npm run conformance -- DIR…`: runs every case folder below the folders against what other libraries computed, one line
// a case, and closes with `N passed, N failed, N skipped`. Exits with 1 if a case failed or none was found.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { defaultBackend, deviceNames } from '../../backends/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { exitCodes, report as reportError, tolerateClosedPipes } from '../cli/output.ts';
import { type Case, findCases, readJson } from './cases.ts';
import { CaseReport } from './compare.ts';
import { checkField } from './field/index.ts';
import { type CaseOptions, readTensors } from './golden.ts';
import { checkHostile } from './hostile/index.ts';
import { checkLanguageModel, type GreedyText, type LanguageModelGolden } from './language-model-checks.ts';
import { checkModelCase, type ModelGolden, supports, taskOfKind } from './model-checks.ts';
import { checkRecordedRun } from './recorded-run.ts';
import { checkSentences } from './sentences.ts';

const width = 28;

/** Why a case is not for this runner, or undefined when it is. */
function reasonToSkip(c: Case): string | undefined {
  if (['sentences', 'field', 'hostile'].includes(c.layout)) return undefined;
  if (!existsSync(join(c.folder, 'golden.json'))) return 'it has no model';
  if (c.layout === 'training') return undefined;
  if (!existsSync(join(c.checkpoint, 'config.json'))) return 'it has no config.json';
  const { kind } = readJson<{ kind?: string }>(join(c.folder, 'golden.json'));
  const task = c.layout === 'golden' ? taskOfKind(kind) : 'causal-lm';
  if (!task) return `kind ${kind ?? 'unknown'}`;
  const { model_type } = readJson<{ model_type?: string }>(join(c.checkpoint, 'config.json'));
  return supports(task, model_type) ? undefined : `architecture ${model_type ?? 'unknown'}`;
}

async function runCase(c: Case, options: CaseOptions): Promise<CaseReport> {
  if (c.layout === 'field') return checkField(c.folder, options);
  if (c.layout === 'hostile') return checkHostile(c.folder);
  const report = new CaseReport();
  if (c.layout === 'training' || c.layout === 'sentences') {
    const check = c.layout === 'training' ? checkRecordedRun : checkSentences;
    await check(report, c.folder, options);
    return report;
  }
  const path = join(c.folder, 'golden.json');
  if (c.layout === 'golden') {
    const tensors = await readTensors(join(c.folder, 'golden.safetensors'));
    await checkModelCase(report, c.checkpoint, readJson<ModelGolden>(path), tensors, options);
  } else {
    const tensors = await readTensors(join(c.folder, 'golden_logits.safetensors'));
    const spoken = readJson<GreedyText>(join(c.folder, 'greedy100.json'));
    await checkLanguageModel(report, c.checkpoint, readJson<LanguageModelGolden>(path), spoken, tensors, options);
  }
  return report;
}

async function conformance(folders: readonly string[], options: CaseOptions): Promise<number> {
  const cases = folders.flatMap(findCases);
  if (cases.length === 0) throw new ModelcError('input', `there is no case below ${folders.join(', ')}`);
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  for (const c of cases) {
    const name = c.name.padEnd(width);
    const skip = reasonToSkip(c);
    if (skip) {
      skipped++;
      console.log(`skip  ${name}  ${skip}`);
      continue;
    }
    try {
      const r = await runCase(c, options);
      if (r.failures.length > 0) failed++;
      else passed++;
      const worst = r.worstName === '' ? '' : `, worst error ${r.worst.toExponential(1)} (${r.worstName})`;
      const left = r.left.length > 0 ? `; not run: ${r.left.join(', ')}` : '';
      const failures = r.failures.length > 0 ? `; ${r.failures.join('; ')}` : '';
      console.log(`${r.failures.length > 0 ? 'FAIL' : 'pass'}  ${name}  ${r.checks} checks${worst}${left}${failures}`);
      for (const line of r.lines) console.log(`        ${line}`);
    } catch (error) {
      failed++;
      console.log(`FAIL  ${name}  ${error instanceof Error ? error.message : String(error)}`);
      if (process.env.MODELC_DEBUG === '1' && error instanceof Error) console.error(error.stack);
    }
  }
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  return failed > 0 ? exitCodes.failed : exitCodes.ok;
}

const program = new Command('conformance')
  .description('Runs case folders against what other libraries computed.')
  .argument('<folders...>', 'folders; every case below them runs')
  .addOption(new Option('--target <target>', 'what runs the cases').choices(deviceNames).default(defaultBackend))
  .addOption(new Option('--cache <kind>', 'kind of KV cache').choices(['dynamic', 'static']).default('dynamic'))
  .option('--full', 'whole trainings, not just their first steps')
  .exitOverride()
  .action(async (folders: string[], options: CaseOptions) => {
    process.exitCode = await conformance(folders, options);
  });

tolerateClosedPipes();
try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  else process.exitCode = reportError(error);
}
