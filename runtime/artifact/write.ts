// Writes an artifact: compiles a checkpoint for every instruction set of this machine's architecture, and lays
// code, weights and tokenizer out as format.ts says. Everything is written to a folder beside the destination, which
// takes its name in one rename when it is complete: a killed compilation leaves nothing half-written.
import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { buildProgram, buildRuntime } from '../../backends/cpu/build.ts';
import { hostTarget, type Isa, isas } from '../../backends/cpu/target.ts';
import { type TensorSource, writeSafetensors } from '../../frontends/huggingface/index.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { PlanTensor, Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';
import type { PassHooks } from '../../passes/pipeline.ts';
import { compile } from '../compiler.ts';
import { throwIfAborted } from '../generation/decoder.ts';
import { type LoadOptions, type OpenedModel, openModel, weightSource } from '../models.ts';
import { evalShape } from '../plan-dims.ts';
import { withoutBodies } from '../program-cache.ts';
import { type ArtifactManifest, formatName, formatVersion, kernelsFile, runtimeFile } from './format.ts';
import { builtFile } from './package-files.ts';

export interface ArtifactOptions
  extends Pick<LoadOptions, 'cache_implementation' | 'max_cache_len' | 'max_batch' | 'chunk' | 'architecture'> {
  readonly hooks?: PassHooks;
  /** Called when a stage begins. */
  readonly onProgress?: (stage: string) => void;
  /** Stops the compilation; nothing is left behind. */
  readonly signal?: AbortSignal;
}

export interface WrittenArtifact {
  readonly folder: string;
  readonly isas: readonly string[];
  readonly weightBytes: number;
}

const shardBytes = 512 * 2 ** 20;
const copied = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
];
/** Entries that generation needs; `forward` is for evaluation and not part of an artifact. */
export const entries = ['prefill', 'decode'] as const;

