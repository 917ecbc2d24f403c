// What files of data say, read as Python's libraries read it: missing values and types of CSV as in pandas, Python's JSON,
// integers that no number holds, options of load_dataset. Right values come from pandas 3.0 and json.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { parquetWriteFile } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DataLoader, Dataset, type FileFormat, load_dataset, ModelcError, text_blocks } from '../../runtime/index.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'modelc-files-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
async function rows(
  format: FileFormat,
  content: string | Uint8Array,
  options: object = {},
  ending = '',
): Promise<object[]> {
  const path = join(folder, `${files++}.${format}${ending}`);
  writeFileSync(path, content);
  const call = { data_files: path, split: 'train', ...options };
  const whole = (await load_dataset(format, call)).to_list();
  const streamed: object[] = [];
  for await (const row of await load_dataset(format, { ...call, streaming: true })) streamed.push(row);
  expect(streamed).toEqual(whole);
  return whole;
}
async function failure(work: Promise<unknown>): Promise<ModelcError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof ModelcError) return error;
    throw error;
  }
  throw new Error('nothing is thrown');
}

describe('CSV as pandas reads it', () => {
  const one = async (text: string, options?: object): Promise<unknown[]> =>
    (await rows('csv', `a\n${text}\n`, options)).map((row) => (row as { a: unknown }).a);

  test.each([
    ['1\nNA\n3', [1, null, 3]],
    ['NULL\n<NA>\n#N/A\nn/a\nN/A\nnan\n-nan\n#N/A N/A\n1.#IND', Array(9).fill(null)],
    ['none\nNone\n1', ['none', null, '1']],
    ['True\nNA\nfalse', [true, null, false]],
    ['TRUE\ntRue', [true, true]],
    ['True\n1', ['True', '1']],
    ['007\n 1\n2 \n+3\n-0', [7, 1, 2, 3, 0]],
    ['1e3\n1.\n.5\n1E2', [1000, 1, 0.5, 100]],
    ['inf\n-Infinity\n+iNf', [Infinity, -Infinity, Infinity]],
    [' inf', [' inf']],
    ['0x10', ['0x10']],
    ['1_000', ['1_000']],
    ['x\n1.0', ['x', '1.0']],
    ['1\n\n  \n2', [1, 2]],
    ['9007199254740993\n1\n-9223372036854775808', [9007199254740993n, 1, -9223372036854775808n]],
    ['"NA"\n"x"', [null, 'x']],
  ])('%j', async (text, right) => {
    expect(await one(text)).toEqual(right);
  });

  test('short rows are filled, names are made, separators are told', async () => {
    expect(await rows('csv', 'a,b\n1\n2,3\n')).toEqual([
      { a: 1, b: null },
      { a: 2, b: 3 },
    ]);
    expect(await rows('csv', ',b\n1,2\n')).toEqual([{ 'Unnamed: 0': 1, b: 2 }]);
    expect(await rows('csv', 'a;b\n1;x\n', { sep: ';' })).toEqual([{ a: 1, b: 'x' }]);
    expect(await rows('csv', 'a\tb\r\n1\tx\r\n', { delimiter: '\t' })).toEqual([{ a: 1, b: 'x' }]);
    expect(await rows('csv', '1,2\n', { header: null })).toEqual([{ 0: 1, 1: 2 }]);
    expect(await rows('csv', '1,2\n', { names: ['x', 'y'] })).toEqual([{ x: 1, y: 2 }]);
    expect(await rows('csv', 'a,b\n1,2\n', { names: ['x', 'y'], header: 0 })).toEqual([{ x: 1, y: 2 }]);
    expect(await rows('csv', '# x\n# y\na\n1\n', { skiprows: 2 })).toEqual([{ a: 1 }]);
    expect(await rows('csv', "a\n'it\\'s, x'\n", { quotechar: "'", escapechar: '\\' })).toEqual([{ a: "it's, x" }]);
    expect(await rows('csv', 'a,b\n-,NA\n?,x\n', { na_values: ['-'], keep_default_na: false })).toEqual([
      { a: null, b: 'NA' },
      { a: '?', b: 'x' },
    ]);
  });

  test('wrong values of options', async () => {
    for (const options of [
      { sep: '' },
      { sep: '\\s+' },
      { sep: ';', delimiter: ',' },
      { quotechar: ',' },
      { names: 'a' },
      { names: ['a', 'a'] },
      { header: 3 },
      { skiprows: -1 },
      { na_values: 5 },
      { column_types: { a: 'int' } },
    ]) {
      expect((await failure(rows('csv', 'a\n1\n', options))).code, JSON.stringify(options)).toBe('input');
    }
  });
});

