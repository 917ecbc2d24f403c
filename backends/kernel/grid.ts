// The number of tasks of a kernel under given dims: what hosts compute that launch kernels one by one.
import { ModelcError } from '../../ir/error.ts';
import type { Expr } from '../../ir/loop.ts';

/** The value of an index expression over dims. Throws ModelcError 'type' when it is none. */
export function evalIndex(e: Expr, dims: ReadonlyMap<string, number>): number {
  if (e.kind === 'const') return e.value;
  if (e.kind === 'var') {
    const value = dims.get(e.name);
    if (value !== undefined) return value;
  }
  if (e.kind === 'alu' && e.dtype === 'index') {
    const [a, b] = e.args.map((arg) => evalIndex(arg, dims));
    switch (e.op) {
      case 'add':
        return a + b;
      case 'sub':
        return a - b;
      case 'mul':
        return a * b;
      case 'div':
        return Math.floor(a / b);
      case 'rem':
        return a - Math.floor(a / b) * b;
      case 'max':
        return Math.max(a, b);
      case 'min':
        return Math.min(a, b);
      default:
    }
  }
  throw new ModelcError('type', 'malformed program: a grid is no index expression over dims');
}
