// The package as others see it: what the tarball holds, what its exports resolve to, that it runs where it finds only the
// dependencies that it declares, and that the code in the README and in docs/ works. Budget: 60 s.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import { buildSync, transformSync } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { example, modelc, root } from '../support/command.ts';
import { packageJson, UserProject } from '../support/packed.ts';

const docs = readdirSync(join(root, 'docs')).map((name) => join('docs', name));
const pages = ['README.md', ...docs.sort()].map((name) => ({ name, text: readFileSync(join(root, name), 'utf8') }));
const allText = pages.map(({ text }) => text).join('\n');
const file = readFileSync(join(root, 'examples', 'custom-architecture.ts'), 'utf8');
const architectureSource = file
  .slice(file.indexOf('import *'))
  .replace('../frontends/dsl/index.ts', 'modelc/nn')
  .trim();
const architecture = transformSync(architectureSource, { loader: 'ts' }).code;
let project: UserProject;
beforeAll(() => {
  project = new UserProject(['@types/node', 'esbuild', 'vite']);
  project.write('names.d.ts', 'export {};\n');
  symlinkSync(example, join(project.folder, 'FOLDER'));
});
afterAll(() => project.remove());

/** What a program of the project prints. */
function run(command: string, ...args: readonly string[]): string {
  const { stdout, stderr } = spawnSync(command, args, { cwd: project.folder, encoding: 'utf8' });
  return stdout + stderr;
}

/** What tsc says about a user's file; empty when all is well. */
function typeCheck(file: string, source: string, options: object = {}): string {
  project.write(file, source);
  const compilerOptions = {
    strict: true,
    module: 'NodeNext',
    target: 'ES2022',
    lib: ['ES2023', 'DOM'],
    types: ['node'],
    noEmit: true,
    allowImportingTsExtensions: true,
    skipLibCheck: true, // test/package/published-types.test.ts checks them
    ...options,
  };
  project.write('tsconfig.json', JSON.stringify({ compilerOptions, files: [file, 'names.d.ts'] }));
  return run(process.execPath, join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '--project', project.folder);
}

describe('the tarball', () => {
  test('holds what users need and nothing else', () => {
    const { files, size, unpackedSize } = project.packed;
    console.log(`${files.length} files, ${size} bytes, ${unpackedSize} unpacked`);
    const paths = files.map(({ path }) => path);
    const beside = paths.filter((path) => !path.startsWith('dist/'));
    expect(beside.sort()).toEqual(['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json']);
    const strange = paths.filter((path) => path.startsWith('dist/') && !/^dist\/[\w/-]+(\.d\.ts|\.js)$/.test(path));
    expect(strange).toEqual([]);
    expect(paths.filter((path) => /(^|\/)(tests?|conformance)\b|\.test\./.test(path))).toEqual([]);
    expect(size).toBeLessThan(2_000_000);
  });

  test('names no source maps and no sources', () => {
    for (const file of project.packedFiles())
      expect(project.read(file).includes('sourceMappingURL='), file).toBe(false);
  });

  test('has every file that package.json names, types first', () => {
    const paths = new Set(project.packed.files.map(({ path }) => path));
    for (const [name, target] of Object.entries(packageJson.exports)) {
      if (typeof target !== 'string') expect(Object.keys(target), name).toEqual(['types', 'default']);
      for (const path of typeof target === 'string' ? [target] : Object.values(target)) {
        expect(paths.has(path.replace('./', '')), `${name}: ${path}`).toBe(true);
      }
    }
    const command = project.packed.files.find(({ path }) => path === packageJson.bin.modelc);
    expect(command && command.mode & 0o111).toBe(0o111);
    expect(project.read(packageJson.bin.modelc).startsWith('#!/usr/bin/env node\n')).toBe(true);
  });

  test('is under the license that package.json names, and its types lie with it', () => {
    expect(project.read('LICENSE')).toMatch(new RegExp(`^${packageJson.license} License\n`));
    expect(project.packedFiles().filter((file) => file.endsWith('.d.ts')).length).toBeGreaterThan(50);
  });

  test('imports nothing that it does not declare', () => {
    const declared = { ...packageJson.dependencies, ...packageJson.peerDependencies };
    const known = new Set([...builtinModules, ...Object.keys(declared)]);
    for (const file of project.packedFiles().filter((name) => /\.(js|d\.ts)$/.test(name))) {
      for (const name of importsOf(project.read(file))) {
        const [scope, rest] = name.replace(/^node:/, '').split('/');
        const from = scope.startsWith('@') ? `${scope}/${rest}` : scope;
        expect(known.has(from), `${file} imports ${name}`).toBe(true);
      }
    }
  });
});

