// What interrupted writes leave: the next one puts back what was there and removes the rest, and others' work stays.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { removeFolder, restoreFolder, tidyFolder, writeFolder, writeInto } from '../../runtime/hub/write-folder.ts';
import { GenerationConfig } from '../../runtime/index.ts';

const scratch = mkdtempSync(join(tmpdir(), 'modelc-folder-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let place = '';
beforeEach(() => {
  place = mkdtempSync(join(scratch, 'case-'));
});

const host = hostname().replace(/\W/g, '').slice(0, 16);
/** The number of a process that has ended. */
const gone = (): number => spawnSync(process.execPath, ['-e', '']).pid;
/** Leaves a folder with one file as a process that worked on `name` would. */
function leave(name: string, kind: string, { pid = gone(), on = host, text = 'old' } = {}): string {
  const left = `.${name}.${on}-${pid}-0.${kind}`;
  mkdirSync(join(place, left));
  writeFileSync(join(place, left, 'file'), text);
  return left;
}
const fill =
  (text: string) =>
  async (partial: string): Promise<void> =>
    writeFileSync(join(partial, 'file'), text);
const textOf = (name: string): string => readFileSync(join(place, name, 'file'), 'utf8');

describe('after a kill', () => {
  test('between the renames, the old folder comes back', async () => {
    leave('model', 'replaced');
    leave('model', 'partial', { text: 'half' });
    await restoreFolder(join(place, 'model'));
    expect(readdirSync(place)).toEqual(['model']);
    expect(textOf('model')).toBe('old');
  });

  test('the next write of the same folder removes all of it', async () => {
    for (const kind of ['partial', 'replaced', 'removed']) leave('model', kind);
    await writeFolder(join(place, 'model'), fill('new'));
    expect(readdirSync(place)).toEqual(['model']);
    expect(textOf('model')).toBe('new');
  });

  test('a folder that was being removed does not come back', async () => {
    leave('checkpoint-1', 'removed');
    await tidyFolder(place);
    expect(readdirSync(place)).toEqual([]);
  });

  test('what a process of this or another machine works on stays, and so does what belongs to another folder', async () => {
    const names = [
      leave('model', 'partial', { pid: process.ppid }),
      leave('model', 'partial', { on: 'elsewhere' }),
      leave('other', 'partial'),
    ];
    await writeFolder(join(place, 'model'), fill('new'));
    expect(readdirSync(place).sort()).toEqual([...names, 'model'].sort());
  });
});

test('a write that fails leaves what was there, and its error is the one that was thrown', async () => {
  await writeFolder(join(place, 'model'), fill('old'));
  const failure = new TypeError('a bug');
  const fails = async (partial: string): Promise<void> => {
    await fill('new')(partial);
    throw failure;
  };
  await expect(writeFolder(join(place, 'model'), fails)).rejects.toBe(failure);
  await expect(writeInto(join(place, 'model'), fails)).rejects.toBe(failure);
  await expect(writeInto(join(place, 'none'), fails)).rejects.toBe(failure);
  expect(readdirSync(place)).toEqual(['model']);
  expect(readdirSync(join(place, 'model'))).toEqual(['file']);
  expect(textOf('model')).toBe('old');
});

test('two writers of one folder leave one whole folder', async () => {
  const folder = join(place, 'model');
  await Promise.allSettled(Array.from({ length: 6 }, (_, i) => writeFolder(folder, fill(String(i)))));
  expect(readdirSync(place)).toEqual(['model']);
  expect(textOf('model')).toMatch(/^\d$/);
});

test('what a link names is replaced, and names of any kind are served', async () => {
  mkdirSync(join(place, 'there'));
  symlinkSync('there', join(place, 'link'));
  await writeFolder(join(place, 'link'), fill('new'));
  expect(textOf('there')).toBe('new');
  for (const name of ['-o', 'a b', `it's "so"`, 'Füße', 'two\nlines', '.hidden']) {
    await writeFolder(join(place, name), fill('old'));
    await writeFolder(join(place, name), fill('new'));
    expect(textOf(name)).toBe('new');
    await removeFolder(join(place, name));
    expect(existsSync(join(place, name))).toBe(false);
  }
  expect(readdirSync(place).sort()).toEqual(['link', 'there']);
});

test('a place that cannot be written to is said', async () => {
  writeFileSync(join(place, 'file'), '');
  const refused = { code: 'input', message: expect.stringMatching(/model cannot be written: .*; choose another/) };
  await expect(
    writeFolder(join(place, 'file', 'model'), fill('new'), { wayOut: 'choose another' }),
  ).rejects.toMatchObject(refused);
  await expect(new GenerationConfig({}).save_pretrained(join(place, 'file', 'model'))).rejects.toMatchObject({
    code: 'input',
    message: expect.stringMatching(/model cannot be written: /),
  });
});
