// An artifact for WebGPU: index.js needs nothing of Node, and Node runs it from an empty folder with the npm package
// `webgpu` beside it; it loads from a server that misbehaves, and fails early where it cannot run.
// Budget: 110 s, nearly all for the software driver's compilation of pipelines.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'; // biome-ignore format: one row
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { WebGpuDevice } from '../../backends/webgpu/device.ts';
import { openGpu } from '../../backends/webgpu/gpu.ts';
import type { FileProgress, ProgressInfo } from '../../runtime/artifact/api.ts';
import { sealed } from '../../runtime/artifact/digest.ts';
import { type Manifest, parseManifest, printManifest } from '../../runtime/artifact/format.ts';
import { openWebGpuArtifact } from '../../runtime/artifact/open-webgpu.ts';
import { sourceOf } from '../../runtime/artifact/source.ts';
import { upload } from '../../runtime/artifact/upload.ts';
import { writeArtifact } from '../../runtime/artifact/write.ts';
import { AutoModelForCausalLM, AutoTokenizer, type PreTrainedModel } from '../../runtime/index.ts';
import { example, modelc, root } from '../support/command.ts';
import { noDeno, runDeno } from '../support/deno.ts';
import { breakOff, type FileServer, serveFiles } from '../support/file-server.ts';
import { MemoryStore, tableOf } from '../support/memory-store.ts';
import { chooseDriver, openWebGpuDevice } from '../support/webgpu-device.ts';

