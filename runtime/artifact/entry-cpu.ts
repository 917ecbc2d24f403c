// The index.js of cpu artifacts.
import { ModelcError } from '../../ir/error.ts';
import { artifactModule } from './module.ts';
import { openCpuArtifact } from './open-cpu.ts';

const { load, model } = artifactModule(import.meta.url, 'cpu', openCpuArtifact);

export { load, ModelcError, model as default };
