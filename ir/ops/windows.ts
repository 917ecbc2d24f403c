// The view that makes a convolution a product of matrices: what a window that moves over the spatial axes sees. And what
// it shares with conv: the checks of how windows move, and the places that they come to.
import type { Dim } from '../dim.ts';
import { dim, dimMul, dimText } from '../dim.ts';
import type { Expr } from '../loop.ts';
import { add, alu, constant, floorDiv, index, lessThan, modulo, mul, sub } from '../loop.ts';
import { ndarray, stridesOf } from '../ndarray.ts';
import type { Windows } from './attrs.ts';
import { Factors, fail, forEachIndex, requireArity, requireClass, requireInteger, requireList, requireShape, shapeOf, windowPlaces } from './common.ts'; // biome-ignore format: one row
import type { Op } from './op.ts';

/** C3: one entry for each of `spatial` axes, factors being at least 1. */
export function requireWindows(op: 'conv' | 'windows', attrs: Windows, spatial: number): void {
  requireList(op, 3, 'padding', attrs.padding, spatial);
  for (const name of ['strides', 'dilation', 'inputDilation'] as const) {
    requireList(op, 3, name, attrs[name], spatial);
    for (const value of attrs[name]) requireInteger(op, 3, name, value, 1);
  }
  for (const pair of attrs.padding) {
    requireList(op, 3, 'padding', pair, 2);
    for (const value of pair) requireInteger(op, 3, 'padding', value, -(2 ** 31));
  }
}

/** Places along the spatial axes of [N, ...spatial, C]. C4: input dilation is of axes that are not empty. C6: windows fit. */
export function placesOf(
  op: 'conv' | 'windows',
  shape: readonly Dim[],
  window: readonly number[],
  { strides, padding, dilation, inputDilation }: Windows,
): Dim[] {
  return window.map((size, i) => {
    const extent = shape[i + 1];
    const inner = inputDilation[i];
    if (inner > 1 && extent.min < 1) fail(op, 4, `dilated input ${dimText(extent)} may be empty`);
    const [low, high] = padding[i];
    const span = (size - 1) * dilation[i] + 1;
    // an input of S elements with inner - 1 zeros between them has S * inner - (inner - 1) elements
    return windowPlaces(op, 6, dimMul(extent, inner), span, strides[i], low - (inner - 1), high);
  });
}

/**
 * C1: x is numeric. C2: x has an axis before and an axis behind the spatial ones, of which there is at least one.
 * C3: window, strides, padding, dilation and inputDilation have one entry per spatial axis, factors being at least 1.
 * C4: input dilation is of axes that are not empty.
 * C6: the dilated window fits into the padded input, in a number of places that is a polynomial.
 */
export const windows: Op<'windows'> = {
  cost: 'free',
  infer(args, attrs) {
    requireArity('windows', args, 1);
    const [x] = args;
    requireClass('windows', 1, x.dtype, 'numeric');
    const spatial = x.shape.length - 2;
    if (spatial < 1) fail('windows', 2, `x must have at least 3 axes, got ${x.shape.length}`);
    requireList('windows', 3, 'window', attrs.window, spatial);
    for (const size of attrs.window) requireInteger('windows', 3, 'window', size, 1);
    requireWindows('windows', attrs, spatial);
    const places = placesOf('windows', x.shape, attrs.window, attrs);
    const shape = [x.shape[0], ...places, ...attrs.window.map((size) => dim(size)), x.shape[spatial + 1]];
    requireShape('windows', 6, shape, 'the result');
    return { dtype: x.dtype, shape };
  },

  axes(node) {
    const { shape } = node.args[0].type;
    const factors = new Factors();
    const [n, c] = [factors.add(shape[0]), factors.add(shape[shape.length - 1])];
    const inputs = shape.slice(1, -1).map((d) => factors.add(d, 'opaque'));
    const seen = node.type.shape.slice(1, -1).map((d) => factors.add(d, 'opaque'));
    return { factors: factors.list, args: [[n, ...inputs, c]], result: [n, ...seen, c] };
  },

  eval(node, [x], env) {
    const { strides, padding, dilation, inputDilation } = node.attrs;
    const spatial = strides.length;
    const result = ndarray(x.dtype, shapeOf(node, env));
    const steps = stridesOf(x.shape);
    forEachIndex(result.shape, (at, flat) => {
      let from = at[0] * steps[0] + at[2 * spatial + 1];
      for (const [i, inner] of inputDilation.entries()) {
        const place = at[i + 1] * strides[i] + at[spatial + i + 1] * dilation[i] - padding[i][0];
        if (place < 0 || place % inner !== 0 || place / inner >= x.shape[i + 1]) return;
        from += (place / inner) * steps[i + 1];
      }
      result.data[flat] = x.data[from];
    });
    return result;
  },

  element(node, at, context) {
    const { strides, padding, dilation, inputDilation } = node.attrs;
    const { dtype, shape } = node.args[0].type;
    const spatial = strides.length;
    const zero = constant(0, dtype);
    const source: Expr[] = [at[0]];
    // one axis after another, so that no condition or quotient is ever of a negative index
    const through = (i: number): Expr => {
      if (i === spatial) return context.read(0, [...source, at[2 * spatial + 1]]);
      const [low] = padding[i];
      const inner = index(inputDilation[i]);
      const place = context.let(add(mul(at[i + 1], index(strides[i])), mul(at[spatial + i + 1], index(dilation[i]))));
      const position = sub(place, index(low));
      const isBelow = lessThan(position, mul(context.size(shape[i + 1]), inner));
      const inside = low > 0 ? alu('and', alu('ge', place, index(low)), isBelow) : isBelow;
      return context.guard(
        inside,
        () => {
          source[i + 1] = floorDiv(position, inner);
          if (inputDilation[i] === 1) return through(i + 1);
          return context.guard(alu('eq', modulo(position, inner), index(0)), () => through(i + 1), zero);
        },
        zero,
      );
    };
    return through(0);
  },
};
