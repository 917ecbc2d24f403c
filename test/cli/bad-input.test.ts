// Bad input through the command line, as a user meets it: exit code 1, one sentence that names the file and the way out,
// and no stack trace. Each case breaks one thing in a copy of the example checkpoint.
import { spawn } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cli, example, modelc, type Result } from '../support/command.ts';

let scratch = '';
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'modelc-bad-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** One line on stderr that contains every one of `parts`; nothing on stdout; exit code 1. */
function expectSentence(result: Result, ...parts: (string | RegExp)[]): void {
  expect(result.stderr).toMatch(/^modelc: [^\n]+\n$/);
  expect(result.stderr).not.toContain('internal error');
  expect(result.stderr).not.toMatch(/\n\s+at /);
  for (const part of parts) expect(result.stderr).toMatch(part);
  expect(result.stdout).toBe('');
  expect(result.status).toBe(1);
}

let copies = 0;
function copy(): string {
  const folder = join(scratch, `model-${copies++}`);
  cpSync(example, folder, { recursive: true });
  return folder;
}
const generate = (folder: string, prompt = 'Once', env: NodeJS.ProcessEnv = {}): Result =>
  modelc(['generate', folder, '-p', prompt, '--max-new-tokens', '4', '--greedy'], env);

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
/** Rewrites the header of the copy's weights, keeping the data where it is. */
function editHeader(folder: string, edit: (header: Header) => Header): void {
  const path = join(folder, 'model.safetensors');
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Header;
  const json = Buffer.from(JSON.stringify(edit(header)));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(path, Buffer.concat([size, json, bytes.subarray(8 + length)]));
}
const editJson = (path: string, edit: (value: Record<string, unknown>) => object): void =>
  writeFileSync(path, JSON.stringify(edit(JSON.parse(readFileSync(path, 'utf8')))));
const weights = (h: Header): string[] => Object.keys(h).filter((k) => k !== '__metadata__');

describe('checkpoints', () => {
  test('the unbroken copy works', () => {
    const result = generate(copy());
    expect(result.stdout).toMatch(/^Once/);
    expect(result.status).toBe(0);
  });
  test('a folder that does not exist', () => {
    expectSentence(generate(join(scratch, 'nowhere')), /nowhere/);
  });
  test('missing config.json', () => {
    const folder = copy();
    rmSync(join(folder, 'config.json'));
    expectSentence(generate(folder), /config\.json/);
  });
  test('config.json that is no JSON', () => {
    const folder = copy();
    writeFileSync(join(folder, 'config.json'), '{"model_type": ');
    expectSentence(generate(folder), /config\.json/);
  });
  test('missing weights file', () => {
    const folder = copy();
    rmSync(join(folder, 'model.safetensors'));
    expectSentence(generate(folder), /model\.safetensors/);
  });
  test('truncated weights file', () => {
    const folder = copy();
    truncateSync(join(folder, 'model.safetensors'), 5000);
    expectSentence(generate(folder), /model\.safetensors/, /truncated|bytes/);
  });
  test('a file of three bytes', () => {
    const folder = copy();
    writeFileSync(join(folder, 'model.safetensors'), 'abc');
    expectSentence(generate(folder), /model\.safetensors/, /truncated/);
  });
  test('a header of 2^60 bytes', () => {
    const folder = copy();
    const size = Buffer.alloc(64);
    size.writeBigUInt64LE(1n << 60n);
    writeFileSync(join(folder, 'model.safetensors'), size);
    expectSentence(generate(folder), /model\.safetensors/, /header of 1152921504606846976 bytes/);
  });
  test('overlapping tensors', () => {
    const folder = copy();
    editHeader(folder, (h) => {
      const names = weights(h);
      const [a, b] = names.filter((n) => `${h[n].shape}` === `${h[names[names.length - 1]].shape}`);
      h[b].data_offsets = h[a].data_offsets;
      return h;
    });
    expectSentence(generate(folder), /model\.safetensors/, /overlap|hole/);
  });
  test('offsets out of range', () => {
    const folder = copy();
    editHeader(folder, (h) => {
      const [name] = weights(h);
      h[name].data_offsets = [2 ** 50, 2 ** 50 + h[name].data_offsets[1] - h[name].data_offsets[0]];
      return h;
    });
    expectSentence(generate(folder), /model\.safetensors/);
  });
  test('a weight of the wrong shape', () => {
    const folder = copy();
    editJson(join(folder, 'config.json'), (c) => ({ ...c, intermediate_size: Number(c.intermediate_size) + 16 }));
    expectSentence(generate(folder), /mlp\.\w+_proj\.weight/, /shape/);
  });
  test('a missing weight', () => {
    const folder = copy();
    editHeader(folder, (h) =>
      Object.fromEntries(
        Object.entries(h).map(([k, v]) => [k.replace('layers.1.mlp.up_proj', 'layers.1.mlp.other'), v]),
      ),
    );
    expectSentence(generate(folder), /layers\.1\.mlp\.up_proj\.weight/);
  });
  test('an unknown architecture', () => {
    const folder = copy();
    editJson(join(folder, 'config.json'), (c) => ({ ...c, model_type: 'spaceship', architectures: ['SpaceshipLM'] }));
    expectSentence(generate(folder), /spaceship/i);
  });
  test('config values of the wrong kind', () => {
    const folder = copy();
    editJson(join(folder, 'config.json'), (c) => ({ ...c, hidden_size: 'many' }));
    expectSentence(generate(folder), /hidden_size/);
  });
});

