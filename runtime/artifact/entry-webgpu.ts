// The index.js of webgpu artifacts, for browsers and Node: nothing that it imports may need Node.
import { ModelcError } from '../../ir/error.ts';
import { artifactModule } from './module.ts';
import { openWebGpuArtifact } from './open-webgpu.ts';

const { load, model } = artifactModule(import.meta.url, 'webgpu', openWebGpuArtifact);

export { load, ModelcError, model as default };
