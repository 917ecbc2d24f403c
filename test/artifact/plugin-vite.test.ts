// modelc/vite, as an app uses it: builds for pages and servers, and the development server. Budget: 40 s.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { launch, noBrowser } from '../support/browser.ts';
import type { Result } from '../support/command.ts';
import { definition, inProcess, Project } from '../support/plugin-project.ts';

const project = new Project();
afterAll(() => project.remove());

describe('modelc/vite', () => {
  const writeScript = (script: string): void =>
    project.write(
      'vite.mjs',
      `
        import { build, createServer, preview } from 'vite';
        import modelc from 'modelc/vite';
        const config = () => ({ configFile: false, logLevel: 'warn', plugins: [modelc()] });
        ${script}
      `,
    );
  const vite = (script: string): Result => {
    writeScript(script);
    return project.run('vite.mjs');
  };

  test('a server build runs from an empty folder', async () => {
    const output = `{ output: { entryFileNames: 'deep/[name].js' }, checks: { pluginTimings: false } }`;
    const { stderr } = vite(
      `await build({ ...config(), build: { outDir: 'ssr', ssr: 'src/app.ts', sourcemap: true, rolldownOptions: ${output} } });`,
    );
    expect(stderr).toBe('');
    expect(project.runMoved('ssr', 'deep/app.js')).toMatchObject({ stderr: '', stdout: await inProcess() });
  });

  /** A page that shows what its model says; without a target, a model of a page is for WebGPU. */
  const writePage = (model: string): void => {
    project.write('index.html', '<!doctype html><title>page</title><script type="module" src="/src/page.ts"></script>');
    project.write(
      'src/page.ts',
      `
        import model from '${model}';
        const { text } = await model.generate('Once upon a time', { max_new_tokens: 12, do_sample: false });
        document.title = 'done';
        document.body.textContent = text;
      `,
    );
  };

  test('a page finds the files of its model beside it, and the weights are in no chunk', () => {
    writePage('./tiny.model.ts');
    const { stderr } = vite(
      `await build({ ...config(), base: '/sub/', build: { outDir: 'site', sourcemap: true, rolldownOptions: { checks: { pluginTimings: false } } } });`,
    );
    expect(stderr).toBe('');
    const assets = join(project.folder, 'site', 'assets');
    const [chunk] = readdirSync(assets).filter((name) => name.endsWith('.js'));
    const code = readFileSync(join(assets, chunk), 'utf8');
    expect(code.length).toBeLessThan(2000);
    const [, specifier] = /from"(.*?)"/.exec(code)!;
    const index = new URL(specifier, pathToFileURL(join(assets, chunk)));
    expect(specifier).toMatch(/^\.\.\/models\/tiny\/index\.js\?v=\w+$/);
    const manifest = JSON.parse(readFileSync(new URL('program.json', index), 'utf8'));
    expect(manifest.target).toBe('webgpu');
    for (const { name, bytes } of manifest.weights.files) expect(statSync(new URL(name, index)).size).toBe(bytes);
  });

  test.skipIf(noBrowser !== '')(`a page in development says what the CPU says${noBrowser}`, async () => {
    writePage('./tiny.model.ts');
    writeScript(`
      const server = await createServer({ ...config(), base: '/sub/', server: { port: 0 } });
      await server.listen();
      console.log(server.resolvedUrls.local[0]);
    `);
    const stdio = ['ignore', 'pipe', 'inherit'] as const;
    const server = spawn(process.execPath, ['vite.mjs'], { cwd: project.folder, stdio: [...stdio] });
    const browser = await launch({ webgpu: true });
    try {
      const [url] = await once(server.stdout!.setEncoding('utf8'), 'data');
      const page = await browser.newPage();
      await page.goto(String(url).trim());
      await page.waitForFunction(() => document.title === 'done', null, { timeout: 100_000 });
      expect(`${await page.textContent('body')}\n`).toBe(await inProcess());
    } finally {
      await browser.close();
      server.kill();
    }
  });

  test('a worker imports a model, whose files are beside the page', () => {
    project.write('worker.html', '<script type="module" src="/src/starter.ts"></script>');
    project.write('src/starter.ts', `new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });`);
    project.write('src/worker.ts', `import model from './tiny.model.ts';\nmodel.encode('x').then(postMessage);\n`);
    const build = `outDir: 'worker', rolldownOptions: { input: 'worker.html', checks: { pluginTimings: false } }`;
    const { stdout, stderr } = vite(`
      await build({ ...config(), worker: { format: 'es' }, build: { ${build} } });
      await build({ ...config(), logLevel: 'silent', build: { ${build} } }).catch((e) => console.log(e.message));
    `);
    expect(stderr).toBe('');
    expect(readdirSync(join(project.folder, 'worker/models/tiny'))).toContain('program.json');
    expect(stdout).toContain("src/tiny.model.ts: an imported model is an ES module; set worker: { format: 'es' }");
  });

  test('the development server serves a model by ranges, and reloads the page when model or checkpoint change', () => {
    writePage('./tiny.model.ts');
    const { stdout, stderr } = vite(`
      import { readFileSync, writeFileSync } from 'node:fs';
      const server = await createServer({ ...config(), base: '/sub/', server: { port: 0 } });
      await server.listen();
      const origin = new URL(server.resolvedUrls.local[0]).origin;
      const get = async (path, headers = {}) => {
        const response = await fetch(origin + path, { headers });
        const bytes = Buffer.from(await response.arrayBuffer()).toString('base64');
        return { status: response.status, range: response.headers.get('content-range'), bytes };
      };
      const code = async () => Buffer.from((await get('/sub/src/tiny.model.ts')).bytes, 'base64').toString();
      const indexIn = (text) => /artifact = "(.*?)"/.exec(text)[1];
      const before = indexIn(await code());
      await get('/sub/src/page.ts');
      const weights = '/sub/@modelc/tiny/weights-00001-of-00001.safetensors';
      const answers = {
        index: (await get(before)).status,
        part: await get(weights, { range: 'bytes=8-19' }),
        tail: await get(weights, { range: 'bytes=100-' }),
        beyond: await get(weights, { range: 'bytes=999999999-' }),
        outside: (await get('/sub/@modelc/tiny/..%2f..%2fpackage.json')).status,
        other: (await get('/sub/@modelc/other/index.js')).status,
      };
      const { hot } = server.environments.client;
      let reload = () => {};
      hot.send = (message) => void (message.type === 'full-reload' && reload());
      const change = async (file) => {
        const reloaded = new Promise((resolve) => (reload = resolve));
        writeFileSync(file, readFileSync(file));
        await reloaded;
        return indexIn(await code());
      };
      const checkpoint = await change('checkpoint/config.json');
      const definition = await change('src/tiny.model.ts');
      console.log(JSON.stringify({ answers, before, checkpoint, definition }));
      await server.close();
    `);
    expect(stderr).toBe('');
    const { answers, before, checkpoint, definition: same } = JSON.parse(stdout);
    const [, version] = /^\/sub\/@modelc\/tiny\/index\.js\?v=(\w+)$/.exec(before)!;
    const kept = join(project.folder, 'node_modules/.cache/modelc', version, 'weights-00001-of-00001.safetensors');
    const weights = readFileSync(kept);
    const size = weights.length;
    const slice = (from: number, to?: number): string => weights.subarray(from, to).toString('base64');
    expect(answers).toEqual({
      index: 200,
      part: { status: 206, range: `bytes 8-19/${size}`, bytes: slice(8, 20) },
      tail: { status: 206, range: `bytes 100-${size - 1}/${size}`, bytes: slice(100) },
      beyond: { status: 416, range: `bytes */${size}`, bytes: expect.any(String) },
      outside: 404,
      other: 404,
    });
    expect(checkpoint).not.toBe(before);
    expect(same).toBe(checkpoint); // the text of the file is as before, so nothing is compiled
  });

  test('a model of the CPU in a page is one clear sentence', () => {
    writePage('./cpu.model.ts');
    project.write('src/cpu.model.ts', definition(`{ checkpoint: '../checkpoint', target: 'cpu' }`));
    const { stdout } = vite(`await build({ ...config(), logLevel: 'silent' }).catch((e) => console.log(e.message));`);
    expect(stdout).toContain("src/cpu.model.ts: target 'cpu' does not run in a browser; set target: 'webgpu'");
  });
});
