// Finds case folders and reads their files. A case is a folder with golden.json, golden.safetensors or expected.json, or a
// data set that has a known target:
//   hf-golden/CASE: config.json and model.safetensors beside golden.json (kind, tokens) and golden.safetensors (tensors)
//   hf-trained/RUN: a recorded training: where it began in init/, what it read in batch_offsets.safetensors
//   field/CASE: what a user has, beside expected.json
//   hostile: files, each a case
//   text/sent-conv: sentences and their classes
//   lm/MODEL: the checkpoint in hf/ beside golden.json, greedy100.json and golden_logits.safetensors
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { ModelcError } from '../../ir/error.ts';
import { isHostileName, sizesName } from './hostile/index.ts';

export interface Case {
  readonly name: string;
  readonly folder: string;
  /** Where config.json and the weights are. */
  readonly checkpoint: string;
  readonly layout: 'golden' | 'language-model' | 'training' | 'sentences' | 'field' | 'hostile';
}

export function findCases(root: string): Case[] {
  if (!existsSync(root) || !statSync(root).isDirectory()) {
    throw new ModelcError('input', `${root} is not a folder: name folders that hold cases`);
  }
  const found: Case[] = [];
  const visit = (folder: string): void => {
    const names = readdirSync(folder, { withFileTypes: true });
    const has = (name: string): boolean => names.some((n) => n.name === name);
    const name = relative(root, folder) || basename(folder);
    if (has('golden.json') || has('golden.safetensors')) {
      if (has('batch_offsets.safetensors')) {
        found.push({ name, folder, checkpoint: join(folder, 'init'), layout: 'training' });
      } else {
        const isModel = has('hf') && has('greedy100.json');
        const checkpoint = isModel ? join(folder, 'hf') : folder;
        found.push({ name, folder, checkpoint, layout: isModel ? 'language-model' : 'golden' });
      }
      return;
    }
    if (has('expected.json')) {
      found.push({ name, folder, checkpoint: folder, layout: 'field' });
      return;
    }
    if (names.some((n) => isHostileName(n.name))) {
      for (const file of [...names.map((n) => n.name).filter((n) => n !== 'README.md'), sizesName]) {
        found.push({ name: file, folder: join(folder, file), checkpoint: folder, layout: 'hostile' });
      }
      return;
    }
    if (has('stsa.binary.train')) found.push({ name, folder, checkpoint: folder, layout: 'sentences' });
    for (const n of names) if (n.isDirectory()) visit(join(folder, n.name));
  };
  visit(root);
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export function readJson<T>(path: string): T {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch (error) {
    throw new ModelcError('parse', `${path} cannot be read as JSON: is the case complete?`, { cause: error });
  }
}
