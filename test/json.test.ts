// JSON from outside: what is too deep or too long for what reads it is refused, or read, and never ends a process.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseJson, readJsonIfPresent } from '../frontends/huggingface/json.ts';
import { ModelcError } from '../ir/error.ts';

test('arrays and objects that lie deep in each other are refused by the name of the file', () => {
  for (const [open, close] of [
    ['[', ']'],
    ['{"a":', '}'],
  ]) {
    const deep = (n: number): string => open.repeat(n) + (close === '}' ? '1' : '') + close.repeat(n);
    expect(() => parseJson(deep(100_000), 'a.json', 'parse')).toThrow(/^a\.json is nested more than 200 levels deep/);
    expect(() => parseJson(deep(200), 'a.json', 'parse')).not.toThrow();
  }
  expect(parseJson(`{"a": "${'['.repeat(1000)}", "b": "\\"[["}`, 'a.json', 'parse')).toHaveProperty('b', '"[[');
});

test('a string of megabytes beside floats and names of Python is read', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'modelc-json-'));
  try {
    const path = join(folder, 'a.json');
    writeFileSync(path, `{"long": "${'a'.repeat(20e6)}", "one": 1.0, "none": NaN}`);
    expect(await readJsonIfPresent(path)).toMatchObject({ one: 1, none: Number.NaN });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a message of control characters is as short as any other', () => {
  const { message } = new ModelcError('input', `it says ${'\u001b'.repeat(100_000)}; leave it out`);
  expect(message.length).toBeLessThan(700);
  expect(message).toMatch(/^it says \\u001b.*; leave it out$/);
});
