// What the commands that damage files and kill processes share: numbers from a seed, and processes with a time limit.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

// npm and the tests run in the folder of the package; the file that a command is bundled to lies elsewhere
export const cli = join(process.cwd(), 'dist', 'cli.js');
export const example = join(process.cwd(), 'examples', 'tiny-llama');

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const pick = <T>(random: () => number, all: readonly T[]): T => all[Math.floor(random() * all.length)];

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Milliseconds before it is killed, with all that it has started. */
  readonly limit?: number;
}

/** Runs Node until it ends or is killed. */
export function runNode(
  args: readonly string[],
  { env = {}, cwd, limit = 120_000 }: ProcessOptions = {},
): Promise<Ended> {
  const child = spawn(process.execPath, [...args], {
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    detached: true, // a group of its own
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return new Promise((resolve) => {
    const texts = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) child[name].on('data', (data) => (texts[name] += String(data)));
    const timer = setTimeout(() => killGroup(child), limit);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, ...texts });
    });
  });
}

export function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // it has ended
  }
}

/** The numbers that follow --NAME on the command line. */
export function numbersOf<N extends string>(defaults: Readonly<Record<N, number>>): Record<N, number> {
  const names = Object.keys(defaults) as N[];
  const options = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]));
  const { values } = parseArgs({ options });
  const numbers = names.map((name) => [name, values[name] === undefined ? defaults[name] : Number(values[name])]);
  return Object.fromEntries(numbers) as Record<N, number>;
}
