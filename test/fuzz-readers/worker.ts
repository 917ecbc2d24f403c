// A process that runs inputs as it is told: it says which input it begins, so that its end or silence blames the right
// one, and sums up the rest.
import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Reader } from './reader.ts';
import { readers } from './readers/index.ts';
import { filesOf, type Outcome, runFiles } from './run-input.ts';

/** Inputs from `from` to below `to` of a reader. */
export interface Batch {
  readonly reader: string;
  readonly seed: number;
  readonly from: number;
  readonly to: number;
}
export interface Failure {
  readonly input: number;
  readonly text: string;
}
export type Report =
  | { readonly ready: true }
  /** What inputs are made from cannot be made: a fault of the fuzzer. */
  | { readonly broken: string }
  | { readonly begins: number }
  | { readonly refused: number; readonly accepted: number; readonly failures: readonly Failure[] };

/** Where the files of the input that runs are, in the folder of a worker. */
export const inputFolder = 'fuzzed-input';

const opened = new Map<string, Promise<Reader>>();

/** The reader of a name, prepared once. */
export function openReader(name: string, scratch: string): Promise<Reader> {
  let reader = opened.get(name);
  if (!reader) {
    const folder = join(scratch, name);
    mkdirSync(folder, { recursive: true });
    reader = readers[name](folder);
    opened.set(name, reader);
  }
  return reader;
}

export function serve(scratch: string, keep: string): void {
  const say = (report: Report): boolean | undefined => process.send?.(report);
  let strays: unknown[] = [];
  for (const event of ['uncaughtException', 'unhandledRejection']) process.on(event, (error) => strays.push(error));
  process.on('message', async ({ reader: name, seed, from, to }: Batch) => {
    const reader = await openReader(name, scratch).catch((error: unknown) => {
      say({ broken: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    });
    if (!reader) return;
    const folder = join(scratch, inputFolder);
    const counts = { refused: 0, accepted: 0, failed: 0 };
    const failures: Failure[] = [];
    for (let input = from; input < to; input++) {
      say({ begins: input });
      let outcome: Outcome = await runFiles(reader, folder, filesOf(reader, name, seed, input));
      if (strays.length > 0) outcome = { kind: 'failed', text: `an error that nobody caught: ${String(strays[0])}` };
      strays = [];
      counts[outcome.kind]++;
      if (outcome.kind !== 'failed') continue;
      failures.push({ input, text: outcome.text });
      cpSync(folder, join(keep, `${name}-${seed}-${input}`), { recursive: true, dereference: true });
    }
    say({ refused: counts.refused, accepted: counts.accepted, failures });
  });
  process.on('disconnect', () => process.exit());
  say({ ready: true });
}
