// An artifact is whole: from an empty folder, with no node_modules and no compiler, a program imports it, streams text
// that equals the in-process model's, and type-checks against it.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeArtifact } from '../../runtime/artifact/write.ts';
import { AutoModelForCausalLM, AutoTokenizer } from '../../runtime/index.ts';
import { example, modelc, type Result, root } from '../support/command.ts';
import { editManifest } from '../support/manifest.ts';

let scratch = '';
let artifact = '';
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'modelc-artifact-'));
  artifact = join(scratch, 'app', 'model');
  mkdirSync(join(scratch, 'app'));
  await writeArtifact(example, artifact);
}, 300_000);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Runs a module in the folder of the app: no PATH, an empty home, nothing but the artifact. */
function run(source: string, env: NodeJS.ProcessEnv = {}): Result {
  writeFileSync(join(scratch, 'app', 'app.mjs'), source);
  const clean = { PATH: '', HOME: join(scratch, 'app'), MODELC_CACHE: join(scratch, 'app', 'no-cache'), ...env };
  return spawnSync(process.execPath, ['app.mjs'], { cwd: join(scratch, 'app'), encoding: 'utf8', env: clean });
}

const speak = `
import { load } from './model/index.js';
const model = await load();
let streamed = '';
for await (const piece of model.generate('Once upon a time', { max_new_tokens: 20, do_sample: false })) streamed += piece;
const whole = await model.generate('Once upon a time', { max_new_tokens: 20, do_sample: false });
const again = await model.generate(whole.ids.slice(0, -whole.new_ids.length), { max_new_tokens: 20, do_sample: false });
console.log(JSON.stringify({ streamed, whole, again }));
await model.dispose();
`;

async function inProcess(): Promise<number[]> {
  const tokenizer = await AutoTokenizer.from_pretrained(example);
  const model = await AutoModelForCausalLM.from_pretrained(example);
  const input_ids = [tokenizer.encode('Once upon a time')];
  const output = await model.generate({ input_ids, max_new_tokens: 20, do_sample: false });
  model.dispose();
  return Array.from(output.data, Number);
}

