// The launches of a run as numbers for the binding: which function, how many blocks, which addresses.
import type { Dims, Plan, Program, Slot } from '../../ir/program.ts';
import { type Bound, gridOf, listOf } from '../bindings.ts';
import { isGrouped } from '../kernel/grouped.ts';
import { malformed } from '../malformed.ts';

export interface Places {
  /** Of the program's kernels. */
  readonly functions: readonly bigint[];
  readonly arena: bigint;
  readonly dims: bigint;
  readonly buffers: Bound<{ readonly address: bigint }>;
}

const largestGrid = 2 ** 31 - 1;

/**
 * Blocks of every kernel that an entry launches, by the kernel's number. Kernels stride over their tasks by the grid, so
 * counts above 64 are rounded up to powers of two: runs of about the same size share a recording.
 */
export function gridsOf(program: Program, plan: Plan, dims: Dims, groupThreads: number): ReadonlyMap<number, number> {
  const grids = new Map<number, number>();
  for (const { parts } of plan.steps) {
    for (const { kernel: at } of parts) {
      if (grids.has(at)) continue;
      const kernel = program.kernels[at];
      if (!kernel) throw malformed('a launch names a kernel that does not exist');
      const tasks = gridOf(kernel, dims);
      const blocks = isGrouped(kernel) ? tasks : Math.ceil(tasks / groupThreads);
      const rounded = blocks <= 64 ? blocks : 2 ** Math.ceil(Math.log2(blocks));
      grids.set(at, Math.min(largestGrid, rounded));
    }
  }
  return grids;
}

/**
 * Steps, each a number of launches followed by them; a launch is its function, blocks, threads of a block, number of
 * parameters, parameters (the buffers' addresses, then the dims').
 */
export function launchWords(
  program: Program,
  plan: Plan,
  grids: ReadonlyMap<number, number>,
  groupThreads: number,
  places: Places,
): bigint[] {
  const words: bigint[] = [];
  for (const { parts } of plan.steps) {
    const launches: bigint[][] = [];
    for (const { kernel, args } of parts) {
      if (program.kernels[kernel].buffers.length !== args.length) {
        throw malformed('a launch and its kernel differ in buffers');
      }
      const blocks = grids.get(kernel) ?? 0;
      if (blocks === 0) continue;
      const addresses = args.map((slot) => addressOf(slot, plan, places));
      const numbers = [blocks, groupThreads, addresses.length + 1].map(BigInt);
      launches.push([places.functions[kernel], ...numbers, ...addresses, places.dims]);
    }
    if (launches.length > 0) words.push(BigInt(launches.length), ...launches.flat());
  }
  return words;
}

function addressOf(slot: Slot, plan: Plan, { arena, buffers }: Places): bigint {
  if (slot.space === 'arena') {
    const { offset, bytes } = slot;
    const inside = Number.isSafeInteger(offset) && Number.isSafeInteger(bytes) && offset >= 0 && bytes >= 0;
    if (!inside || offset + bytes > plan.arenaBytes) throw malformed('a slot lies outside of the arena');
    return arena + BigInt(offset);
  }
  const list = Object.hasOwn(listOf, slot.space) ? buffers[listOf[slot.space]] : [];
  const buffer = Number.isInteger(slot.index) ? list[slot.index] : undefined;
  if (!buffer) throw malformed(`a slot names ${slot.space} ${slot.index} of ${list.length}`);
  return buffer.address;
}
