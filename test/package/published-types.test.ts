// The published types in the projects of users: programs of three kinds are checked with the oldest and the newest supported
// TypeScript, by both ways of resolving modules, with the types of DOM and of Node or without, strictly and declaration
// files included. Budget: 90 s.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { root } from '../support/command.ts';
import { UserProject } from '../support/packed.ts';

const compilers = ['typescript', 'typescript-5.9'] as const;
const resolutions = { nodenext: 'nodenext', bundler: 'esnext' } as const;

interface Surroundings {
  readonly dom: boolean;
  readonly node: boolean;
}

let project: UserProject;
beforeAll(() => {
  project = new UserProject(['@types/node', 'esbuild', 'vite']);
  project.write('own.ts', ownArchitecture);
  project.write('story.model.ts', definition);
});
afterAll(() => project.remove());

/** What a compiler says about a file of the project; empty when all is well. */
async function check(
  file: string,
  compiler: (typeof compilers)[number],
  resolution: keyof typeof resolutions,
  { dom, node }: Surroundings,
): Promise<string> {
  const config = `tsconfig-${compiler}-${resolution}-${dom}-${node}-${file.replaceAll('/', '-')}.json`;
  const compilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    module: resolutions[resolution],
    moduleResolution: resolution,
    allowImportingTsExtensions: true,
    target: 'ES2022',
    lib: dom ? ['ES2023', 'DOM', 'DOM.Iterable'] : ['ES2023'],
    types: node ? ['node'] : [],
    noEmit: true,
  };
  project.write(config, JSON.stringify({ compilerOptions, files: [file] }));
  const tsc = join(root, 'node_modules', compiler, 'bin', 'tsc');
  const child = spawn(process.execPath, [tsc, '--project', config], { cwd: project.folder });
  return text(child.stdout);
}

/** Checks a file with each compiler and each resolution. */
async function checkAll(file: string, all: readonly Surroundings[]): Promise<void> {
  for (const resolution of Object.keys(resolutions) as (keyof typeof resolutions)[]) {
    for (const surroundings of all) {
      const said = await Promise.all(compilers.map((compiler) => check(file, compiler, resolution, surroundings)));
      for (const [i, compiler] of compilers.entries()) {
        expect(said[i], `${compiler}, ${resolution}, ${JSON.stringify(surroundings)}`).toBe('');
      }
    }
  }
}

const plain = { dom: false, node: false };
const node = { dom: false, node: true };
const dom = { dom: true, node: false };
const both = { dom: true, node: true };

describe('the published types compile', () => {
  test('where there are neither those of DOM nor those of Node', { timeout: 600_000 }, async () => {
    project.write(
      'bare.ts',
      `
        import * as modelc from 'modelc';
        import * as nn from 'modelc/nn';
        import * as compiler from 'modelc/compiler';
        export { modelc, nn, compiler };
      `,
    );
    await checkAll('bare.ts', [plain]);
  });

  test('in a program for Node that generates, tokenizes and trains', { timeout: 600_000 }, async () => {
    project.write('program.ts', nodeProgram);
    await checkAll('program.ts', [node, both]);
  });

  test('in an app for browsers, beside the types of a compiled artifact', { timeout: 600_000 }, async () => {
    project.write('artifact/index.d.ts', project.read('dist/types/runtime/artifact/api.d.ts'));
    project.write('artifact/index.js', 'export {};\n');
    project.write('page.ts', page);
    await checkAll('page.ts', [dom]);
  });

  test('with an architecture and a build of its own', { timeout: 600_000 }, async () => {
    project.write('vite.config.ts', viteConfig);
    project.write('build.ts', esbuildScript);
    project.write('all.ts', "import './vite.config.ts';\nimport './build.ts';\nimport './story.model.ts';\n");
    await checkAll('all.ts', [node]);
  });
});

