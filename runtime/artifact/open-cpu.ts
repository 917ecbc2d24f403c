// Opens a cpu artifact: checks that this machine fits, picks the best instruction set that both have, and binds the program
// to its weights and prebuilt code. Needs no compiler and no npm package outside of the bundle.
import os from 'node:os';
import { basename, join } from 'node:path';
import { createCpuDevice } from '../../backends/cpu/device.ts';
import { hostIsas, hostTarget, isas } from '../../backends/cpu/target.ts';
import { readSafetensors } from '../../frontends/huggingface/safetensors.ts';
import { ModelcError } from '../../ir/error.ts';
import { throwIfAborted } from '../generation/decoder.ts';
import { ProgramSession } from '../program-session.ts';
import type { FileProgress, LoadOptions } from './api.ts';
import { chooseVariant, type Manifest, type Misfit, type Requires, runtimeFile } from './format.ts';
import type { TextModel } from './lazy-model.ts';
import { openTextModel } from './text-model.ts';
import type { Source } from './source.ts';

/** Throws ModelcError 'unsupported' when this machine does not fit, 'checkpoint' or 'parse' when files are not whole. */
export async function openCpuArtifact(
  source: Source,
  manifest: Manifest<'cpu'>,
  options: LoadOptions = {},
): Promise<TextModel> {
  const folder = source.where;
  const { program, code, requires } = chooseVariant(manifest.variants, folder, misfitOf);
  const row = isas.find((r) => r.name === requires.isa)!;
  const report = (status: FileProgress['status'], file: string, total: number, loaded: number): void =>
    options.progress_callback?.({
      status,
      name: basename(folder),
      file,
      progress: loaded === total ? 100 : 0,
      loaded,
      total,
      from: 'cache',
    });
  // Weights are mapped, so a file whose header was read counts as loaded.
  const files = await Promise.all(manifest.weights.map((name) => readSafetensors(join(folder, name))));
  const sizes = files.map(({ tensors }) => [...tensors.values()].reduce((n, { span }) => n + span.bytes, 0));
  manifest.weights.forEach((file, i) => report('initiate', file, sizes[i], 0));
  manifest.weights.forEach((file, i) => report('done', file, sizes[i], sizes[i]));
  throwIfAborted(options.signal, 'loading');
  const weights = new Map(files.flatMap((file) => [...file.tensors]));
  const device = await createCpuDevice({
    target: { ...hostTarget(), features: [row.name], vectorBytes: row.vectorBytes },
    runtime: join(folder, runtimeFile),
  });
  const session = await ProgramSession.open({
    program,
    device,
    binary: join(folder, code),
    weight: ({ name }) => {
      const stored = weights.get(name);
      if (!stored)
        throw new ModelcError('checkpoint', `${folder} lacks the weight ${name}; compile the artifact again`);
      return stored.span;
    },
  });
  const opened = await openTextModel(session, manifest.model, folder, (name) => source.text(name));
  const total = sizes.reduce((a, b) => a + b, 0);
  report('ready', '', total, total);
  return opened;
}

function misfitOf({ platform, arch, nodeMajor, isa }: Requires<'cpu'>): Misfit | undefined {
  const wayOut = `compile it on this machine with 'modelc compile'`;
  if (platform !== os.platform() || arch !== os.arch()) {
    return { needs: `${platform} on ${arch}, this is ${os.platform()} on ${os.arch()}`, wayOut };
  }
  if (Number(process.versions.node.split('.')[0]) < nodeMajor) {
    return { needs: `Node ${nodeMajor} or later, this is ${process.versions.node}`, wayOut: 'update Node' };
  }
  const wanted = process.env.MODELC_ISA;
  if (wanted && isa !== wanted) return { needs: `MODELC_ISA to be ${isa}, it is ${wanted}`, wayOut: 'unset it' };
  if (!hostIsas().some((row) => row.name === isa)) return { needs: `a processor with ${isa}`, wayOut };
  return undefined;
}
