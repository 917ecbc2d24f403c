// What an artifact folder holds, shared by writers and loaders. program.json, the manifest, names everything else:
//   index.js, index.d.ts, package.json   the module that programs import, and its types
//   program.json                         this file: programs, what each requires, where weights are, digests of all files
//   kernels.VARIANT.*                    the code of each program: native code or GPU code and its source, or WGSL
//   runtime.node                         native memory and threads (cpu), or the binding to the driver (cuda)
//   weights-NNNNN-of-NNNNN.safetensors   the weights as the kernels read them, at multiples of 64 bytes
//   config.json, generation_config.json, tokenizer.json, …   as in the checkpoint
// A target is a row of `TargetTypes` and `checks` here, of `writers` in write.ts and of `openers` in open.ts, and the files
// entry-TARGET.ts, open-TARGET.ts and write-TARGET.ts.
import type { BackendName } from '../../backends/index.ts';
import type { EntryLimits } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Program } from '../../ir/program.ts';
import { stateBytes } from '../execution/planned-memory.ts';
import { type FileRecord, isFileRecords, isSealed, sealed } from './digest.ts';
import { type DownloadTable, isCount, isObject, isPlainName, parseDownload } from './download-table.ts';
import { isModelFacts, type ModelFacts } from './loaded-model.ts';

export const formatName = 'modelc-artifact';
export const formatVersion = 4;
export const manifestFile = 'program.json';
export const runtimeFile = 'runtime.node';

/** What native code requires of a machine. */
export interface HostRequires {
  readonly platform: string;
  readonly arch: string;
  readonly nodeMajor: number;
}

/** What differs between targets: what a program requires of a machine, and how weights are found. */
interface TargetTypes {
  readonly cpu: {
    requires: HostRequires & { readonly isa: string };
    /** Names of files, which are mapped. */
    weights: readonly string[];
  };
  readonly cuda: {
    /** The code that the GPU must run, and bytes of its memory without long caches. */
    requires: HostRequires & { readonly architecture: string; readonly memoryBytes: number };
    /** Names of files. */
    weights: readonly string[];
  };
  readonly webgpu: {
    /** Features and the largest array that the adapter must allow; bytes of GPU memory without caches. */
    requires: { readonly features: readonly string[]; readonly bindingBytes: number; readonly memoryBytes: number };
    weights: DownloadTable;
  };
}
export type Requires<T extends BackendName> = TargetTypes[T]['requires'];

/** A program with what it requires and the file of its code. Its kernels have no bodies: they are in that file. */
export interface Variant<T extends BackendName> {
  readonly name: string;
  readonly requires: Requires<T>;
  readonly code: string;
  readonly program: Program;
}

/** What the writer of a target contributes to the manifest. */
export interface TargetPart<T extends BackendName> {
  readonly target: T;
  /** Best first. */
  readonly variants: readonly Variant<T>[];
  readonly weights: TargetTypes[T]['weights'];
}

export interface Manifest<T extends BackendName> extends TargetPart<T> {
  readonly format: typeof formatName;
  readonly version: typeof formatVersion;
  readonly model: ModelFacts;
  /** All other files. */
  readonly files: readonly FileRecord[];
}
export type AnyManifest = { [T in BackendName]: Manifest<T> }[BackendName];
export type AnyTargetPart = { [T in BackendName]: TargetPart<T> }[BackendName];

export const kernelsFile = (variant: string, extension: 'node' | 'c.gz' | 'cubin' | 'cu.gz' | 'wgsl'): string =>
  `kernels.${variant}.${extension}`;

export const isWeights = (name: string): boolean => name.endsWith('.safetensors');

/** Positions of a cache that every use needs at least. */
const someLength = 256;
/** Bytes of the states that every use needs at least. */
export const leastStateBytes = (program: Program, { length, source = 1 }: EntryLimits): number =>
  stateBytes(program, { batch: 1, capacity: Math.min(length, someLength), source: Math.min(source, someLength) });

const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every((v) => typeof v === 'string');

const isHost = ({ platform, arch, nodeMajor }: Readonly<Record<string, unknown>>): boolean =>
  isTexts([platform, arch]) && isCount(nodeMajor);
const isNames = (value: unknown): boolean => Array.isArray(value) && value.every(isPlainName);