chooseDriver();
const device: WebGpuDevice | string = await openWebGpuDevice().catch((error: unknown) => String(error));
const missing = typeof device === 'string' ? device : undefined;
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
    expect(others.reduce((n, name) => n + statSync(join(artifact, name)).size, 0)).toBeLessThan(2_000_000);
  });

  test('program.json has a program once, whatever number of variants share it', async () => {
    const text = readFileSync(join(artifact, 'program.json'), 'utf8');
    const manifest = (await parseManifest(text, 'program.json')) as Manifest<'webgpu'>;
    const [base] = manifest.variants.slice(-1);
    const target = { language: 'wgsl', features: ['fast'] };
    const two = { ...manifest, variants: [{ ...base, name: 'fast', program: { ...base.program, target } }, base] };
    const shared = await printManifest(two);
    expect(shared.length).toBeLessThan(text.length + 500);
    const read = (await parseManifest(shared, 'program.json')).variants.map((v) => v.program);
    expect(read).toEqual(two.variants.map((v) => v.program));
    const astray = JSON.parse(shared);
    astray.variants[0].program = 2;
    const damaged = { code: 'parse', message: expect.stringMatching(/^program\.json is damaged/) };
    await expect(parseManifest(await sealed(JSON.stringify(astray)), 'program.json')).rejects.toMatchObject(damaged);
    const flipped = shared.replace('"vocabSize":', '"vocabSize":1');
    await expect(parseManifest(flipped, 'program.json')).rejects.toMatchObject(damaged);
    expect(flipped).not.toBe(shared);
  });

  test('index.js imports nothing', () => {
    const code = readFileSync(join(artifact, 'index.js'), 'utf8');
    // The bundler has resolved every import of a literal name; what is left imports by a name that only Node uses.
    expect(code.match(/\b(?:import|export)\b[^;{}()"']*\bfrom\s*["'][^"']*["']/g)).toBeNull();
    expect(code.match(/\bimport\s*\(\s*["'`][^)]*\)/g)).toBeNull();
    expect(code).not.toMatch(/\brequire\s*\(\s*["']/);
    const named = builtinModules.filter((name) => code.includes(`"node:${name}"`));
    expect(named).toEqual(['crypto', 'fs/promises', 'os', 'path']);
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

  test.skipIf(noDeno)(
    `the same in Deno, by another implementation of WebGPU${noDeno}`,
    async () => {
      const app = join(scratch, 'deno-app');
      mkdirSync(app);
      symlinkSync(artifact, join(app, 'model'));
      const source = `
      import model from './model/index.js';
      let streamed = '';
      const options = { max_new_tokens: 20, do_sample: false };
      for await (const piece of model.generate('Once upon a time', options)) streamed += piece;
      console.log(streamed);
      await model.dispose();
    `;
      writeFileSync(join(app, 'app.mjs'), source);
      const { stdout } = await runDeno(['app.mjs'], app);
      expect(`Once upon a time${stdout.replace(/\n$/, '')}`).toBe(await onCpu());
    },
    240_000,
  );
});

/** The artifact on a server, with its least demanding variant only, its files in small chunks. */
async function serve(): Promise<{ server: FileServer; manifest: Manifest<'webgpu'> }> {
  const manifest = await parseManifest(readFileSync(join(artifact, 'program.json'), 'utf8'), 'program.json');
  if (manifest.target !== 'webgpu') throw new Error('the artifact is for another target');
  const variants = manifest.variants.slice(-1);
  const { files, spans } = manifest.weights;
  const contents = new Map(files.map(({ name }) => [name, new Uint8Array(readFileSync(join(artifact, name)))]));
  const table = tableOf(contents, 2 ** 15, spans);
  const isOther = (name: string): boolean => name.startsWith('kernels.') && name !== variants[0].code;
  const weights = { ...table, files: table.files.map((f) => (isOther(f.name) ? { ...f, digests: [], bytes: 0 } : f)) };
  return { server: await serveFiles(contents), manifest: { ...manifest, variants, weights } };
}

describe('from a server', () => {
  let server: FileServer;
  let manifest: Manifest<'webgpu'>;
  beforeEach(async () => {
    ({ server, manifest } = await serve());
  });
  afterEach(() => server.close());

  test.skipIf(missing)(
    'what can go wrong and pass does, and the text is that of the CPU',
    async () => {
      const store = new MemoryStore(7);
      const weights = manifest.weights.files.find((f) => f.name.startsWith('weights-'))!;
      const kept = new Uint8Array(readFileSync(join(artifact, weights.name)));
      for (const i of [0, 1, 2]) await store.put(weights.digests[i], kept.subarray(i * 2 ** 15, (i + 1) * 2 ** 15));
      store.chunks.get(weights.digests[1])![0] ^= 1;
      let count = 0;
      server.tamper = (body, _, response) => {
        count++;
        if (count === 3) return breakOff(body, response);
        if (count === 9) body[0] ^= 1;
        return body;
      };
      const reports: ProgressInfo[] = [];
      const devices: GPUDevice[] = [];
      const opened = await openWebGpuArtifact(
        sourceOf(server.url),
        manifest,
        { progress_callback: (info) => reports.push(info) },
        { openGpu: async () => keepDevices(await openGpu(), devices), openStore: async () => store, patience: 1 },
      );
      const model = opened.model as PreTrainedModel;
      const tokenizer = opened.tokenizer!;
      const input_ids = [tokenizer.encode('Once upon a time')];
      const output = await model.generate({ input_ids, max_new_tokens: 20, do_sample: false });
      expect(tokenizer.decode(Array.from(output.data, Number), { skip_special_tokens: true })).toBe(await onCpu());
      expect(reports.filter((r) => r.status === 'warning')).toHaveLength(1);
      expect(server.requests.some((r) => r.name === weights.name && r.start === 0)).toBe(false);
      // a device that goes away is the caller's news
      devices[0].destroy();
      await expect(model.generate({ input_ids, max_new_tokens: 4 })).rejects.toMatchObject({
        name: 'ModelcError',
        code: 'unsupported',
        message: expect.stringMatching(/WebGPU/),
      });
    },
    240_000,
  );

  const nullGpu = (): Promise<GPU> => openGpu(['backend=null']); // compiles and executes nothing

  test.skipIf(missing)('a download that breaks ends loading, and the next one goes on', async () => {
    const store = new MemoryStore();
    const platform = { openGpu: nullGpu, openStore: async () => store, patience: 1 };
    const load = () => openWebGpuArtifact(sourceOf(server.url), manifest, {}, platform);
    let left = 12;
    server.tamper = (body, _, response) => (left-- > 0 ? body : breakOff(body, response));
    await expect(load()).rejects.toMatchObject({ code: 'network', message: expect.stringMatching(/load\(\) again/) });
    expect(store.chunks.size).toBe(12);
    server.tamper = (body) => body;
    server.requests.length = 0;
    (await load()).model.dispose();
    const isUsed = ({ name }: { name: string }): boolean =>
      !manifest.variants.some(({ code }, i) => i > 0 && code === name); // the null backend runs the best
    const total = manifest.weights.files.filter(isUsed).reduce((n, f) => n + f.digests.length, 0);
    expect(server.requests.filter((r) => r.start < r.end).length).toBeLessThanOrEqual(total - 12 + 6);
    expect(store.chunks.size).toBe(total);
  });

  test.skipIf(missing)('what only another variant needs is not downloaded', async () => {
    const [base] = manifest.variants.slice(-1);
    const requires = { ...base.requires, features: ['unheard-of'] };
    const other = { ...base, name: 'other', requires, code: 'kernels.other.wgsl' };
    const { files, spans, chunkBytes } = manifest.weights;
    const digests = files[0].digests.slice(0, 1);
    const absent = [other.code, 'weights-other.safetensors'].map((name) => ({ name, bytes: 8, digests }));
    const more = { w: [files.length + 1, 0, 8] as const };
    const weights = { chunkBytes, files: [...files, ...absent], spans: { ...spans, ...more } };
    const platform = { openGpu: nullGpu, openStore: async () => undefined, patience: 1 };
    const both = { ...manifest, variants: [other, base], weights };
    (await openWebGpuArtifact(sourceOf(server.url), both, {}, platform)).model.dispose();
    const needed = files.filter((f) => f.bytes > 0).map((f) => f.name);
    expect(new Set(server.requests.map((r) => r.name))).toEqual(new Set(needed));
  });

  test.skipIf(missing)('a signal ends loading, whatever is under way', async () => {
    for (const last of [/weights/, /tokenizer/]) {
      const stop = new AbortController();
      server.tamper = (body, name) => {
        if (last.test(name)) stop.abort();
        return body;
      };
      const platform = { openGpu: nullGpu, openStore: async () => undefined };
      const warnings: ProgressInfo[] = [];
      const progress_callback = (info: ProgressInfo): void => void (info.status === 'warning' && warnings.push(info));
      const options = { signal: stop.signal, progress_callback };
      const loading = openWebGpuArtifact(sourceOf(server.url), manifest, options, platform);
      await expect(loading).rejects.toMatchObject({ name: 'AbortError' });
      expect(warnings).toMatchObject([{ message: expect.stringMatching(/may not store/) }]);
    }
  });

  /** How loading fails on an adapter; nothing may have been asked of the server. */
  async function failure(openFake: () => Promise<GPU>): Promise<unknown> {
    const platform = { openGpu: openFake, openStore: async () => undefined };
    const error = await openWebGpuArtifact(sourceOf(server.url), manifest, {}, platform).catch((e: unknown) => e);
    expect(server.requests).toEqual([]);
    return error;
  }
  const adapterWith = (limits: object, features: string[]): (() => Promise<GPU>) => {
    const adapter = { limits, features: new Set(features) };
    return async () => ({ requestAdapter: async () => adapter }) as unknown as GPU;
  };
  const plenty = { maxBufferSize: 2 ** 30, maxStorageBufferBindingSize: 2 ** 30 };

  test('nothing is downloaded where there is no adapter', async () => {
    expect(await failure(async () => ({ requestAdapter: async () => null }) as unknown as GPU)).toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/no graphics adapter.*install a graphics driver/),
    });
  });

  test('nothing is downloaded where arrays are too large for the adapter', async () => {
    const small = { ...plenty, maxStorageBufferBindingSize: 2 ** 16 };
    expect(await failure(adapterWith(small, []))).toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/needs arrays of \d+ MiB, and this graphics adapter allows 1 MiB; use another/),
    });
  });

  test('nothing is downloaded where the adapter lacks a feature', async () => {
    const requires = { ...manifest.variants[0].requires, features: ['shader-f16', 'subgroups'] };
    manifest = { ...manifest, variants: [{ ...manifest.variants[0], requires }] };
    expect(await failure(adapterWith(plenty, ['subgroups']))).toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/needs WebGPU with shader-f16; use another/),
    });
  });

  test.skipIf(missing)('nothing is downloaded where memory does not suffice', async () => {
    const exhausted = async (): Promise<GPU> => {
      const devices: GPUDevice[] = [];
      const fail = (gpu: GPUDevice): void => {
        gpu.popErrorScope = async () => ({ message: 'out of memory' });
      };
      return keepDevices(await openGpu(['backend=null']), devices, fail);
    };
    expect(await failure(exhausted)).toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(
        /the model needs about \d+ MiB of GPU memory, more than this device gives; end what/,
      ),
    });
  });
});

