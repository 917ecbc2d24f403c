// An artifact for WebGPU: index.js needs nothing of Node, and Node runs it from an empty folder with the npm package
// `webgpu` beside it. Budget: 60 s, nearly all for the software driver's compilation of pipelines.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'; // biome-ignore format: one row
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FileProgress, ProgressInfo } from '../runtime/artifact/api.ts';
import { writeArtifact } from '../runtime/artifact/write.ts';
import { AutoModelForCausalLM, AutoTokenizer } from '../runtime/index.ts';
import { example, root } from './command.ts';
import { chooseDriver, openWebGpuDevice } from './webgpu-device.ts';

chooseDriver();
const missing = await openWebGpuDevice().then(
  () => undefined,
  (error: unknown) => (error instanceof Error ? error.message : String(error)),
);
if (missing) console.warn(`web artifacts are not run: ${missing}`);

let scratch = '';
let artifact = '';
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'modelc-web-'));
  artifact = join(scratch, 'model');
  await writeArtifact(example, artifact, { target: 'webgpu' });
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function onCpu(): Promise<string> {
  const tokenizer = await AutoTokenizer.from_pretrained(example);
  const model = await AutoModelForCausalLM.from_pretrained(example);
  const input_ids = [tokenizer.encode('Once upon a time')];
  const output = await model.generate({ input_ids, max_new_tokens: 20, do_sample: false });
  model.dispose();
  return tokenizer.decode(Array.from(output.data, Number), { skip_special_tokens: true });
}

describe('the folder', () => {
  test('is small beside its weights', () => {
    const names = readdirSync(artifact);
    expect(names).toEqual(expect.arrayContaining(['index.js', 'index.d.ts', 'program.json', 'kernels.base.wgsl']));
    const others = names.filter((n) => !n.endsWith('.safetensors'));
    expect(others.reduce((n, name) => n + statSync(join(artifact, name)).size, 0)).toBeLessThan(600_000);
  });

  test('index.js imports nothing', () => {
    const code = readFileSync(join(artifact, 'index.js'), 'utf8');
    // The bundler has resolved every import of a literal name; what is left imports by a name that only Node uses.
    expect(code.match(/\b(?:import|export)\b[^;{}()]*\bfrom\s*["'][^"']*["']/g)).toBeNull();
    expect(code.match(/\bimport\s*\(\s*["'`][^)]*\)/g)).toBeNull();
    expect(code).not.toMatch(/\brequire\s*\(\s*["']/);
    const named = builtinModules.filter((name) => code.includes(`"node:${name}"`));
    expect(named).toEqual(['fs/promises']);
  });
});

describe.skipIf(missing)('in Node', () => {
  test('it is imported from an empty folder and says what the CPU says', async () => {
    const app = join(scratch, 'app');
    mkdirSync(join(app, 'node_modules'), { recursive: true });
    symlinkSync(join(root, 'node_modules', 'webgpu'), join(app, 'node_modules', 'webgpu'));
    symlinkSync(artifact, join(app, 'model'));
    const source = `
      import { load } from './model/index.js';
      const reports = [];
      const model = await load({ progress_callback: (info) => reports.push(info) });
      let streamed = '';
      const options = { max_new_tokens: 20, do_sample: false };
      for await (const piece of model.generate('Once upon a time', options)) streamed += piece;
      console.log(JSON.stringify({ streamed, reports }));
      await model.dispose();
    `;
    writeFileSync(join(app, 'app.mjs'), source);
    const flags = ['--preserve-symlinks', 'app.mjs'];
    const { stdout, stderr } = spawnSync(process.execPath, flags, { cwd: app, encoding: 'utf8' });
    expect(stderr).toBe('');
    const { streamed, reports } = JSON.parse(stdout) as { streamed: string; reports: ProgressInfo[] };
    expect(`Once upon a time${streamed}`).toBe(await onCpu());
    const statuses = reports.map((r) => r.status);
    expect([...new Set(statuses)]).toEqual(['initiate', 'download', 'progress', 'done', 'ready']);
    const ready = reports.at(-1) as FileProgress;
    expect(ready).toMatchObject({ name: 'model', progress: 100, from: 'cache', loaded: ready.total });
    expect(existsSync(join(app, 'node_modules', 'modelc'))).toBe(false);
  }, 240_000);
});
