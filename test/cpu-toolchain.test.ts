// The native toolchain and its cache: what is found, what is kept, and what a broken cache or compiler leads to.
import { spawn } from 'node:child_process';
import {
  chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync,
} from 'node:fs'; // biome-ignore format: one row
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cacheFolder, compileNative } from '../backends/cpu/toolchain.ts';

const before = { ...process.env };
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'modelc-cache-'));
  process.env.MODELC_CACHE = path.join(folder, 'cache');
});
afterEach(() => {
  process.env = { ...before };
  rmSync(folder, { recursive: true, force: true });
});

const source = (n: number): string => `__attribute__((visibility("default"))) int answer(void) { return ${n}; }\n`;
const flags: string[] = [];

/** A compiler that does `before` and then what cc does. */
function compilerThat(script: string): string {
  const file = path.join(folder, 'compiler');
  writeFileSync(file, `#!/bin/sh\n${script}\nexec cc "$@"\n`);
  chmodSync(file, 0o755);
  return file;
}

test('a build is reused, by source, flags and compiler', async () => {
  const log = path.join(folder, 'log');
  process.env.CC = compilerThat(`echo "$*" >> ${log}`);
  const built = (): number =>
    readFileSync(log, 'utf8')
      .split('\n')
      .filter((line) => line.includes('kernels.c')).length;
  const first = await compileNative(source(1), { flags });
  expect(await compileNative(source(1), { flags })).toBe(first);
  expect(built()).toBe(1);
  const others = await Promise.all([
    compileNative(source(2), { flags }),
    compileNative(source(2), { flags }), // at the same time: one build
    compileNative(source(1), { flags: ['-DX'] }),
  ]);
  expect(new Set([first, ...others]).size).toBe(3);
  expect(built()).toBe(3);
  await compileNative(`#if UNIT == 0\n${source(1)}#elif UNIT == 1\nint other;\n#endif\n`, { flags, units: 3 });
  expect(built()).toBe(6);
  expect(readdirSync(cacheFolder()).filter((name) => name.startsWith('.tmp'))).toEqual([]);
});

test('a damaged binary is built again', async () => {
  const file = await compileNative(source(1), { flags });
  const good = readFileSync(file);
  for (const damage of [
    () => truncateSync(file, 100),
    () => writeFileSync(file, ''),
    () => rmSync(file),
    () => rmSync(path.join(path.dirname(file), 'digest')),
    () => writeFileSync(path.join(path.dirname(file), 'digest'), 'x'),
  ]) {
    damage();
    expect(await compileNative(source(1), { flags })).toBe(file);
    expect(readFileSync(file).length).toBe(good.length);
  }
});

test('no compiler', async () => {
  process.env.CC = '/nonexistent/cc';
  await expect(compileNative(source(1), { flags })).rejects.toMatchObject({
    code: 'toolchain',
    message: expect.stringMatching(/^no C compiler found \(looked for CC=\/nonexistent\/cc\); install one/),
  });
  process.env.CC = '';
  process.env.PATH = folder;
  await expect(compileNative(source(1), { flags })).rejects.toThrow('looked for cc, gcc and clang on PATH');
});

test('a build that fails names the first error and keeps the log', async () => {
  const failed = compileNative('int f(void) { return $$; }\n', { flags });
  await expect(failed).rejects.toMatchObject({
    code: 'toolchain',
    message: expect.stringMatching(/kernels\.c:1:.*error:.*\(log: .*\.log\)$/),
  });
  const [, log] = await failed.catch((e: Error) => /log: (.*)\)$/.exec(e.message)!);
  expect(readFileSync(log, 'utf8')).toContain('error:');
  await expect(compileNative('int f(void) { return $$; }\n', { flags, units: 2 })).rejects.toThrow('error:');
});

test('a cache folder that cannot be written', async () => {
  const file = path.join(folder, 'file');
  writeFileSync(file, '');
  process.env.MODELC_CACHE = path.join(file, 'cache');
  await expect(compileNative(source(1), { flags })).rejects.toMatchObject({
    code: 'toolchain',
    message: expect.stringMatching(/^cannot write to the cache folder .*file\/cache .*; set MODELC_CACHE to a folder/),
  });
  if (process.getuid?.() === 0) return; // root writes everywhere
  mkdirSync(path.join(folder, 'locked'), { mode: 0o500 });
  process.env.MODELC_CACHE = path.join(folder, 'locked');
  await expect(compileNative(source(1), { flags })).rejects.toThrow('set MODELC_CACHE');
});

test('the cache folder follows the environment', () => {
  expect(cacheFolder()).toBe(path.join(folder, 'cache'));
  delete process.env.MODELC_CACHE;
  process.env.XDG_CACHE_HOME = folder;
  expect(cacheFolder()).toBe(path.join(folder, 'modelc'));
  delete process.env.XDG_CACHE_HOME;
  expect(cacheFolder()).toBe(path.join(os.homedir(), '.cache', 'modelc'));
});

test('a kill during a build leaves nothing that is loaded, and its remains go after a day', async () => {
  // esbuild runs the module in a process of its own, which is killed while its compiler has written half a file
  const { build } = await import('esbuild');
  const bundle = path.join(folder, 'compile.mjs');
  await build({
    stdin: {
      contents: `import { compileNative } from './backends/cpu/toolchain.ts';\nawait compileNative(${JSON.stringify(source(5))}, { flags: [] });`,
      resolveDir: path.resolve(import.meta.dirname, '..'),
      loader: 'ts',
    },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile: bundle,
  });
  const started = path.join(folder, 'started');
  const CC = compilerThat(
    `case "$*" in *kernels.c*) head -c 1000 /bin/sh > kernels.node; touch ${started}; sleep 1;; esac`,
  );
  const child = spawn(process.execPath, [bundle], { env: { ...process.env, CC } });
  while (!existsSync(started)) await new Promise((resolve) => setTimeout(resolve, 10));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.on('close', resolve));
  const remains = readdirSync(cacheFolder());
  expect(remains).toHaveLength(1);
  expect(remains[0]).toMatch(/^\.tmp-/);

  process.env.CC = CC;
  const file = await compileNative(source(5), { flags });
  expect(statSync(file).size).toBeGreaterThan(1000);
  expect(existsSync(path.join(cacheFolder(), remains[0]))).toBe(true); // it might be at work
  const old = new Date(Date.now() - 2 * 24 * 60 * 60 * 1000);
  utimesSync(path.join(cacheFolder(), remains[0]), old, old);
  await compileNative(source(6), { flags });
  expect(existsSync(path.join(cacheFolder(), remains[0]))).toBe(false);
});
