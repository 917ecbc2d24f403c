// The native toolchain and its cache: what is found, what is kept, and what a broken cache or compiler leads to.
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync,
} from 'node:fs'; // biome-ignore format: one row
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { cacheFolder } from '../../backends/build-cache.ts';
import { compileNative } from '../../backends/c/toolchain.ts';

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
  expect(readdirSync(cacheFolder()).filter((name) => name.startsWith('.'))).toEqual([]);
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

test.each([
  ['a path with spaces', (file: string) => file, 0],
  ['with flags behind it', (file: string) => `${file} -O1  -DA="B C"`, 2],
  ['in double quotes', (file: string) => `"${file}" '-DA=B C'`, 1],
  ['in single quotes', (file: string) => ` '${file}' -O1 `, 1],
  ['with escapes', (file: string) => file.replaceAll(/[ ']/g, '\\$&'), 0],
] as const)('CC may be %s', async (_, written, flagCount) => {
  mkdirSync(path.join(folder, "my gcc's $HOME"));
  const wrapper = path.join(folder, "my gcc's $HOME", 'cc');
  const log = path.join(folder, 'log');
  writeFileSync(wrapper, `#!/bin/sh\nprintf '%s\\n' $# > "${log}"\nexec cc "$@"\n`);
  chmodSync(wrapper, 0o755);
  const plain = path.join(folder, 'plain dir');
  symlinkSync(path.dirname(wrapper), plain);
  process.env.CC = written(written('x').includes("'") ? path.join(plain, 'cc') : wrapper);
  process.env.MODELC_CACHE = path.join(folder, 'a cache "of" -mine\nand Füße');
  expect(existsSync(await compileNative(source(7), { flags }))).toBe(true);
  const count = Number(readFileSync(log, 'utf8'));
  process.env.CC = path.join(plain, 'cc');
  await compileNative(source(8), { flags });
  expect(count - Number(readFileSync(log, 'utf8'))).toBe(flagCount);
});

test('a quote without its end, and a folder in the place of a compiler, are said', async () => {
  process.env.CC = '"/opt/my gcc/bin/gcc -O1';
  await expect(compileNative(source(1), { flags })).rejects.toThrow(/CC is .*a quote without its end/);
  process.env.CC = folder;
  await expect(compileNative(source(1), { flags })).rejects.toThrow('no C compiler found');
});

test('compilers leave their temporary files with the build, whatever TMPDIR is', async () => {
  process.env.TMPDIR = path.join(folder, 'missing');
  expect(existsSync(await compileNative(source(9), { flags }))).toBe(true);
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

test('a kill during a build leaves nothing that is loaded, and the next build removes its remains', async () => {
  // esbuild runs the module in a process of its own, which is killed while its compiler has written half a file
  const { build } = await import('esbuild');
  const bundle = path.join(folder, 'compile.mjs');
  await build({
    stdin: {
      contents: `import { compileNative } from './backends/c/toolchain.ts';\nawait compileNative(${JSON.stringify(source(5))}, { flags: [] });`,
      resolveDir: path.resolve(import.meta.dirname, '../..'),
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
  expect(remains[0]).toMatch(/\.partial$/);

  process.env.CC = CC;
  const file = await compileNative(source(5), { flags });
  expect(statSync(file).size).toBeGreaterThan(1000);
  expect(readdirSync(cacheFolder())).toEqual([path.basename(path.dirname(file))]);
});

test('the binary of another entry is none, nor is what is no file of its own', async () => {
  const [one, two] = [await compileNative(source(1), { flags }), await compileNative(source(2), { flags })];
  const [good, other] = [one, two].map((file) => readFileSync(file));
  const folders = [one, two].map((file) => path.dirname(file));
  // whole entries exchanged, each with its own digest
  renameSync(folders[0], `${folders[0]}x`);
  renameSync(folders[1], folders[0]);
  renameSync(`${folders[0]}x`, folders[1]);
  expect(readFileSync(await compileNative(source(1), { flags }))).toEqual(good);
  for (const name of ['kernels.node', 'digest']) {
    const file = path.join(folders[0], name);
    for (const put of [
      () => mkdirSync(file),
      () => symlinkSync(path.join(folder, 'nowhere'), file),
      () => symlinkSync(two, file),
      () => execFileSync('mkfifo', [file]),
    ]) {
      rmSync(file, { recursive: true });
      put();
      expect(readFileSync(await compileNative(source(1), { flags }))).toEqual(good);
    }
  }
  expect(good.equals(other)).toBe(false);
});

test('folders and files are for this user alone', async () => {
  const file = await compileNative(source(1), { flags });
  for (const place of [cacheFolder(), path.dirname(file), file]) expect(statSync(place).mode & 0o077).toBe(0);
});

/** What compiles elsewhere because of the state of the cache, and is warned of. */
const untrusted: readonly (readonly [what: string, spoil: (entry: string) => void, named: RegExp])[] = [
  ['a cache folder that all may write', () => chmodSync(cacheFolder(), 0o777), /cache can be written by other users/],
  ['one that a group may write', () => chmodSync(cacheFolder(), 0o770), /cache can be written by other users/],
  ['one in a folder that all may write', () => chmodSync(folder, 0o777), /modelc-cache-\w+ can be written by other/],
  ['an entry that all may write', (entry) => chmodSync(entry, 0o777), /[0-9a-f]{40} can be written by other users/],
  [
    'an entry that is a link',
    (entry) => {
      renameSync(entry, path.join(folder, 'elsewhere'));
      symlinkSync(path.join(folder, 'elsewhere'), entry);
    },
    /[0-9a-f]{40} is a link to another place/,
  ],
];
test.each(untrusted)('%s is not used: a warning names it', async (_, spoil, named) => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
  const file = await compileNative(source(1), { flags });
  spoil(path.dirname(file));
  const elsewhere = await compileNative(source(1), { flags });
  expect(elsewhere.startsWith(folder)).toBe(false);
  expect(statSync(path.dirname(path.dirname(elsewhere))).mode & 0o777).toBe(0o700);
  expect(warn.mock.calls.flat().join()).toMatch(named);
  expect(warn.mock.calls.flat().join()).toMatch(
    /Remove .*, or set MODELC_CACHE to a folder that only you can write to/,
  );
  warn.mockRestore();
});

test.runIf(process.getuid?.() === 0)(
  'a cache folder of another user is not used, and a link to a trusted one is',
  async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const file = await compileNative(source(1), { flags });
    symlinkSync(cacheFolder(), path.join(folder, 'link'));
    process.env.MODELC_CACHE = path.join(folder, 'link');
    expect(statSync(await compileNative(source(1), { flags })).ino).toBe(statSync(file).ino);
    expect(warn).not.toHaveBeenCalled();
    chownSync(path.join(folder, 'cache'), 12345, 12345);
    expect((await compileNative(source(1), { flags })).startsWith(folder)).toBe(false);
    expect(warn.mock.calls.flat().join()).toMatch(/cache belongs to another user \(uid 12345, this is 0\)/);
    warn.mockRestore();
  },
);
