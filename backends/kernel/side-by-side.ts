// Kernels that run at the same time as one: their grids laid end to end, and a branch for each, which all threads of a
// group take alike. A run is then a chain of launches: none forks or joins, and none waits for one beside it.
import { dtypeInfo } from '../../ir/dtype.ts';
import { add, index, type Kernel, lessThan, type Stmt, sub, variable } from '../../ir/loop.ts';
import type { Launch, Slot } from '../../ir/program.ts';
import type { RegionKind } from '../../ir/region.ts';
import { renameStmts } from '../../ir/rename.ts';
import type { Target } from '../../ir/target.ts';
import { groupElements, maxSideBySide } from './schedule.ts';

export interface Part {
  readonly kernel: number;
  readonly args: readonly Slot[];
  readonly kind: RegionKind;
}

/** What kernels of many registers cost others, whose groups would then be fewer at a time. */
const isHeavy = ({ kind }: Part): boolean => kind === 'matmul' || kind === 'attention';

/**
 * The parts of a launch, those that may be one kernel joined. `join` gives the number of the kernel that computes
 * several, whose buffers are at `places` among its own; `kernels` are those that numbers name.
 */
export function joinParts(
  parts: readonly Part[],
  kernels: readonly Kernel[],
  target: Target,
  join: (numbers: readonly number[], places: readonly number[]) => number,
): Launch['parts'] {
  if (target.groupThreads === 1 || parts.length > maxSideBySide) return parts.map(bare);
  return [parts.filter(isHeavy), parts.filter((p) => !isHeavy(p))].flatMap((own) => {
    const shared = own.reduce((sum, p) => sum + groupBytes(kernels[p.kernel].body), 0);
    const { args, places } = withoutDoubles(own, kernels);
    const fits = bindingsOf(args, target) <= target.bindings && shared <= 4 * groupElements(target);
    if (own.length < 2 || !fits) return own.map(bare);
    return [
      {
        kernel: join(
          own.map((p) => p.kernel),
          places,
        ),
        args,
      },
    ];
  });
}

const bare = ({ kernel, args }: Part): Launch['parts'][number] => ({ kernel, args });

/** The buffers of parts, what several read alike being one; and where each part's buffers are among them. */
function withoutDoubles(
  parts: readonly Part[],
  kernels: readonly Kernel[],
): { readonly args: readonly Slot[]; readonly places: readonly number[] } {
  const args: Slot[] = [];
  const known = new Map<string, number>();
  const places = parts.flatMap(({ kernel, args: own }) =>
    own.map((slot, i) => {
      const { dtype, access } = kernels[kernel].buffers[i];
      const key = JSON.stringify([dtype, slot]);
      const at = access === 'read' ? known.get(key) : undefined;
      if (at !== undefined) return at;
      if (access === 'read') known.set(key, args.length);
      return args.push(slot) - 1;
    }),
  );
  return { args, places };
}

/** Memory arrays that a kernel with such buffers binds. */
function bindingsOf(args: readonly Slot[], { bindsArena }: Target): number {
  const name = (slot: Slot) =>
    slot.space === 'arena' ? (bindsArena ? 'arena' : `arena ${slot.offset}`) : `${slot.space} ${slot.index}`;
  return new Set(args.map(name)).size;
}

/** Bytes of group memory that statements ask for. */
function groupBytes(body: readonly Stmt[]): number {
  let bytes = 0;
  for (const s of body) {
    if (s.kind === 'alloc' && s.scope === 'group' && s.over === undefined) bytes += s.size * dtypeInfo[s.dtype].bytes;
    else if (s.kind === 'for') bytes += groupBytes(s.body);
    else if (s.kind === 'if') bytes += groupBytes(s.then) + groupBytes(s.otherwise);
  }
  return bytes;
}

/** One kernel in place of several. The buffers of all of them, in order, are at `places` among its own. */
export function sideBySide(name: string, kernels: readonly Kernel[], places: readonly number[]): Kernel {
  const buffers: Kernel['buffers'][number][] = [];
  let before = 0;
  const bodies = kernels.map((kernel, i) => {
    const names = new Map(kernel.buffers.map((b, j) => [b.name, `b${places[before + j]}`]));
    for (const [j, b] of kernel.buffers.entries()) buffers[places[before + j]] = { ...b, name: names.get(b.name)! };
    before += kernel.buffers.length;
    const kept = new Set([...kernel.dims, 'thread', ...(i === 0 ? ['task'] : [])]);
    const rename = (own: string) => names.get(own) ?? (kept.has(own) ? own : `${own}_${i}`);
    return renameStmts(kernel.body, rename);
  });
  const ends = kernels.map((_, i) =>
    kernels
      .slice(0, i + 1)
      .map((k) => k.grid)
      .reduce(add),
  );
  const task = variable('task');
  const branch = (i: number): Stmt[] => {
    const own: Stmt[] =
      i === 0
        ? bodies[0]
        : [{ kind: 'let', name: `task_${i}`, value: sub(task, ends[i - 1]), mutable: false }, ...bodies[i]];
    if (i === kernels.length - 1) return own;
    return [{ kind: 'if', condition: lessThan(task, ends[i]), then: own, otherwise: branch(i + 1) }];
  };
  return {
    name,
    buffers,
    dims: [...new Set(kernels.flatMap((k) => k.dims))].sort(),
    grid: ends[ends.length - 1] ?? index(0),
    body: branch(0),
    note: kernels.map((k) => k.note).join('; '),
  };
}
