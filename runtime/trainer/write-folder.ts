// Files and folders that are there whole or not at all: they are written beside their place under another name, flushed to
// the disk, and renamed. What a process that was killed left behind is removed by the next one.
import { cp, mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isMissing, reason } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';

const partialPrefix = 'partial-';
/** A whole folder that another of its name is about to take the place of. */
const replacedPrefix = 'replaced-';

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    (error: unknown) => !isMissing(error),
  );

async function flush(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Flushes a folder, all that is in it, and what names it. */
async function flushFolder(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    await (entry.isDirectory() ? flushFolder(path) : flush(path));
  }
  await flush(folder);
}

/**
 * Writes a folder: `write` fills the path that it gets. A folder that is there already is replaced. Throws ModelcError
 * 'input' where the disk is full or the place cannot be written to; then nothing has changed.
 */
export async function writeFolder(folder: string, write: (partial: string) => Promise<void>): Promise<void> {
  const beside = (prefix: string): string => join(dirname(folder), `${prefix}${basename(folder)}`);
  const [partial, replaced] = [beside(partialPrefix), beside(replacedPrefix)];
  try {
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial, { recursive: true });
    await write(partial);
    await flushFolder(partial);
    if (await exists(folder)) await rename(folder, replaced);
    await rename(partial, folder);
    await flush(dirname(folder));
    await rm(replaced, { recursive: true, force: true });
  } catch (cause) {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    throw new ModelcError('input', `${folder} cannot be written: ${reasonOf(cause, partial, folder)}`, { cause });
  }
}

/** Writes files into a folder that may hold others; each of them is whole or as it was. */
export async function writeInto(folder: string, write: (partial: string) => Promise<void>): Promise<void> {
  const partial = join(folder, `${partialPrefix}files`);
  try {
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial, { recursive: true });
    await write(partial);
    await flushFolder(partial);
    for (const name of await readdir(partial)) {
      await rename(join(partial, name), join(folder, name)).catch(async () => {
        await cp(join(partial, name), join(folder, name), { recursive: true }); // a folder that is there already
      });
    }
    await flush(folder);
  } catch (cause) {
    throw new ModelcError('input', `${folder} cannot be written: ${reasonOf(cause, partial, folder)}`, { cause });
  } finally {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** What went wrong, with names as they are for the user. */
const reasonOf = (cause: unknown, partial: string, folder: string): string =>
  (cause instanceof ModelcError ? cause.message : reason(cause)).replaceAll(partial, folder);

/** Removes what interrupted writes left in a folder, and puts back folders that were to be replaced. */
export async function tidyFolder(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw new ModelcError('input', `${folder} cannot be read: ${reason(error)}`, { cause: error });
  });
  for (const name of names) {
    const path = join(folder, name);
    if (name.startsWith(partialPrefix)) await rm(path, { recursive: true, force: true });
    if (!name.startsWith(replacedPrefix)) continue;
    const place = join(folder, name.slice(replacedPrefix.length));
    if (await exists(place)) await rm(path, { recursive: true, force: true });
    else await rename(path, place);
  }
}

/** Writes a JSON file. */
export const writeJson = (path: string, value: unknown): Promise<void> =>
  writeFile(path, `${JSON.stringify(value, null, 2)}\n`);