describe('JSON of Python', () => {
  test('NaN, Infinity and big integers', async () => {
    const line =
      '{"a": NaN, "b": -Infinity, "c": [12345678901234567890, 1e20, 1.0], "d": "NaN 12345678901234567890", "e": 9007199254740991}\n';
    const right = {
      a: Number.NaN,
      b: -Infinity,
      c: [12345678901234567890n, 1e20, 1],
      d: 'NaN 12345678901234567890',
      e: 9007199254740991,
    };
    expect(await rows('json', line)).toEqual([right]);
    expect(await rows('json', `[${line}]`)).toEqual([right]);
    expect(await rows('json', `{"rows": [${line}]}`, { field: 'rows' })).toEqual([right]);
  });

  test('marks, line ends, blank lines, compression', async () => {
    const right = [{ a: 1 }, { a: 2 }];
    expect(await rows('json', '\ufeff{"a": 1}\r\n\r\n{"a": 2}')).toEqual(right);
    expect(await rows('json', gzipSync('{"a": 1}\n{"a": 2}\n'), {}, '.gz')).toEqual(right);
    expect(await rows('json', '{"a": 1, "a": 2}')).toEqual([{ a: 2 }]);
  });

  test('errors tell the place', async () => {
    expect((await failure(rows('json', '{"a": NaN}\n{"a": tru}\n'))).message).toMatch(/line 2 column 10 is not JSON/);
    expect((await failure(rows('json', `{"a": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`))).code).toBe('parse');
    expect((await failure(rows('json', new Uint8Array([0xff, 0xfe, 0x7b, 0])))).message).toContain('not UTF-8');
    expect((await failure(rows('text', gzipSync('abc').subarray(0, 12), {}, '.gz'))).code).toBe('input');
  });
});

describe('files', () => {
  test('a folder and a pipe are no files', async () => {
    const path = join(folder, 'a-folder');
    mkdirSync(path);
    const formats: FileFormat[] = ['json', 'csv', 'text', 'parquet'];
    for (const format of formats) {
      expect((await failure(load_dataset(format, { data_files: path }))).message).toContain('it is a folder');
    }
    if (process.platform === 'win32') return;
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    for (const format of formats) {
      expect((await failure(load_dataset(format, { data_files: pipe }))).message).toContain('it is no regular file');
    }
  });

  test('options are served, or refused by name', async () => {
    const call = (format: FileFormat, options: object): Promise<ModelcError> =>
      failure(load_dataset(format, { data_files: 'x', ...options } as { data_files: string }));
    expect((await call('json', { bogus: 1 })).message).toContain('`bogus`');
    expect((await call('csv', { quote_char: ';' })).message).toContain('did you mean `quotechar`');
    expect((await call('csv', { usecols: ['a'] })).code).toBe('unsupported');
    expect((await call('text', { keep_linebreaks: true })).code).toBe('unsupported');
    expect((await call('json', { streaming: 'yes' })).message).toContain('streaming must be true or false');
    expect((await call('json', { split: 5 })).message).toContain('split must be a text');
    expect((await call('json', { split: 'train[:200%]' })).message).toContain('at most 100');
    expect((await call('parquet', { columns: 'a' })).message).toContain('columns must be an array');
    expect((await call('text', { sample_by: 'word' })).code).toBe('input');
    for (const data_files of [5, {}, [], [5], { train: 5 }, null]) {
      expect((await call('json', { data_files })).code, JSON.stringify(data_files)).toBe('input');
    }
    expect((await failure(load_dataset('json', undefined as unknown as { data_files: string }))).code).toBe('input');
  });
});

