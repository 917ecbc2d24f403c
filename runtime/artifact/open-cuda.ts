// Opens a cuda artifact: checks that this machine and its GPU fit, picks the program for the GPU's architecture, and binds
// it to its weights and prebuilt code. Needs the NVIDIA driver; no compiler, and no npm package outside of the bundle.
import { type CudaDevice, createCudaDevice } from '../../backends/cuda/device.ts';
import { ProgramExecutor } from '../execution/program-executor.ts';
import type { LoadOptions } from './api.ts';
import { chooseVariant, type Manifest, type Misfit, type Requires, runtimeFile } from './format.ts';
import { compileHere, hostMisfit } from './host.ts';
import { type LoadedModel, openLoadedModel } from './loaded-model.ts';
import { LocalFiles } from './local-files.ts';
import { openWeights } from './local-weights.ts';
import type { Source } from './source.ts';

/**
 * Throws ModelcError 'unsupported' when this machine, its driver, its GPU or the GPU's free memory does not fit, before
 * any weight is read; 'checkpoint' or 'parse' when files are not whole.
 */
export async function openCudaArtifact(
  source: Source,
  manifest: Manifest<'cuda'>,
  options: LoadOptions = {},
): Promise<LoadedModel> {
  const folder = source.where;
  const files = new LocalFiles(folder, manifest.files);
  chooseVariant(manifest.variants, folder, hostMisfit);
  const device = await createCudaDevice({ binding: await files.path(runtimeFile) });
  const forGpu = manifest.variants.filter(({ requires }) => requires.architecture === device.target.features[0]);
  const variants = forGpu.length > 0 ? forGpu : manifest.variants;
  const { program, code } = chooseVariant(variants, folder, (requires) => misfitOf(requires, device));
  const weights = await openWeights(files, manifest.weights, options);
  const executor = await ProgramExecutor.open({
    program,
    device,
    binary: await files.path(code),
    weight: weights.weight,
  });
  const opened = await openLoadedModel(executor, manifest.model, folder, (name) => files.text(name));
  weights.ready();
  return opened;
}

const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

function misfitOf({ architecture, memoryBytes }: Requires<'cuda'>, device: CudaDevice): Misfit | undefined {
  const { name, target } = device;
  if (architecture !== target.features[0]) {
    return {
      needs: `a GPU that runs code for ${architecture}, and ${name} runs ${target.features[0]}`,
      wayOut: compileHere,
    };
  }
  const free = device.freeMemory();
  if (memoryBytes <= free) return undefined;
  return {
    needs: `${mib(memoryBytes)} of GPU memory, and ${name} has ${mib(free)} free`,
    wayOut: 'end other programs on it, or use a larger GPU or the model compiled for the target cpu',
  };
}
