// GenerationConfig: a set of generation parameters, unset until somebody sets them, and its JSON file. Defaults enter only
// when a call is resolved (resolve.ts), so that a checkpoint's own values and a call's can be told from defaults.
import { nodeFiles } from '../../backends/node-modules.ts';
import { isObject, parseJson } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { writeInto, writeJson } from '../hub/write-folder.ts';
import {
  cacheImplementations,
  fail,
  type GenerationField,
  type GenerationParameters,
  generationDefaults,
  generationFields,
  isGenerationField,
  shownValue,
  validateParameters,
} from './parameters.ts';
import { warnOnce } from './warnings.ts';

/** Arguments of a call that have no place in a configuration. */
const callArguments = [
  'logits_processor',
  'stopping_criteria',
  'prefix_allowed_tokens_fn',
  'assistant_model',
  'streamer',
  'negative_prompt_ids',
  'signal',
  'seed',
  'tokens_per_submit',
  'tokenizer',
];

/** What is written into such files about the files themselves. */
const aboutFile = ['transformers_version', '_from_model_config', '_commit_hash'];

/** Where a config comes from, and what else its file holds. */
interface Origin {
  readonly file?: string;
  readonly extra?: Readonly<Record<string, unknown>>;
}

// The constructor assigns the fields it is given, so the interface describes them.
export interface GenerationConfigFields extends GenerationParameters {}
class GenerationConfigBase {}
const Fields = GenerationConfigBase as new () => GenerationConfigFields;

/** What from_pretrained takes: fields that win over the file's. */
export interface GenerationConfigOptions extends GenerationParameters {
  /** Default 'generation_config.json'. */
  config_file_name?: string;
}

/** Options of the hub, of which nothing is downloaded. */
const unservedOptions = {
  cache_dir: null,
  force_download: false,
  local_files_only: true,
  token: null,
  revision: 'main',
  subfolder: '',
  return_unused_kwargs: false,
};

/** A way to keep keys and values that only later versions of other programs know. */
const isUnknownHint = (name: string, value: unknown): boolean =>
  name === 'cache_implementation' && typeof value === 'string' && !cacheImplementations.includes(value);

/**
 * Parameters of generation: names, defaults and files are those of transformers' class.
 *
 *     const config = new GenerationConfig({ max_new_tokens: 50, do_sample: true, top_p: 0.9 })
 *     await model.generate({ ...inputs, generation_config: config })
 */
export class GenerationConfig extends Fields {
  // What is not a field is private, so that `{ ...config }` is its fields.
  readonly #extra: Readonly<Record<string, unknown>>;
  readonly #file: string | undefined;
  /** The fields as the file has them. */
  readonly #read: GenerationParameters;

  /** Throws ModelcError 'input' for a field that is unknown or has an impossible value. */
  constructor(values: GenerationParameters = {}, { file, extra = {} }: Origin = {}) {
    super();
    for (const name of Object.keys(values)) {
      if (!callArguments.includes(name)) continue;
      fail(`\`${name}\` is an argument of generate(), not a field of GenerationConfig; pass it to the call`);
    }
    checkOptions('GenerationConfig', values, [...generationFields, ...aboutFile]);
    for (const field of generationFields) {
      if (values[field] !== undefined) Object.assign(this, { [field]: values[field] });
    }
    this.#extra = extra;
    this.#file = file;
    this.#read = file === undefined ? {} : this.parameters();
    validateParameters(this);
  }

  /** Entries of its file that are no generation option; written back as they came. */
  get extra(): Readonly<Record<string, unknown>> {
    return this.#extra;
  }

  /** The file that it was read from. */
  get file(): string | undefined {
    return this.#file;
  }

