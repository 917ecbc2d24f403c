// AutoTokenizer: the tokenizer of a checkpoint folder.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelcError } from '../../ir/error.ts';
import type { PreTrainedTokenizer } from './tokenizer.ts';
import { readTokenizer } from './tokenizer-files.ts';

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR'))
      return undefined;
    throw new ModelcError('checkpoint', `${path} cannot be read; check its permissions`, { cause });
  }
}

/**
 * Tokenizers of checkpoints.
 *
 *     const tokenizer = await AutoTokenizer.from_pretrained('FOLDER')
 *     const { input_ids, attention_mask } = tokenizer(['Once', 'upon a time'], { padding: true })
 */
// biome-ignore lint/complexity/noStaticOnlyClass: the name and form that users of transformers know
export class AutoTokenizer {
  /** The tokenizer of a checkpoint folder. Throws ModelcError 'checkpoint' or 'parse' that names the file. */
  static async from_pretrained(directory: string): Promise<PreTrainedTokenizer> {
    return readTokenizer(directory, (name) => readText(join(directory, name)));
  }
}
