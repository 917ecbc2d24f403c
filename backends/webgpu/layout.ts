// How a Program lies over WGSL modules and, per entry, the dispatches that run them: all of a program but the text of its
// modules, which print.ts prints now or a compiled artifact brings along. A module is a kernel together with the way in
// which its buffers share memory: the arena is one binding, whatever parts of it a kernel reads and writes, since WebGPU
// forbids two bindings of one buffer when a kernel writes to it; the same holds for a state that is read and updated.
// A binding is an array of words. Where a buffer begins in the arena, the dims and the number of tasks come from a
// uniform buffer, so that launches share modules.
import type { Expr, Kernel } from '../../ir/loop.ts';
import type { Program, Slot } from '../../ir/program.ts';
import { verifyProgram } from '../../ir/verify-program.ts';
import { wordBytes } from './storage.ts';
import { webgpuTarget } from './target.ts';

export interface Module {
  /** Without its body where the text of the module is known. */
  readonly kernel: Kernel;
  /** Per buffer of the kernel: its binding, and whether it lies in the arena or is a weight. */
  readonly buffers: readonly { readonly binding: number; readonly arena: boolean; readonly packed: boolean }[];
  /** Whether the kernel writes to each storage binding. Binding 0 is the uniform buffer, these follow. */
  readonly writes: readonly boolean[];
  /** Words of the uniform buffer: tasks, workgroups along x, offsets, dims. */
  readonly words: number;
}

/** Memory that a binding shows, whole. */
export type Resource = { readonly space: 'arena' } | Exclude<Slot, { readonly space: 'arena' }>;

export interface Dispatch {
  readonly module: number;
  readonly resources: readonly Resource[];
  readonly grid: Expr;
  /** Words after the first two of the uniform buffer: numbers, and values of dims. */
  readonly words: readonly (number | { readonly dim: string })[];
}

export interface Layout {
  readonly modules: readonly Module[];
  readonly entries: ReadonlyMap<string, readonly Dispatch[]>;
}

/** Words before the offsets and dims. */
export const headWords = 2;

/** Lays a program out; its kernels need no bodies. Throws ModelcError 'type' on a malformed one. */
export function layoutProgram(program: Program): Layout {
  verifyProgram(program, webgpuTarget());
  const modules: Module[] = [];
  const known = new Map<string, number>();
  const entries = new Map<string, Dispatch[]>();
  for (const [name, plan] of Object.entries(program.entries)) {
    const dispatches: Dispatch[] = [];
    for (const step of plan.steps) {
      for (const { kernel: at, args } of step.parts) {
        const kernel = program.kernels[at];
        const { key, resources, buffers, writes } = shareBindings(kernel, args);
        const offsets = args.flatMap((slot) => (slot.space === 'arena' ? [slot.offset / wordBytes] : []));
        const words = [...offsets, ...kernel.dims.map((dim) => ({ dim }))];
        let module = known.get(`${at}:${key}`);
        if (module === undefined) {
          module = modules.length;
          modules.push({ kernel, buffers, writes, words: Math.ceil((headWords + words.length) / 4) * 4 });
          known.set(`${at}:${key}`, module);
        }
        dispatches.push({ module, resources, grid: kernel.grid, words });
      }
    }
    entries.set(name, dispatches);
  }
  return { modules, entries };
}

/** Which buffers of a kernel are in which binding. */
interface Sharing extends Pick<Module, 'buffers' | 'writes'> {
  readonly key: string;
  readonly resources: readonly Resource[];
}

function shareBindings(kernel: Kernel, args: readonly Slot[]): Sharing {
  const places = new Map<string, number>();
  const resources: Resource[] = [];
  const writes: boolean[] = [];
  const buffers = args.map((slot, i) => {
    const arena = slot.space === 'arena';
    const name = arena ? 'arena' : `${slot.space} ${slot.index}`;
    let binding = places.get(name);
    if (binding === undefined) {
      binding = resources.length;
      places.set(name, binding);
      resources.push(arena ? { space: 'arena' } : slot);
      writes.push(arena);
    }
    writes[binding] ||= kernel.buffers[i].access !== 'read';
    return { binding, arena, packed: slot.space === 'weight' };
  });
  return {
    key: buffers.map((b) => `${b.binding}${b.arena ? 'a' : b.packed ? 'w' : ''}`).join(),
    resources,
    buffers,
    writes,
  };
}

/** Begins a module in the text of all; no comment of a module holds an @. */
const separator = '//@ ';

/** The modules of a program as one text. */
export const joinModules = (modules: readonly string[]): string =>
  modules.map((text, i) => `${separator}${i}\n${text}`).join('');

/** The reverse of joinModules. */
export const splitModules = (text: string): string[] => text.split(new RegExp(`^${separator}\\d+\\n`, 'm')).slice(1);
