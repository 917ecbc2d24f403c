// The index.js of an artifact: esbuild bundles this file, with all that it needs, into dist/artifact.js, which
// `modelc compile` copies. It finds program.json and the weights beside itself. api.ts is its public face.
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ModelcError } from '../../ir/error.ts';
import type * as api from './api.ts';
import { lazyModel } from './lazy-model.ts';
import { openArtifact } from './open.ts';

const folder = dirname(fileURLToPath(import.meta.url));

export const load: typeof api.load = async (options = {}) => {
  const opened = await openArtifact(folder, options);
  return lazyModel(() => Promise.resolve(opened));
};

const model: typeof api.default = lazyModel(() => openArtifact(folder));
export default model;
export { ModelcError };
