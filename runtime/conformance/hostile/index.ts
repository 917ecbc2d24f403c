// Hostile files: each is opened in a process of its own, and must be refused with one typed sentence that names the file,
// the field and its value, within a second and a few megabytes.
import { fork } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { builtFile } from '../../artifact/package-files.ts';
import { CaseReport } from '../compare.ts';
import type { Outcome } from './child.ts';
import { type HostileInput, inputsOf, sizeInputs } from './inputs.ts';

/** Of processor time, since other work may hold the machine up. */
const millisecondsLimit = 1000;
/** The code that a refusal runs through is compiled and kept, too. */
const megabytesLimit = 128;
/** After which a process that says nothing is stopped. */
const silence = 10_000;

/** Names that files of such a folder have. */
export const isHostileName = (name: string): boolean =>
  /^(?:[a-z]+-\d+(?:\.parquet)?|templates\.json|regex\.json)$/.test(name);
/** A case of a hostile folder that is no file: sizes that are tried on the weights of a case of hf-golden beside it. */
export const sizesName = 'sizes';

export async function checkHostile(file: string): Promise<CaseReport> {
  const report = new CaseReport();
  const scratch = mkdtempSync(join(tmpdir(), 'modelc-hostile-'));
  try {
    const golden = resolve(dirname(file), '../hf-golden/llama');
    const isSizes = basename(file) === sizesName && existsSync(golden);
    const inputs = isSizes ? sizeInputs(golden, scratch) : await inputsOf(file, scratch);
    for (const input of inputs) {
      report.checks++;
      const fault = faultOf(input, await outcomeOf(input.open), report);
      if (fault) report.failures.push(`${input.name} ${fault}`);
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return report;
}

function faultOf(
  { named, mayBeServed }: HostileInput,
  outcome: Outcome | string,
  report: CaseReport,
): string | undefined {
  if (typeof outcome === 'string') return outcome;
  const { kind, message, milliseconds, megabytes } = outcome;
  if (milliseconds > millisecondsLimit) return `takes ${milliseconds.toFixed(0)} ms`;
  if (megabytes > megabytesLimit) return `takes ${megabytes.toFixed(0)} MiB`;
  if (kind === 'served') return mayBeServed ? undefined : 'is not refused';
  if (kind === 'untyped') return `throws an error without a type: ${message}`;
  const missing = named.find((words) => !words.some((word) => message.includes(word)));
  if (missing) return `is refused without naming ${missing.join(' or ')}: ${message}`;
  report.lines.push(message);
  return undefined;
}

/** What a process says of an input, or how it ended without a word. */
function outcomeOf(input: HostileInput['open']): Promise<Outcome | string> {
  return new Promise((settle) => {
    const child = fork(builtFile('hostile-child.js'), { execArgv: ['--max-old-space-size=512'], silent: true });
    let timer: ReturnType<typeof setTimeout> | undefined;
    child.on('message', (said: Outcome | 'ready') => {
      if (said !== 'ready') return settle(said);
      timer = setTimeout(() => {
        settle(`has no end in ${silence / 1000} s`);
        child.kill('SIGKILL');
      }, silence);
      child.send(input);
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      settle(`ends the process (${signal ?? code})`);
    });
  });
}
