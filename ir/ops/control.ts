// Ops that compute nothing: they tell passes what to keep apart and what to keep.
import type { ControlAttrs } from './attrs.ts';
import { Factors, fail, mapAxes, requireArity } from './common.ts';
import type { Op, OpTable } from './op.ts';

/**
 * args: x, after. The value of x, which may not be merged with an equal value or computed before `after` is there:
 * recomputation in a backward pass stays recomputation.
 */
const fence: Op<'fence'> = {
  infer(args) {
    requireArity('fence', args, 2);
    return args[0];
  },
  axes(node) {
    const factors = new Factors();
    const dims = node.type.shape.map((d) => factors.add(d));
    const after = node.args[1].type.shape.map((d) => factors.add(d, 'opaque'));
    return { factors: factors.list, args: [dims, after], result: dims };
  },
  eval: (_node, [x]) => x,
  element: (_node, at, context) => context.read(0, at),
};

/**
 * The value of x, named for passes that look for it, or marked to be saved for the backward pass.
 * C1: name is a string and save a boolean, where given.
 */
const mark: Op<'mark'> = {
  infer(args, { name, save }) {
    requireArity('mark', args, 1);
    if (name !== undefined && typeof name !== 'string') fail('mark', 1, `name must be a string, got ${String(name)}`);
    if (save !== undefined && typeof save !== 'boolean') fail('mark', 1, `save must be a boolean, got ${String(save)}`);
    return args[0];
  },
  axes: (node) => mapAxes(node.type.shape, 1),
  eval: (_node, [x]) => x,
  element: (_node, at, context) => context.read(0, at),
};

export const control: OpTable<ControlAttrs> = { fence, mark };
