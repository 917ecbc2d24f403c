// The package as others see it: what its exports resolve to, that its types check in a user's strict project, and that the
// code in the README works.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformSync } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const pkg = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
let project = '';

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'modelc-package-'));
  mkdirSync(join(project, 'node_modules'));
  symlinkSync(root, join(project, 'node_modules', 'modelc'));
  writeFileSync(join(project, 'package.json'), '{"type": "module"}');
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

/** What tsc says about a user's file under strict NodeNext; empty when all is well. */
function typeCheck(file: string, source: string): string {
  writeFileSync(join(project, file), source);
  const config = {
    compilerOptions: {
      strict: true,
      module: 'NodeNext',
      target: 'ES2022',
      noEmit: true,
      types: [],
      skipLibCheck: false,
    },
    files: [file],
  };
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(config));
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  return spawnSync(process.execPath, [tsc, '--project', project], { encoding: 'utf8' }).stdout;
}

test('every export has its file and its types', () => {
  for (const [name, target] of Object.entries<string | { types: string; default: string }>(pkg.exports)) {
    for (const path of typeof target === 'string' ? [target] : Object.values(target)) {
      expect(existsSync(join(root, path)), `${name}: ${path}`).toBe(true);
    }
  }
});

test('the command says its version', () => {
  const version = execFileSync(process.execPath, [join(root, pkg.bin.modelc), '--version'], { encoding: 'utf8' });
  expect(version).toBe(`${pkg.version}\n`);
});

test('a user imports names and types from every entry', () => {
  const source = `
    import { AutoModelForCausalLM, AutoTokenizer, pipeline, TextStreamer } from 'modelc';
    import { attention, Embedding, Linear, Module, RMSNorm, type Tensor } from 'modelc/nn';
    import { compile } from 'modelc/compiler';
    class Layer extends Module {
      readonly proj = new Linear(4, 4, { bias: false });
      readonly norm = new RMSNorm(4, { eps: 1e-6 });
      forward(x: Tensor): Tensor { return this.proj.forward(this.norm.forward(x)); }
    }
    export async function main(folder: string): Promise<string> {
      const generator = await pipeline('text-generation', folder);
      const [first] = await generator('Once', { max_new_tokens: 4, do_sample: false });
      const text: unknown = first;
      return String(text);
    }
    export const all = [AutoModelForCausalLM, AutoTokenizer, TextStreamer, attention, Embedding, compile, Layer];
  `;
  expect(typeCheck('user.ts', source)).toBe('');
});

test('a wrong call is a type error', () => {
  expect(typeCheck('wrong.ts', "import { pipeline } from 'modelc';\nawait pipeline(42);\n")).toMatch(/error TS/);
});

test("the README's first example type-checks", () => {
  const source = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1] ?? '';
  expect(source).toContain("from 'modelc'");
  expect(typeCheck('first.ts', source)).toBe('');
});

test("the README's training type-checks", () => {
  const sources = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)];
  const source = sources.map(([, text]) => text).find((text) => text.includes('new Trainer(')) ?? '';
  expect(source).toContain("from 'modelc'");
  expect(typeCheck('train.ts', source)).toBe('');
});

test("the README's architecture is the one in examples/, and type-checks and runs for a user", () => {
  const example = readFileSync(join(root, 'examples', 'custom-architecture.ts'), 'utf8');
  const source = example.slice(example.indexOf('import *')).replace('../frontends/dsl/index.ts', 'modelc/nn').trim();
  expect(readFileSync(join(root, 'README.md'), 'utf8')).toContain(source);
  expect(typeCheck('mine.ts', source)).toBe('');
  const use = "import { graph } from './mine.mjs';\nconsole.log(graph.name);\n";
  writeFileSync(join(project, 'mine.mjs'), transformSync(source, { loader: 'ts' }).code);
  writeFileSync(join(project, 'use.mjs'), use);
  expect(execFileSync(process.execPath, ['use.mjs'], { cwd: project, encoding: 'utf8' })).toBe('decode\n');
});
