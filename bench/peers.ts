// The same shapes through transformers, where Python with torch and transformers is there: bench/peer.py, a measurement
// beside ours that nothing else needs.
import { spawnSync } from 'node:child_process';
import { checkpoint } from './checkpoint.ts';
import { repositoryFile } from './repository.ts';
import type { RowPlan } from './row.ts';

/** Tokens per second; or `note`, why there are none. */
export interface PeerResult {
  readonly shape: string;
  readonly versions?: string;
  readonly decode?: number;
  readonly prefill?: number;
  readonly note?: string;
}

/** Longest time of a shape: compiling takes most of it. */
const limitMs = 150_000;

/** `leftMs`: what is left of the time for everything. */
export function peerResult(plan: RowPlan, leftMs: number): PeerResult {
  const { shape, promptTokens, contextTokens, newTokens } = plan;
  const absent = (note: string): PeerResult => ({ shape, note: `transformers was not measured: ${note}` });
  const script = repositoryFile('bench/peer.py');
  if (!script) return absent('its script is in the repository only');
  const timeout = Math.min(limitMs, leftMs - 10_000);
  if (timeout < 20_000) return absent('no time was left');
  const { config } = checkpoint(shape, plan.dtype);
  const task = JSON.stringify({ config, promptTokens, contextTokens, newTokens });
  const options = { input: task, encoding: 'utf8', timeout, maxBuffer: 2 ** 24 } as const;
  const { status, stdout, stderr, error } = spawnSync('python3', [script], options);
  if (error) return absent(`python3 did not end well (${error.message})`);
  const last = stdout.trim().split('\n').at(-1) ?? '';
  if (status !== 0 || !last.startsWith('{')) {
    return absent(stderr.trim().split('\n').at(-1)?.slice(0, 200) || `exit code ${status}`);
  }
  return { shape, ...(JSON.parse(last) as Omit<PeerResult, 'shape'>) };
}

export const peerTable = (peers: readonly PeerResult[]): string =>
  peers
    .map(({ shape, versions, decode, prefill, note }) =>
      note ? `${shape}: ${note}` : `${shape} by ${versions}: decode ${decode} tokens/s, prefill ${prefill} tokens/s`,
    )
    .join('\n');
