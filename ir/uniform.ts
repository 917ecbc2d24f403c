// What may differ between the threads of a group: values that follow from the thread's number, from loops over the group
// and from memory of the thread. Mutable variables differ if anything that is assigned to them does, or if not all threads
// come to the assignment; the walk over the statements repeats until no more are found.
import type { Expr, Stmt } from './loop.ts';

/** Whether an expression may have another value in another thread of the group. */
export type Varying = (e: Expr) => boolean;

export function findVarying(body: readonly Stmt[], groupThreads: number): Varying {
  const names = new Set(['thread']);
  const own = new Set<string>();
  const varies = (e: Expr): boolean => {
    switch (e.kind) {
      case 'const':
        return false;
      case 'var':
        return names.has(e.name);
      case 'load':
        return own.has(e.buffer) || varies(e.index);
      case 'alu':
      case 'zip':
        return e.args.some(varies);
      case 'ramp':
        return varies(e.start);
      case 'cast':
      case 'bitcast':
      case 'splat':
      case 'across':
        return varies(e.arg);
      default:
        return (e satisfies never) || true;
    }
  };
  const walk = (list: readonly Stmt[], differs: boolean): void => {
    for (const s of list) {
      switch (s.kind) {
        case 'for': {
          const inner = differs || s.level === 'group' || varies(s.start) || varies(s.end);
          if (s.level === 'group' || varies(s.start)) names.add(s.name);
          walk(s.body, inner);
          break;
        }
        case 'if': {
          const inner = differs || varies(s.condition);
          walk(s.then, inner);
          walk(s.otherwise, inner);
          break;
        }
        case 'let':
          if (varies(s.value)) names.add(s.name);
          break;
        case 'assign':
          if (differs || varies(s.value)) names.add(s.name);
          break;
        case 'alloc':
          if (s.scope === 'thread') own.add(s.buffer);
          break;
        case 'reduce':
          if (s.width !== groupThreads) for (const { name } of s.values) names.add(name);
          break;
        default: // declares no variable
      }
    }
  };
  for (let before = -1; before !== names.size; ) {
    before = names.size;
    walk(body, false);
  }
  return varies;
}
