// Hostile files by kind: how what a file holds becomes a folder that a user might open. A file's content says its kind.
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { isObject, type JsonObject } from '../../../frontends/huggingface/json.ts';
import { createTokenizer, train_tokenizer } from '../../index.ts';

/** What a process of its own is to open. */
export interface HostileInput {
  readonly name: string;
  readonly open:
    | { readonly what: 'checkpoint' | 'parquet'; readonly path: string }
    | { readonly what: 'template'; readonly template: string }
    | { readonly what: 'tokenizer'; readonly path: string; readonly text: string };
  /** What the message must name; of each list, one. */
  readonly named: readonly (readonly string[])[];
  /** Whether reading it in time is right, too. */
  readonly mayBeServed?: boolean;
}

const parseOrNothing = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
};

/** What is to be opened of a file; folders are made in `scratch`. */
export async function inputsOf(file: string, scratch: string): Promise<HostileInput[]> {
  const bytes = readFileSync(file);
  if (bytes.toString('latin1', 0, 4) === 'PAR1') {
    return [{ name: 'rows', open: { what: 'parquet', path: file }, named: [[basename(file)]] }];
  }
  const text = bytes.toString('utf8');
  const end = text.indexOf('\n');
  const golden = resolve(dirname(file), '../hf-golden', text.slice(0, Math.max(0, end)));
  if (end > 0 && existsSync(join(golden, 'config.json'))) return [changedConfig(golden, text.slice(end + 1), scratch)];
  const json = parseOrNothing(text);
  if (Array.isArray(json) && json.every((item) => typeof item === 'string')) {
    return json.map((template: string) => ({
      name: template.slice(0, 40),
      open: { what: 'template', template },
      named: [['chat template', 'chat_template']],
    }));
  }
  if (isObject(json) && 'weight_map' in json) return [indexInput(text, scratch)];
  const regexes = [json].flat().filter(isObject);
  return Promise.all(regexes.map((regex, i) => regexInput(regex, join(scratch, String(i)))));
}

/** A checkpoint of `golden` whose config.json is another text. */
function changedConfig(golden: string, config: string, scratch: string): HostileInput {
  for (const name of readdirSync(golden)) {
    if (name !== 'config.json') symlinkSync(join(golden, name), join(scratch, name));
  }
  writeFileSync(join(scratch, 'config.json'), config);
  const before = parseOrNothing(readFileSync(join(golden, 'config.json'), 'utf8'));
  const now = parseOrNothing(config);
  const changed =
    isObject(before) && isObject(now)
      ? Object.keys(now).filter((key) => JSON.stringify(now[key]) !== JSON.stringify(before[key]))
      : [];
  const values = changed.map((key) => JSON.stringify((now as JsonObject)[key]));
  const named = [['config.json'], ...(changed.length > 0 ? [changed, values] : [])];
  return { name: basename(golden), open: { what: 'checkpoint', path: scratch }, named };
}

/** Sizes that no weights have, as fields of the config of a small Llama. */
const sizes = [
  ['num_hidden_layers', 1e6],
  ['num_hidden_layers', 1e8],
  ['head_dim', 1e9],
] as const;

export function sizeInputs(golden: string, scratch: string): HostileInput[] {
  const config = parseOrNothing(readFileSync(join(golden, 'config.json'), 'utf8')) as JsonObject;
  return sizes.map(([field, value]) => {
    const folder = join(scratch, `${field}-${value}`);
    mkdirSync(folder);
    return {
      ...changedConfig(golden, JSON.stringify({ ...config, [field]: value }), folder),
      name: `${field} ${value}`,
    };
  });
}

function indexInput(index: string, scratch: string): HostileInput {
  const name = 'model.safetensors.index.json';
  writeFileSync(join(scratch, name), index);
  writeFileSync(join(scratch, 'config.json'), JSON.stringify({ model_type: 'llama' }));
  return { name: 'shards', open: { what: 'checkpoint', path: scratch }, named: [[name]] };
}

/** A tokenizer some of whose parts are those of `regex`, which encodes its text. */
async function regexInput({ text, ...parts }: JsonObject, folder: string): Promise<HostileInput> {
  const files = train_tokenizer([''], { vocab_size: 300 });
  await createTokenizer({ ...files, tokenizer: { ...files.tokenizer, ...parts } })
    .save_pretrained(folder)
    .catch(() => writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ ...files.tokenizer, ...parts })));
  return {
    name: JSON.stringify(parts).slice(0, 60),
    open: { what: 'tokenizer', path: folder, text: String(text) },
    named: [['tokenizer.json']],
    mayBeServed: true,
  };
}
