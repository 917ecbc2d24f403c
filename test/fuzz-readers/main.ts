// `npm run fuzz -- READER --inputs N --seed S`: gives a reader of outside data N broken files and counts what comes of
// them: a typed error (refused), a result (accepted), or anything else (failed): another error, a process that dies, more
// than a second or 512 MiB. The same seed gives the same inputs; `--input K` runs one and shows it. READER may be `all`.
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { type PoolOptions, runInputs, type Totals } from './pool.ts';
import type { Files } from './reader.ts';
import { readers } from './readers/index.ts';
import { filesOf, runFiles } from './run-input.ts';
import { inputFolder, openReader, serve } from './worker.ts';

const natural = (text: string): number => {
  if (/^\d+$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a non-negative integer.');
};

interface Options {
  readonly inputs: number;
  readonly seed: number;
  readonly input?: number;
}

/** Failures of a reader that are printed; all are kept. */
const shown = 10;
const counted = (inputs: number, { refused, accepted, failures }: Totals): string =>
  `${inputs} inputs, ${refused} refused, ${accepted} accepted, ${failures.length} failed`;

async function fuzz(names: readonly string[], { inputs, seed }: Options, pool: PoolOptions): Promise<number> {
  const sum: Totals = { refused: 0, accepted: 0, failures: [] };
  for (const name of names) {
    const start = performance.now();
    const totals = await runInputs(name, seed, inputs, pool);
    const seconds = (performance.now() - start) / 1000;
    sum.refused += totals.refused;
    sum.accepted += totals.accepted;
    sum.failures.push(...totals.failures);
    for (const { input, text } of totals.failures.slice(0, shown)) {
      console.log(`  ${name} --seed ${seed} --input ${input}: ${text.slice(0, 600)}`);
    }
    if (names.length > 1) console.log(`${name.padEnd(20)} ${counted(inputs, totals)}  (${seconds.toFixed(0)} s)`);
  }
  console.log(counted(inputs * names.length, sum));
  if (sum.failures.length > 0) console.log(`the files of failed inputs are in ${pool.keep}`);
  return sum.failures.length;
}

async function showInput(name: string, seed: number, input: number, scratch: string): Promise<number> {
  const reader = await openReader(name, scratch);
  const files = filesOf(reader, name, seed, input);
  for (const [file, content] of Object.entries(files)) console.log(`${file}: ${textOf(content)}`);
  const { kind, text } = await runFiles(reader, join(scratch, inputFolder), files);
  console.log(`${kind}${text === '' ? '' : `: ${text}`}`);
  return kind === 'failed' ? 1 : 0;
}

function textOf(content: Files[string]): string {
  const text = typeof content === 'string' ? content : content instanceof Uint8Array ? Buffer.from(content).toString('latin1') : `a link to ${content.link}`; // biome-ignore format: one row
  return text.length > 4000 ? `${text.slice(0, 4000)}… (${text.length} characters)` : text;
}

async function main(reader: string, options: Options): Promise<void> {
  const names = reader === 'all' ? Object.keys(readers) : reader.split(',');
  const unknown = names.find((name) => !Object.hasOwn(readers, name));
  if (unknown !== undefined) throw new Error(`there is no reader ${unknown}; there are: ${Object.keys(readers).join(', ')}, all`); // biome-ignore format: one row
  const scratch = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'modelc-fuzz-'));
  const keep = resolve('test-output', 'fuzz');
  mkdirSync(keep, { recursive: true });
  try {
    const pool = { program: process.argv[1], scratch, keep, workers: Math.min(4, availableParallelism()) };
    const { input, seed } = options;
    const failed = input === undefined ? await fuzz(names, options, pool) : await showInput(names[0], seed, input, scratch); // biome-ignore format: one row
    process.exitCode = failed > 0 ? 1 : 0;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

const workerAt = process.argv.indexOf('--worker');
if (workerAt > 0) serve(process.argv[workerAt + 1], process.argv[workerAt + 2]);
else {
  await new Command('fuzz')
    .description('Gives readers of outside data broken files, and counts what comes of them.')
    .argument('<reader>', `${Object.keys(readers).join(', ')}; several with commas between them; or all`)
    .option('--inputs <n>', 'inputs for each reader', natural, 2000)
    .option('--seed <n>', 'the same seed gives the same inputs', natural, 1)
    .option('--input <n>', 'runs one input and shows it', natural)
    .action(main)
    .parseAsync();
}
