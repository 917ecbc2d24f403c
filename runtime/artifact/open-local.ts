// Opens an artifact with native code, whose files lie on this machine: a device is opened with the runtime that came along,
// and the program is bound to its prebuilt code and to weights that stay in their files. Needs no compiler and no npm
// package outside of the bundle. Targets say which program fits and how their device is opened.
import type { Device } from '../../backends/device.ts';
import type { BackendName } from '../../backends/index.ts';
import { ProgramExecutor } from '../execution/program-executor.ts';
import type { LoadOptions } from './api.ts';
import { type Manifest, runtimeFile, type Variant } from './format.ts';
import { type LoadedModel, openLoadedModel } from './loaded-model.ts';
import { LocalFiles } from './local-files.ts';
import { openWeights } from './local-weights.ts';
import type { Source } from './source.ts';

/** A program that this machine runs, and the device for it. */
export interface Fitting<T extends BackendName> {
  readonly variant: Variant<T>;
  readonly device: Device;
}

/** `choose` gets the path of the native runtime; it throws ModelcError 'unsupported' before any weight is read. */
export async function openLocal<T extends 'cpu' | 'cuda'>(
  source: Source,
  manifest: Manifest<T>,
  options: LoadOptions,
  choose: (runtime: () => Promise<string>) => Promise<Fitting<T>>,
): Promise<LoadedModel> {
  const folder = source.where;
  const files = new LocalFiles(folder, manifest.files);
  const { variant, device } = await choose(() => files.path(runtimeFile));
  const weights = await openWeights(files, manifest.weights, options);
  const executor = await ProgramExecutor.open({
    program: variant.program,
    device,
    binary: await files.path(variant.code),
    weight: weights.weight,
  });
  const opened = await openLoadedModel(executor, manifest.model, folder, (name) => files.text(name));
  weights.ready();
  return opened;
}
