// The model behind the page, without its looks: whether this browser can run one, opening an artifact, and what its
// progress events add up to. An artifact is imported by its address at run time; its types are the compiler's own.
import type { FileProgress, LoadOptions, Model } from '../../runtime/artifact/api.ts';

/** Something that the reader of the page can act on. */
export class Problem extends Error {
  constructor(
    readonly title: string,
    detail: string,
  ) {
    super(detail);
  }
}

/** Throws a Problem unless the browser has WebGPU and a graphics adapter for it. */
export async function requireWebGpu(): Promise<void> {
  if (!window.isSecureContext) {
    throw new Problem(
      'This page was not opened securely',
      'Browsers offer WebGPU, on which the model runs, to pages of https:// and of localhost only: open the page from there.',
    );
  }
  const gpu = navigator.gpu as GPU | undefined;
  if (!gpu) {
    throw new Problem(
      'This browser has no WebGPU',
      'The model runs on the graphics processor, through WebGPU. Open the page in Chrome or Edge (version 113 or later; on ' +
        'Linux 144), Safari 26 or later, or Firefox 141 or later.',
    );
  }
  if (!(await gpu.requestAdapter())) {
    throw new Problem(
      'WebGPU finds no graphics adapter',
      'This browser has WebGPU but may not use a graphics processor. Turn on hardware acceleration in its settings, update ' +
        'the graphics driver, or try another browser; in Chrome, the page chrome://gpu tells the reason.',
    );
  }
}

let failures = 0;

/** Imports the artifact at an address of this site and loads it. */
export async function openModel(address: string, options: LoadOptions): Promise<Model> {
  const url = URL.canParse(address, document.baseURI) ? new URL(address, document.baseURI) : undefined;
  if (url?.origin !== location.origin) {
    throw new Problem(
      'The model is on another site',
      `A model is code, so this page runs those of ${location.origin} only: copy the artifact there, beside the page.`,
    );
  }
  // a browser may remember that a module could not be fetched, so the next attempt has another address
  if (failures > 0) url.searchParams.set('attempt', String(failures));
  let artifact: { load?: (options?: LoadOptions) => Promise<Model> };
  try {
    artifact = await import(url.href);
  } catch (cause) {
    failures++;
    throw new Problem(
      'There is no model at this address',
      `${url.pathname} cannot be imported (${messageOf(cause)}). It should be the index.js that ` +
        `'modelc compile FOLDER --target webgpu' wrote.`,
    );
  }
  if (typeof artifact.load !== 'function') {
    throw new Problem('This is no compiled model', `${url.pathname} does not export load().`);
  }
  return artifact.load(options);
}

/** Adds up the progress of the files of a model. */
export class Progress {
  private readonly files = new Map<string, { loaded: number; total: number }>();
  private readonly bytes = { network: 0, cache: 0 };

  add({ status, file, loaded, total, from }: FileProgress): void {
    if (status === 'ready') return; // the sums of all files
    const before = this.files.get(file)?.loaded ?? 0;
    this.files.set(file, { loaded, total });
    this.bytes[from] += Math.max(0, loaded - before);
  }

  get loaded(): number {
    return [...this.files.values()].reduce((sum, file) => sum + file.loaded, 0);
  }
  get total(): number {
    return [...this.files.values()].reduce((sum, file) => sum + file.total, 0);
  }
  get percent(): number {
    return this.total > 0 ? Math.floor((100 * this.loaded) / this.total) : 0;
  }
  /** Where the bytes came from, in words. */
  get origin(): string {
    const { network, cache } = this.bytes;
    if (network === 0) return cache === 0 ? '' : 'from the cache';
    return cache === 0 ? 'from the network' : `${formatBytes(network)} from the network, the rest from the cache`;
  }
}

export function formatBytes(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB'];
  const unit = bytes < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** unit).toFixed(unit > 1 ? 1 : 0)} ${units[unit]}`;
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Whether an artifact was told to stop. */
export const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError';

/** The code of an artifact's error. */
export const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined);
