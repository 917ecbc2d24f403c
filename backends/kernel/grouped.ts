// Whether the threads of a group share the work of one task: what a launch must know of a kernel whose body it lacks.
import type { Expr, Kernel, Stmt } from '../../ir/loop.ts';

const grouped = new WeakMap<Kernel, boolean>();
/** Whether a task of the kernel is a group of threads that share work, rather than one thread. */
export function isGrouped(kernel: Kernel): boolean {
  let known = grouped.get(kernel);
  if (known === undefined) grouped.set(kernel, (known = kernel.grouped ?? kernel.body.some(usesGroup)));
  return known;
}

function usesGroup(s: Stmt): boolean {
  switch (s.kind) {
    case 'for':
      return s.level === 'group' || [s.start, s.end].some(mentionsThread) || s.body.some(usesGroup);
    case 'alloc':
      return s.scope === 'group';
    case 'barrier':
    case 'reduce':
    case 'fragment':
    case 'tile_load':
    case 'tile_read':
    case 'tile_multiply':
    case 'tile_scale':
    case 'tile_store':
    case 'copy':
    case 'copy_batch':
    case 'copy_wait':
      return true;
    case 'let':
    case 'assign':
      return mentionsThread(s.value);
    case 'store':
      return mentionsThread(s.index) || mentionsThread(s.value);
    case 'prefetch':
      return mentionsThread(s.index);
    case 'if':
      return mentionsThread(s.condition) || s.then.some(usesGroup) || s.otherwise.some(usesGroup);
    default:
      return s satisfies never;
  }
}

const threaded = new WeakMap<Expr, boolean>();
function mentionsThread(e: Expr): boolean {
  let known = threaded.get(e);
  if (known === undefined) threaded.set(e, (known = findThread(e)));
  return known;
}
function findThread(e: Expr): boolean {
  switch (e.kind) {
    case 'const':
      return false;
    case 'var':
      return e.name === 'thread';
    case 'load':
      return mentionsThread(e.index);
    case 'alu':
    case 'zip':
      return e.args.some(mentionsThread);
    case 'cast':
    case 'bitcast':
    case 'splat':
    case 'across':
      return mentionsThread(e.arg);
    case 'ramp':
      return mentionsThread(e.start);
    default:
      return e satisfies never;
  }
}
