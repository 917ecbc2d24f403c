// The weights of an artifact that lies in a folder of this machine: spans of its files, which the device maps or reads.
import { basename } from 'node:path';
import type { FileSpan } from '../../backends/device.ts';
import { readSafetensors } from '../../frontends/huggingface/safetensors.ts';
import { ModelcError } from '../../ir/error.ts';
import type { PlanTensor } from '../../ir/program.ts';
import type { FileProgress, LoadOptions } from './api.ts';
import type { LocalFiles } from './local-files.ts';

export interface LocalWeights {
  /** Throws ModelcError 'checkpoint' where the artifact lacks it. */
  readonly weight: (weight: PlanTensor) => FileSpan;
  /** Tells the caller that the model is ready. */
  readonly ready: () => void;
}

/** Reads the headers of weight files, and reports progress: a file whose header was read counts as loaded. */
export async function openWeights(
  whole: LocalFiles,
  names: readonly string[],
  options: LoadOptions,
): Promise<LocalWeights> {
  const { folder } = whole;
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
  if (options.verify) await whole.verify(() => options.signal?.throwIfAborted());
  const files = await Promise.all(names.map(async (name) => readSafetensors(await whole.path(name))));
  const sizes = files.map(({ tensors }) => [...tensors.values()].reduce((n, { span }) => n + span.bytes, 0));
  names.forEach((file, i) => report('initiate', file, sizes[i], 0));
  names.forEach((file, i) => report('done', file, sizes[i], sizes[i]));
  options.signal?.throwIfAborted();
  const weights = new Map(files.flatMap((file) => [...file.tensors]));
  const total = sizes.reduce((a, b) => a + b, 0);
  return {
    weight: ({ name }) => {
      const stored = weights.get(name);
      if (stored) return stored.span;
      throw new ModelcError('checkpoint', `${folder} lacks the weight ${name}; compile the artifact again`);
    },
    ready: () => report('ready', '', total, total),
  };
}
