// The config of `modelc train`, a YAML or JSON file: which model is trained on which texts, and how. Every key is checked
// when the file is read; names of files in it are relative to its folder.
import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, extname, resolve } from 'node:path';
import { LineCounter, parseDocument, type YAMLError } from 'yaml';
import { maxDepth, reason } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import type { FileFormat } from '../data/index.ts';

type JsonObject = Readonly<Record<string, unknown>>;

export interface TrainConfig {
  /** A checkpoint folder, or what config.json says of a model to start anew. */
  readonly model: string | JsonObject;
  /** A folder with a tokenizer, or what a new one is trained with. */
  readonly tokenizer: string | { readonly vocab_size: number };
  readonly data: DataConfig;
  /** Of TrainingArguments, which checks them. */
  readonly training: JsonObject;
  /** Of LoraConfig, which checks them. */
  readonly lora: JsonObject | undefined;
}

export interface DataConfig {
  readonly format: FileFormat;
  readonly train: readonly string[];
  readonly eval: readonly string[];
  /** The part of the training texts that is kept for evaluation where `eval` names no files; 0: none. */
  readonly eval_part: number;
  readonly text_column: string;
  readonly block_size: number;
  /** What a row of a text file is. */
  readonly sample_by: 'line' | 'paragraph' | 'document';
}

/** Reads a config. Throws ModelcError 'parse' with line and column, or 'input' with the key. */
export function readTrainConfig(path: string): TrainConfig {
  const fail = (what: string): never => {
    throw new ModelcError('input', `${path}: ${what}`);
  };
  const root = object(parse(path), 'the config', fail);
  onlyKeys(root, ['model', 'tokenizer', 'data', 'training', 'lora'], 'the config', fail);
  const at = (name: string): string => resolve(dirname(path), name);
  const { model, lora } = root;
  if (!isObject(model) && (typeof model !== 'string' || model === '')) {
    return fail('model must name a checkpoint folder, or hold the config of a new model');
  }
  const folder = typeof model === 'string' ? at(model) : model;
  const training = object(root.training ?? {}, 'training', fail);
  const output = training.output_dir;
  if (typeof output !== 'string')
    return fail('training needs output_dir, the folder that the trained model is saved to');
  return {
    model: folder,
    tokenizer: tokenizerOf(root.tokenizer, folder, at, fail),
    data: dataOf(object(root.data, 'data', fail), at, fail),
    training: { ...training, output_dir: at(output) },
    lora: lora === undefined || lora === null ? undefined : object(lora, 'lora', fail),
  };
}

type Fail = (what: string) => never;

/** Bytes of a config at most: the parser's time may grow with the square of them. */
const limit = 2 ** 16;

function parse(path: string): unknown {
  const text = readText(path);
  if (isDeepYaml(text)) throw new ModelcError('parse', `${path} is nested more than ${maxDepth} levels deep`);
  const lines = new LineCounter();
  let problem: YAMLError | undefined;
  try {
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true });
    [problem] = [...document.errors, ...document.warnings]; // a warning: a tag that means nothing here
    if (!problem) return document.toJS();
  } catch (cause) {
    // aliases without an anchor, or of so many others that they would not end
    throw new ModelcError('parse', `${path} cannot be read: ${reason(cause)}`, { cause });
  }
  const { line, col } = lines.linePos(problem.pos[0]);
  throw new ModelcError('parse', `${path} line ${line} column ${col}: ${problem.message}`);
}

function readText(path: string): string {
  let size: number;
  try {
    const info = statSync(path);
    if (!info.isFile()) throw new Error('it is no file');
    size = info.size;
    if (size <= limit) return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new ModelcError('input', `${path} cannot be read; name a YAML or JSON file (modelc train --help shows one)`, {
      cause,
    });
  }
  throw new ModelcError('input', `${path} has ${size} bytes; a config has at most ${limit}`);
}

/** Whether a text may go deeper than configs do: by brackets, or by columns before a line's first word. The parser recurses. */
function isDeepYaml(text: string): boolean {
  let depth = 0;
  for (const [part] of text.matchAll(/[[{\]}]|^[ \t?:-]+/gm)) {
    if (part === '[' || part === '{') depth++;
    else if (part === ']' || part === '}') depth = Math.max(0, depth - 1);
    if (depth > maxDepth || part.length > 2 * maxDepth) return true;
  }
  return false;
}

function tokenizerOf(
  value: unknown,
  model: string | JsonObject,
  at: (name: string) => string,
  fail: Fail,
): TrainConfig['tokenizer'] {
  if (typeof value === 'string') return at(value);
  if (isObject(value)) {
    onlyKeys(value, ['vocab_size'], 'tokenizer', fail);
    if (typeof model === 'string')
      fail('a checkpoint has its own tokenizer; leave tokenizer out, or start a new model');
    const { vocab_size } = value;
    if (typeof vocab_size === 'number') return { vocab_size };
  } else if (value === undefined && typeof model === 'string') return model;
  return fail('tokenizer must name a folder with tokenizer.json, or hold a vocab_size to train one with');
}

const formats: Readonly<Record<string, FileFormat>> = {
  '.json': 'json',
  '.jsonl': 'json',
  '.ndjson': 'json',
  '.csv': 'csv',
  '.txt': 'text',
  '.text': 'text',
  '.parquet': 'parquet',
};

function dataOf(data: JsonObject, at: (name: string) => string, fail: Fail): DataConfig {
  const known = ['train', 'eval', 'eval_part', 'format', 'text_column', 'block_size', 'sample_by'];
  onlyKeys(data, known, 'data', fail);
  const files = (key: string): string[] => {
    const list = data[key] === undefined ? [] : [data[key]].flat();
    return list.map((name) => (typeof name === 'string' ? at(name) : fail(`data.${key} must name files`)));
  };
  const train = files('train');
  if (train.length === 0) fail('data needs train, the files with the texts');
  const name = basename(train[0]).replace(/\.gz$/, '');
  const format = data.format ?? formats[extname(name)];
  if (!Object.values(formats).some((f) => f === format)) {
    fail(
      `data.format must be json, csv, text or parquet${data.format === undefined ? `, which ${name} does not tell` : ''}`,
    );
  }
  const { eval_part = 0, block_size = 256, text_column = 'text', sample_by = 'document' } = data;
  if (typeof eval_part !== 'number' || !(eval_part >= 0 && eval_part < 1))
    fail('data.eval_part must be from 0 to below 1');
  if (!Number.isInteger(block_size) || (block_size as number) < 2)
    fail('data.block_size must be an integer of at least 2');
  if (typeof text_column !== 'string') fail('data.text_column must be the name of a column');
  if (sample_by !== 'line' && sample_by !== 'paragraph' && sample_by !== 'document') {
    return fail('data.sample_by must be line, paragraph or document');
  }
  const held = files('eval');
  if (held.length > 0 && (eval_part as number) > 0) fail('data takes eval or eval_part, not both');
  return {
    format: format as FileFormat,
    train,
    eval: held,
    eval_part: eval_part as number,
    text_column: text_column as string,
    block_size: block_size as number,
    sample_by,
  };
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function object(value: unknown, name: string, fail: Fail): JsonObject {
  return isObject(value) ? value : fail(`${name} must hold keys and values`);
}

function onlyKeys(value: JsonObject, known: readonly string[], name: string, fail: Fail): void {
  const other = Object.keys(value).find((key) => !known.includes(key));
  if (other !== undefined) fail(`${name} has no key "${other}"; it takes ${known.join(', ')}`);
}
