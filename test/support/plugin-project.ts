// The project of an app in tests of the build plugins: a folder with the example checkpoint, a definition of a model and an
// app that uses it; modelc, esbuild and Vite are in its node_modules, and what runs in it runs in a process of its own.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { AutoModelForCausalLM, AutoTokenizer } from '../../runtime/index.ts';
import { example, type Result, root } from './command.ts';

export const definition = (options: string): string =>
  `import { defineModel } from 'modelc';\nexport default defineModel(${options});\n`;

export const app = (model: string): string => `
  import model from '${model}';
  const { text } = await model.generate('Once upon a time', { max_new_tokens: 12, do_sample: false });
  console.log(text);
`;

export class Project {
  readonly scratch = mkdtempSync(join(tmpdir(), 'modelc-plugin-'));
  readonly folder = join(this.scratch, 'project');

  constructor() {
    const modules = join(this.folder, 'node_modules');
    mkdirSync(modules, { recursive: true });
    symlinkSync(root, join(modules, 'modelc'));
    for (const name of ['esbuild', 'vite']) symlinkSync(join(root, 'node_modules', name), join(modules, name));
    cpSync(example, join(this.folder, 'checkpoint'), { recursive: true });
    this.write('package.json', '{ "type": "module" }');
    this.write('src/tiny.model.ts', definition(`{ checkpoint: '../checkpoint' satisfies string }`));
    this.write('src/app.ts', app('./tiny.model.ts'));
  }

  write(file: string, text: string): void {
    mkdirSync(dirname(join(this.folder, file)), { recursive: true });
    writeFileSync(join(this.folder, file), text);
  }

  /** Runs a module. */
  run(file: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Result {
    const options = { cwd: this.folder, encoding: 'utf8', env: { ...process.env, ...env } } as const;
    return spawnSync(process.execPath, [file, ...args], options);
  }

  /** Runs a module of the folder `output` where there is nothing else. */
  runMoved(output: string, file: string): Result {
    const cwd = mkdtempSync(join(this.scratch, 'moved-'));
    cpSync(join(this.folder, output), cwd, { recursive: true });
    writeFileSync(join(cwd, 'package.json'), '{ "type": "module" }');
    return spawnSync(process.execPath, [file], { cwd, encoding: 'utf8', env: { PATH: '', HOME: cwd } });
  }

  remove(): void {
    rmSync(this.scratch, { recursive: true, force: true });
  }
}

/** What the app prints, from the model compiled in this process. */
export async function inProcess(): Promise<string> {
  const tokenizer = await AutoTokenizer.from_pretrained(example);
  const model = await AutoModelForCausalLM.from_pretrained(example);
  const inputs = tokenizer('Once upon a time');
  const output = await model.generate({ ...inputs, max_new_tokens: 12, do_sample: false });
  model.dispose();
  return `${tokenizer.decode(Array.from(output.data, Number), { skip_special_tokens: true })}\n`;
}
