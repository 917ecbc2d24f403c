// Opens a cpu artifact: checks that this machine fits, picks the best instruction set that both have, and binds the program
// to its weights and prebuilt code. Needs no compiler and no npm package outside of the bundle.
import { createCpuDevice } from '../../backends/cpu/device.ts';
import { hostIsas, hostTarget, isas } from '../../backends/cpu/target.ts';
import { ProgramExecutor } from '../execution/program-executor.ts';
import type { LoadOptions } from './api.ts';
import { chooseVariant, type Manifest, type Misfit, type Requires, runtimeFile } from './format.ts';
import { compileHere, hostMisfit } from './host.ts';
import { type LoadedModel, openLoadedModel } from './loaded-model.ts';
import { LocalFiles } from './local-files.ts';
import { openWeights } from './local-weights.ts';
import type { Source } from './source.ts';

/** Throws ModelcError 'unsupported' when this machine does not fit, 'checkpoint' or 'parse' when files are not whole. */
export async function openCpuArtifact(
  source: Source,
  manifest: Manifest<'cpu'>,
  options: LoadOptions = {},
): Promise<LoadedModel> {
  const folder = source.where;
  const files = new LocalFiles(folder, manifest.files);
  const { program, code, requires } = chooseVariant(manifest.variants, folder, misfitOf);
  const row = isas.find((r) => r.name === requires.isa)!;
  const weights = await openWeights(files, manifest.weights, options);
  const device = await createCpuDevice({
    target: { ...hostTarget(), features: [row.name], vectorBytes: row.vectorBytes },
    runtime: await files.path(runtimeFile),
  });
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

function misfitOf(requires: Requires<'cpu'>): Misfit | undefined {
  const host = hostMisfit(requires);
  if (host) return host;
  const { isa } = requires;
  const wanted = process.env.MODELC_ISA;
  if (wanted && isa !== wanted) return { needs: `MODELC_ISA to be ${isa}, it is ${wanted}`, wayOut: 'unset it' };
  if (!hostIsas().some((row) => row.name === isa)) return { needs: `a processor with ${isa}`, wayOut: compileHere };
  return undefined;
}
