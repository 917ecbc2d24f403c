// AutoTokenizer: the tokenizer of a checkpoint folder.
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import type { PreTrainedTokenizer } from './tokenizer.ts';
import { roles } from './tokenizer-classes.ts';
import { readTokenizer } from './tokenizer-files.ts';
import type { TokenizerLoadOptions } from './types.ts';

/** Tokenizers of the largest vocabularies have some 40 MB. */
const sizeLimit = 2 ** 28;

async function readText(path: string): Promise<string | undefined> {
  try {
    const info = await stat(path);
    if (!info.isFile()) throw new ModelcError('checkpoint', `${path} is no file; download the folder again`);
    if (info.size > sizeLimit) {
      throw new ModelcError('checkpoint', `${path} has ${info.size} bytes; a file of a tokenizer has at most ${sizeLimit}`); // biome-ignore format: one expression
    }
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof ModelcError) throw cause;
    if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR'))
      return undefined;
    throw new ModelcError('checkpoint', `${path} cannot be read; check its permissions`, { cause });
  }
}

const served = [
  ...roles,
  'extra_special_tokens',
  'additional_special_tokens',
  'padding_side',
  'truncation_side',
  'model_max_length',
  'model_input_names',
  'add_prefix_space',
  'do_lower_case',
  'strip_accents',
  'clean_up_tokenization_spaces',
] as const satisfies readonly (keyof TokenizerLoadOptions)[];

/** Options of transformers that are not served, with the value that asks for nothing. */
const unserved = {
  use_fast: true,
  trust_remote_code: false,
  local_files_only: true,
  force_download: false,
  cache_dir: null,
  revision: null,
  subfolder: null,
  token: null,
  progress_callback: null,
  tokenizer_type: null,
  gguf_file: null,
  config: null,
  backend: 'tokenizers',
};

/**
 * Tokenizers of checkpoints.
 *
 *     const tokenizer = await AutoTokenizer.from_pretrained('FOLDER')
 *     const { input_ids, attention_mask } = tokenizer(['Once', 'upon a time'], { padding: true })
 */
// biome-ignore lint/complexity/noStaticOnlyClass: the name and form that users of transformers know
export class AutoTokenizer {
  /**
   * The tokenizer of a checkpoint folder; `options` count as fields of its tokenizer_config.json. Throws ModelcError
   * 'checkpoint', 'parse' or 'unsupported' that names the file.
   */
  static async from_pretrained(directory: string, options: TokenizerLoadOptions = {}): Promise<PreTrainedTokenizer> {
    if (typeof directory !== 'string') throw new ModelcError('input', 'AutoTokenizer.from_pretrained takes the path of a folder'); // biome-ignore format: one expression
    checkOptions('AutoTokenizer.from_pretrained', options, served, unserved);
    const given = Object.fromEntries(Object.entries(options).filter(([name]) => (served as readonly string[]).includes(name))); // biome-ignore format: one expression
    return readTokenizer(directory, (name) => readText(join(directory, name)), given);
  }
}
