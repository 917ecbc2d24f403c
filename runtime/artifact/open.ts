// Opens an artifact folder: checks that this machine fits, picks the best instruction set that both have, and binds the
// program to its weights and prebuilt code. Needs no compiler and no npm package outside of the bundle.
import { readFile } from 'node:fs/promises';
import os from 'node:os';
import { basename, join } from 'node:path';
import { createCpuDevice } from '../../backends/cpu/device.ts';
import { hostIsas, hostTarget, isas } from '../../backends/cpu/target.ts';
import { readSafetensors, type StoredTensor } from '../../frontends/huggingface/safetensors.ts';
import { ModelcError } from '../../ir/error.ts';
import { GenerationConfig } from '../generation/configuration.ts';
import { throwIfAborted } from '../generation/decoder.ts';
import { createModel } from '../generation/model.ts';
import { ProgramSession } from '../program-session.ts';
import { AutoTokenizer } from '../tokenization/auto-tokenizer.ts';
import type { FileProgress, LoadOptions } from './api.ts';
import { type ArtifactManifest, parseManifest, runtimeFile } from './format.ts';
import type { TextModel } from './lazy-model.ts';

const readText = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined);

/** Whether a folder looks like one that `modelc compile` wrote. */
export const isArtifact = async (folder: string): Promise<boolean> =>
  (await readText(join(folder, 'program.json'))) !== undefined;

/** Throws ModelcError 'unsupported' when this machine does not fit, 'checkpoint' or 'parse' when files are not whole. */
export async function openArtifact(folder: string, options: LoadOptions = {}): Promise<TextModel> {
  throwIfAborted(options.signal, 'loading');
  const path = join(folder, 'program.json');
  const text = await readText(path);
  if (text === undefined)
    throw new ModelcError('checkpoint', `${path} cannot be read; name a folder that 'modelc compile' wrote`);
  const manifest = parseManifest(text, path);
  const { isa, binary, program } = choose(manifest, folder);
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  const weights = await openWeights(folder, manifest, options.progress_callback);
  throwIfAborted(options.signal, 'loading');
  const row = isas.find((r) => r.name === isa)!;
  const target = { ...hostTarget(), features: [row.name], vectorBytes: row.vectorBytes };
  const device = await createCpuDevice({ target, runtime: join(folder, runtimeFile) });
  const session = await ProgramSession.open({
    program,
    device,
    binary: join(folder, binary),
    weight: ({ name }) => {
      const stored = weights.get(name);
      if (!stored)
        throw new ModelcError('checkpoint', `${folder} lacks the weight ${name}; compile the artifact again`);
      return stored.span;
    },
  });
  const config = JSON.parse((await readText(join(folder, 'config.json'))) ?? '{}') as Readonly<Record<string, unknown>>;
  const generation = await readText(join(folder, 'generation_config.json'));
  const generationConfig = generation
    ? GenerationConfig.parse(generation, join(folder, 'generation_config.json'))
    : GenerationConfig.from_model_config(config);
  return { tokenizer, model: createModel(session, manifest.model, config, generationConfig) };
}

/** The best program that this machine can run. */
function choose(manifest: ArtifactManifest, folder: string): ArtifactManifest['programs'][number] {
  const { requires, programs } = manifest;
  const fail = (what: string, wayOut: string): never => {
    throw new ModelcError('unsupported', `${folder} needs ${what}; ${wayOut}`);
  };
  const again = `compile it on this machine with 'modelc compile'`;
  if (requires.platform !== os.platform() || requires.arch !== os.arch()) {
    fail(`${requires.platform} on ${requires.arch}, this is ${os.platform()} on ${os.arch()}`, again);
  }
  const major = Number(process.versions.node.split('.')[0]);
  if (major < requires.nodeMajor)
    fail(`Node ${requires.nodeMajor} or later, this is ${process.versions.node}`, 'update Node');
  const wanted = process.env.MODELC_ISA;
  const available = hostIsas().map((row) => String(row.name));
  const fits = programs.find((p) => (wanted ? p.isa === wanted : true) && available.includes(p.isa));
  return fits ?? fail(`a processor with ${programs.map((p) => p.isa).join(' or ')}`, again);
}

/** Finds the weights. They are mapped, so a file whose header was read counts as loaded. */
async function openWeights(
  folder: string,
  { weightFiles }: ArtifactManifest,
  progress: LoadOptions['progress_callback'] = () => undefined,
): Promise<ReadonlyMap<string, StoredTensor>> {
  const report = (status: FileProgress['status'], file: string, total: number, loaded = total): void =>
    progress({
      status,
      name: basename(folder),
      file,
      progress: loaded === total ? 100 : 0,
      loaded,
      total,
      from: 'cache',
    });
  const files = await Promise.all(weightFiles.map((name) => readSafetensors(join(folder, name))));
  const sizes = files.map(({ tensors }) => [...tensors.values()].reduce((n, { span }) => n + span.bytes, 0));
  weightFiles.forEach((file, i) => report('initiate', file, sizes[i], 0));
  weightFiles.forEach((file, i) => report('done', file, sizes[i]));
  report(
    'ready',
    '',
    sizes.reduce((a, b) => a + b, 0),
  );
  return new Map(files.flatMap((file) => [...file.tensors]));
}
