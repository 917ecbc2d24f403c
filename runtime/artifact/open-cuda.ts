// Opens a cuda artifact: checks that this machine and its GPU fit, and picks the program for the GPU's architecture. Needs
// the NVIDIA driver.
import { type CudaDevice, createCudaDevice } from '../../backends/cuda/device.ts';
import type { LoadOptions } from './api.ts';
import { chooseVariant, type Manifest, type Misfit, type Requires } from './format.ts';
import { compileHere, hostMisfit } from './host.ts';
import type { LoadedModel } from './loaded-model.ts';
import { openLocal } from './open-local.ts';
import type { Source } from './source.ts';

/**
 * Throws ModelcError 'unsupported' when this machine, its driver, its GPU or the GPU's free memory does not fit, before
 * any weight is read; 'checkpoint' or 'parse' when files are not whole.
 */
export const openCudaArtifact = (
  source: Source,
  manifest: Manifest<'cuda'>,
  options: LoadOptions = {},
): Promise<LoadedModel> =>
  openLocal(source, manifest, options, async (runtime) => {
    const { variants } = manifest;
    chooseVariant(variants, source.where, hostMisfit);
    const device = await createCudaDevice({ binding: await runtime() });
    const forGpu = variants.filter(({ requires }) => requires.architecture === device.target.features[0]);
    const offered = forGpu.length > 0 ? forGpu : variants;
    return { variant: chooseVariant(offered, source.where, (requires) => misfitOf(requires, device)), device };
  });

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
