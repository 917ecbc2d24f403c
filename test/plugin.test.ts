// The build plugins, as an app uses them: a project folder with modelc, esbuild and Vite in its node_modules, whose builds
// run in processes of their own. What they emit runs from an empty folder, and a second build compiles nothing.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeSafetensors } from '../frontends/huggingface/index.ts';
import { AutoModelForCausalLM, AutoTokenizer } from '../runtime/index.ts';
import { example, root } from './command.ts';
import { randomNumbers } from './random-graph.ts';

let scratch = '';
let project = '';
const cache = (): string => join(project, 'node_modules', '.cache', 'modelc');

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'modelc-plugin-'));
  project = join(scratch, 'project');
  mkdirSync(join(project, 'node_modules'), { recursive: true });
  symlinkSync(root, join(project, 'node_modules', 'modelc'));
  for (const name of ['esbuild', 'vite']) {
    symlinkSync(join(root, 'node_modules', name), join(project, 'node_modules', name));
  }
  cpSync(example, join(project, 'checkpoint'), { recursive: true });
  write('package.json', '{ "type": "module" }');
  write('src/tiny.model.ts', definition(`{ checkpoint: '../checkpoint' satisfies string }`));
  write('src/app.ts', app('./tiny.model.ts'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function write(file: string, text: string): void {
  mkdirSync(dirname(join(project, file)), { recursive: true });
  writeFileSync(join(project, file), text);
}

const definition = (options: string): string =>
  `import { defineModel } from 'modelc';\nexport default defineModel(${options});\n`;

const app = (model: string): string => `
  import model from '${model}';
  const { text } = await model.generate('Once upon a time', { max_new_tokens: 12, do_sample: false });
  console.log(text);
`;

interface Run {
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a module of the project. */
function run(file: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Run {
  return spawnSync(process.execPath, [file, ...args], {
    cwd: project,
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
}

/** Runs a module of the output where there is nothing else. */
function runMoved(output: string, file: string): Run {
  const folder = mkdtempSync(join(scratch, 'moved-'));
  cpSync(join(project, output), folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  return spawnSync(process.execPath, [file], { cwd: folder, encoding: 'utf8', env: { PATH: '', HOME: folder } });
}

async function inProcess(): Promise<string> {
  const tokenizer = await AutoTokenizer.from_pretrained(example);
  const model = await AutoModelForCausalLM.from_pretrained(example);
  const inputs = tokenizer('Once upon a time');
  const output = await model.generate({ ...inputs, max_new_tokens: 12, do_sample: false });
  model.dispose();
  return `${tokenizer.decode(Array.from(output.data, Number), { skip_special_tokens: true })}\n`;
}

const esbuildScript = `
  import { build } from 'esbuild';
  import modelc from 'modelc/esbuild';
  const [options, ...entryPoints] = process.argv.slice(2);
  await build({
    entryPoints, bundle: true, format: 'esm', platform: 'node', outdir: 'out', logLevel: 'warning',
    plugins: [modelc()], ...JSON.parse(options),
  }).catch((error) => console.error(error.message));
`;

describe('modelc/esbuild', () => {
  const esbuild = (options: object, entries: readonly string[], env: NodeJS.ProcessEnv = {}): Run => {
    write('esbuild.mjs', esbuildScript);
    return run('esbuild.mjs', [JSON.stringify(options), ...entries], env);
  };

  test('an app for Node runs from an empty folder, and says what the model says in this process', async () => {
    write('src/deep/second.ts', app('../tiny.model'));
    const { stderr } = esbuild({ splitting: true, assetNames: 'assets/[name]-[hash]' }, [
      'src/app.ts',
      'src/deep/second.ts',
    ]);
    expect(stderr).toBe('');
    const expected = await inProcess();
    expect(runMoved('out', 'app.js')).toMatchObject({ stderr: '', stdout: expected });
    expect(runMoved('out', 'deep/second.js')).toMatchObject({ stderr: '', stdout: expected });
    expect(readdirSync(join(project, 'out', 'assets', 'models'))).toEqual(['tiny']);
  });

  test('a second build compiles nothing, another definition or checkpoint does', () => {
    // Without a compiler and its cache, what a build needs must be in the cache of the project.
    const bare = { PATH: '', MODELC_CACHE: join(scratch, 'empty-cache') };
    expect(readdirSync(cache())).toHaveLength(1);
    expect(esbuild({ outdir: 'again' }, ['src/app.ts'], bare).stderr).toBe('');
    expect(runMoved('again', 'app.js').stdout).toMatch(/^Once upon a time/);
    expect(readdirSync(cache())).toHaveLength(1);

    write('src/other.model.ts', definition(`{ checkpoint: '../checkpoint', max_batch: 1 }`));
    write('src/other.ts', app('./other.model.ts'));
    expect(esbuild({ outdir: 'other' }, ['src/other.ts'], bare).stderr).toMatch(/src\/other\.model\.ts: .*compiler/);

    // The next version of a model takes the place of the one before, but never that of somebody's data.
    write('again/models/tiny/stale', '');
    write('mine/models/tiny/data', '');
    expect(esbuild({ outdir: 'again' }, ['src/app.ts'], bare).stderr).toBe('');
    expect(readdirSync(join(project, 'again/models/tiny'))).not.toContain('stale');
    expect(esbuild({ outdir: 'mine' }, ['src/app.ts'], bare).stderr).toMatch(
      /mine\/models\/tiny holds files that are no/,
    );

    write('src/deep/tiny.model.ts', definition(`{ checkpoint: '../../checkpoint' }`));
    write('src/twice.ts', `import './tiny.model';\nimport './deep/tiny.model';\n`);
    expect(esbuild({ outdir: 'again' }, ['src/twice.ts'], bare).stderr).toMatch(
      /would share .*models\/tiny; rename one/,
    );

    const weights = join(project, 'checkpoint', 'model.safetensors');
    utimesSync(weights, new Date(), new Date());
    expect(esbuild({ outdir: 'other' }, ['src/app.ts'], bare).stderr).toMatch(/src\/tiny\.model\.ts: .*compiler/);
    expect(readdirSync(cache())).toHaveLength(1);
  });

  test.each<[string, object, string | undefined, RegExp]>([
    [
      'a missing checkpoint',
      {},
      definition(`{ checkpoint: new URL('./nowhere', import.meta.url) }`),
      /src\/nowhere does not exist; name the folder/,
    ],
    [
      'an option with a wrong name',
      {},
      definition(`{ checkpoint: '../checkpoint', max_length: 5 }`),
      /does not know the option `max_length`; it takes checkpoint, target, .*max_cache_len/,
    ],
    [
      'a wrong value',
      {},
      definition(`{ checkpoint: '../checkpoint', chunk: 0 }`),
      /`chunk` must be a positive integer, but is 0/,
    ],
    [
      'a definition that throws',
      {},
      `throw new Error('no luck');\nexport default 1;`,
      /no luck; it runs in Node at build/,
    ],
    ['a definition that does not parse', {}, `export default (`, /Unexpected end of file.*; it runs in Node at build/s],
    ['another default export', {}, `export default { checkpoint: '.' };`, /write `export default defineModel/],
    [
      'a CPU model for the browser',
      { platform: 'browser' },
      definition(`{ checkpoint: '../checkpoint', target: 'cpu' }`),
      /target 'cpu' does not run in a browser; set target: 'webgpu'/,
    ],
    [
      'another module format',
      { format: 'cjs' },
      definition(`{ checkpoint: '../checkpoint' }`),
      /build with format: 'esm'/,
    ],
    ['output in memory', { write: false }, definition(`{ checkpoint: '../checkpoint' }`), /build with write: true/],
    ['no such file', {}, undefined, /Could not resolve ".\/bad.model.ts"/],
  ])('%s is one clear sentence', (_, options, source, message) => {
    rmSync(join(project, 'src/bad.model.ts'), { force: true });
    if (source !== undefined) write('src/bad.model.ts', source);
    write('src/bad.ts', `import './bad.model.ts';`);
    const { stderr } = esbuild({ outdir: 'bad', ...options }, ['src/bad.ts']);
    expect(stderr).toMatch(message);
    expect(stderr).toContain('bad.model.ts');
    expect(stderr.match(/\[ERROR\]/g)).toHaveLength(1);
    expect(stderr).not.toContain('    at ');
  });

  test('an architecture in the same file is compiled, and computes what the interpreter says', async () => {
    await writeOwnModel('own');
    write('src/own.ts', app('./own.model.js'));
    expect(esbuild({ outdir: 'own-out' }, ['src/own.ts']).stderr).toBe('');
    const truth = `
      import { AutoModelForCausalLM, AutoTokenizer } from 'modelc';
      import model, { architecture } from './own.model.js';
      const options = { max_new_tokens: 12, do_sample: false };
      const lazy = await model.generate('Once upon a time', options); // compiled in this process
      await model.dispose();
      const tokenizer = await AutoTokenizer.from_pretrained('own');
      const interpreted = await AutoModelForCausalLM.from_pretrained('own', { architecture, target: 'reference' });
      const output = await interpreted.generate({ ...tokenizer('Once upon a time'), ...options });
      const text = tokenizer.decode(Array.from(output.data, Number), { skip_special_tokens: true });
      console.log(JSON.stringify({ lazy: lazy.text, text }));
    `;
    write('src/truth.js', truth);
    const { lazy, text } = JSON.parse(run('src/truth.js').stdout);
    expect(lazy).toBe(text);
    expect(runMoved('own-out', 'own.js').stdout).toBe(`${text}\n`);
  });
});

describe('modelc/vite', () => {
  const vite = (script: string): Run => {
    write(
      'vite.mjs',
      `
        import { build, createServer } from 'vite';
        import modelc from 'modelc/vite';
        const config = { configFile: false, logLevel: 'warn', plugins: [modelc()] };
        ${script}
      `,
    );
    return run('vite.mjs');
  };

  test('a server build runs from an empty folder', async () => {
    const output = `{ output: { entryFileNames: 'deep/[name].js' }, checks: { pluginTimings: false } }`;
    const { stderr } = vite(
      `await build({ ...config, build: { outDir: 'ssr', ssr: 'src/app.ts', sourcemap: true, rolldownOptions: ${output} } });`,
    );
    expect(stderr).toBe('');
    expect(runMoved('ssr', 'deep/app.js')).toMatchObject({ stderr: '', stdout: await inProcess() });
  });

  test('a model of the CPU in a page is one clear sentence', () => {
    write('index.html', '<!doctype html><script type="module" src="/src/page.ts"></script>');
    write('src/page.ts', `import model from './cpu.model.ts';\nmodel.encode('x');\n`);
    write('src/cpu.model.ts', definition(`{ checkpoint: '../checkpoint', target: 'cpu' }`));
    const { stdout } = vite(`await build({ ...config, logLevel: 'silent' }).catch((e) => console.log(e.message));`);
    expect(stdout).toContain("src/cpu.model.ts: target 'cpu' does not run in a browser; set target: 'webgpu'");
  });
});

test('an app has the types of the model, without generated declarations', () => {
  const tsconfig = {
    compilerOptions: {
      ...{ strict: true, module: 'NodeNext', target: 'ES2022', noEmit: true, types: [], skipLibCheck: true },
      allowImportingTsExtensions: true,
    },
    files: ['src/app.ts', 'src/wrong.ts', 'vite.config.ts'],
  };
  write('tsconfig.json', JSON.stringify(tsconfig));
  write('src/wrong.ts', `import model from './tiny.model.ts';\nmodel.generate('x', { max_tokens: 1 });\n`);
  write(
    'vite.config.ts',
    `
      import { build } from 'esbuild';
      import forEsbuild from 'modelc/esbuild';
      import modelc from 'modelc/vite';
      import { defineConfig } from 'vite';
      export default defineConfig({ plugins: [modelc()] });
      await build({ plugins: [forEsbuild()] });
    `,
  );
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const { stdout } = run(tsc, ['--project', project]);
  expect(stdout.trim().split('\n')).toEqual([expect.stringMatching(/^src\/wrong\.ts.*max_tokens/)]);
});

/** A checkpoint with random weights, and a definition that brings the architecture of it. */
async function writeOwnModel(folder: string): Promise<void> {
  const config = { vocab_size: 512, max_position_embeddings: 64, hidden_size: 32, num_attention_heads: 2 };
  cpSync(example, join(project, folder), { recursive: true });
  write(`${folder}/config.json`, JSON.stringify(config));
  const shapes = {
    'tokens.weight': [512, 32],
    'block.norm.weight': [32],
    'block.norm.bias': [32],
    'block.qkv.weight': [96, 32],
    'block.out.weight': [32, 32],
    'norm.weight': [32],
  };
  const random = randomNumbers(7);
  const tensors = Object.entries(shapes).map(([name, shape]) => ({
    name,
    dtype: 'f32' as const,
    shape,
    data: new Uint8Array(Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, () => random() - 0.5).buffer),
  }));
  await writeSafetensors(join(project, folder, 'model.safetensors'), tensors);
  const source = `
    import { defineModel } from 'modelc';
    import * as nn from 'modelc/nn';

    class Block extends nn.Module {
      constructor(size) {
        super();
        this.norm = new nn.LayerNorm(size);
        this.qkv = new nn.Linear(size, 3 * size, { bias: false });
        this.out = new nn.Linear(size, size, { bias: false });
      }
      forward(x, { cache, mask }, rotation, heads) {
        const split = this.qkv.forward(this.norm.forward(x)).split([32, 32, 32], -1);
        const [q, k, v] = split.map((y) => nn.splitHeads(y, heads));
        const [keys, values] = cache.update(0, nn.rope(k, rotation), v);
        const y = nn.attention(nn.rope(q, rotation), keys, values, { mask });
        return x.add(this.out.forward(nn.mergeHeads(y)));
      }
    }

    class Own extends nn.Module {
      constructor({ vocab_size, hidden_size, num_attention_heads }) {
        super();
        this.heads = num_attention_heads;
        this.tokens = new nn.Embedding(vocab_size, hidden_size);
        this.block = new Block(hidden_size);
        this.norm = new nn.RMSNorm(hidden_size);
        const dim = hidden_size / num_attention_heads;
        this.rotary = new nn.RotaryEmbedding({ dim, theta: 10000, scaling: { type: 'default' } });
      }
      forward(inputs) {
        const rotation = this.rotary.forward(inputs.positionIds, inputs.cache.length);
        const x = this.tokens.forward(inputs.inputIds);
        return [x, this.block.forward(x, inputs, rotation, this.heads)];
      }
      finalNorm(hidden) { return this.norm.forward(hidden); }
      logits(hidden) { return this.tokens.project(hidden); }
    }

    export const architecture = (config) => new Own(config);
    export default defineModel({ checkpoint: '../${folder}', architecture });
  `;
  write(`src/own.model.js`, source);
}
