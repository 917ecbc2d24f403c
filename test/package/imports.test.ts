// The direction of imports and the absence of circles are rules of the linter (biome.json). Here files that break each rule,
// and others that keep it, are laid out in a folder of their own and linted with the same rules.
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';

const biome = 'node_modules/.bin/biome';
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'modelc-imports-')));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A file, what it imports, and whether it may. */
const rows: readonly (readonly [file: string, imported: string, allowed: boolean])[] = [
  ['ir/a.ts', './b.ts', true],
  ['ir/c.ts', '../passes/a.ts', false],
  ['ir/ops/d.ts', '../../frontends/dsl/a.ts', false],
  ['ir/e.ts', 'node:fs', false],
  ['passes/f.ts', '../ir/a.ts', true],
  ['passes/fusion/g.ts', '../../backends/kernel/a.ts', false],
  ['passes/h.ts', '../models/a.ts', false],
  ['passes/i.ts', 'node:path', false],
  ['backends/cpu/j.ts', '../../ir/ops/a.ts', true],
  ['backends/cpu/k.ts', '../../passes/a.ts', false],
  ['backends/l.ts', '../runtime/a.ts', false],
  ['backends/m.ts', 'node:fs', true],
  ['frontends/dsl/n.ts', '../../ir/a.ts', true],
  ['frontends/dsl/o.ts', '../huggingface/a.ts', false],
  ['frontends/dsl/p.ts', '../text/a.ts', false],
  ['frontends/text/q.ts', '../../ir/text/a.ts', true],
  ['frontends/text/r.ts', '../../passes/a.ts', false],
  ['models/s.ts', '../frontends/dsl/a.ts', true],
  ['models/parts/t.ts', '../../frontends/dsl/a.ts', true],
  ['models/u.ts', '../ir/a.ts', false],
  ['models/v.ts', '../passes/a.ts', false],
  ['models/w.ts', 'node:fs', false],
  ['frontends/huggingface/x.ts', '../../models/a.ts', true],
  ['frontends/huggingface/y.ts', '../../passes/a.ts', false],
  ['frontends/huggingface/z.ts', '../../runtime/models/a.ts', false],
  ['runtime/models/a.ts', '../../frontends/huggingface/a.ts', true],
  ['runtime/cli/b.ts', '../../bench/a.ts', false],
  ['runtime/c.ts', '../test/support/a.ts', false],
  ['bench/d.ts', '../runtime/a.ts', true],
  ['bench/e.ts', '../test/support/a.ts', false],
  ['test/f.ts', '../bench/a.ts', true],
];

/** Two circles of files: of values, and of types alone. */
const circles = {
  'runtime/circle/a.ts': "import { b } from './b.ts';\nexport const a = (): number => b() + 1;\n",
  'runtime/circle/b.ts': "import { a } from './a.ts';\nexport const b = (): number => a() - 1;\n",
  'runtime/circle/c.ts': "import type { D } from './d.ts';\nexport interface C {\n  readonly d: D;\n}\n",
  'runtime/circle/d.ts': "import type { C } from './c.ts';\nexport interface D {\n  readonly c: C;\n}\n",
};

test('an import against the direction, and a circle of files, are errors of the linter', async () => {
  const files = [
    ...rows.map(([file, imported]) => [file, `export * from '${imported}';\n`]),
    ...Object.entries(circles),
  ];
  for (const [file, text] of files) {
    mkdirSync(join(folder, dirname(file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  cpSync('biome.json', join(folder, 'biome.json'));
  const args = ['lint', '--max-diagnostics=none', '--reporter=github', '.'];
  const { stdout } = await promisify(execFile)(join(process.cwd(), biome), args, { cwd: folder }).catch(
    (error: { stdout: string }) => error,
  );
  const refused = new Set(
    [...stdout.matchAll(/title=lint\/\w+\/(noRestrictedImports|noNodejsModules|noImportCycles),file=([^,]*)/g)].map(
      ([, rule, file]) => `${relative(folder, file)} ${rule}`,
    ),
  );
  const forbidden = rows.filter(([, , allowed]) => !allowed);
  const expected = [
    ...forbidden.map(
      ([file, from]) => `${file} ${from.startsWith('node:') ? 'noNodejsModules' : 'noRestrictedImports'}`,
    ),
    ...Object.keys(circles).map((file) => `${file} noImportCycles`),
  ];
  expect([...refused].sort()).toEqual(expected.sort());
});
