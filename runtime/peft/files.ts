// Adapters as files, as Python's PEFT reads and writes them: adapter_config.json and adapter_model.safetensors in a folder.
// Reading the weights is in read-adapter.ts.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { quote, readJsonIfPresent } from '../../frontends/huggingface/json.ts';
import { writeSafetensors } from '../../frontends/huggingface/safetensors.ts';
import { ModelcError } from '../../ir/error.ts';
import { writeInto, writeJson } from '../hub/write-folder.ts';
import { bytesOf, type HostTensor } from '../tensors/host-tensor.ts';
import type { Adapter } from './adapter.ts';
import { LoraConfig } from './config.ts';
import { type AdapterFile, openAdapterFile, weightsName } from './read-adapter.ts';

export const configName = 'adapter_config.json';

/** An adapter's files, its weights still unread. */
export interface OpenedAdapter {
  readonly config: LoraConfig;
  readonly file: AdapterFile;
}

/** The adapter in a folder, or in one below it. Throws ModelcError 'checkpoint', 'parse' or 'unsupported'. */
export async function openAdapter(folder: string, subfolder?: string | null): Promise<OpenedAdapter> {
  if (typeof folder !== 'string' || (subfolder !== undefined && subfolder !== null && typeof subfolder !== 'string')) {
    throw new ModelcError('input', 'the folder of an adapter must be a string');
  }
  const dir = subfolder ? join(folder, subfolder) : folder;
  const path = join(dir, configName);
  const json = await readJsonIfPresent(path);
  if (!json) throw new ModelcError('checkpoint', `${path} does not exist; ${await whereAdaptersAre(dir)}`);
  return { config: LoraConfig.from_json(json, path), file: await openAdapterFile(dir) };
}

/** The way out for a folder that has no adapter itself: PEFT writes those of other names than 'default' below it. */
async function whereAdaptersAre(folder: string): Promise<string> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const folders = entries.filter((entry) => entry.isDirectory()).slice(0, 100);
  const found = await Promise.all(
    folders.map(({ name }) => stat(join(folder, name, configName)).then(() => [name], () => [])),
  ); // biome-ignore format: one row
  const names = found.flat();
  if (names.length === 0) return 'name the folder of an adapter';
  return `there are adapters in the folders ${names.map((name) => quote(name)).join(', ')} below, so name one as subfolder`;
}

/** The file key of the base's own weight of a module that an adapter changes. */
const baseKey = (module: string): string => `base_model.model.${module}.base_layer.weight`;

/**
 * Writes an adapter. Each file is whole or as it was. `base`: weights of
 * modules that are written beside the adapter.
 */
export async function writeAdapter(
  folder: string,
  adapter: Adapter,
  values: ReadonlyMap<string, HostTensor>,
  base: ReadonlyMap<string, HostTensor>,
): Promise<void> {
  const own = adapter.tensors.map(({ key, param }) => [key, values.get(param)!] as const);
  const targeted = new Set(adapter.targets.map(({ module }) => module.name));
  const kept = [...base].map(([module, tensor]) => {
    return [targeted.has(module) ? baseKey(module) : `base_model.model.${module}.weight`, tensor] as const;
  });
  const sources = [...new Map([...own, ...kept])].map(([name, { dtype, shape, data }]) => ({ name, dtype, shape, data: bytesOf(data) })); // biome-ignore format: one row
  await writeInto(folder, async (partial) => {
    await writeSafetensors(join(partial, weightsName), sources, { metadata: { format: 'pt' } });
    await writeJson(join(partial, configName), adapter.config.with({ inference_mode: true }).to_dict());
  });
}
