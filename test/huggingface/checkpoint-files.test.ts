// The files of a checkpoint folder that are not what their names say: folders, pipes, loops of links, empty or cut files, and
// indexes that place tensors nowhere. Each is refused in a sentence that names it; none is waited for.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openCheckpoint, readSafetensors, writeSafetensors } from '../../frontends/huggingface/index.ts';
import { jsonText, parseJson, readJsonIfPresent } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import { AutoModelForCausalLM } from '../../runtime/index.ts';

const root = mkdtempSync(join(tmpdir(), 'modelc-files-'));
afterAll(() => rmSync(root, { recursive: true }));
const folder = (): string => mkdtempSync(join(root, 'f-'));
const index = 'model.safetensors.index.json';

async function refusal(dir: string): Promise<string> {
  const error: unknown = await openCheckpoint(dir).then(
    () => new Error('no error'),
    (e: unknown) => e,
  );
  if (!(error instanceof ModelcError)) throw error;
  return error.message;
}

const one = (name: string) => ({ name, dtype: 'f32', shape: [1], data: new Uint8Array(4) }) as const;

/** A folder with a config and an index; `shards`: the tensors of each. */
async function sharded(weight_map: unknown, shards: Readonly<Record<string, readonly string[]>>): Promise<string> {
  const dir = folder();
  writeFileSync(join(dir, 'config.json'), '{}');
  writeFileSync(join(dir, index), typeof weight_map === 'string' ? weight_map : JSON.stringify({ weight_map }));
  for (const [file, names] of Object.entries(shards)) await writeSafetensors(join(dir, file), names.map(one));
  return dir;
}

describe('what is no file', () => {
  const places: readonly (readonly [string, (path: string) => void])[] = [
    ['a folder', (path) => mkdirSync(path)],
    ['a pipe', (path) => void execFileSync('mkfifo', [path])],
    ['a loop of links', (path) => symlinkSync(path, path)],
    ['a device', (path) => symlinkSync('/dev/zero', path)],
    ['a link to nowhere', (path) => symlinkSync(join(root, 'nowhere'), path)],
  ];
  test.each(places)('%s', async (kind, make) => {
    for (const name of ['config.json', 'generation_config.json', 'model.safetensors', index, 'a.safetensors']) {
      const dir = await sharded({ x: 'a.safetensors' }, name === 'a.safetensors' ? {} : { 'a.safetensors': ['x'] });
      if (name === 'config.json' || name === index) rmSync(join(dir, name));
      make(join(dir, name));
      // A link to nowhere is a file that is not there, which only some must be.
      if (kind === 'a link to nowhere' && ['generation_config.json', 'model.safetensors'].includes(name)) {
        await openCheckpoint(dir);
      } else expect(await refusal(dir), name).toContain(name === index && kind.endsWith('nowhere') ? dir : name);
    }
  });
});

describe('an index', () => {
  test.each([
    [
      'an object',
      { a: { toString: 'a.safetensors' } },
      /keeps tensor 'a' in '\{.*toString.*'; a shard is a \.safetensors/,
    ],
    ['a list', { a: ['a.safetensors'] }, /keeps tensor 'a' in '\[/],
    ['nothing', { a: null }, /keeps tensor 'a' in 'null'/],
    ['another folder', { a: '../a.safetensors' }, /a shard is a \.safetensors file in the same folder/],
    ['a name of prototypes', '{"weight_map":{"__proto__":"a.safetensors"}}', /lacks tensor '__proto__'/],
    ['no shard', { a: 'b.safetensors' }, /b\.safetensors does not exist/],
  ])('that places a tensor in %s', async (_, map, message) => {
    expect(await refusal(await sharded(map, { 'a.safetensors': ['a'] }))).toMatch(message);
  });

  test('tensors that it does not place are read, as transformers reads them', async () => {
    const shards = { 'a.safetensors': ['x', 'y'], 'b.safetensors': ['z'] };
    const dir = await sharded({ x: 'a.safetensors', z: 'b.safetensors' }, shards);
    expect([...(await openCheckpoint(dir)).tensors.keys()].sort()).toEqual(['x', 'y', 'z']);
    const twice = { 'a.safetensors': ['x', 'y'], 'b.safetensors': ['z', 'y'] };
    const unclear = await sharded({ x: 'a.safetensors', z: 'b.safetensors' }, twice);
    expect(await refusal(unclear)).toMatch(/another shard have tensor 'y', and .* does not say which/);
  });

  test('a hundred thousand entries', async () => {
    const map = Object.fromEntries(Array.from({ length: 1e5 }, (_, i) => [`t${i}`, 'a.safetensors']));
    expect(await refusal(await sharded(map, { 'a.safetensors': ['t0'] }))).toMatch(/lacks tensor 't1'/);
  });

  test('one whole file counts before it, and its total size does not count', async () => {
    const dir = await sharded('{"metadata":{"total_size":"x"},"weight_map":{"x":"a.safetensors"}}', {
      'a.safetensors': ['x'],
    });
    expect([...(await openCheckpoint(dir)).tensors.keys()]).toEqual(['x']);
    await writeSafetensors(join(dir, 'model.safetensors'), [one('whole')]);
    expect([...(await openCheckpoint(dir)).tensors.keys()]).toEqual(['whole']);
  });
});

test('a file of weights that is cut anywhere is said to be truncated; tensors may be empty', async () => {
  const path = join(folder(), 'model.safetensors');
  await writeSafetensors(path, [one('a'), { ...one('none'), shape: [0, 3], data: new Uint8Array(0) }]);
  expect((await readSafetensors(path)).tensors.get('none')?.shape).toEqual([0, 3]);
  const bytes = readFileSync(path);
  for (const length of [0, 1, 7, 8, 9, 60, bytes.length - 1]) {
    writeFileSync(path, bytes);
    truncateSync(path, length);
    await expect(readSafetensors(path)).rejects.toThrow(/model\.safetensors.*download the file again/);
  }
});

describe('JSON', () => {
  test('is written as Python wrote it: numbers that JSON lacks, floats that are whole, keys of prototypes', async () => {
    const path = join(folder(), 'config.json');
    const text = `{
  "a": NaN,
  "b": [
    Infinity,
    -Infinity,
    1.0
  ],
  "__proto__": {
    "constructor": 2,
    "x": 3.0
  }
}
`;
    writeFileSync(path, text);
    expect(jsonText((await readJsonIfPresent(path))!)).toBe(text);
  });

  test('that is nested without end, or full of marks, is refused or read at once', async () => {
    const path = join(folder(), 'config.json');
    writeFileSync(path, `{"a":${'['.repeat(1e6)}${'1.0,'.repeat(1e5)}1${']'.repeat(1e6)}}`);
    await expect(readJsonIfPresent(path)).rejects.toThrow(/config\.json is nested more than 200 levels deep/);
    const strings = Array.from({ length: 3000 }, (_, i) => `"${'#'.repeat(i)}"`);
    const read = parseJson(`[${strings.join(',')},NaN]`, 'it', 'parse') as unknown[];
    expect(read.slice(-2)).toEqual(['#'.repeat(2999), Number.NaN]);
  });

  test('values of programs that JSON cannot hold are named, too', async () => {
    for (const vocab_size of [10n, Symbol('x'), () => 1]) {
      await expect(AutoModelForCausalLM.from_config({ model_type: 'llama', vocab_size })).rejects.toThrow(
        /the config: vocab_size must be a positive integer/,
      );
    }
  });
});
