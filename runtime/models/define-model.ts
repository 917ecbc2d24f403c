// defineModel: what a file named *.model.ts default-exports. Here the model is compiled in this process at its first use;
// the build plugins (runtime/plugin/) instead read the definition at build time and put a compiled artifact in its place.
import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BackendName, backendNames, defaultBackend } from '../../backends/index.ts';
import { type TaskName, taskNames } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import type { Classifier, Model, SequenceModel } from '../artifact/api.ts';
import { type AnyModel, lazyModel } from '../artifact/lazy-model.ts';
import type { LoadedModel } from '../artifact/loaded-model.ts';
import { AutoTokenizer } from '../tokenization/index.ts';
import type { OpenOptions } from './load-options.ts';
import { loadModel, type OpenedModel, openModel } from './open.ts';

declare global {
  /** That of DOM or of @types/node, with which it merges; named here for programs that have neither. */
  interface URL {}
}

/** What a model is compiled with. Options mean what they mean to from_pretrained. */
type CompileOptions = Pick<
  OpenOptions,
  'cache_implementation' | 'max_cache_len' | 'max_length' | 'max_batch' | 'chunk' | 'architecture'
>;

/** What an app calls, by what the model is for. */
type ModelFor<T extends TaskName> = T extends 'causal-lm' | 'seq2seq-lm'
  ? Model
  : T extends 'sequence-classification'
    ? Classifier
    : SequenceModel;

/** What defineModel takes. */
export interface ModelDefinition<T extends TaskName = TaskName> extends CompileOptions {
  /** The folder of a checkpoint; a relative path starts at the file that holds the definition. */
  checkpoint: string | URL;
  /** What the model is for; default: what generates. A model that does not generate is named by its task. */
  task?: T;
  /** What runs the model; default 'webgpu' in a build for the browser, else 'cpu'. */
  target?: BackendName;
}

const fields: Readonly<Record<keyof ModelDefinition, true>> = {
  checkpoint: true,
  target: true,
  task: true,
  cache_implementation: true,
  max_cache_len: true,
  max_length: true,
  max_batch: true,
  chunk: true,
  architecture: true,
};

const definitions = new WeakMap<object, ModelDefinition>();

/**
 * A model of an app. Throws ModelcError 'input' for an option that it does not know; what is wrong with the checkpoint or
 * the values shows when the model is compiled: in a build, or at its first use.
 *
 *     const story = defineModel({ checkpoint: './FOLDER', max_cache_len: 2048 })
 *     for await (const piece of story.generate('Once upon a time')) process.stdout.write(piece)
 */
export function defineModel<T extends TaskName = 'causal-lm'>(definition: ModelDefinition<T>): ModelFor<T>;
export function defineModel(definition: ModelDefinition): AnyModel {
  check(definition);
  const file = callerOf(defineModel);
  const model = lazyModel(async ({ signal, progress_callback }) => {
    const { folder, target = defaultBackend, options } = compilation(definition, file);
    signal?.throwIfAborted();
    const opened = await openDefined(folder, { ...options, target });
    const hasText = existsSync(join(folder, 'tokenizer.json')) || opened.kind.generates;
    const [tokenizer, model] = await Promise.all([
      hasText ? AutoTokenizer.from_pretrained(folder) : undefined,
      loadModel(opened),
    ]);
    // nothing is downloaded, so there are no files to report
    const none = { file: '', progress: 100, loaded: 0, total: 0, from: 'cache' } as const;
    progress_callback?.({ status: 'ready', name: basename(folder), ...none });
    return { kind: opened.kind.name, task: opened.model.name, tokenizer, model } as LoadedModel;
  });
  definitions.set(model, definition);
  return model;
}

/** The model of a definition. Throws ModelcError 'input' for one that does not generate, and whose task is not named. */
export async function openDefined(folder: string, options: OpenOptions): Promise<OpenedModel> {
  const opened = await openModel(folder, options);
  if (opened.kind.generates || options.task !== undefined) return opened;
  throw new ModelcError(
    'input',
    `${folder} holds a model that does not generate; say in defineModel() what it is for, as in task: 'sequence-classification'`,
  );
}

/** The definition behind a model that defineModel made. */
export const definitionOf = (model: unknown): ModelDefinition | undefined =>
  typeof model === 'object' && model !== null ? definitions.get(model) : undefined;

export interface Compilation {
  /** The checkpoint. */
  readonly folder: string;
  readonly target: BackendName | undefined;
  readonly options: CompileOptions & { readonly task?: TaskName | undefined };
}

/** What to compile for a definition in `file`. */
export function compilation(
  { checkpoint, target, ...options }: ModelDefinition,
  file: string | undefined,
): Compilation {
  const path = checkpoint instanceof URL ? fileURLToPath(checkpoint) : checkpoint;
  return { folder: resolve(file === undefined ? '.' : dirname(file), path), target, options };
}

function check(definition: ModelDefinition): void {
  const fail = (problem: string): never => {
    throw new ModelcError('input', problem);
  };
  if (typeof definition !== 'object' || definition === null) {
    fail("defineModel() takes an object such as { checkpoint: './folder' }");
  }
  checkOptions('defineModel()', definition, Object.keys(fields));
  const { checkpoint, target, task } = definition;
  const isFolder = checkpoint instanceof URL ? checkpoint.protocol === 'file:' : typeof checkpoint === 'string';
  if (!isFolder) fail('`checkpoint` of defineModel() must be the path or the file: URL of a folder');
  if (task !== undefined && !taskNames.includes(task)) {
    fail(`\`task\` of defineModel() must be one of ${taskNames.join(', ')}, but is ${String(task)}`);
  }
  if (target !== undefined && !backendNames.includes(target)) {
    fail(`\`target\` of defineModel() must be one of ${backendNames.join(', ')}, but is ${String(target)}`);
  }
}

/** The file that called `callee`, from V8's stack: with it a relative path means the same in a build and outside of one. */
function callerOf(callee: typeof defineModel): string | undefined {
  const { prepareStackTrace, stackTraceLimit } = Error;
  const holder: { stack?: unknown } = {};
  try {
    Error.stackTraceLimit = 1;
    Error.prepareStackTrace = (_, sites) => sites[0]?.getFileName();
    Error.captureStackTrace(holder, callee);
    const file = holder.stack;
    if (typeof file !== 'string') return undefined;
    return file.startsWith('file:') ? fileURLToPath(file) : file;
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
    Error.stackTraceLimit = stackTraceLimit;
  }
}
