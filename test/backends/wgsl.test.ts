// All WGSL that the tests make is valid for two independent compilers: Tint, in Dawn's null backend, which has exactly the
// limits that every implementation offers; and naga, which is Firefox's, in Deno. Warnings are failures.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openGpu } from '../../backends/webgpu/gpu.ts';
import { webgpuTarget, webgpuVariants } from '../../backends/webgpu/target.ts';
import { noDeno, runDeno } from '../support/deno.ts';
import { check } from './wgsl/check.ts';
import { type Source, sources } from './wgsl/sources.ts';

/** Not WGSL; a checker that works reports it, and nothing else. */
const broken: Source = { from: 'broken on purpose', code: 'fn main( {' };
const onlyBroken = [expect.stringMatching(/^broken on purpose: .*1/)];
let collected: Promise<Source[]> | undefined;
const base = (): Promise<Source[]> => (collected ??= sources(webgpuTarget(), 'all'));

test('there are modules of all kinds', { timeout: 600_000 }, async () => {
  const { length } = await base();
  expect(length).toBeGreaterThan(1000);
  console.log(`wgsl: ${length} modules`);
});

const gpu = await openGpu(['backend=null']).catch((error: Error) => error);
const noTint = gpu instanceof Error ? ` (skipped: ${gpu.message})` : '';

test.skipIf(noTint)(`Tint takes all modules, at default limits${noTint}`, { timeout: 600_000 }, async () => {
  expect(await check(gpu as GPU, [...(await base()), broken], { pipelines: true })).toEqual(onlyBroken);
});

test.skipIf(noTint)(`Tint takes modules that use all features${noTint}`, { timeout: 600_000 }, async () => {
  const [{ features }] = webgpuVariants();
  const list = await sources(webgpuTarget(features), 'some');
  for (const directive of ['enable f16;', 'enable subgroups;']) {
    expect(
      list.some(({ code }) => code.includes(directive)),
      directive,
    ).toBe(true);
  }
  expect(await check(gpu as GPU, [...list, broken], { pipelines: true, features: [...features] })).toEqual(onlyBroken);
});

test.skipIf(noDeno)(`naga takes all modules of the base variant${noDeno}`, { timeout: 600_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'modelc-wgsl-'));
  try {
    const [from, to] = [join(folder, 'modules.json'), join(folder, 'problems.json')];
    writeFileSync(from, JSON.stringify([...(await base()), broken]));
    const script = fileURLToPath(new URL('wgsl/check.ts', import.meta.url));
    await runDeno([script, from, to]);
    expect(JSON.parse(readFileSync(to, 'utf8'))).toEqual(onlyBroken);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
