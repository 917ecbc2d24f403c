// What the index.js of every artifact does: finds program.json beside itself, and exports a model that is loaded on demand.
// entry-TARGET.ts is the file that esbuild bundles, with all that it needs, into dist/; api.ts is its public face.
import type { BackendName } from '../../backends/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type * as api from './api.ts';
import { type AnyManifest, type Manifest, manifestFile, parseManifest } from './format.ts';
import { type AnyModel, lazyModel } from './lazy-model.ts';
import type { LoadedModel } from './loaded-model.ts';
import { LocalFiles } from './local-files.ts';
import { retrying } from './retry.ts';
import { type Source, sourceOf } from './source.ts';

export interface ArtifactModule {
  readonly load: (options?: api.LoadOptions) => Promise<AnyModel>;
  readonly model: AnyModel;
}

/** `url` is that of index.js, `open` opens artifacts of this target. */
export function artifactModule<T extends BackendName>(
  url: string,
  target: T,
  open: (source: Source, manifest: Manifest<T>, options: api.LoadOptions) => Promise<LoadedModel>,
): ArtifactModule {
  const openNow = async (options: api.LoadOptions): Promise<LoadedModel> => {
    const source = sourceOf(new URL('.', url));
    const manifest = await readManifest(source, options.signal);
    if (!isFor(manifest, target)) {
      throw new ModelcError(
        'checkpoint',
        `${source.where} mixes artifacts for ${target} and ${manifest.target}; compile it again`,
      );
    }
    // the code that runs here is a file of the artifact, too; a page has its own ways to be sure of it
    if (source.isLocal && url.endsWith('/index.js'))
      await new LocalFiles(source.where, manifest.files).path('index.js');
    return open(source, manifest, options);
  };
  return {
    load: async (options) => {
      const model = lazyModel(openNow);
      await model.load(options);
      return model;
    },
    model: lazyModel(openNow),
  };
}

function isFor<T extends BackendName>(manifest: AnyManifest, target: T): manifest is Extract<AnyManifest, Manifest<T>> {
  return manifest.target === target;
}

/** Throws ModelcError 'checkpoint' where there is no manifest, 'parse' where it is damaged. */
export async function readManifest(source: Source, signal: AbortSignal | undefined): Promise<AnyManifest> {
  const path = `${source.where}/${manifestFile}`;
  const text = await retrying(() => source.text(manifestFile, signal), {
    wayOut: () => 'call load() again',
    ...(signal ? { signal } : {}),
  });
  if (text === undefined) {
    throw new ModelcError('checkpoint', `${path} cannot be read; name a folder that 'modelc compile' wrote`);
  }
  return parseManifest(text, path);
}