describe('tokenizer and prompt', () => {
  test('tokenizer.json that is no JSON', () => {
    const folder = copy();
    writeFileSync(join(folder, 'tokenizer.json'), '{"model": {');
    expectSentence(generate(folder), /tokenizer\.json/);
  });
  test('tokenizer.json without a model', () => {
    const folder = copy();
    writeFileSync(join(folder, 'tokenizer.json'), '{"version": "1.0"}');
    expectSentence(generate(folder), /tokenizer\.json/);
  });
  test('missing tokenizer', () => {
    const folder = copy();
    rmSync(join(folder, 'tokenizer.json'));
    expectSentence(generate(folder), /tokenizer\.json/);
  });
  test('an empty prompt is no bad one: the tokenizer puts a first token before it', () => {
    expect(generate(example, '')).toMatchObject({ status: 0, stderr: expect.stringMatching(/^1 prompt tokens/) });
  });
  test('a prompt that is too long', () => {
    expectSentence(generate(example, 'Once upon a time '.repeat(5000)), /prompt|tokens/);
  });
});

describe('toolchain and cache', () => {
  test('no C compiler on PATH', () => {
    const env = { PATH: join(scratch, 'empty'), CC: undefined, MODELC_CACHE: join(scratch, 'cache-no-cc') };
    expectSentence(generate(example, 'Once', env), /C compiler/);
  });
  test('a cache folder that cannot be written', () => {
    const file = join(scratch, 'a-file');
    writeFileSync(file, '');
    const cache = join(file, 'cache');
    expectSentence(generate(example, 'Once', { MODELC_CACHE: cache }), /a-file/);
  });
  test('a kill during compilation leaves the cache sound', { timeout: 120_000 }, async () => {
    const cache = join(scratch, 'cache-killed');
    for (const delay of [250, 450, 700]) {
      const child = spawn(process.execPath, [cli, 'generate', example, '-p', 'Once', '--max-new-tokens', '4'], {
        env: { ...process.env, MODELC_CACHE: cache },
        stdio: 'ignore',
      });
      await new Promise((done) => setTimeout(done, delay));
      child.kill('SIGKILL');
      await new Promise((done) => child.once('exit', done));
    }
    const after = generate(example, 'Once', { MODELC_CACHE: cache });
    expect(after.stderr).not.toContain('modelc:');
    expect(after.stdout).toBe(generate(example).stdout);
    expect(after.status).toBe(0);
  });
});

describe('hostile names', () => {
  const name = '*/ "); } int evil(void) { return system("true"); } /*';
  const hostileGraph = (n: string): string => {
    const text = JSON.stringify(n);
    return `graph ${text}(\n  %0 ${text}: input f32[4]\n) {\n  %1 = neg(%0) : f32[4]\n  return ${text} = %1\n}\n`;
  };

  test('in textual IR they do not reach generated C', () => {
    const file = join(scratch, 'evil.txt');
    writeFileSync(file, hostileGraph(name));
    const result = modelc(['inspect', file, '--level', 'c']);
    expect(result.stderr).toBe('');
    expect(result.status).toBe(0);
    expect(result.stdout).not.toMatch(/evil|system/);
  });
  test('in textual IR they have no control characters', () => {
    const file = join(scratch, 'lines.txt');
    writeFileSync(file, hostileGraph(`${name}\nint evil;`));
    expectSentence(modelc(['inspect', file]), /lines\.txt:\d+:\d+/, /printable/);
  });
  test('in a checkpoint they do not matter', () => {
    const folder = copy();
    editHeader(folder, (h) =>
      Object.fromEntries(Object.entries(h).map(([k, v]) => [k === 'model.norm.weight' ? name : k, v])),
    );
    expectSentence(generate(folder), /model\.norm\.weight/);
  });
  test('in config.json they are quoted', () => {
    const folder = copy();
    editJson(join(folder, 'config.json'), (c) => ({ ...c, model_type: `${name}\n\u001b[31m` }));
    const result = generate(folder);
    expectSentence(result);
    expect(result.stderr).not.toContain('\u001b');
  });
});

describe('arguments', () => {
  test.each([
    [['generate', example]],
    [['generate', example, '-p', 'x', '--max-new-tokens', 'many']],
    [['generate', example, '-p', 'x', '--target', 'abacus']],
    [['speak']],
  ])('%j is wrong usage', (args) => {
    const result = modelc(args);
    expect(result.status).toBe(2);
    expect(result.stderr).toMatch(/error/);
    expect(result.stderr).not.toMatch(/\n\s+at /);
  });
  test('compile refuses a folder that is something else', () => {
    const folder = join(scratch, 'precious');
    mkdirSync(folder);
    writeFileSync(join(folder, 'thesis.txt'), 'years of work');
    expectSentence(modelc(['compile', example, '-o', folder]), /precious/);
    expect(readdirSync(folder)).toEqual(['thesis.txt']);
  });
  test('textual IR with a mistake: file, line and column', () => {
    const file = join(scratch, 'broken.txt');
    writeFileSync(file, 'graph broken() {\n  this is no node\n}\n');
    expectSentence(modelc(['inspect', file]), /broken\.txt:2:3: expected/);
  });
});
