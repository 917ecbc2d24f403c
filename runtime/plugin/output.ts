// Models in the output of a build. Each has a folder that keeps its name from version to version, because browsers keep
// what they downloaded of the weights by the URL of the folder; what is imported from it in a browser carries the version.
import { existsSync } from 'node:fs';
import { copyFile, constants as fs, mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { ModelcError } from '../../ir/error.ts';
import { manifestFile } from '../artifact/format.ts';
import { checkDestination } from '../artifact/write.ts';
import { type CompiledModel, modelFile, type Place } from './compile.ts';

/** The folder of a model in the output. */
export const outputFolder = (name: string): string => `models/${name}`;

/** The name of the model in a file, as a path and a URL may hold it. */
export const modelName = (file: string): string =>
  basename(file)
    .replace(modelFile, '')
    .replace(/^\W+/, '')
    .replace(/[^\w.-]/g, '_') || 'model';

/** What to import from the folder of a model. */
export const importedFile = ({ version }: CompiledModel, place: Place): string =>
  place === 'browser' ? `index.js?v=${version}` : 'index.js';

/** The models of an output, by name. */
export class Models extends Map<string, CompiledModel> {
  /** The name of a model. Throws ModelcError 'input' if it would share a folder with one of another file. */
  put(model: CompiledModel): string {
    const name = modelName(model.file);
    const other = this.get(name);
    if (other && other.file !== model.file && existsSync(other.file)) {
      const [one, two] = [other, model].map(({ file }) => relative('', file));
      throw new ModelcError('input', `${one} and ${two} would share the folder ${outputFolder(name)}; rename one`);
    }
    this.set(name, model);
    return name;
  }
}

/**
 * Makes the folder `to` a copy of an artifact, without reading what is there already. Throws ModelcError 'input' when it
 * holds something else.
 */
export async function copyModel({ folder }: CompiledModel, to: string): Promise<void> {
  await checkDestination(to, 'move them, or rename the model');
  await mkdir(to, { recursive: true });
  // the manifest first: it makes a copy that is cut off known as one
  const names = (await readdir(folder)).sort((a, b) => Number(b === manifestFile) - Number(a === manifestFile));
  for (const name of await readdir(to)) if (!names.includes(name)) await rm(join(to, name), { recursive: true });
  for (const name of names) {
    const [from, copy] = [join(folder, name), join(to, name)];
    const { size, mtime } = await stat(from);
    const present = await stat(copy).catch(() => undefined);
    if (present?.size === size && present.mtime.getTime() === mtime.getTime()) continue;
    // a file of its own: a process may have the old one in use
    const partial = `${copy}.partial`;
    await copyFile(from, partial, fs.COPYFILE_FICLONE);
    await utimes(partial, mtime, mtime);
    await rename(partial, copy);
  }
}
