// Datasets: the methods that users of Hugging Face's datasets know, files of every format, and errors that say where.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { parquetWriteFile } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Generator } from '../../runtime/data/generator.ts';
import {
  AutoTokenizer,
  concatenate_datasets,
  Dataset,
  IterableDataset,
  load_dataset,
  ModelcError,
  map_in_workers,
  type WorkerTask,
} from '../../runtime/index.ts';
import { example } from '../support/command.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'modelc-dataset-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}
async function all<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const row of rows) list.push(row);
  return list;
}
async function rejection(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(ModelcError);
  return (error as ModelcError).message;
}

const numbers = (n: number): Dataset<{ n: number }> =>
  Dataset.from_list(Array.from({ length: n }, (_, i) => ({ n: i })));

describe('the generator is that of torch on CPUs', () => {
  test('randperm', () => {
    expect(new Generator(42).randperm(22)).toEqual([
      6, 3, 18, 17, 4, 11, 2, 21, 8, 16, 20, 7, 12, 13, 5, 1, 14, 15, 9, 10, 0, 19,
    ]);
    const generator = new Generator(7);
    expect(generator.randperm(5)).toEqual([0, 1, 3, 2, 4]);
    expect(generator.randperm(6)).toEqual([1, 3, 5, 2, 4, 0]);
    expect(new Generator(2 ** 40 + 5).randperm(12)).toEqual([11, 0, 9, 6, 10, 3, 4, 5, 8, 7, 1, 2]);
    expect(new Generator(3).randperm(1500).slice(-8)).toEqual([1027, 433, 1173, 254, 1346, 1198, 103, 987]);
  });
  test('uniform numbers are those of torch.rand in f64', () => {
    const generator = new Generator(42);
    expect(Array.from({ length: 4 }, () => generator.uniform())).toEqual([
      0.05815448596142969, 0.06291016742457756, 0.12358607277440903, 0.05258016436107704,
    ]);
  });
});

describe('Dataset', () => {
  test('rows and columns', () => {
    const data = Dataset.from_dict({ text: ['a', 'b', 'c'], label: [0, 1, 0] });
    expect(data.column_names).toEqual(['text', 'label']);
    expect(data.num_rows).toBe(3);
    expect(data.at(-1)).toEqual({ text: 'c', label: 0 });
    expect(data.column('label')).toEqual([0, 1, 0]);
    expect(data.remove_columns('label').to_list()).toEqual([{ text: 'a' }, { text: 'b' }, { text: 'c' }]);
    expect(data.rename_column('label', 'labels').column_names).toEqual(['text', 'labels']);
    expect(data.select_columns('label').to_dict()).toEqual({ label: [0, 1, 0] });
    expect(concatenate_datasets([data, data]).length).toBe(6);
  });
  test('map adds columns, alone and in batches, which may change the number of rows', () => {
    const data = Dataset.from_dict({ text: ['a b', 'c'] });
    expect(data.map(({ text }, i) => ({ words: text.split(' ').length, i })).to_list()).toEqual([
      { text: 'a b', words: 2, i: 0 },
      { text: 'c', words: 1, i: 1 },
    ]);
    const words = data.map(({ text }) => ({ word: text.flatMap((t) => t.split(' ')) }), {
      batched: true,
      remove_columns: ['text'],
    });
    expect(words.to_dict()).toEqual({ word: ['a', 'b', 'c'] });
    expect(() => data.map(({ text }) => ({ word: text.flatMap((t) => t.split(' ')) }), { batched: true })).toThrow(
      'gave 3 rows for 2, but column "text" keeps 2; name it in remove_columns',
    );
  });
  test('filter, select, shuffle and batch', () => {
    const data = numbers(10);
    expect(data.filter(({ n }) => n % 3 === 0).column('n')).toEqual([0, 3, 6, 9]);
    expect(data.select([4, -1]).column('n')).toEqual([4, 9]);
    const shuffled = data.shuffle({ seed: 1 }).column('n');
    expect(shuffled).toEqual(data.shuffle({ seed: 1 }).column('n'));
    expect(shuffled).not.toEqual(data.shuffle({ seed: 2 }).column('n'));
    expect([...shuffled].sort((a, b) => a - b)).toEqual(data.column('n'));
    expect(data.batch({ batch_size: 4 }).column('n')).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9],
    ]);
    expect(data.batch({ batch_size: 4, drop_last_batch: true }).length).toBe(2);
  });
  test('train_test_split parts all rows', () => {
    const { train, test: rest } = numbers(10).train_test_split({ test_size: 0.25, seed: 5 });
    expect([train.length, rest.length]).toEqual([7, 3]);
    expect([...train.column('n'), ...rest.column('n')].sort((a, b) => a - b)).toEqual(numbers(10).column('n'));
    expect(numbers(4).train_test_split({ test_size: 1, shuffle: false }).test.column('n')).toEqual([3]);
  });
  test('bad arguments are said', () => {
    const data = numbers(3);
    expect(() => data.at(3)).toThrow('there is no example 3: the dataset has 3');
    expect(() => data.remove_columns('m' as 'n')).toThrow('there is no column "m"; there are: n');
    expect(() => Dataset.from_dict({ a: [1], b: [1, 2] })).toThrow('"a" has 1 values and "b" has 2');
    expect(() => Dataset.from_list([{ a: 1 }, null as unknown as { a: number }])).toThrow(
      'example 1 must be an object',
    );
    expect(() => data.map(async () => ({}))).toThrow('must not be async; use dataset.to_iterable_dataset()');
    expect(() => data.train_test_split({ test_size: 3 })).toThrow('number of examples below 3');
  });
});