test('options of datasets, loaders and blocks are served, or refused by name', () => {
  const data = Dataset.from_list([{ text: 'a' }, { text: 'b' }]);
  const calls: [() => unknown, RegExp][] = [
    [() => data.map((row) => row, { remove_colums: ['text'] } as object), /did you mean `remove_columns`/],
    [() => data.map((row) => row, { num_proc: 4 } as object), /map\(\) does not serve the option `num_proc`/],
    [() => data.map((row) => row, { batched: 'yes' } as object), /batched must be true or false/],
    [() => data.map(undefined as unknown as () => object), /needs a function/],
    [() => data.filter(undefined as unknown as () => boolean), /filter\(\) needs a function/],
    [() => data.filter(() => true, { num_proc: 4 } as object), /filter\(\) does not serve the option `num_proc`/],
    [() => data.to_iterable_dataset().filter(() => true, { bogus: 4 } as object), /it takes none/],
    [() => data.shuffle({ sed: 1 } as object), /did you mean `seed`/],
    [() => data.shuffle({ seed: 0.5 }), /seed/],
    [() => data.train_test_split({ testsize: 1 } as object), /did you mean `test_size`/],
    [() => data.train_test_split({ stratify_by_column: 'text' } as object), /does not serve/],
    [() => data.batch({ batch_size: 1, drop_last: true } as { batch_size: number }), /`drop_last`/],
    [() => data.to_iterable_dataset().shuffle({ buffersize: 5 } as object), /did you mean `buffer_size`/],
    [() => data.to_iterable_dataset().map((row) => row, { batch_sise: 1 } as object), /did you mean `batch_size`/],
    [
      () => new DataLoader({ dataset: data, batch_size: 1, shuffle: true } as never),
      /does not serve the option `shuffle`/,
    ],
    [() => new DataLoader({ dataset: data, batch_size: 1 } as never), /needs a collate_fn/],
    [() => text_blocks(data, { block_size: 2 } as never), /needs a `tokenizer`/],
    [() => text_blocks(data, { blocksize: 2 } as never), /did you mean `block_size`/],
  ];
  for (const [call, message] of calls) {
    expect(call).toThrow(message);
    expect(call).toThrow(ModelcError);
  }
  expect(data.map(() => ({ n: 1 }), { remove_columns: 'text' } as never).to_list()).toEqual([{ n: 1 }, { n: 1 }]);
});

describe('Parquet', () => {
  const seed = (): Buffer => {
    const filename = join(folder, 'seed.parquet');
    parquetWriteFile({
      filename,
      columnData: [
        { name: 'text', data: ['a', 'bcd', '', null, 'a'], type: 'STRING' },
        { name: 'n', data: [1n, 2n ** 60n, -(2n ** 53n), 3n, 4n], type: 'INT64' },
        { name: 'nested', data: [{ a: [1] }, null, { b: 'x' }, {}, { a: [] }] },
      ],
    });
    return readFileSync(filename);
  };

  test('integers are exact', async () => {
    expect((await rows('parquet', seed())).map((row) => (row as { n: unknown }).n)).toEqual([
      1,
      2n ** 60n,
      -(2n ** 53n),
      3,
      4,
    ]);
  });

  test('damaged files give rows or one error, while the event loop runs', async () => {
    const file = seed();
    let turns = 0;
    const clock = setInterval(() => turns++, 5);
    for (let i = 0; i < 40; i++) {
      const damaged = Buffer.from(file);
      damaged[(i * 7919) % file.length] ^= 1 << (i % 8);
      damaged[(i * 104_729) % file.length] = 0xff;
      const path = join(folder, 'damaged.parquet');
      writeFileSync(path, damaged);
      await load_dataset('parquet', { data_files: path }).catch((error: unknown) => {
        expect(error).toBeInstanceOf(ModelcError);
        expect((error as ModelcError).message).toContain('damaged.parquet');
      });
    }
    clearInterval(clock);
    expect(turns).toBeGreaterThan(10);
  }, 60_000);
});

const hostile = join(import.meta.dirname, '../../../shared/data/hostile/parquet-252.parquet');
test.skipIf(!existsSync(hostile))('a file that never ends to be decoded is refused', async () => {
  expect((await failure(load_dataset('parquet', { data_files: hostile }))).message).toMatch(
    /parquet-252.*(damaged|cannot be read)/,
  );
});

const material = join(import.meta.dirname, '../../../shared/data/field/options-without-effect');
describe.skipIf(!existsSync(material))('material', () => {
  test('a file with semicolons', async () => {
    const data = await load_dataset('csv', { data_files: join(material, 'semicolon.csv'), split: 'train', sep: ';' });
    expect(data.length).toBe(2);
    expect(data.column_names).toEqual(['text', 'label']);
  });
});