describe('an artifact', () => {
  test('is imported from an empty folder and equals the in-process model', async () => {
    const { stdout, stderr } = run(speak);
    expect(stderr).toBe('');
    const { streamed, whole, again } = JSON.parse(stdout);
    expect(whole.ids).toEqual(await inProcess());
    expect(whole.text).toBe(`Once upon a time${whole.new_text}`);
    expect(streamed).toBe(whole.new_text);
    expect(again).toEqual(whole);
    expect(readdirSync(join(scratch, 'app')).sort()).toEqual(['app.mjs', 'model']);
  });

  test.each(['avx2', 'plain'])('says the same with %s kernels', (isa) => {
    const best = JSON.parse(run(speak).stdout);
    expect(JSON.parse(run(speak, { MODELC_ISA: isa }).stdout).whole.ids).toEqual(best.whole.ids);
  });

  test('has a default export that loads at its first use, and can be stopped', () => {
    const source = `
      import model from './model/index.js';
      let pieces = 0;
      for await (const piece of model.generate('Once', { max_new_tokens: 200, do_sample: false })) if (++pieces === 3) break;
      const ids = await model.encode('Once');
      const failure = await model.generate('Once', { signal: AbortSignal.abort() }).then(() => undefined, (e) => e.name);
      console.log(JSON.stringify({ pieces, text: await model.decode(ids), failure }));
      await model.dispose();
    `;
    const { stdout, stderr } = run(source);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({ pieces: 3, text: 'Once', failure: 'AbortError' });
  });

  test('is loaded with a callback and a signal; a use after a failed one tries again', () => {
    const source = `
      import { renameSync } from 'node:fs';
      import model, { load } from './model/index.js';
      const statuses = [];
      const loaded = await load({ progress_callback: ({ status, file, loaded, total }) => statuses.push([status, file !== '', loaded === total]) });
      await loaded.dispose();
      const failures = [];
      for (const options of [{ signal: AbortSignal.abort() }, { progress: () => {} }]) {
        await load(options).catch((e) => failures.push(e.name === 'AbortError' ? [e.name] : [e.code, e.message]));
      }
      renameSync('model/tokenizer.json', 'model/moved');
      await model.encode('Once').catch((e) => failures.push([e.code]));
      renameSync('model/moved', 'model/tokenizer.json');
      console.log(JSON.stringify({ statuses, failures, ids: (await model.encode('Once')).length > 0 }));
    `;
    const { stdout, stderr } = run(source);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      statuses: [
        ['initiate', true, false],
        ['done', true, true],
        ['ready', false, true],
      ],
      failures: [
        ['AbortError'],
        ['input', 'load() does not know the option `progress`; it takes progress_callback, signal, cache, verify'],
        ['checkpoint'],
      ],
      ids: true,
    });
  });

  test("is run by 'modelc generate'", async () => {
    const args = ['generate', artifact, '-p', 'Once upon a time', '--max-new-tokens', '20', '--greedy', '--json'];
    expect(JSON.parse(modelc(args).stdout).ids).toEqual(await inProcess());
  });

  test('takes token ids alone where the checkpoint has no tokenizer; a damaged one is said before compiling', async () => {
    const source = join(scratch, 'source');
    cpSync(example, source, { recursive: true });
    writeFileSync(join(source, 'tokenizer.json'), '{"model": {"type": "BPE", "vocab": 3}}');
    const damaged = modelc(['compile', source, '-o', join(scratch, 'app', 'damaged')]);
    expect(damaged).toMatchObject({ status: 1, stdout: '', stderr: expect.stringContaining('tokenizer.json') });
    for (const name of ['tokenizer.json', 'tokenizer_config.json']) rmSync(join(source, name));
    const compiled = modelc(['compile', source, '-o', join(scratch, 'app', 'ids')]);
    expect(compiled).toMatchObject({ status: 0, stderr: expect.stringContaining('takes token ids alone') });
    const prompt = (await AutoTokenizer.from_pretrained(example)).encode('Once upon a time');
    const { stdout, stderr } = run(`
      import model from './ids/index.js';
      const output = await model.generate(${JSON.stringify(prompt)}, { max_new_tokens: 20, do_sample: false });
      const failure = await model.generate('Once').then(() => undefined, (e) => e.message);
      console.log(JSON.stringify({ output, failure }));
      await model.dispose();
    `);
    expect(stderr).toBe('');
    const { output, failure } = JSON.parse(stdout);
    expect(output).toMatchObject({ ids: await inProcess(), text: '', new_text: '' });
    expect(failure).toContain('without tokenizer.json');
    for (const name of ['source', 'app/ids']) rmSync(join(scratch, name), { recursive: true });
  }, 300_000);

  test('has types that check by themselves', () => {
    const check = (source: string): string => {
      writeFileSync(join(scratch, 'app', 'user.ts'), source);
      const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
      const flags = [
        '--noEmit',
        '--strict',
        '--module',
        'nodenext',
        '--target',
        'es2022',
        '--types',
        '',
        '--ignoreConfig',
      ];
      return spawnSync(process.execPath, [tsc, ...flags, 'user.ts'], { cwd: join(scratch, 'app'), encoding: 'utf8' })
        .stdout;
    };
    const good = `
      import model, { load, ModelcError, type GenerateOptions } from './model/index.js';
      const options: GenerateOptions = { max_new_tokens: 20, do_sample: false };
      export async function main(): Promise<number[]> {
        for await (const piece of model.generate('Once', options)) piece.toUpperCase();
        try {
          const { ids, text } = await (await load()).generate([1, 2, 3], options);
          return text.length > 0 ? ids : [];
        } catch (error) {
          if (error instanceof ModelcError && error.code === 'unsupported') return [];
          throw error;
        }
      }
    `;
    expect(check(good)).toBe('');
    expect(check("import model from './model/index.js';\nmodel.generate('x', { max_tokens: 1 });\n")).toMatch(
      /max_tokens/,
    );
    rmSync(join(scratch, 'app', 'user.ts'));
  });

  test('refuses a machine that does not fit, and damage, with a typed error', async () => {
    const source = `
      import { load, ModelcError } from './broken/index.js';
      await load().then(() => console.log('loaded'), (e) => console.log(e instanceof ModelcError, e.code, e.message));
    `;
    const broken = join(scratch, 'app', 'broken');
    const attempt = async (damage: () => void | Promise<void>): Promise<string> => {
      rmSync(broken, { recursive: true, force: true });
      cpSync(artifact, broken, { recursive: true });
      await damage();
      return run(source).stdout;
    };
    const edit = (change: (manifest: Record<string, unknown>) => object): Promise<void> => editManifest(broken, change);
    const requires = { platform: 'plan9', arch: 'mips', nodeMajor: 20, isa: 'avx512' };
    const foreign = (m: Record<string, unknown>): object[] =>
      (m.variants as object[]).map((variant) => ({ ...variant, requires }));
    expect(await attempt(() => edit((m) => ({ ...m, variants: foreign(m) })))).toMatch(
      /^true unsupported .*plan9 on mips.*modelc compile/,
    );
    expect(await attempt(() => edit((m) => ({ ...m, variants: [] })))).toMatch(/^true unsupported /);
    expect(await attempt(() => edit((m) => ({ ...m, target: 'webgpu' })))).toMatch(
      /^true parse .*program\.json is damaged/,
    );
    expect(await attempt(() => edit((m) => ({ ...m, weights: ['../x'] })))).toMatch(
      /^true parse .*program\.json is damaged/,
    );
    expect(await attempt(() => edit((m) => ({ ...m, version: 99 })))).toMatch(/^true unsupported .*99/);
    expect(await attempt(() => writeFileSync(join(broken, 'program.json'), '{'))).toMatch(
      /^true parse .*program\.json/,
    );
    const [weights] = readdirSync(artifact).filter((n) => n.startsWith('weights-'));
    expect(await attempt(() => rmSync(join(broken, weights)))).toMatch(new RegExp(`^true checkpoint .*${weights}`));
    expect(await attempt(() => writeFileSync(join(broken, weights), 'x'))).toMatch(
      /^true checkpoint .*has 1 bytes and had \d+; copy the artifact again/,
    );
    rmSync(broken, { recursive: true, force: true });
  });

  test('replaces an older artifact, and leaves nothing else behind', async () => {
    await writeArtifact(example, artifact);
    expect(readdirSync(join(scratch, 'app')).filter((n) => n.startsWith('.'))).toEqual([]);
    expect(run(speak).stderr).toBe('');
  });
});