describe('IterableDataset', () => {
  test('reads only what is used', async () => {
    let made = 0;
    const endless = IterableDataset.from_generator(async function* () {
      for (;;) yield { n: made++ };
    });
    const rows = endless
      .filter(({ n }) => n % 2 === 1)
      .map(async ({ n }) => ({ square: n * n }))
      .skip(1)
      .take(2);
    expect(await all(rows)).toEqual([
      { n: 3, square: 9 },
      { n: 5, square: 25 },
    ]);
    expect(made).toBe(6);
  });
  test('shuffle draws from a buffer, in another order for each epoch', async () => {
    const data = numbers(20).to_iterable_dataset().shuffle({ seed: 3, buffer_size: 5 });
    const pass = async (epoch: number): Promise<number[]> => {
      data.set_epoch(epoch);
      return (await all(data)).map(({ n }) => n);
    };
    const first = await pass(0);
    expect(first).toEqual(await pass(0));
    expect(first).not.toEqual(await pass(1));
    expect([...first].sort((a, b) => a - b)).toEqual(numbers(20).column('n'));
    for (const [place, n] of first.entries()) expect(n).toBeLessThan(place + 6);
  });
  test('batches, columns and a source that can be read once', async () => {
    const batches = numbers(5).to_iterable_dataset().rename_column('n', 'm').batch({ batch_size: 2 });
    expect(await all(batches)).toEqual([{ m: [0, 1] }, { m: [2, 3] }, { m: [4] }]);
    const once = IterableDataset.from(numbers(2)[Symbol.iterator]() as IterableIterator<{ n: number }>);
    expect((await all(once)).length).toBe(2);
    expect(await rejection(all(once))).toContain('was read already and cannot start again');
  });
});

describe('worker threads', () => {
  const texts = Dataset.from_list(Array.from({ length: 50 }, (_, i) => ({ text: `Once upon ${i}`, i })));
  const options = { num_proc: 2, batch_size: 7 };
  const module = (code: string): URL => pathToFileURL(file(`module-${code.length}.mjs`, code));

  test('tokenize as the tokenizer does here, in order', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(example);
    const mapped = await map_in_workers(texts, { tokenizer: example }, { ...options, remove_columns: ['text'] });
    expect(mapped.column_names).toEqual(['i', 'input_ids', 'attention_mask']);
    expect(mapped.column('i')).toEqual(texts.column('i'));
    expect(mapped.column('input_ids')).toEqual(texts.column('text').map((text) => tokenizer.encode(text)));
  });
  test('run functions of a module, alone and in batches, over streams too', async () => {
    const one = module('export default async ({ i }, index) => ({ double: 2 * i, index });');
    expect((await map_in_workers(texts, { module: one }, options)).at(9)).toEqual({
      text: 'Once upon 9',
      i: 9,
      double: 18,
      index: 9,
    });
    const many = module('export const odd = ({ i }) => ({ i: i.filter((n) => n % 2) });');
    const task = { module: many, name: 'odd', batched: true };
    const stream = map_in_workers(texts.to_iterable_dataset(), task, { ...options, remove_columns: ['text', 'i'] });
    for (let pass = 0; pass < 2; pass++) {
      expect((await all(stream)).map(({ i }) => i)).toEqual(Array.from({ length: 25 }, (_, i) => 2 * i + 1));
    }
    expect((await all(stream.take(1))).length).toBe(1);
  });
  test('failures come back', async () => {
    const fails = (task: WorkerTask) => map_in_workers(texts, task, options).catch((e: Error) => e.message);
    expect(await fails({ module: module('export default () => { throw new Error("row is odd"); }') })).toBe(
      'row is odd',
    );
    expect(await fails({ module: module('export const other = 1;') })).toContain('exports no function "default"');
    expect(await fails({ tokenizer: folder })).toContain('tokenizer.json');
    expect(await fails({ tokenizer: example, column: 'story' })).toContain('there is no column "story"');
    expect(await fails({ module: module('export default () => process.exit(3);') })).toContain('ended with code 3');
  });
});

