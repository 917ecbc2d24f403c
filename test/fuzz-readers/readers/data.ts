// Data sets: JSON and JSON lines, CSV and text, Parquet.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parquetWriteFile } from 'hyparquet-writer';
import { type FileFormat, load_dataset } from '../../../runtime/index.ts';
import { mutateBytes } from '../bytes.ts';
import { Raw } from '../hostile-values.ts';
import { mutateJson, mutateText } from '../json.ts';
import type { Prepare, Reader } from '../reader.ts';

/** Reads a file whole, and as a stream where that is another way to read it. */
const use =
  (format: FileFormat, file: string, isStreamed = true): Reader['use'] =>
  async (folder) => {
    const data_files = join(folder, file);
    const data = await load_dataset(format, { data_files, split: 'train' });
    for (let i = 0; i < Math.min(3, data.length); i++)
      JSON.stringify(data.at(i), (_, v) => (typeof v === 'bigint' ? `${v}` : v));
    if (!isStreamed) return;
    let rows = 0;
    for await (const _ of await load_dataset(format, { data_files, split: 'train', streaming: true })) {
      if (++rows > 3) break;
    }
  };

const rows = [
  { text: 'a\nb', n: 1, f: 0.5, list: [1, 2], nested: { a: null } },
  { text: 'ümlaut 🙂', n: new Raw('9007199254740993'), f: -0 },
  { text: '', n: null, label: true },
];

export const jsonLines: Prepare = async () => ({
  make(random) {
    if (random.chance(0.2)) return { 'data.json': mutateJson(rows, random) };
    const lines = random.list(random.below(5), () => mutateJson(random.pick(rows), random, rows));
    const text = lines.join(random.pick(['\n', '\n', '\r\n', '\n\n', '']));
    return { 'data.json': random.chance(0.3) ? mutateText(text, random) : text };
  },
  use: use('json', 'data.json'),
});

const csvSeeds = [
  'text,label\n"a, b",1\nc,2\n',
  'a;b\r\n1;"x ""y"""\r\n2;z\r\n',
  'n,f,b\n1,0.5,True\n,NA,False\n-3,1e5,\n',
  '\ufeffid,text\n007,"two\nlines"\n',
];
export const csv: Prepare = async () => ({
  make: (random) => ({ 'data.csv': mutateText(random.pick(csvSeeds), random, csvSeeds) }),
  use: use('csv', 'data.csv'),
});

export const parquet: Prepare = async (folder) => {
  const column = (name: string, data: unknown[], type?: 'STRING' | 'INT64') => ({
    name,
    data,
    ...(type ? { type } : {}),
  });
  const texts = ['a', 'bcd', 'ef', '', 'a'];
  const files = [
    [column('text', texts), column('n', [1, 2, 3, 4, 5])],
    [
      column('text', texts, 'STRING'),
      column('f', [0.5, 1, Number.NaN, -1, 2]),
      column('b', [true, false, null, true, true]),
    ],
    [column('big', [1n, 2n ** 62n, 3n], 'INT64'), column('date', [new Date(0), new Date(1e12), null])],
    [column('json', [{ a: 1 }, { b: [1] }, null])],
    [
      column(
        'many',
        Array.from({ length: 300 }, (_, i) => `v${i % 7}`),
      ),
    ],
  ];
  const seeds = files.flatMap((columnData, i) =>
    (['SNAPPY', 'UNCOMPRESSED'] as const).map((codec) => {
      const filename = join(folder, `${i}-${codec}.parquet`);
      parquetWriteFile({ filename, columnData, codec });
      return readFileSync(filename);
    }),
  );
  return {
    make: (random) => ({ 'data.parquet': mutateBytes(random.pick(seeds), random, seeds) }),
    use: use('parquet', 'data.parquet', false),
  };
};