const nodeProgram = `
  import {
    AutoModelForCausalLM, AutoTokenizer, get_peft_model, load_dataset, LoraConfig, ModelcError, PeftModel, pipeline,
    text_blocks, TextStreamer, Trainer, TrainingArguments, type LoadOptions, type Tensor,
  } from 'modelc';

  const options: LoadOptions = { dtype: 'fp32', max_cache_len: 256 };
  const tokenizer = await AutoTokenizer.from_pretrained('folder');
  const model = await AutoModelForCausalLM.from_pretrained('folder', options);
  const inputs = tokenizer(['Once', 'upon a time'], { padding: true });
  const controller = new AbortController();
  const output: Tensor<'int64'> = await model.generate({
    ...inputs,
    max_new_tokens: 8,
    signal: controller.signal,
    streamer: new TextStreamer(tokenizer),
  });
  console.log(tokenizer.batch_decode(output, { skip_special_tokens: true }));

  const generator = await pipeline('text-generation', 'folder');
  console.log(await generator('Once', { max_new_tokens: 4, return_full_text: false }));

  const tuned = await get_peft_model(model, new LoraConfig({ r: 8, target_modules: ['q_proj'] }));
  await tuned.save_pretrained('adapter');
  const again = await PeftModel.from_pretrained(model, 'adapter');
  await again.merge_and_unload();

  const texts = await load_dataset('json', { data_files: { train: 'a.jsonl', test: ['b.jsonl'] }, split: 'train' });
  const { train, test } = text_blocks(texts, { tokenizer, block_size: 64 }).train_test_split({ test_size: 0.1 });
  const args = new TrainingArguments({ output_dir: 'out', max_steps: 10, eval_strategy: 'steps', eval_steps: 5 });
  const trainer = new Trainer({ model, args, train_dataset: train, eval_dataset: test, processing_class: tokenizer });
  const { training_loss } = await trainer.train().catch((error: unknown) => {
    throw error instanceof ModelcError ? new Error(error.code) : error;
  });
  const loss: number = training_loss;
  console.log(loss.toFixed(2));
`;

const definition = `
  import { defineModel } from 'modelc';
  import { ParallelModel } from './own.ts';

  export default defineModel({
    checkpoint: new URL('./checkpoint', import.meta.url),
    max_cache_len: 512,
    architecture: () => new ParallelModel(),
  });
`;

const page = `
  import { Linear, Module, relu, type Tensor } from 'modelc/nn';
  import artifact, { load, ModelcError, type GenerateOptions } from './artifact/index.js';
  import story from './story.model.ts';

  export class Layer extends Module {
    up = new Linear(4, 16);
    forward(x: Tensor): Tensor {
      return relu(this.up.forward(x));
    }
  }
  const options: GenerateOptions = { max_new_tokens: 20, signal: AbortSignal.timeout(1000) };
  await story.load({ progress_callback: (info) => { if (info.status === 'progress') document.title = info.file; } });
  for await (const piece of story.generate('Once', options)) document.body.append(piece);
  const model = await load();
  const { new_text } = await model.generate('Once').then((whole) => whole, (error: unknown) => {
    throw error instanceof ModelcError ? new Error(error.code) : error;
  });
  document.body.append(new_text, String((await artifact.encode('x')).length));
`;

const viteConfig = `
  import { defineConfig } from 'vite';
  import { modelc } from 'modelc/vite';

  export default defineConfig({ plugins: [modelc()], worker: { format: 'es' } });
`;

const esbuildScript = `
  import { build } from 'esbuild';
  import modelcByDefault, { modelc } from 'modelc/esbuild';

  const same: typeof modelc = modelcByDefault;
  await build({ entryPoints: ['app.ts'], bundle: true, format: 'esm', outdir: 'dist', plugins: [same()] });
`;

const example = readFileSync(join(root, 'examples', 'custom-architecture.ts'), 'utf8');
const ownArchitecture = `
  ${example.slice(example.indexOf('import *')).replace('../frontends/dsl/index.ts', 'modelc/nn')}
  export class ParallelModel extends ParallelDecoder {}
  import { compile, type CompileOptions } from 'modelc/compiler';
  const options: CompileOptions = { cache: { capacity: 80, store: 'f32' } };
  export { compile, options };
`;
