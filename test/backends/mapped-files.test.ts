// Weights are read from their files as long as a model is in use: what becomes of the model when a file is cut short or
// written to meanwhile. The process lives, and other models go on.
import { spawnSync } from 'node:child_process';
import {
  cpSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, truncateSync, utimesSync, writeFileSync, writeSync,
} from 'node:fs'; // biome-ignore format: one row
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { buildRuntime } from '../../backends/cpu/build.ts';
import { createCpuDevice } from '../../backends/cpu/device.ts';
import { AutoModelForCausalLM } from '../../runtime/index.ts';
import { example } from '../support/command.ts';

const scratch = mkdtempSync(join(tmpdir(), 'modelc-mapped-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let folder = '';
let weights = '';
beforeEach(() => {
  folder = mkdtempSync(join(scratch, 'model-'));
  cpSync(example, folder, { recursive: true });
  weights = join(folder, 'model.safetensors');
});

const generate = async (model: Awaited<ReturnType<typeof AutoModelForCausalLM.from_pretrained>>): Promise<number[]> => {
  const output = await model.generate({ input_ids: [[1, 5, 9]], max_new_tokens: 8, do_sample: false });
  return Array.from(output.data, Number);
};

/** Puts the file's bytes again in the file that is there. */
const rewrite = (bytes: Buffer): void => writeFileSync(weights, bytes, { flag: 'r+' });
const cases: readonly (readonly [what: string, change: (bytes: Buffer) => void])[] = [
  ['is emptied', () => truncateSync(weights, 0)],
  ['loses its second half', (bytes) => truncateSync(weights, bytes.length >> 1)],
  ['loses its last bytes, in a page that stays', (bytes) => truncateSync(weights, bytes.length - 8)],
  [
    'is written anew in its place',
    (bytes) => {
      truncateSync(weights, 0);
      rewrite(Buffer.from(bytes.map((b, i) => (i > bytes.length >> 1 ? b ^ 1 : b))));
    },
  ],
  ['is changed in one place', (bytes) => void writeSync(openSync(weights, 'r+'), bytes, 0, 64, bytes.length - 200)],
];

describe('a file of weights that', () => {
  test.each(cases)('%s is an error, and another model goes on', async (_, change) => {
    const before = new Date(Date.now() - 60_000);
    utimesSync(weights, before, before);
    const model = await AutoModelForCausalLM.from_pretrained(folder);
    const other = await AutoModelForCausalLM.from_pretrained(example);
    const expected = await generate(other);
    expect(await generate(model)).toEqual(expected);
    const bytes = readFileSync(weights);
    change(bytes);
    for (let i = 0; i < 2; i++) {
      await expect(generate(model)).rejects.toMatchObject({
        code: 'checkpoint',
        message: expect.stringMatching(/model\.safetensors was cut short or written to .* load the model again$/),
      });
    }
    expect(await generate(other)).toEqual(expected);
    model.dispose();
    writeFileSync(weights, bytes);
    const again = await AutoModelForCausalLM.from_pretrained(folder);
    expect(await generate(again)).toEqual(expected);
    again.dispose();
    other.dispose();
  });

  test('another one takes the place of does not matter', async () => {
    const model = await AutoModelForCausalLM.from_pretrained(folder);
    const expected = await generate(model);
    writeFileSync(`${weights}.new`, 'another');
    renameSync(`${weights}.new`, weights);
    expect(await generate(model)).toEqual(expected);
    rmSync(weights);
    expect(await generate(model)).toEqual(expected);
    model.dispose();
  });
});

test('what is read of a mapped file that was cut short is an error, too', async () => {
  const device = await createCpuDevice();
  const file = join(folder, 'file');
  writeFileSync(file, Buffer.alloc(100_000, 1));
  const buffer = device.map({ path: file, offset: 64, bytes: 90_000 }, 'f32');
  expect((await device.read(buffer, 89_999, 1))[0]).toBe(1);
  truncateSync(file, 5000);
  await expect(device.read(buffer, 80_000, 100)).rejects.toMatchObject({ code: 'checkpoint' });
  device.free(buffer);
  for (const path of [folder, '/dev/zero', join(folder, 'none')]) {
    expect(() => device.map({ path, offset: 0, bytes: 64 }, 'f32')).toThrow(/cannot map 64 bytes at 0 of/);
  }
});

test('other bus errors still end a process', async () => {
  const source = `
    const module = { exports: {} };
    process.dlopen(module, process.argv[1]);
    module.exports.map(process.argv[2], 0, 64);
    process.kill(process.pid, 'SIGBUS');
    setTimeout(() => {}, 5000);
  `;
  expect(spawnSync(process.execPath, ['-e', source, await buildRuntime(), weights]).signal).toBe('SIGBUS');
});
