// The fuzzer of readers itself: the same seed gives the same inputs, and what is no typed error that names a file fails.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ModelcError } from '../../runtime/index.ts';
import type { Reader } from './reader.ts';
import { csv, parquet } from './readers/data.ts';
import { template } from './readers/texts.ts';
import { filesOf, runFiles } from './run-input.ts';

let scratch = '';
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'modelc-fuzz-readers-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

test('a seed and a number say an input', async () => {
  for (const [name, prepare] of Object.entries({ csv, parquet, template })) {
    const reader = await prepare(scratch);
    const inputs = Array.from({ length: 20 }, (_, i) => filesOf(reader, name, 3, i));
    expect(Array.from({ length: 20 }, (_, i) => filesOf(reader, name, 3, i))).toEqual(inputs);
    expect(new Set(inputs.map((files) => JSON.stringify(files))).size).toBeGreaterThan(10);
    expect(filesOf(reader, name, 4, 0)).not.toEqual(inputs[0]);
  }
});

test('outcomes are told apart', async () => {
  const run = async (use: Reader['use']) =>
    (await runFiles({ make: () => ({}), use }, join(scratch, 'input'), { 'a.json': '{}' })).kind;
  const refuse = (message: string) => async () => {
    throw new ModelcError('parse', message);
  };
  expect(await run(async () => 1)).toBe('accepted');
  expect(await run(refuse('a.json is malformed; download it again'))).toBe('refused');
  expect(await run(refuse('something is malformed'))).toBe('failed');
  expect(await run(async () => Reflect.get(Object(undefined), 'x').y)).toBe('failed');
  expect(
    await run(async () => {
      const start = process.cpuUsage();
      while (process.cpuUsage(start).user < 1.2e6);
    }),
  ).toBe('failed');
});
