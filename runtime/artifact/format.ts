// What an artifact folder holds, shared by the writer and the loader. program.json names everything else:
//   index.js, index.d.ts, package.json   the module that programs import, and its types
//   program.json                         this file: requirements, programs per instruction set, weight files
//   runtime.node, kernels.ISA.node       native code: memory and threads, and the kernels of each program
//   kernels.ISA.c                        their source
//   weights-NNNNN-of-NNNNN.safetensors   the weights as the kernels read them, at multiples of 64 bytes
//   config.json, generation_config.json, tokenizer.json, …   as in the checkpoint
import { ModelcError } from '../../ir/error.ts';
import type { Program } from '../../ir/program.ts';
import type { ModelInfo } from '../generation/model.ts';

export const formatName = 'modelc-artifact';
export const formatVersion = 1;

export interface ArtifactManifest {
  readonly format: typeof formatName;
  readonly version: typeof formatVersion;
  /** What a machine must be to run it; the processor must also have one of the instruction sets of `programs`. */
  readonly requires: { readonly platform: string; readonly arch: string; readonly nodeMajor: number };
  readonly model: ModelInfo;
  /** Best first. Kernels have no bodies here: they are in the native code. */
  readonly programs: readonly { readonly isa: string; readonly binary: string; readonly program: Program }[];
  readonly weightFiles: readonly string[];
}

export const runtimeFile = 'runtime.node';
export const kernelsFile = (isa: string, extension: 'node' | 'c'): string => `kernels.${isa}.${extension}`;

/** Reads program.json's text. Throws ModelcError 'parse' if it is not what a writer of this version makes. */
export function parseManifest(text: string, path: string): ArtifactManifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ModelcError('parse', `${path} is not valid JSON; compile the artifact again`, { cause });
  }
  const manifest = value as ArtifactManifest | null;
  if (typeof manifest !== 'object' || manifest === null || manifest.format !== formatName) {
    throw new ModelcError(
      'parse',
      `${path} does not describe a modelc artifact; name a folder that 'modelc compile' wrote`,
    );
  }
  if (manifest.version !== formatVersion) {
    throw new ModelcError(
      'unsupported',
      `${path} has format version ${manifest.version}, this runtime reads ${formatVersion}; compile the artifact again`,
    );
  }
  const { programs, weightFiles, requires, model } = manifest;
  const isPlainName = (name: unknown): boolean => typeof name === 'string' && /^[\w-][\w.-]*$/.test(name);
  const complete =
    typeof requires === 'object' &&
    typeof model === 'object' &&
    Array.isArray(programs) &&
    programs.every((p) => isPlainName(p?.binary) && typeof p.isa === 'string' && typeof p.program === 'object') &&
    Array.isArray(weightFiles) &&
    weightFiles.every(isPlainName);
  if (!complete) throw new ModelcError('parse', `${path} is damaged; compile the artifact again`);
  return manifest;
}