  /** Whether a field has the value that its file gave it. */
  isFromFile(field: GenerationField): boolean {
    return (this.#read[field] ?? null) !== null && this.#read[field] === this[field];
  }

  /** The fields that are set. */
  parameters(): GenerationParameters {
    const set: GenerationParameters = {};
    for (const field of generationFields) {
      if ((this[field] ?? null) !== null) Object.assign(set, { [field]: this[field] });
    }
    return set;
  }

  /** Throws for impossible values; warns of ineffective ones, or with `strict` throws for them too. */
  validate({ strict = false }: { strict?: boolean } = {}): void {
    const minor = [...validateParameters(this).values()];
    if (minor.length === 0) return;
    if (strict) fail(`the generation config is invalid: ${minor.join('; ')}`);
    for (const text of minor) warnOnce(text);
  }

  /** What save_pretrained writes: set fields that differ from the defaults, by name. */
  to_diff_dict(): Record<string, unknown> {
    const entries = Object.entries({ ...this.extra, ...this.parameters() }).filter(
      ([name, value]) =>
        name !== 'compile_config' &&
        !(isGenerationField(name) && JSON.stringify(generationDefaults[name]) === JSON.stringify(value)),
    );
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Reads `generation_config.json` of a checkpoint folder. `overrides` win over the file. */
  static async from_pretrained(directory: string, options: GenerationConfigOptions = {}): Promise<GenerationConfig> {
    const call = 'GenerationConfig.from_pretrained()';
    if (typeof directory !== 'string') fail(`${call} takes the path of a folder, not ${shownValue(directory)}`);
    checkOptions(call, options, [...generationFields, 'config_file_name'], unservedOptions);
    const { config_file_name = 'generation_config.json', ...overrides } = options;
    const { readFile } = await nodeFiles();
    const path = `${directory}/${config_file_name}`;
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (cause) {
      throw new ModelcError('checkpoint', `cannot read ${path}; pass a folder that holds a generation config`, {
        cause,
      });
    }
    return GenerationConfig.parse(text, path, overrides);
  }

  /** A config from the text of a JSON file; `path` is for messages. */
  static parse(text: string, path: string, overrides: GenerationParameters = {}): GenerationConfig {
    const json = parseJson(text, path, 'parse');
    if (!isObject(json)) throw new ModelcError('parse', `${path} must hold a JSON object; fix or delete the file`);
    return GenerationConfig.fromFile(json, path, overrides);
  }

  /** A config from what a file holds. Entries that are no generation options are kept; overrides must be. */
  static fromFile(
    json: Readonly<Record<string, unknown>>,
    file: string,
    overrides: GenerationParameters = {},
  ): GenerationConfig {
    const isField = ([name, value]: [string, unknown]): boolean =>
      isGenerationField(name) && !isUnknownHint(name, value);
    const entries = Object.entries(json).filter(([name]) => !aboutFile.includes(name));
    const extra = Object.fromEntries(entries.filter((entry) => !isField(entry)));
    let config: GenerationConfig;
    try {
      config = new GenerationConfig(Object.fromEntries(entries.filter(isField)), { file, extra });
    } catch (cause) {
      if (!(cause instanceof ModelcError)) throw cause;
      throw new ModelcError('checkpoint', `${file}: ${cause.message}`, { cause });
    }
    Object.assign(config, new GenerationConfig(overrides));
    validateParameters(config);
    return config;
  }

  /** The generation fields of a config.json: what a checkpoint without generation_config.json says. */
  static from_model_config(config: Readonly<Record<string, unknown>>, file = 'config.json'): GenerationConfig {
    const entries = Object.entries(config).filter(([name, value]) => isGenerationField(name) && value !== null);
    // The word of old files for a first token that is forced.
    const forced = config.force_bos_token_to_be_generated === true ? { forced_bos_token_id: config.bos_token_id } : {};
    return GenerationConfig.fromFile({ ...Object.fromEntries(entries), ...forced }, file);
  }

  /** Writes the differences from the defaults. Throws instead of writing a config that would warn. */
  async save_pretrained(
    directory: string,
    { config_file_name = 'generation_config.json' }: { config_file_name?: string } = {},
  ): Promise<void> {
    this.validate({ strict: true });
    await writeInto(directory, (partial) => writeJson(`${partial}/${config_file_name}`, this.to_diff_dict()));
  }
}