/** Throws ModelcError 'input' when `output` is something other than an artifact, and what compiling throws. */
export async function writeArtifact(
  source: string,
  output: string,
  options: ArtifactOptions = {},
): Promise<WrittenArtifact> {
  const folder = resolve(output);
  await checkDestination(folder);
  const { hooks, onProgress, signal, ...load } = options;
  const begin = (stage: string): void => {
    throwIfAborted(signal);
    onProgress?.(stage);
  };
  const opened = await openModel(source, load);
  const draft = join(dirname(folder), `.${basename(folder)}.${process.pid}.partial`);
  try {
    await mkdir(draft, { recursive: true });
    const programs = await writePrograms(opened, draft, hooks, begin);
    begin('writing weights');
    const { files, bytes } = await writeWeights(opened, programs, draft);
    const manifest: ArtifactManifest = {
      format: formatName,
      version: formatVersion,
      requires: { platform: os.platform(), arch: os.arch(), nodeMajor: 20 },
      model: opened.info,
      programs: programs.map(({ isa, program }) => ({
        isa,
        binary: kernelsFile(isa, 'node'),
        program: withoutBodies(program),
      })),
      weightFiles: files,
    };
    await writeFile(join(draft, 'program.json'), JSON.stringify(manifest));
    await writeFile(join(draft, 'package.json'), '{ "type": "module", "main": "index.js", "types": "index.d.ts" }\n');
    await copyFile(builtFile('artifact.js'), join(draft, 'index.js'));
    await copyFile(builtFile('types/runtime/artifact/api.d.ts'), join(draft, 'index.d.ts'));
    const present = await readdir(source);
    for (const name of copied.filter((n) => present.includes(n))) await copyFile(join(source, name), join(draft, name));
    throwIfAborted(signal);
    await replace(draft, folder);
    return { folder, isas: programs.map((p) => p.isa), weightBytes: bytes };
  } catch (cause) {
    throwIfAborted(signal); // an interrupt reaches the C compiler too: its failure is not the news
    if (cause instanceof ModelcError || !(cause instanceof Error && 'code' in cause)) throw cause;
    throw new ModelcError('input', `${folder} cannot be written: ${cause.message}; choose another folder with -o`, {
      cause,
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** A destination may be missing, empty, or an artifact; anything else is somebody's data, and `wayOut` is shown. */
export async function checkDestination(folder: string, wayOut = 'choose another folder with -o'): Promise<void> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return;
    throw new ModelcError('input', `${folder} is no folder; ${wayOut}`, { cause });
  }
  if (names.length === 0) return;
  const manifest = names.includes('program.json') ? await readFile(join(folder, 'program.json'), 'utf8') : '';
  if (!manifest.includes(`"${formatName}"`)) {
    throw new ModelcError('input', `${folder} holds files that are no modelc artifact; ${wayOut}`);
  }
}

async function replace(draft: string, folder: string): Promise<void> {
  const old = `${draft}.old`;
  const had = await rename(folder, old).then(
    () => true,
    () => false,
  );
  try {
    await rename(draft, folder);
  } catch (error) {
    if (had) await rename(old, folder);
    throw error;
  }
  await rm(old, { recursive: true, force: true });
}

interface BuiltProgram {
  readonly isa: string;
  readonly program: Program;
}

const targetOf = (isa: Isa): Target => ({
  ...hostTarget(),
  features: [isa.name],
  vectorBytes: isa.vectorBytes,
  vectorRegisters: isa.vectorRegisters,
});

/** Programs and native code, best instruction set first. */
async function writePrograms(
  { model, trace, cache }: OpenedModel,
  draft: string,
  hooks: PassHooks | undefined,
  begin: (stage: string) => void,
): Promise<BuiltProgram[]> {
  begin('compiling the runtime');
  await copyFile(await buildRuntime(), join(draft, runtimeFile));
  const traced = Object.fromEntries(entries.map((e) => [e, trace(e)]));
  const built: BuiltProgram[] = [];
  for (const isa of isas.filter((row) => row.needs.length === 0 || os.arch() === 'x64')) {
    begin(`compiling for ${isa.name}`);
    const dump = built.length === 0 && hooks ? { hooks } : {};
    const program = compile(model.config.modelType, traced, targetOf(isa), { cache, ...dump });
    const { binary, source } = await buildProgram(program);
    await copyFile(binary, join(draft, kernelsFile(isa.name, 'node')));
    await writeFile(join(draft, kernelsFile(isa.name, 'c')), source);
    built.push({ isa: isa.name, program });
  }
  return built;
}

/** The weights of all programs, in the order in which the first one uses them, in shards. */
async function writeWeights(
  { checkpoint }: OpenedModel,
  programs: readonly BuiltProgram[],
  draft: string,
): Promise<{ files: string[]; bytes: number }> {
  const weights = new Map<string, PlanTensor>();
  for (const { program } of programs) for (const w of program.weights) if (!weights.has(w.name)) weights.set(w.name, w);
  const shapeOf = (w: PlanTensor): number[] => evalShape(w.shape, {});
  const sizeOf = (w: PlanTensor): number => shapeOf(w).reduce((n, d) => n * d, dtypeInfo[w.dtype].bytes);
  const shards: PlanTensor[][] = [[]];
  let bytes = 0;
  let room = shardBytes;
  for (const weight of weights.values()) {
    const size = sizeOf(weight);
    if (size > room && room < shardBytes) {
      shards.push([]);
      room = shardBytes;
    }
    shards[shards.length - 1].push(weight);
    room -= size;
    bytes += size;
  }
  const number = (i: number): string => String(i).padStart(5, '0');
  const files = shards.map((_, i) => `weights-${number(i + 1)}-of-${number(shards.length)}.safetensors`);
  for (const [i, shard] of shards.entries()) {
    const tensors: TensorSource[] = [];
    for (const weight of shard) {
      const data = await weightSource(checkpoint, weight);
      tensors.push({ name: weight.name, dtype: weight.dtype, shape: shapeOf(weight), data });
    }
    await writeSafetensors(join(draft, files[i]), tensors);
  }
  return { files, bytes };
}
