// modelc/esbuild, and what both plugins share, as an app uses them: what a build emits runs from an empty folder, a second
// build compiles nothing, and mistakes are told in one sentence. Budget: 35 s without a cache, 10 s with one.
import { cpSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { writeSafetensors } from '../../frontends/huggingface/index.ts';
import { example, type Result, root } from '../support/command.ts';
import { app, definition, inProcess, Project } from '../support/plugin-project.ts';
import { randomNumbers } from '../support/random-builder.ts';

const project = new Project();
afterAll(() => project.remove());
/** Without a compiler and its cache: what a build needs must be in the cache of the project. */
const bare = { PATH: '', MODELC_CACHE: join(project.scratch, 'empty-cache') };
const cache = join(project.folder, 'node_modules', '.cache', 'modelc');

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
  const esbuild = (options: object, entries: readonly string[], env: NodeJS.ProcessEnv = {}): Result => {
    project.write('esbuild.mjs', esbuildScript);
    return project.run('esbuild.mjs', [JSON.stringify(options), ...entries], env);
  };

  test('an app for Node runs from an empty folder, and says what the model says in this process', async () => {
    project.write('src/deep/second.ts', app('../tiny.model'));
    const { stderr } = esbuild({ splitting: true, assetNames: 'assets/[name]-[hash]' }, [
      'src/app.ts',
      'src/deep/second.ts',
    ]);
    expect(stderr).toBe('');
    const expected = await inProcess();
    expect(project.runMoved('out', 'app.js')).toMatchObject({ stderr: '', stdout: expected });
    expect(project.runMoved('out', 'deep/second.js')).toMatchObject({ stderr: '', stdout: expected });
    expect(readdirSync(join(project.folder, 'out', 'assets', 'models'))).toEqual(['tiny']);
  });

  test('a second build compiles nothing, another definition or checkpoint does', () => {
    expect(esbuild({ outdir: 'once' }, ['src/app.ts']).stderr).toBe('');
    expect(readdirSync(cache)).toHaveLength(1);
    expect(esbuild({ outdir: 'again' }, ['src/app.ts'], bare).stderr).toBe('');
    expect(project.runMoved('again', 'app.js').stdout).toMatch(/^Once upon a time/);
    expect(readdirSync(cache)).toHaveLength(1);

    project.write('src/other.model.ts', definition(`{ checkpoint: '../checkpoint', max_batch: 1 }`));
    project.write('src/other.ts', app('./other.model.ts'));
    expect(esbuild({ outdir: 'other' }, ['src/other.ts'], bare).stderr).toMatch(/src\/other\.model\.ts: .*compiler/);

    // The next version of a model takes the place of the one before, but never that of somebody's data.
    project.write('again/models/tiny/stale', '');
    project.write('mine/models/tiny/data', '');
    expect(esbuild({ outdir: 'again' }, ['src/app.ts'], bare).stderr).toBe('');
    expect(readdirSync(join(project.folder, 'again/models/tiny'))).not.toContain('stale');
    expect(esbuild({ outdir: 'mine' }, ['src/app.ts'], bare).stderr).toMatch(
      /mine\/models\/tiny holds files that are no/,
    );

    project.write('src/deep/tiny.model.ts', definition(`{ checkpoint: '../../checkpoint' }`));
    project.write('src/twice.ts', `import './tiny.model';\nimport './deep/tiny.model';\n`);
    expect(esbuild({ outdir: 'again' }, ['src/twice.ts'], bare).stderr).toMatch(
      /would share .*models\/tiny; rename one/,
    );

    const weights = join(project.folder, 'checkpoint', 'model.safetensors');
    utimesSync(weights, new Date(), new Date());
    expect(esbuild({ outdir: 'other' }, ['src/app.ts'], bare).stderr).toMatch(/src\/tiny\.model\.ts: .*compiler/);
    expect(readdirSync(cache)).toHaveLength(1);
  });

  test('a file that defines no model is as any other, whatever it is called', () => {
    project.write('src/user.model.ts', `export const user: string = 'Ada';`);
    project.write('src/user.ts', `import { user } from './user.model';\nconsole.log(user);\n`);
    expect(esbuild({ outdir: 'user' }, ['src/user.ts'], bare).stderr).toBe('');
    expect(project.runMoved('user', 'user.js').stdout).toBe('Ada\n');
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
      definition(`{ checkpoint: '../checkpoint', max_lengths: 5 }`),
      /does not know the option `max_lengths`; did you mean `max_length`\?/,
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
      `import { defineModel } from 'modelc';\nthrow new Error('no luck', { cause: defineModel });`,
      /no luck; it runs in Node at build/,
    ],
    [
      'a definition that does not parse',
      {},
      `export default defineModel(`,
      /Unexpected end of file.*; it runs in Node at build/s,
    ],
    [
      'another default export',
      {},
      `export default { checkpoint: '.' }; // no defineModel`,
      /write `export default defineModel/,
    ],
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
    rmSync(join(project.folder, 'src/bad.model.ts'), { force: true });
    if (source !== undefined) project.write('src/bad.model.ts', source);
    project.write('src/bad.ts', `import './bad.model.ts';`);
    const { stderr } = esbuild({ outdir: 'bad', ...options }, ['src/bad.ts']);
    expect(stderr).toMatch(message);
    expect(stderr).toContain('bad.model.ts');
    expect(stderr.match(/\[ERROR\]/g)).toHaveLength(1);
    expect(stderr).not.toContain('    at ');
  });

  test('an architecture in the same file is compiled, and computes what the interpreter says', async () => {
    await writeOwnModel('own');
    project.write('src/own.ts', app('./own.model.js'));
    expect(esbuild({ outdir: 'own-out' }, ['src/own.ts']).stderr).toBe('');
    // What the class computes is part of what an artifact is kept by: another one needs a compiler.
    const source = readFileSync(join(project.folder, 'src/own.model.js'), 'utf8');
    project.write('src/own.model.js', source.replace('return x.add(', 'return x.sub('));
    expect(esbuild({ outdir: 'own-other' }, ['src/own.ts'], bare).stderr).toMatch(/src\/own\.model\.js: .*compiler/);
    project.write('src/own.model.js', source);
    expect(esbuild({ outdir: 'own-again' }, ['src/own.ts'], bare).stderr).toBe('');
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
    project.write('src/truth.js', truth);
    const { lazy, text } = JSON.parse(project.run('src/truth.js').stdout);
    expect(lazy).toBe(text);
    expect(project.runMoved('own-out', 'own.js').stdout).toBe(`${text}\n`);
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
  project.write('tsconfig.json', JSON.stringify(tsconfig));
  project.write('src/wrong.ts', `import model from './tiny.model.ts';\nmodel.generate('x', { max_tokens: 1 });\n`);
  project.write(
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
  const { stdout } = project.run(tsc, ['--project', project.folder]);
  expect(stdout.trim().split('\n')).toEqual([expect.stringMatching(/^src\/wrong\.ts.*max_tokens/)]);
});

/** A checkpoint with random weights, and a definition that brings the architecture of it. */
async function writeOwnModel(folder: string): Promise<void> {
  const config = { vocab_size: 512, max_position_embeddings: 64, hidden_size: 32, num_attention_heads: 2 };
  cpSync(example, join(project.folder, folder), { recursive: true });
  project.write(`${folder}/config.json`, JSON.stringify(config));
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
  await writeSafetensors(join(project.folder, folder, 'model.safetensors'), tensors);
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
  project.write(`src/own.model.js`, source);
}
