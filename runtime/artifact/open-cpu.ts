// Opens a cpu artifact: checks that this machine fits, and picks the best instruction set that both have.
import { createCpuDevice } from '../../backends/cpu/device.ts';
import { hostIsas, hostTarget, isas } from '../../backends/cpu/target.ts';
import type { LoadOptions } from './api.ts';
import { chooseVariant, type Manifest, type Misfit, type Requires } from './format.ts';
import { compileHere, hostMisfit } from './host.ts';
import type { LoadedModel } from './loaded-model.ts';
import { openLocal } from './open-local.ts';
import type { Source } from './source.ts';

/** Throws ModelcError 'unsupported' when this machine does not fit, 'checkpoint' or 'parse' when files are not whole. */
export const openCpuArtifact = (
  source: Source,
  manifest: Manifest<'cpu'>,
  options: LoadOptions = {},
): Promise<LoadedModel> =>
  openLocal(source, manifest, options, async (runtime) => {
    const variant = chooseVariant(manifest.variants, source.where, misfitOf);
    const { name, vectorBytes } = isas.find((row) => row.name === variant.requires.isa)!;
    const target = { ...hostTarget(), features: [name], vectorBytes };
    return { variant, device: await createCpuDevice({ target, runtime: await runtime() }) };
  });

function misfitOf(requires: Requires<'cpu'>): Misfit | undefined {
  const host = hostMisfit(requires);
  if (host) return host;
  const { isa } = requires;
  const wanted = process.env.MODELC_ISA;
  if (wanted && isa !== wanted) return { needs: `MODELC_ISA to be ${isa}, it is ${wanted}`, wayOut: 'unset it' };
  if (!hostIsas().some((row) => row.name === isa)) return { needs: `a processor with ${isa}`, wayOut: compileHere };
  return undefined;
}
