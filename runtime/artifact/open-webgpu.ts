// Opens a webgpu artifact, in a browser or in Node: picks the best program that the graphics adapter runs, takes all the
// memory that weights need, and only then downloads them, straight into that memory.
import type { Buffer } from '../../backends/device.ts';
import { createWebGpuDevice, findAdapter, type WebGpuDevice } from '../../backends/webgpu/device.ts';
import { openGpu } from '../../backends/webgpu/gpu.ts';
import { isFeature } from '../../backends/webgpu/target.ts';
import { ModelcError } from '../../ir/error.ts';
import { byteSize, type Program } from '../../ir/program.ts';
import { ProgramExecutor } from '../execution/program-executor.ts';
import type { LoadOptions } from './api.ts';
import { type ChunkStore, openChunkStore } from './chunk-store.ts';
import { Download } from './download.ts';
import { type DownloadTable, parseDownload } from './download-table.ts';
import { chooseVariant, type Manifest, type Misfit, type Requires } from './format.ts';
import { type LoadedModel, openLoadedModel } from './loaded-model.ts';
import type { Source } from './source.ts';
import { upload, type WeightSpan } from './upload.ts';

/** What the platform gives; tests give their own. */
export interface Platform {
  readonly openGpu: () => Promise<GPU>;
  readonly openStore: (artifact: string) => Promise<ChunkStore | undefined>;
  /** Milliseconds before a broken download is tried again. */
  readonly patience?: number;
}
const platformOfHost: Platform = { openGpu, openStore: openChunkStore };

/** Throws ModelcError: 'unsupported' before anything large is read; 'checkpoint' or 'network' after. */
export async function openWebGpuArtifact(
  source: Source,
  manifest: Manifest<'webgpu'>,
  options: LoadOptions = {},
  platform: Platform = platformOfHost,
): Promise<LoadedModel> {
  if (!globalThis.crypto?.subtle) {
    throw new ModelcError(
      'unsupported',
      'this page is not secure, so downloads cannot be verified; serve it over https or from localhost',
    );
  }
  const name = source.where.split('/').pop() ?? '';
  const adapter = await findAdapter(await platform.openGpu());
  const { program, code, requires } = chooseVariant(manifest.variants, source.where, (r) => misfitOf(r, adapter));
  options.signal?.throwIfAborted();
  const device = await createWebGpuDevice(adapter, { features: requires.features.filter(isFeature) });
  const stop = new AbortController();
  try {
    const weights = await allocate(device, program, requires);
    const table = parseDownload(manifest.weights)!;
    const spans = spansOf(program, table, source);
    const texts = textsOf(manifest, table, code);
    const keeps = !source.isLocal && options.cache !== false;
    const store = keeps ? await platform.openStore(source.where) : undefined;
    if (keeps && !store) {
      const message =
        'this page may not store what it downloads: the model works, but the next load downloads it again';
      options.progress_callback?.({ status: 'warning', name, file: '', message });
    }
    const download = new Download(
      {
        table,
        source,
        name,
        signal: options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal,
        ...(store ? { store } : {}),
        ...(options.progress_callback ? { progress: options.progress_callback } : {}),
        ...(platform.patience === undefined ? {} : { patience: platform.patience }),
      },
      [...texts.map((file) => ({ file, offset: 0, bytes: table.files[file].bytes })), ...spans],
    );
    download.begin();
    const text = await download.texts(texts);
    const working = Promise.all([
      ProgramExecutor.open({ program, device, binary: text.get(code)!, weight: ({ name }) => weights.get(name)! }),
      upload(device, download.chunks(unique(spans.map((s) => s.file))), spans, weights),
    ]);
    const [executor] = await untilAborted(working, options.signal);
    const opened = await openLoadedModel(executor, manifest.model, source.where, async (name) => text.get(name));
    await download.end();
    return opened;
  } catch (error) {
    stop.abort();
    device.dispose();
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    source.close();
  }
}

/** The result of work that need not notice a signal itself. */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop);
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function misfitOf(
  { features, bindingBytes }: Requires<'webgpu'>,
  { features: offered, limits }: GPUAdapter,
): Misfit | undefined {
  const missing = features.filter((name) => !offered.has(name));
  const again = 'use another graphics adapter or browser, or the model compiled for the target cpu in Node';
  if (missing.length > 0) return { needs: `WebGPU with ${missing.join(', ')}`, wayOut: again };
  const limit = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  if (bindingBytes <= limit) return undefined;
  const needs = `arrays of ${mib(bindingBytes)}, and this graphics adapter allows ${mib(limit)}`;
  return { needs, wayOut: again };
}

const unique = (files: readonly number[]): number[] => [...new Set(files)].sort((a, b) => a - b);
const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** Memory for every weight of the program, once it is known that the rest of what the program plans for fits too. */
async function allocate(
  device: WebGpuDevice,
  { weights }: Program,
  { memoryBytes }: Requires<'webgpu'>,
): Promise<ReadonlyMap<string, Buffer>> {
  try {
    const buffers = new Map(weights.map((w) => [w.name, device.alloc(byteSize(w, {}))]));
    const rest = memoryBytes - weights.reduce((bytes, w) => bytes + byteSize(w, {}), 0);
    const { maxBufferSize, maxStorageBufferBindingSize } = device.gpu.limits;
    const probe = device.alloc(Math.max(0, Math.min(rest, maxBufferSize, maxStorageBufferBindingSize)));
    await device.settle();
    device.free(probe);
    return buffers;
  } catch (cause) {
    if (!(cause instanceof ModelcError)) throw cause;
    throw new ModelcError(
      'unsupported',
      `the model needs about ${mib(memoryBytes)} of GPU memory, more than this device gives; end what else uses it, or take a smaller model`,
      { cause },
    );
  }
}

/** Of code, tokenizer and configs, which are kept in memory as they come from a server. */
const maxTextBytes = 2 ** 28;

/** The files to be read whole: config, tokenizer, and the code of the variant. */
function textsOf({ variants }: Manifest<'webgpu'>, { files, spans }: DownloadTable, code: string): number[] {
  const others = new Set(variants.map((v) => v.code).filter((name) => name !== code));
  const weights = new Set(Object.values(spans).map(([file]) => file));
  const wanted = [...files.keys()].filter((file) => !weights.has(file) && !others.has(files[file].name));
  const large = wanted.find((file) => files[file].bytes > maxTextBytes);
  if (large === undefined) return wanted;
  throw new ModelcError(
    'checkpoint',
    `${files[large].name} has ${files[large].bytes} bytes, at most ${maxTextBytes} are read at once`,
  );
}

function spansOf({ weights }: Program, { spans }: DownloadTable, { where }: Source): WeightSpan[] {
  return weights.map((weight) => {
    const span = Object.hasOwn(spans, weight.name) ? spans[weight.name] : undefined;
    if (span?.[2] !== byteSize(weight, {})) {
      throw new ModelcError('checkpoint', `${where} lacks the weight ${weight.name}; compile the artifact again`);
    }
    return { name: weight.name, file: span[0], offset: span[1], bytes: span[2] };
  });
}
