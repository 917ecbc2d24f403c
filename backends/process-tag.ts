// Names of files and folders that a process is at work on, `.NAME.HOST-PROCESS-NUMBER.KIND`: so that what a process left
// that was killed can be told from what another one still needs.
import { importInNode, nodeFiles } from './node-modules.ts';

/** 'replaced': something whole that another of its name takes the place of; the others hold nothing that is wanted. */
export type Kind = 'partial' | 'replaced' | 'removed';

const pattern = /^\.(.+)\.(([\w]*)-(\d+)-\d+)\.(partial|replaced|removed)$/s;
const dayMilliseconds = 24 * 60 * 60 * 1000;
let count = 0;
/** Tags of this thread's own work that is under way. */
const underWay = new Set<string>();

async function hostTag(): Promise<string> {
  const { hostname } = await importInNode<typeof import('node:os')>('node:os');
  return hostname().replace(/\W/g, '').slice(0, 16);
}

/** Runs `work` with names beside paths: they belong to this process until it is done. */
export async function withNames<T>(work: (name: (path: string, kind: Kind) => string) => Promise<T>): Promise<T> {
  const { basename, dirname, join } = await importInNode<typeof import('node:path')>('node:path');
  const tag = `${await hostTag()}-${process.pid}-${count++}`;
  underWay.add(tag);
  try {
    return await work((path, kind) => join(dirname(path), `.${basename(path)}.${tag}.${kind}`));
  } finally {
    underWay.delete(tag);
  }
}

/** What a process left in a folder. */
export interface Leftover {
  readonly path: string;
  /** The name that it stands for. */
  readonly of: string;
  readonly kind: Kind;
}

/** What processes that are gone left in `folder`, of the file or folder named `only` or of all. */
export async function leftovers(folder: string, only?: string): Promise<Leftover[]> {
  const { join } = await importInNode<typeof import('node:path')>('node:path');
  const found: Leftover[] = [];
  for (const name of await (await nodeFiles()).readdir(folder)) {
    const [, of, tag, host, pid, kind] = pattern.exec(name) ?? [];
    if (of === undefined || (only !== undefined && of !== only) || underWay.has(tag)) continue;
    const path = join(folder, name);
    if (await isGone(path, host, Number(pid), kind === 'replaced')) found.push({ path, of, kind: kind as Kind });
  }
  return found;
}

/** Whether the process that works on `path` is gone. */
async function isGone(path: string, host: string, pid: number, isWanted: boolean): Promise<boolean> {
  const info = await (await nodeFiles()).lstat(path).catch(() => undefined);
  const age = info ? Date.now() - info.mtimeMs : 0;
  if (age > dayMilliseconds && !isWanted) return true;
  if (host !== (await hostTag())) return false;
  // a process of an earlier container may have had the number of this one
  if (pid === process.pid) return age > process.uptime() * 1000 + 1000;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH';
  }
}

/** Removes a file or folder; what a compiler that lost its parent still writes there goes, too. */
export async function remove(path: string): Promise<void> {
  await (await nodeFiles()).rm(path, { recursive: true, force: true, maxRetries: 4, retryDelay: 50 });
}
