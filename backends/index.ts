// The backends: one row each, all that the rest knows of a language and the machines that run it. Compilers, drivers and
// whatever else needs Node are loaded when a function of a row is called, so the table itself may be read anywhere.
// A backend is a folder beside this file, its row here, and its reader and writer of artifacts in runtime/artifact.
import type { Program } from '../ir/program.ts';
import type { Target } from '../ir/target.ts';
import type { Device } from './device.ts';

/** What code is made for. */
export type BackendName = 'cpu' | 'cuda' | 'webgpu';
export type Language = Target['language'];

export interface Backend {
  /** What runs the code, for people. */
  readonly runs: string;
  /** The language of the code, as a level of `modelc inspect`, and how it is called. */
  readonly language: Language;
  readonly languageName: string;
  /** How files of source code end. */
  readonly extension: string;
  /** Whether pages in browsers run the code, and so do machines of every kind. */
  readonly isPortable: boolean;
  /** Whether the device goes from one run to the next without the host, and so draws tokens itself. */
  readonly hasQueue: boolean;
  /** What code is made for, where nothing says more: this processor, or what all GPUs of the kind have. */
  target(): Promise<Target>;
  /** The code of a program. Throws ModelcError 'type' on a malformed one. */
  print(program: Program): Promise<string>;
  /**
   * The path of a program's binary, built now or earlier; absent where the device compiles the text itself. Throws
   * ModelcError 'toolchain' where there is no compiler.
   */
  readonly build?: (program: Program) => Promise<string>;
  /** The device of this machine. Throws ModelcError 'unsupported' or 'toolchain' where there is none. */
  open(): Promise<Device>;
}

export const backends: Readonly<Record<BackendName, Backend>> = {
  cpu: {
    runs: 'processors',
    language: 'c',
    languageName: 'C',
    extension: 'c',
    isPortable: false,
    hasQueue: false,
    target: async () => (await import('./cpu/target.ts')).hostTarget(),
    print: async (program) => (await import('./cpu/print.ts')).printProgram(program).source,
    build: async (program) => (await (await import('./cpu/build.ts')).buildProgram(program)).binary,
    open: async () => (await import('./cpu/device.ts')).createCpuDevice(),
  },
  cuda: {
    runs: 'NVIDIA GPUs',
    language: 'cuda',
    languageName: 'CUDA C',
    extension: 'cu',
    isPortable: false,
    hasQueue: true,
    target: async () => (await import('./cuda/target.ts')).cudaTarget('sm_80'),
    print: async (program) => (await import('./cuda/print.ts')).printProgram(program).join('\n'),
    build: async (program) => (await import('./cuda/device.ts')).buildProgram(program),
    open: async () => (await import('./cuda/device.ts')).createCudaDevice(),
  },
  webgpu: {
    runs: 'GPUs in browsers and Node',
    language: 'wgsl',
    languageName: 'WGSL',
    extension: 'wgsl',
    isPortable: true,
    hasQueue: true,
    target: async () => (await import('./webgpu/target.ts')).webgpuTarget(),
    print: async (program) => {
      const [{ printProgram }, { joinModules }] = await Promise.all([
        import('./webgpu/print.ts'),
        import('./webgpu/layout.ts'),
      ]);
      return joinModules(printProgram(program));
    },
    open: async () => (await import('./webgpu/node.ts')).createNodeWebGpuDevice(),
  },
};

export const backendNames = Object.keys(backends) as BackendName[];
/** Where nothing else is asked for. */
export const defaultBackend: BackendName = 'cpu';

/** What runs a model: the device of a backend, or the interpreter. */
export type DeviceName = BackendName | 'reference';
export const deviceNames: readonly DeviceName[] = [...backendNames, 'reference'];

/** The texts of a list, as a sentence has them: `a, b or c`. */
const either = (texts: readonly string[]): string =>
  [texts.slice(0, -1).join(', '), ...texts.slice(-1)].filter((text) => text !== '').join(' or ');
export const anyMachine = either(backendNames.map((name) => backends[name].runs));
export const anyLanguage = either(backendNames.map((name) => backends[name].languageName));
