// The index.js of cuda artifacts.
import { ModelcError } from '../../ir/error.ts';
import { artifactModule } from './module.ts';
import { openCudaArtifact } from './open-cuda.ts';

const { load, model } = artifactModule(import.meta.url, 'cuda', openCudaArtifact);

export { load, ModelcError, model as default };
