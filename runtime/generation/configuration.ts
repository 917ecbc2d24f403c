// GenerationConfig: a set of generation parameters, unset until somebody sets them, and its JSON file. Defaults enter only
// when a call is resolved (resolve.ts), so that a checkpoint's own values and a call's can be told from defaults.
import { ModelcError } from '../../ir/error.ts';
import { nodeFiles } from '../../backends/node-modules.ts';
import {
  fail,
  type GenerationParameters,
  generationDefaults,
  generationFields,
  isGenerationField,
  validateParameters,
} from './parameters.ts';
import { writeInto, writeJson } from '../write-folder.ts';
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

// The constructor assigns the fields it is given, so the interface describes them.
export interface GenerationConfigFields extends GenerationParameters {}
class GenerationConfigBase {}
const Fields = GenerationConfigBase as new () => GenerationConfigFields;

/**
 * Parameters of generation: names, defaults and files are those of transformers' class.
 *
 *     const config = new GenerationConfig({ max_new_tokens: 50, do_sample: true, top_p: 0.9 })
 *     await model.generate({ ...inputs, generation_config: config })
 */
export class GenerationConfig extends Fields {
  /** Entries of a file that are no generation option; written back as they came. */
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(values: GenerationParameters & Readonly<Record<string, unknown>> = {}) {
    super();
    const extra: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(values)) {
      if (callArguments.includes(name)) {
        fail(`\`${name}\` is an argument of generate(), not a field of GenerationConfig; pass it to the call`);
      }
      if (name === 'transformers_version' || name === '_from_model_config') continue;
      if (isGenerationField(name)) Object.assign(this, { [name]: value });
      else extra[name] = value;
    }
    this.extra = extra;
    validateParameters(this);
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
  static async from_pretrained(
    directory: string,
    {
      config_file_name = 'generation_config.json',
      ...overrides
    }: GenerationParameters & { config_file_name?: string } = {},
  ): Promise<GenerationConfig> {
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
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (cause) {
      throw new ModelcError('parse', `${path} is not valid JSON; fix or delete the file`, { cause });
    }
    if (typeof json !== 'object' || json === null || Array.isArray(json)) {
      throw new ModelcError('parse', `${path} must hold a JSON object; fix or delete the file`);
    }
    try {
      return new GenerationConfig({ ...json, ...overrides });
    } catch (cause) {
      if (!(cause instanceof ModelcError)) throw cause;
      throw new ModelcError('checkpoint', `${path}: ${cause.message}`, { cause });
    }
  }

  /** The generation fields of a config.json: what a checkpoint without generation_config.json says. */
  static from_model_config(config: Readonly<Record<string, unknown>>): GenerationConfig {
    const entries = Object.entries(config).filter(([name, value]) => isGenerationField(name) && value !== null);
    return new GenerationConfig(Object.fromEntries(entries));
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
