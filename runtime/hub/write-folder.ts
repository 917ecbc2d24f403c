// Files and folders that are there whole or not at all: they are written beside their place under another name, flushed to
// the disk, and renamed. What a process that was killed left behind is removed, or put back, by the next one.
import { importInNode, nodeFiles } from '../../backends/node-modules.ts';
import { type Kind, leftovers, remove, withNames } from '../../backends/process-tag.ts';
import { isMissing, reason } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';

type Files = Awaited<ReturnType<typeof nodeFiles>>;

const present = (files: Files, path: string): Promise<boolean> =>
  files.lstat(path).then(
    () => true,
    (error: unknown) => !isMissing(error),
  );

async function flush(files: Files, path: string): Promise<void> {
  const file = await files.open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Flushes a folder and all that is in it. */
async function flushFolder(files: Files, folder: string): Promise<void> {
  for (const entry of await files.readdir(folder, { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    await (entry.isDirectory() ? flushFolder(files, path) : flush(files, path));
  }
  await flush(files, folder);
}

export interface WriteFolderOptions {
  /** What a user can do where the folder cannot be written. */
  readonly wayOut?: string;
  /** Called when all is written; what it throws leaves everything as it was. */
  readonly beforeRename?: () => void;
}

/**
 * Writes a folder: `write` fills the path that it gets. A folder that is there already is replaced. Throws ModelcError
 * 'input' where the disk is full or the place cannot be written to; then nothing has changed.
 */
export async function writeFolder<T>(
  folder: string,
  write: (partial: string) => Promise<T>,
  { wayOut, beforeRename }: WriteFolderOptions = {},
): Promise<T> {
  const files = await nodeFiles();
  const { dirname } = await importInNode<typeof import('node:path')>('node:path');
  const place = await files.realpath(folder).catch(() => folder); // what a link names is replaced, not the link
  return withNames(async (name) => {
    const partial = name(place, 'partial');
    try {
      await tidy(files, dirname(place), place);
      await files.mkdir(partial, { recursive: true });
      const result = await write(partial);
      await flushFolder(files, partial);
      beforeRename?.();
      await exchange(files, partial, place, name);
      await flush(files, dirname(place));
      return result;
    } catch (cause) {
      throw unwritable(cause, partial, folder, wayOut);
    } finally {
      await remove(partial).catch(() => undefined);
    }
  });
}

/** Gives `partial` the place of what is there. A kill in between is mended by the next `tidyFolder` or `restoreFolder`. */
async function exchange(
  files: Files,
  partial: string,
  place: string,
  name: (path: string, kind: Kind) => string,
): Promise<void> {
  const [replaced, removed] = [name(place, 'replaced'), name(place, 'removed')];
  for (let attempt = 0; ; attempt++) {
    const had = await files.rename(place, replaced).then(
      () => true,
      (error: unknown) => {
        if (isMissing(error)) return false;
        throw error;
      },
    );
    const failure = await files.rename(partial, place).then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    if (failure && had && (await files.rename(replaced, place).catch(() => 'taken')) === undefined) throw failure.error;
    if (had) {
      await files.rename(replaced, removed); // a part of it must never come back
      await remove(removed);
    }
    if (!failure) return;
    if (attempt === 3 || !(await present(files, place))) throw failure.error; // else another writer was first
  }
}

/** Writes files into a folder that may hold others; each of them is whole or as it was. */
export async function writeInto(folder: string, write: (partial: string) => Promise<void>): Promise<void> {
  const files = await nodeFiles();
  await withNames(async (name) => {
    const partial = name(`${folder}/files`, 'partial');
    let made: string | undefined;
    try {
      made = await files.mkdir(folder, { recursive: true });
      await tidy(files, folder, `${folder}/files`);
      await files.mkdir(partial);
      await write(partial);
      await flushFolder(files, partial);
      for (const entry of await files.readdir(partial, { withFileTypes: true })) {
        const [from, to] = [`${partial}/${entry.name}`, `${folder}/${entry.name}`];
        const isMerged = entry.isDirectory() && (await present(files, to));
        await (isMerged ? files.cp(from, to, { recursive: true }) : files.rename(from, to));
      }
      await flush(files, folder);
    } catch (cause) {
      await remove(partial).catch(() => undefined);
      if (made !== undefined) await files.rmdir(folder).catch(() => undefined); // others may have put files there
      throw unwritable(cause, partial, folder);
    }
    await remove(partial).catch(() => undefined);
  });
}

/** Removes a folder so that no part of it ever stands under its name. */
export async function removeFolder(folder: string): Promise<void> {
  const files = await nodeFiles();
  await withNames(async (name) => {
    const removed = name(folder, 'removed');
    await files.rename(folder, removed).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
    await remove(removed);
  });
}

/** What went wrong, with names as they are for the user. What is no matter of the disk stays as it is. */
function unwritable(cause: unknown, partial: string, folder: string, wayOut?: string): unknown {
  const isOurs = cause instanceof ModelcError;
  const isSystems = !isOurs && cause instanceof Error && 'code' in cause && 'syscall' in cause;
  if (!isSystems && !(isOurs && cause.code === 'input' && cause.message.includes(partial))) return cause;
  const why = reason(cause).replaceAll(partial, folder);
  return new ModelcError('input', `${folder} cannot be written: ${why}${wayOut ? `; ${wayOut}` : ''}`, { cause });
}

/** Removes what interrupted writes left in a folder, and puts back folders that were to be replaced. */
export async function tidyFolder(folder: string): Promise<void> {
  const files = await nodeFiles();
  try {
    await tidy(files, folder);
  } catch (error) {
    throw new ModelcError('input', `${folder} cannot be read: ${reason(error)}`, { cause: error });
  }
}

/** Puts a folder back that a killed process was about to replace, and removes what else it left. Never throws. */
export async function restoreFolder(folder: string): Promise<void> {
  const { dirname, resolve } = await importInNode<typeof import('node:path')>('node:path');
  const place = resolve(folder);
  await tidy(await nodeFiles(), dirname(place), place).catch(() => undefined);
}

/** Looks after what killed processes left in `folder`, of the file or folder `only` or of all. */
async function tidy(files: Files, folder: string, only?: string): Promise<void> {
  const { basename, join } = await importInNode<typeof import('node:path')>('node:path');
  const left = await leftovers(folder, only === undefined ? undefined : basename(only)).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  for (const { path, of, kind } of left) {
    const place = join(folder, of);
    const isWanted = kind === 'replaced' && !(await present(files, place));
    await (isWanted ? files.rename(path, place) : remove(path)).catch((error: unknown) => {
      if (!isMissing(error)) throw error; // another process was first
    });
  }
}

/** Writes a JSON file. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await (await nodeFiles()).writeFile(path, `${JSON.stringify(value, null, 2)}\n`);
}