/** By target: whether requirements, and weights, are what a writer makes. */
const checks: {
  readonly [T in BackendName]: {
    requires(value: Readonly<Record<string, unknown>>): boolean;
    weights(value: unknown): boolean;
  };
} = {
  cpu: {
    requires: (value) => isHost(value) && isTexts([value.isa]),
    weights: isNames,
  },
  cuda: {
    requires: (value) => isHost(value) && isTexts([value.architecture]) && isCount(value.memoryBytes),
    weights: isNames,
  },
  webgpu: {
    requires: ({ features, bindingBytes, memoryBytes }) =>
      isTexts(features) && isCount(bindingBytes) && isCount(memoryBytes),
    weights: (value) => parseDownload(value) !== undefined,
  },
};
const isTarget = (name: unknown): name is BackendName => typeof name === 'string' && Object.hasOwn(checks, name);

/** The text of a manifest. Variants whose programs differ in nothing but their target share one in it. */
export function printManifest({ variants, ...rest }: AnyManifest): Promise<string> {
  const programs: string[] = [];
  const shared = variants.map(({ program: { target, ...program }, ...variant }) => {
    const weights = program.weights.map(({ prepare: _, ...w }) => w); // the artifact's files have them as they are read
    const text = JSON.stringify({ ...program, prepare: [], weights });
    const known = programs.indexOf(text);
    return { ...variant, target, program: known < 0 ? programs.push(text) - 1 : known };
  });
  return sealed(`${JSON.stringify({ ...rest, variants: shared }).slice(0, -1)},"programs":[${programs.join()}]}`);
}

/** Reads the text of a manifest. Throws ModelcError 'parse' if it is not what a writer of this version makes. */
export async function parseManifest(text: string, path: string): Promise<AnyManifest> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ModelcError('parse', `${path} is not valid JSON; compile the artifact again`, { cause });
  }
  if (!isObject(value) || value.format !== formatName) {
    throw new ModelcError(
      'parse',
      `${path} does not describe a modelc artifact; name a folder that 'modelc compile' wrote`,
    );
  }
  if (value.version !== formatVersion) {
    throw new ModelcError(
      'unsupported',
      `${path} has format version ${JSON.stringify(value.version)}, this runtime reads ${formatVersion}; compile the artifact again`,
    );
  }
  const { target, model, variants, programs, weights, files, digest: _, ...rest } = value;
  if (typeof target === 'string' && !isTarget(target)) {
    throw new ModelcError(
      'unsupported',
      `${path} is compiled for the target ${JSON.stringify(target)}, which this runtime does not have; update modelc`,
    );
  }
  const isVariant = (v: unknown): boolean =>
    isObject(v) &&
    isTarget(target) &&
    isPlainName(v.name) &&
    isPlainName(v.code) &&
    isObject(v.target) &&
    Array.isArray(programs) &&
    isCount(v.program) &&
    isObject(programs[v.program]) &&
    isObject(v.requires) &&
    checks[target].requires(v.requires);
  const complete =
    isTarget(target) &&
    isModelFacts(model) &&
    isFileRecords(files) &&
    Array.isArray(variants) &&
    variants.every(isVariant) &&
    checks[target].weights(weights);
  // a page that is not secure has no digests, and is told so before anything else is done
  const isWhole = complete && (!globalThis.crypto?.subtle || (await isSealed(text)));
  if (!isWhole) throw new ModelcError('parse', `${path} is damaged; compile the artifact again`);
  const whole = variants.map((v) => ({ ...v, program: { ...(programs as object[])[v.program], target: v.target } }));
  return { ...rest, target, model, weights, files, variants: whole } as unknown as AnyManifest;
}

/** Why a machine cannot run a variant, and what helps. */
export interface Misfit {
  readonly needs: string;
  readonly wayOut: string;
}

/** The best variant that fits. Throws ModelcError 'unsupported' with what the least demanding one lacks. */
export function chooseVariant<T extends BackendName>(
  variants: readonly Variant<T>[],
  where: string,
  misfitOf: (requires: Requires<T>) => Misfit | undefined,
): Variant<T> {
  let last: Misfit = { needs: 'a program, but has none', wayOut: 'compile it again' };
  for (const variant of variants) {
    const misfit = misfitOf(variant.requires);
    if (!misfit) return variant;
    last = misfit;
  }
  throw new ModelcError('unsupported', `${where} needs ${last.needs}; ${last.wayOut}`);
}