/** Names of packages that JavaScript or declarations import. */
function importsOf(source: string): string[] {
  const imports = /(?:^|[;\n])\s*(?:import|export)\b[^;'"`]*?\bfrom\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/g;
  const names = [...source.matchAll(imports)].map(([, from, dynamic]) => from ?? dynamic);
  return names.filter((name) => !/^[./]/.test(name));
}

describe('the package', () => {
  const program = `
    import { pipeline } from 'modelc';
    const generator = await pipeline('text-generation', 'FOLDER');
    console.log((await generator('Once upon a time', { max_new_tokens: 8, do_sample: false }))[0].generated_text);
  `;

  test('runs in Node and in Deno', () => {
    project.write('program.mjs', program);
    expect(run(process.execPath, 'program.mjs')).toBe('Once upon a time, there was a little\n');
    const deno = join(root, 'node_modules', 'deno', 'bin.cjs');
    expect(run(process.execPath, deno, 'run', '--quiet', '--allow-all', 'program.mjs')).toBe(
      'Once upon a time, there was a little\n',
    );
  });

  test('says in a CommonJS program how it is imported', () => {
    project.write('old.cjs', "require('modelc');\n");
    expect(run(process.execPath, '--no-experimental-require-module', 'old.cjs')).toContain('dynamic import()');
    const source = "import { pipeline } from 'modelc';\nexport const all = [pipeline];\n";
    expect(typeCheck('old.cts', source, { module: 'Node16' })).toMatch(/TS1479.*dynamic 'import\("modelc"\)'/);
  });

  test('gives apps in browsers the parts of modelc/nn that they use', () => {
    project.write('page.js', `${architecture}\nconsole.log(graph.name, new Block().named().size);\n`);
    const options = { absWorkingDir: project.folder, bundle: true, format: 'esm', write: false } as const;
    const { outputFiles } = buildSync({ ...options, platform: 'browser', entryPoints: ['page.js'] });
    const [{ text }] = outputFiles;
    project.write('page.mjs', text);
    expect(run(process.execPath, 'page.mjs')).toBe('decode 9\n');
  });

  test('has one version', () => {
    expect(modelc(['--version']).stdout).toBe(`${packageJson.version}\n`);
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
    expect([lock.version, lock.packages[''].version]).toEqual([packageJson.version, packageJson.version]);
  });

  test('refuses a wrong call by type', () => {
    expect(typeCheck('wrong.ts', "import { pipeline } from 'modelc';\nawait pipeline(42);\n")).toMatch(/error TS/);
  });
});

describe('README.md and docs/', () => {
  const blocks = pages.flatMap(({ name, text }) =>
    [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, source]) => ({ name, source })),
  );
  const own = blocks.map(({ source }) => source).filter((source) => source.includes("from 'modelc/nn'"));
  /** What examples take from those above them. */
  const names = `
    import type { AutoModelForCausalLM, AutoTokenizer } from 'modelc';
    declare global {
      const model: Awaited<ReturnType<typeof AutoModelForCausalLM.from_pretrained>>;
      const tokenizer: Awaited<ReturnType<typeof AutoTokenizer.from_pretrained>>;
      const inputs: ReturnType<typeof tokenizer>;
    }
  `;

  beforeAll(() => {
    project.write('names.d.ts', names);
    project.write('dist/model/index.d.ts', project.read('dist/types/runtime/artifact/api.d.ts'));
    project.write('dist/model/index.js', 'export {};\n');
  });

  test('has examples of all that it shows', () => {
    expect(blocks.length).toBeGreaterThanOrEqual(12);
    for (const name of ['modelc', 'modelc/nn', 'modelc/vite', 'modelc/esbuild']) {
      expect(allText, name).toContain(`from '${name}'`);
    }
  });

  test.each(blocks.map(({ name, source }) => [name, source.split('\n').find((line) => /import/.test(line)), source]))(
    '%s type-checks: %s',
    (_name, _line, source) => {
      expect(typeCheck('example.ts', source)).toBe('');
    },
  );

  test('names scripts that package.json has, and commands that modelc has', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    for (const [, script] of allText.matchAll(/npm run ([\w:-]+)/g)) expect(scripts, script).toHaveProperty([script]);
    const help = modelc(['--help']).stdout;
    for (const [, command] of allText.matchAll(/npx modelc (\w+)/g))
      expect(help).toMatch(new RegExp(`^  ${command} `, 'm'));
  });

  test('link to pages and folders that are there', () => {
    for (const { name, text } of pages) {
      const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, path]) => path);
      for (const path of links) expect(existsSync(join(root, name, '..', path)), `${name}: ${path}`).toBe(true);
    }
  });

  test('name paths of the repository that are there', () => {
    const folders = 'ir|passes|backends|frontends|models|runtime|test|bench|examples|scripts';
    for (const { name, text } of pages) {
      for (const [, path] of text.matchAll(new RegExp(`(?<![\\w/.-])((?:${folders})/[\\w./-]*\\w(?:\\.ts)?)`, 'g'))) {
        expect(existsSync(join(root, path)), `${name}: ${path}`).toBe(true);
      }
    }
  });

  test("shows the architecture of examples/, which runs for a user's program", () => {
    expect(own.map((block) => block.trim())).toEqual([architectureSource]);
    project.write('mine.mjs', architecture);
    project.write('use.mjs', "import { graph } from './mine.mjs';\nconsole.log(graph.name);\n");
    expect(run(process.execPath, 'use.mjs')).toBe('decode\n');
  });
});
