// Runs the built command line in tests, as a user does.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
export const cli = join(root, 'dist', 'cli.js');
export const example = join(root, 'examples', 'tiny-llama');

export interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function modelc(args: readonly string[], env: NodeJS.ProcessEnv = {}): Result {
  const options = { encoding: 'utf8', env: { ...process.env, ...env }, maxBuffer: 1 << 28 } as const;
  return spawnSync(process.execPath, [cli, ...args], options);
}
