// Writes an artifact: compiles a checkpoint for a target, and lays code, weights and tokenizer out as format.ts says.
// Everything is written to a folder beside the destination, which takes its name when it is complete: a killed compilation
// leaves nothing half-written.
import { Stats } from 'node:fs';
import { copyFile, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type BackendName, defaultBackend } from '../../backends/index.ts';
import type { TaskName } from '../../frontends/huggingface/index.ts';
import { readHeader } from '../../frontends/huggingface/safetensors.ts';
import { ModelcError } from '../../ir/error.ts';
import type { PassHooks } from '../../passes/pipeline.ts';
import { compile } from '../compiler/compile.ts';
import { withoutBodies } from '../compiler/program-cache.ts';
import { devices } from '../execution/devices.ts';
import { checkGeneration } from '../generation/resolve.ts';
import { writeFolder } from '../hub/write-folder.ts';
import type { OpenOptions } from '../models/load-options.ts';
import { fitting, generationConfigOf, type OpenedModel, openModel } from '../models/open.ts';
import { AutoTokenizer } from '../tokenization/auto-tokenizer.ts';
import { type FileRecord, sha256 } from './digest.ts';
import { type AnyManifest, type AnyTargetPart, formatName, formatVersion, isWeights, manifestFile, printManifest } from './format.ts'; // biome-ignore format: one row
import type { ModelFacts } from './loaded-model.ts';
import { LocalFiles } from './local-files.ts';
import { readManifest } from './module.ts';
import { builtFile } from './package-files.ts';
import { sourceOf } from './source.ts';
import { writeCpu } from './write-cpu.ts';
import { writeCuda } from './write-cuda.ts';
import type { WriteJob } from './write-job.ts';
import { writeWebGpu } from './write-webgpu.ts';
import { writeWeights } from './write-weights.ts';

export interface ArtifactOptions
  extends Pick<
    OpenOptions,
    'task' | 'cache_implementation' | 'max_cache_len' | 'max_length' | 'max_batch' | 'chunk' | 'architecture'
  > {
  /** 'cpu' (default), 'cuda' or 'webgpu'. */
  readonly target?: BackendName;
  readonly hooks?: PassHooks;
  /** Called when a stage begins. */
  readonly onProgress?: (stage: string) => void;
  /** Stops the compilation; nothing is left behind. */
  readonly signal?: AbortSignal;
}

export interface WrittenArtifact {
  readonly folder: string;
  readonly target: BackendName;
  readonly variants: readonly string[];
  /** Of weights, and of everything else. */
  readonly weightBytes: number;
  readonly otherBytes: number;
}

const writers = { cpu: writeCpu, cuda: writeCuda, webgpu: writeWebGpu } satisfies Record<
  BackendName,
  (job: WriteJob) => Promise<AnyTargetPart>
>;

const copyable = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
];

/** Throws ModelcError 'input' when `output` is something other than an artifact, and what compiling throws. */
export async function writeArtifact(
  source: string,
  output: string,
  options: ArtifactOptions = {},
): Promise<WrittenArtifact> {
  const folder = resolve(output);
  await checkDestination(folder);
  const { target = defaultBackend, hooks, onProgress, signal, ...load } = options;
  const begin = (stage: string): void => {
    signal?.throwIfAborted();
    onProgress?.(stage);
  };
  const opened = await openModel(source, load);
  if (opened.kind.generates) checkGeneration(generationConfigOf(opened.checkpoint));
  const present = await readdir(source);
  // what is wrong with a tokenizer is said before anything is compiled
  if (present.includes('tokenizer.json')) await AutoTokenizer.from_pretrained(source);
  const write = async (draft: string): Promise<WrittenArtifact> => {
    const copied = copyable.filter((name) => present.includes(name));
    for (const name of copied) await copyRegular(join(source, name), join(draft, name));
    const variants = await layOut(target, {
      opened,
      draft,
      copied,
      begin,
      compile: compilerOf(opened, target, hooks),
      writeWeights: (programs) => writeWeights(opened, programs, draft),
    });
    return { folder, target, variants, ...(await sizesOf(draft)) };
  };
  try {
    const beforeRename = (): void => signal?.throwIfAborted();
    return await writeFolder(folder, write, { wayOut: 'choose another folder with -o', beforeRename });
  } catch (cause) {
    signal?.throwIfAborted(); // an interrupt reaches the C compiler too: its failure is not the news
    throw cause;
  }
}

/** Copies a file; a pipe in its place would be waited for. */
async function copyRegular(from: string, to: string): Promise<void> {
  const info = await stat(from).catch((cause: unknown) => cause);
  if (!(info instanceof Stats) || !info.isFile()) {
    throw new ModelcError('checkpoint', `${from} is no file that can be read; download it again`);
  }
  await copyFile(from, to);
}

