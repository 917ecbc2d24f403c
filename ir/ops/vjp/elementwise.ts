// Reverse-mode rules of elementwise ops: the cotangent times the partial derivatives, which are spelled with the result
// where that saves a function. Ties of max and min share the cotangent, so that abs has derivative 0 at 0.
import { castTo, compare, div, exp, filled, mul, neg, scaled, select, sub, where } from '../../build.ts';
import { isFloat } from '../../dtype.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import type { ElementwiseAttrs } from '../attrs.ts';
import type { Vjp, VjpTable } from './rule.ts';
import { discrete } from './rule.ts';

/** Of max (wins: gt) or min (wins: lt). */
const extreme =
  (wins: 'gt' | 'lt'): Vjp<'max'> & Vjp<'min'> =>
  (node: Node, c: Node) => {
    const [x, y] = node.args;
    const first = select(compare('eq', x, y), scaled(c, 0.5), where(compare(wins, x, y), c));
    return [first, sub(c, first)];
  };

/** c * (dx, dy) of x ** y. Where x is 0 its logarithm is not looked at, and where y is 0 the result does not move with x. */
const pow: Vjp<'pow'> = (node, c) => {
  const [x, y] = node.args;
  const [zero, one] = [filled(0, x), filled(1, x)];
  const slope = mul(y, make('pow', [x, sub(y, one)], {}));
  const log = make('log', [select(compare('eq', x, zero), one, x)], {});
  return [mul(c, select(compare('eq', y, zero), zero, slope)), mul(c, mul(node, log))];
};

export const elementwise: VjpTable<ElementwiseAttrs> = {
  neg: (_, c) => [neg(c)],
  floor: () => [null],
  round: () => [null],
  exp: (node, c) => [mul(c, node)],
  log: (node, c) => [div(c, node.args[0])],
  sin: (node, c) => [mul(c, make('cos', node.args, {}))],
  cos: (node, c) => [neg(mul(c, make('sin', node.args, {})))],
  tanh: (node, c) => [mul(c, sub(filled(1, node), mul(node, node)))],
  erf({ args: [x] }, c) {
    return [mul(c, scaled(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI)))];
  },
  sqrt: (node, c) => [div(scaled(c, 0.5), node)],
  rsqrt: (node, c) => [mul(scaled(c, -0.5), mul(node, mul(node, node)))],

  add: (_, c) => [c, c],
  mul: ({ args: [x, y] }, c) => [mul(c, y), mul(c, x)],
  div(node, c) {
    const first = div(c, node.args[1]);
    return [first, neg(mul(first, node))];
  },
  /** x rem y = x - trunc(x / y) * y, and the quotient is constant but for jumps. */
  rem(node, c) {
    const [x, y] = node.args;
    const quotient = make('round', [div(sub(x, node), y)], {});
    return [c, neg(mul(c, quotient))];
  },
  pow,
  max: extreme('gt'),
  min: extreme('lt'),
  and: discrete,
  or: discrete,
  xor: discrete,
  shl: discrete,
  shr: discrete,
  compare: discrete,
  select: ({ args: [condition] }, c) => [null, where(condition, c), select(condition, filled(0, c), c)],
  cast({ args: [x] }, c) {
    return [isFloat(x.type.dtype) ? castTo(c, x.type.dtype) : null];
  },
  bitcast: { none: 'the bits of a number are no smooth function of it' },
};
