// A cuda artifact is whole: on the emulated driver, from an empty folder, with no compiler, a program imports it and it
// says what the in-process model says; on machines that do not fit it says why, before it reads a weight.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasNvcc } from '../../backends/cuda/toolchain.ts';
import { writeArtifact } from '../../runtime/artifact/write.ts';
import { AutoModelForCausalLM, AutoTokenizer } from '../../runtime/index.ts';
import { example, modelc, type Result, root } from '../support/command.ts';
import { emulatedDriver } from '../support/cuda-device.ts';
import { editManifest } from '../support/manifest.ts';

const realCompiler = await hasNvcc();
const scratch = mkdtempSync(join(tmpdir(), 'modelc-cuda-artifact-'));
const app = join(scratch, 'app');
let driver = '';
beforeAll(async () => {
  driver = await emulatedDriver();
  mkdirSync(app);
  const before = process.env.NVCC;
  process.env.NVCC = join(root, 'test', 'support', 'cuda-emulation', 'nvcc');
  try {
    await writeArtifact(example, join(app, 'model'), { target: 'cuda' });
  } finally {
    if (before === undefined) delete process.env.NVCC;
    else process.env.NVCC = before;
  }
  cpSync(join(app, 'model'), join(app, 'empty'), { recursive: true });
  for (const name of readdirSync(join(app, 'empty'))) {
    if (name.endsWith('.safetensors')) rmSync(join(app, 'empty', name));
  }
}, 300_000);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Runs a module in the folder of the app: no PATH, an empty home, nothing but the artifact and the driver. */
function run(source: string, env: NodeJS.ProcessEnv = {}): Result {
  writeFileSync(join(app, 'app.mjs'), source);
  const clean = { PATH: '', HOME: app, MODELC_CACHE: join(app, 'no-cache'), MODELC_CUDA_DRIVER: driver, ...env };
  return spawnSync(process.execPath, ['app.mjs'], { cwd: app, encoding: 'utf8', env: clean });
}

const speak = `
import { load } from './model/index.js';
const model = await load();
let streamed = '';
for await (const piece of model.generate('Once upon a time', { max_new_tokens: 12, do_sample: false })) streamed += piece;
const { ids, new_text } = await model.generate('Once upon a time', { max_new_tokens: 12, do_sample: false });
console.log(JSON.stringify({ streamed, ids, new_text }));
await model.dispose();
`;
/** What goes wrong when the artifact without weights is loaded: machines are judged before they are read. */
function failure(env: NodeJS.ProcessEnv): { code: string; message: string } {
  const source = `
    import { load } from './empty/index.js';
    console.log(JSON.stringify(await load().then(() => ({}), ({ code, message }) => ({ code, message }))));
  `;
  const { stdout, stderr } = run(source, env);
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

async function inProcess(): Promise<number[]> {
  const tokenizer = await AutoTokenizer.from_pretrained(example);
  const model = await AutoModelForCausalLM.from_pretrained(example);
  const input_ids = [tokenizer.encode('Once upon a time')];
  const output = await model.generate({ input_ids, max_new_tokens: 12, do_sample: false });
  model.dispose();
  return Array.from(output.data, Number);
}

describe('a cuda artifact', () => {
  // GPUs of 9.0 run the code made for them, all others, later ones too, that of 8.0
  test.each([80, 86, 90, 120])(
    'is imported from an empty folder on a GPU of capability %i and equals the in-process model',
    async (capability) => {
      const { stdout, stderr } = run(speak, { EMULATED_CAPABILITY: String(capability) });
      expect(stderr).toBe('');
      const { streamed, ids, new_text } = JSON.parse(stdout);
      expect(ids).toEqual(await inProcess());
      expect(streamed).toBe(new_text);
    },
    60_000,
  );

  test("is run by 'modelc generate'", async () => {
    const args = [
      'generate',
      join(app, 'model'),
      '-p',
      'Once upon a time',
      '--max-new-tokens',
      '12',
      '--greedy',
      '--json',
    ];
    const { stdout } = modelc(args, { MODELC_CUDA_DRIVER: driver });
    expect(JSON.parse(stdout).ids).toEqual(await inProcess());
  }, 60_000);

  test('says what a machine lacks, and the way out', async () => {
    expect(failure({ MODELC_CUDA_DRIVER: join(app, 'libcuda.so.1') })).toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/^no NVIDIA driver found \(.*\); install one or use the target cpu$/),
    });
    expect(failure({ EMULATED_CAPABILITY: '75' })).toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/^a GPU of compute capability 7.5 is not served .*; use the target cpu$/),
    });
    expect(failure({ EMULATED_MEMORY: String(2 ** 19) })).toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(
        /needs \d+ MiB of GPU memory, and emulated has 1 MiB free; end other programs on it, or use a larger GPU/,
      ),
    });
    expect(failure({})).toMatchObject({ code: 'checkpoint', message: expect.stringContaining('.safetensors') });
    const manifest = join(app, 'empty', 'program.json');
    const text = readFileSync(manifest, 'utf8');
    writeFileSync(manifest, text.replace(/"memoryBytes":\d+/, '"memoryBytes":"all"'));
    expect(failure({})).toMatchObject({ code: 'parse', message: expect.stringMatching(/is damaged/) });
    writeFileSync(manifest, text);
    await editManifest(join(app, 'empty'), ({ variants, ...m }) => ({
      ...m,
      variants: (variants as { requires: object }[]).map((v) => ({
        ...v,
        requires: { ...v.requires, platform: 'sunos' },
      })),
    }));
    expect(failure({})).toMatchObject({ code: 'unsupported', message: expect.stringMatching(/needs sunos on/) });
  }, 60_000);

  test.skipIf(!realCompiler)(
    `takes at most 2 MB besides weights${realCompiler ? '' : ' (skipped: there is no nvcc)'}`,
    async () => {
      const { otherBytes } = await writeArtifact(example, join(scratch, 'real'), { target: 'cuda' });
      expect(otherBytes).toBeLessThan(2e6);
    },
    300_000,
  );
});
