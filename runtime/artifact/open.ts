// Opens an artifact of any target from a folder of this machine, as the command line does. An artifact's own index.js has
// only what its target needs.
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { BackendName } from '../../backends/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { restoreFolder } from '../hub/write-folder.ts';
import type { LoadOptions } from './api.ts';
import { type Manifest, manifestFile } from './format.ts';
import type { LoadedModel } from './loaded-model.ts';
import { readManifest } from './module.ts';
import { type Source, sourceOf } from './source.ts';

type Opener<T extends BackendName> = (
  source: Source,
  manifest: Manifest<T>,
  options: LoadOptions,
) => Promise<LoadedModel>;

/** By target, loaded when one of it is opened. */
const openers: { readonly [T in BackendName]: () => Promise<Opener<T>> } = {
  cpu: async () => (await import('./open-cpu.ts')).openCpuArtifact,
  cuda: async () => (await import('./open-cuda.ts')).openCudaArtifact,
  webgpu: async () => (await import('./open-webgpu.ts')).openWebGpuArtifact,
};

async function openWith<T extends BackendName>(
  target: T,
  source: Source,
  manifest: Manifest<T>,
  options: LoadOptions,
): Promise<LoadedModel> {
  const open: Opener<T> = await openers[target]();
  return open(source, manifest, options);
}

/** Whether a folder looks like one that `modelc compile` wrote. One that a kill left without its name gets it back. */
export async function isArtifact(folder: string): Promise<boolean> {
  const isThere = (): Promise<boolean> =>
    stat(join(folder, manifestFile)).then(
      (info) => info.isFile(),
      () => false,
    );
  if (await isThere()) return true;
  await restoreFolder(folder);
  return isThere();
}

export interface OpenOptions extends LoadOptions {
  /** What the artifact must be compiled for. */
  readonly target?: string;
}

/** Throws ModelcError 'unsupported' when this machine does not fit, 'checkpoint' or 'parse' when files are not whole. */
export async function openArtifact(folder: string, options: OpenOptions = {}): Promise<LoadedModel> {
  const source = sourceOf(pathToFileURL(`${resolve(folder)}/`));
  const manifest = await readManifest(source, options.signal);
  if (options.target !== undefined && options.target !== manifest.target) {
    throw new ModelcError('input', `${folder} is compiled for ${manifest.target}: leave out --target`);
  }
  return openWith(manifest.target, source, manifest as Manifest<BackendName>, options);
}