/** A GPU whose devices are kept, and changed by `prepare`. */
function keepDevices(gpu: GPU, devices: GPUDevice[], prepare?: (device: GPUDevice) => void): GPU {
  const requestAdapter: GPU['requestAdapter'] = async (options) => {
    const adapter = await gpu.requestAdapter(options);
    if (!adapter) return null;
    const requestDevice: GPUAdapter['requestDevice'] = async (descriptor) => {
      const device = await adapter.requestDevice(descriptor);
      prepare?.(device);
      devices.push(device);
      return device;
    };
    return { features: adapter.features, limits: adapter.limits, info: adapter.info, requestDevice } as GPUAdapter;
  };
  return { ...gpu, requestAdapter } as GPU;
}

test.skipIf(missing)('weights reach their memory whatever their sizes and places in chunks', async () => {
  if (typeof device === 'string') return;
  const content = Uint8Array.from({ length: 101 }, (_, i) => i + 1);
  const weights = [
    { name: 'a', file: 0, offset: 5, bytes: 1 },
    { name: 'b', file: 0, offset: 6, bytes: 41 },
    { name: 'c', file: 0, offset: 47, bytes: 2 },
    { name: 'd', file: 0, offset: 49, bytes: 52 },
  ];
  for (const size of [4, 12, 48, 128]) {
    const buffers = new Map(weights.map((w) => [w.name, device.alloc(w.bytes)]));
    const chunks = async function* () {
      for (let at = 0; at < content.length; at += size) {
        yield { file: 0, offset: at, bytes: content.subarray(at, at + size) };
      }
    };
    await upload(device, chunks(), weights, buffers);
    for (const { name, offset, bytes } of weights) {
      const read = await device.read(buffers.get(name)!, 0, bytes);
      expect([...read], `${name} in chunks of ${size}`).toEqual([...content.subarray(offset, offset + bytes)]);
    }
  }
});

describe('the command line', () => {
  test('says what was written', () => {
    const { stderr, status } = modelc(['compile', example, '--target', 'webgpu', '-o', artifact]);
    expect(stderr).toMatch(
      /model: webgpu \(subgroups, base\); 0\.4 MiB of weights, \d\.\d MiB of code, tokenizer and tables, in/,
    );
    expect(stderr).toMatch(/serve the folder over https or from localhost/);
    expect(status).toBe(0);
  });

  test.skipIf(missing)(
    'runs it',
    async () => {
      const args = ['generate', artifact, '-p', 'Once upon a time', '--max-new-tokens', '20', '--greedy', '--json'];
      expect(JSON.parse(modelc(args).stdout).text).toBe(await onCpu());
    },
    240_000,
  );

  test('does not run it on another target', () => {
    const { stderr, status } = modelc(['generate', artifact, '-p', 'Once', '--target', 'cuda']);
    expect(stderr).toMatch(/is compiled for webgpu: leave out --target/);
    expect(status).toBe(1);
  });
});
