// Runs one input of a reader: its files are written into a folder, opened and used, and the outcome is judged.
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ModelcError, printable } from '../../ir/error.ts';
import { Random } from './random.ts';
import type { Files, Reader } from './reader.ts';

/** Processor time of an input: a second, as other work may hold the machine up. */
const millisecondsLimit = 1000;
const megabytesLimit = 512;
const messageLimit = 700;

export interface Outcome {
  readonly kind: 'refused' | 'accepted' | 'failed';
  /** The message of the refusal, or what failed. */
  readonly text: string;
}

export const filesOf = (reader: Reader, name: string, seed: number, input: number): Files =>
  reader.make(new Random(`${name}/${seed}/${input}`));

export function writeFiles(folder: string, files: Files): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const [name, content] of Object.entries(files)) {
    if (typeof content === 'object' && 'link' in content) symlinkSync(content.link, join(folder, name));
    else writeFileSync(join(folder, name), content);
  }
}

export async function runFiles(reader: Reader, folder: string, files: Files): Promise<Outcome> {
  const failed = (text: string): Outcome => ({ kind: 'failed', text });
  writeFiles(folder, files);
  const before = process.memoryUsage.rss();
  const start = process.cpuUsage();
  let outcome: Outcome = { kind: 'accepted', text: '' };
  try {
    await reader.use(folder);
  } catch (error) {
    outcome =
      error instanceof ModelcError
        ? { kind: 'refused', text: error.message }
        : failed(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  const { user, system } = process.cpuUsage(start);
  const milliseconds = (user + system) / 1000;
  const megabytes = (process.memoryUsage.rss() - before) / 2 ** 20;
  if (milliseconds > millisecondsLimit) return failed(`takes ${milliseconds.toFixed(0)} ms (${outcome.text})`);
  if (megabytes > megabytesLimit) return failed(`takes ${megabytes.toFixed(0)} MiB (${outcome.text})`);
  if (Object.keys(Object.prototype).length > 0) return failed('changes the prototype of all objects');
  if (outcome.kind === 'refused') {
    const fault = faultOfMessage(outcome.text, folder, files);
    if (fault) return failed(`${fault}: ${outcome.text}`);
  }
  return outcome;
}

/** What is wrong with the message of a refusal. */
function faultOfMessage(message: string, folder: string, files: Files): string | undefined {
  if (message.length > messageLimit) return `a message of ${message.length} characters`;
  if (message !== printable(message)) return 'a message with control characters';
  const names = [basename(folder), ...Object.keys(files)];
  return names.some((name) => message.includes(name)) ? undefined : 'a message that names no file';
}