describe('files', () => {
  test('JSON Lines, an array, and a field', async () => {
    const lines = file('a.jsonl', '{"n": 1, "t": "x"}\r\n\n{"n": 2, "t": "\u00e9"}');
    const data = await load_dataset('json', { data_files: lines, split: 'train' });
    expect(data.to_list()).toEqual([
      { n: 1, t: 'x' },
      { n: 2, t: 'é' },
    ]);
    const array = file('a.json', '[\n{"n": 1},\n{"n": 2}\n]\n');
    expect((await load_dataset('json', { data_files: array })).train.column('n')).toEqual([1, 2]);
    const nested = file('b.json', '{"version": 1, "data": {"n": [3, 4]}}');
    expect((await load_dataset('json', { data_files: nested, field: 'data' })).train.column('n')).toEqual([3, 4]);
    const packed = file('a.jsonl.gz', gzipSync('{"n": 5}\n'));
    expect((await load_dataset('json', { data_files: packed })).train.column('n')).toEqual([5]);
  });
  test('text by line, paragraph and document', async () => {
    const path = file('poem.txt', 'one\ntwo\n\nthree\n');
    const texts = async (sample_by: 'line' | 'paragraph' | 'document'): Promise<unknown[]> =>
      (await load_dataset('text', { data_files: path, split: 'train', sample_by })).column('text');
    expect(await texts('line')).toEqual(['one', 'two', '', 'three']);
    expect(await texts('paragraph')).toEqual(['one\ntwo', 'three']);
    expect(await texts('document')).toEqual(['one\ntwo\n\nthree\n']);
  });
  test('CSV tells types by values', async () => {
    const path = file('a.csv', 'id,text,score,ok\n1,"a, ""b""\nc",0.5,True\n2,,,False\n');
    const data = await load_dataset('csv', { data_files: path, split: 'train' });
    expect(data.to_list()).toEqual([
      { id: 1, text: 'a, "b"\nc', score: 0.5, ok: true },
      { id: 2, text: null, score: null, ok: false },
    ]);
    const tabs = file('a.tsv', '007\tx\n');
    const options = { data_files: tabs, delimiter: '\t', column_names: ['code', 't'] };
    expect((await load_dataset('csv', options)).train.to_list()).toEqual([{ code: 7, t: 'x' }]);
    const typed = await load_dataset('csv', { ...options, column_types: { code: 'text' } });
    expect(typed.train.to_list()).toEqual([{ code: '007', t: 'x' }]);
  });
  test('Parquet, by row groups', async () => {
    const path = join(folder, 'a.parquet');
    const columnData = [
      { name: 'n', data: Array.from({ length: 25 }, (_, i) => BigInt(i)), type: 'INT64' as const },
      { name: 't', data: Array.from({ length: 25 }, (_, i) => `row ${i}`), type: 'STRING' as const },
    ];
    await parquetWriteFile({ filename: path, columnData, rowGroupSize: 10 });
    const data = await load_dataset('parquet', { data_files: path, split: 'train' });
    expect(data.length).toBe(25);
    expect(data.at(24)).toEqual({ n: 24, t: 'row 24' });
    const stream = await load_dataset('parquet', { data_files: path, split: 'train', streaming: true, columns: ['n'] });
    expect(await all(stream.skip(9).take(2))).toEqual([{ n: 9 }, { n: 10 }]);
  });
  test('splits, parts of splits and patterns', async () => {
    file('part-0.txt', 'a\nb\n');
    file('part-1.txt', 'c\nd\n');
    const data_files = { train: join(folder, 'part-?.txt'), test: [join(folder, 'part-0.txt')] };
    const splits = await load_dataset('text', { data_files });
    expect([splits.train.length, splits.test.length]).toEqual([4, 2]);
    const part = (split: string): Promise<unknown[]> =>
      load_dataset('text', { data_files, split }).then((data) => data.column('text'));
    expect(await part('train[:50%]')).toEqual(['a', 'b']);
    expect(await part('train[-1:]')).toEqual(['d']);
    expect(await rejection(part('dev'))).toContain('there is no split "dev"; there are: train, test');
    expect(await rejection(part('train[1]'))).toContain('is no split');
  });
  test('patterns match as in a shell, and a name that a file has is no pattern', async () => {
    for (const name of ['deep/a-1.txt', 'deep/er/a-2.txt', 'deep/er/.a-3.txt', 'deep/b-1.txt', 'deep/a-[9].txt']) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      file(name, `${name}\n`);
    }
    const named = async (pattern: string): Promise<unknown[]> =>
      (await load_dataset('text', { data_files: join(folder, pattern), split: 'train' })).column('text');
    expect(await named('deep/**/a-?.txt')).toEqual(['deep/a-1.txt', 'deep/er/a-2.txt']);
    expect(await named('deep/{a,b}-[0-9].txt')).toEqual(['deep/a-1.txt', 'deep/b-1.txt']);
    expect(await named('deep/a-[9].txt')).toEqual(['deep/a-[9].txt']);
    expect(await rejection(named('deep/c-*.txt'))).toContain('no file matches');
  });
  test('streams read again for each pass', async () => {
    const path = file('stream.jsonl', Array.from({ length: 1000 }, (_, n) => JSON.stringify({ n })).join('\n'));
    const stream = await load_dataset('json', { data_files: path, split: 'train', streaming: true });
    expect((await all(stream.take(3))).length).toBe(3);
    expect((await all(stream)).length).toBe(1000);
  });
  test('errors name the file, the line and the column', async () => {
    const fail = (format: 'json' | 'csv' | 'text' | 'parquet', name: string, content: string | Uint8Array) =>
      rejection(load_dataset(format, { data_files: file(name, content) }));
    expect(await fail('json', 'bad.jsonl', '{"n": 1}\n{"n": }\n')).toMatch(/bad\.jsonl line 2 column 7 is not JSON/);
    expect(await fail('json', 'cut.jsonl', '{"n": 1}\n{"n": 2')).toMatch(/cut\.jsonl line 2 column 8 is not JSON/);
    expect(await fail('json', 'pretty.json', '{\n "a": 1\n}')).toContain('each line must be a whole object');
    expect(await fail('json', 'list.jsonl', '{"n": 1}\n[2]\n')).toContain('line 2 must be an object of columns');
    expect(await fail('csv', 'ragged.csv', 'a,b\n1,2\n3,4,5\n')).toMatch(
      /line 3 has 3 fields, but there are 2 columns: 'a, b'/,
    );
    expect(await fail('csv', 'quote.csv', 'a,b\n1,"2\n')).toMatch(/quote\.csv line \d is not CSV/);
    expect(await fail('csv', 'twice.csv', 'a,a\n1,2\n')).toContain("names two columns 'a'");
    expect(await fail('text', 'latin.txt', Uint8Array.of(97, 10, 0xe9, 10))).toContain('is not UTF-8');
    expect(await fail('parquet', 'no.parquet', 'hello')).toContain('no.parquet is not a Parquet file');
    expect(await fail('json', 'cut.jsonl.gz', gzipSync('{"n": 1}\n').subarray(0, 15))).toContain('cannot be read');
    expect(await rejection(load_dataset('json', { data_files: join(folder, 'none.jsonl') }))).toContain('no such file');
    expect(await rejection(load_dataset('xml' as 'json', { data_files: 'a' }))).toContain('there are: json, csv, text');
    const rows = Array.from({ length: 10_001 }, (_, i) => (i < 10_000 ? `${i}` : 'many')).join('\n');
    const late = file('late.csv', `n\n${rows}\n`);
    const stream = await load_dataset('csv', { data_files: late, split: 'train', streaming: true });
    expect(await rejection(all(stream))).toMatch(/late\.csv line 10002, column 'n': 'many' is no number/);
    expect((await load_dataset('csv', { data_files: late })).train.at(0)).toEqual({ n: '0' });
  });
});