/** Writes all but config and tokenizer to the job's folder. Gives the names of the programs. */
export async function layOut(target: BackendName, job: WriteJob): Promise<string[]> {
  const { draft, opened } = job;
  const part = await writers[target](job);
  const variants = part.variants.map((v) => ({ ...v, program: withoutBodies(v.program) }));
  await writeFile(join(draft, 'package.json'), '{ "type": "module", "main": "index.js", "types": "index.d.ts" }\n');
  await copyFile(builtFile(`artifact/${target}.js`), join(draft, 'index.js'));
  await writeFile(join(draft, 'index.d.ts'), await typesOf(opened.model.name));
  const files = await recordsOf(draft);
  const manifest = { format: formatName, version: formatVersion, model: factsOf(opened), files, ...part, variants };
  await writeFile(join(draft, manifestFile), await printManifest(manifest as AnyManifest));
  return variants.map((v) => v.name);
}

/** For the manifest. */
const factsOf = ({ kind, model, info }: OpenedModel): ModelFacts =>
  ({ kind: kind.name, task: model.name, info }) as ModelFacts;

/** The interface of api.ts that a model of a task has. */
const interfaces: Readonly<Record<TaskName, string>> = {
  'causal-lm': 'Model',
  'seq2seq-lm': 'Model',
  encoder: 'SequenceModel',
  'masked-lm': 'SequenceModel',
  'sequence-classification': 'Classifier',
  'token-classification': 'SequenceModel',
  'question-answering': 'SequenceModel',
  'image-classification': 'SequenceModel',
};

/** The text of index.d.ts: api.ts, whose artifact is of the task. */
async function typesOf(task: TaskName): Promise<string> {
  const text = await readFile(builtFile('types/runtime/artifact/api.d.ts'), 'utf8');
  return text.replace('export type ArtifactModel = Model;', `export type ArtifactModel = ${interfaces[task]};`);
}

/** The files of a folder as they are; see FileRecord. */
async function recordsOf(folder: string): Promise<FileRecord[]> {
  const names = (await readdir(folder)).sort();
  return Promise.all(
    names.map(async (name) => {
      const path = join(folder, name);
      const { size } = await stat(path);
      const data = isWeights(name) ? await readHeader(path) : await readFile(path);
      return { name, bytes: size, digest: await sha256(data) };
    }),
  );
}

/** Compiles the entries of an artifact; those of evaluation are no part of it. */
export function compilerOf(opened: OpenedModel, name: BackendName, hooks?: PassHooks): WriteJob['compile'] {
  let isFirst = true;
  return (target) => {
    const { model, cache, kind } = opened;
    const graph = fitting(opened, target);
    const dump = isFirst && hooks ? { hooks } : {};
    isFirst = false;
    const traced = Object.fromEntries(kind.artifactEntries(devices[name].entries).map((e) => [e, graph(e)]));
    return compile(model.modelType, traced, target, { cache, ...dump });
  };
}

export async function sizesOf(folder: string): Promise<{ weightBytes: number; otherBytes: number }> {
  const sizes = { weightBytes: 0, otherBytes: 0 };
  for (const name of await readdir(folder)) {
    const { size } = await stat(join(folder, name));
    if (name.endsWith('.safetensors')) sizes.weightBytes += size;
    else sizes.otherBytes += size;
  }
  return sizes;
}

/** Whether a folder is an artifact whose files are what was written; the data of weights is taken on trust. */
export async function isWhole(folder: string): Promise<boolean> {
  try {
    const { files } = await readManifest(sourceOf(pathToFileURL(`${folder}/`)), undefined);
    const local = new LocalFiles(folder, files);
    await Promise.all(files.map(({ name }) => local.path(name)));
    return true;
  } catch {
    return false;
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
  if (names.length === 0 || hasFilesOfArtifact(names)) return;
  const path = join(folder, manifestFile);
  const isFile = await stat(path).then(
    (info) => info.isFile(),
    () => false,
  );
  if (!isFile || !(await readFile(path, 'utf8')).includes(`"${formatName}"`)) {
    throw new ModelcError('input', `${folder} holds files that are no modelc artifact; ${wayOut}`);
  }
}

/** Whether names are those of an artifact and no others, so that one with a damaged manifest can be compiled again. */
function hasFilesOfArtifact(names: readonly string[]): boolean {
  const own =
    /^(index\.js|index\.d\.ts|package\.json|program\.json|runtime\.node|kernels\.[\w.-]+|weights-\d+-of-\d+\.safetensors)$/;
  const needed = ['index.js', manifestFile].every((name) => names.includes(name));
  return (
    needed && names.some((n) => n.startsWith('kernels.')) && names.every((n) => own.test(n) || copyable.includes(n))
  );
}
