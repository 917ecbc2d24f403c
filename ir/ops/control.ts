// Ops that compute nothing: they tell passes what to keep apart, what to keep and what to differentiate.
import { ModelcError } from '../error.ts';
import type { ControlAttrs } from './attrs.ts';
import { Factors, fail, mapAxes, requireArity, requireClass, requireRank } from './common.ts';
import type { Op, OpTable } from './op.ts';

/**
 * args: x, after. The value of x, which may not be merged with an equal value or computed before `after` is there:
 * recomputation in a backward pass stays recomputation.
 */
const fence: Op<'fence'> = {
  cost: 'free',
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

/** The value of x, in which derivatives see a constant. */
const stopGradient: Op<'stop_gradient'> = {
  infer(args) {
    requireArity('stop_gradient', args, 1);
    return args[0];
  },
  axes: (node) => mapAxes(node.type.shape, 1),
  eval: (_node, [x]) => x,
  element: (_node, at, context) => context.read(0, at),
};

/**
 * The derivative of the first argument with respect to the second, wherever that stands in what the first is computed
 * from; zeros where it does not. It is a question about the graph, not about values: ir/gradients.ts puts the answer in
 * its place, and nothing evaluates or compiles the op itself.
 * C1: loss is a float scalar. C2: x is float.
 */
const gradient: Op<'gradient'> = {
  infer(args) {
    requireArity('gradient', args, 2);
    const [loss, x] = args;
    requireClass('gradient', 1, loss.dtype, 'float');
    requireRank('gradient', 1, 'loss', loss, 0);
    requireClass('gradient', 2, x.dtype, 'float');
    return x;
  },
  axes(node) {
    const factors = new Factors();
    const result = node.type.shape.map((d) => factors.add(d, 'opaque'));
    return { factors: factors.list, args: [[], result], result };
  },
  eval() {
    throw new ModelcError('type', 'a gradient has no value until its graph is differentiated: run the pass grad first');
  },
};

/**
 * The value of x, named for passes that look for it, marked to be saved for the backward pass, or to be prepared: computed
 * once from weights (passes/prepare.ts).
 * C1: name is a string, save and prepare are booleans, where given.
 */
const mark: Op<'mark'> = {
  cost: 'free',
  infer(args, { name, save, prepare }) {
    requireArity('mark', args, 1);
    if (name !== undefined && typeof name !== 'string') fail('mark', 1, `name must be a string, got ${String(name)}`);
    if (save !== undefined && typeof save !== 'boolean') fail('mark', 1, `save must be a boolean, got ${String(save)}`);
    if (prepare !== undefined && typeof prepare !== 'boolean') {
      fail('mark', 1, `prepare must be a boolean, got ${String(prepare)}`);
    }
    return args[0];
  },
  axes: (node) => mapAxes(node.type.shape, 1),
  eval: (_node, [x]) => x,
  element: (_node, at, context) => context.read(0, at),
};

export const control: OpTable<ControlAttrs> = { fence, stop_gradient: stopGradient, gradient, mark };
