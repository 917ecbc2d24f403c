// The price of a backend: outside of its folder and the table in backends/index.ts, these files name one, and no others do.
// Everybody else looks backends up in the table.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backendNames, backends, deviceNames } from '../../backends/index.ts';

const root = join(import.meta.dirname, '..', '..');
const folders = ['ir', 'passes', 'frontends', 'models', 'runtime', 'backends'];

/** Files that may name a backend in code, and why. */
const allowed: Readonly<Record<string, string>> = {
  'ir/target.ts': 'languages of targets',
  'backends/index.ts': 'the table',
  'runtime/artifact/format.ts': 'what a program requires of a machine, and its check',
  'runtime/artifact/open.ts': 'readers by target',
  'runtime/artifact/write.ts': 'writers by target',
  'runtime/artifact/open-local.ts': 'targets with native code',
  'runtime/artifact/write-native.ts': 'targets with native code',
  'runtime/models/load-options.ts': "device_map='cpu' of Python",
  'runtime/trainer/open-session.ts': 'use_cpu of Python',
  ...Object.fromEntries(
    backendNames.flatMap((name) =>
      ['entry', 'open', 'write'].map((part) => [`runtime/artifact/${part}-${name}.ts`, 'the part of the target']),
    ),
  ),
};

const word = backendNames.join('|');
const named = new RegExp(`'(${word})'|(?:^|[{,])\\s*(${word}): |['/](${word})/[\\w-]+\\.ts'`, 'm');
const withoutComments = (text: string): string => text.replace(/^\s*(\/\/|\/?\*).*$/gm, '').replace(/ \/\/ .*$/gm, '');

test('backends are named in their folders, in the table and in a few files beside', () => {
  const naming = folders
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((f) => `${folder}/${f}`),
    )
    .filter((file) => file.endsWith('.ts') && !new RegExp(`^backends/(${word})/`).test(file))
    .filter((file) => named.test(withoutComments(readFileSync(join(root, file), 'utf8'))));
  expect(naming.sort()).toEqual(Object.keys(allowed).sort());
});

test('no backend imports another: what C and CUDA C share lies beside them', () => {
  for (const name of backendNames) {
    const others = backendNames.filter((other) => other !== name).join('|');
    for (const file of readdirSync(join(root, 'backends', name))) {
      const text = readFileSync(join(root, 'backends', name, file), 'utf8');
      expect(text, `${name}/${file}`).not.toMatch(new RegExp(`from '\\.\\./(${others})/`));
    }
  }
});

test('names are of one thing: backends, languages and levels of inspect', () => {
  const languages = backendNames.map((name) => backends[name].language);
  expect(new Set(languages).size).toBe(languages.length);
  expect(new Set(backendNames.map((name) => backends[name].extension)).size).toBe(backendNames.length);
  expect(deviceNames).toEqual([...backendNames, 'reference']);
});

test("every row loads what it names: a target whose language is the row's", async () => {
  for (const name of backendNames) expect((await backends[name].target()).language).toBe(backends[name].language);
});
