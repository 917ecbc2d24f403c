// Rotary position embedding (Su et al. 2021), applied to the heads of a query or key.
import { dimConst, dimMul, dimText } from '../../dim.ts';
import { roundTo } from '../../dtype.ts';
import { add, alu, floorDiv, index, lessThan, modulo, mul, select, sub } from '../../loop.ts';
import { Factors, fail, requireArity, requireChoice, requireClass, requireRank, requireType } from '../common.ts';
import type { Op } from '../op.ts';

/**
 * Rotates pairs of the first R elements of each head: (a, b) becomes (a * cos - b * sin, b * cos + a * sin). Pairs are
 * (i, i + R/2) for 'half', (2i, 2i + 1) for 'interleaved'. Elements from R on stay. Products and sums are of the dtype
 * of x, as in the Python library, which casts its f32 cos and sin to it.
 * C1: x is float [B, H, S, D] with a constant D; cos and sin have its dtype. C2: style is known.
 * C3: cos and sin are [B, S, R/2] with a constant R <= D.
 */
export const rope: Op<'rope'> = {
  infer(args, attrs) {
    requireArity('rope', args, 3);
    const [x, cos, sin] = args;
    requireClass('rope', 1, x.dtype, 'float');
    requireRank('rope', 1, 'x', x, 4);
    requireChoice('rope', 2, attrs, 'style');
    requireRank('rope', 3, 'cos', cos, 3);
    const [b, , s, d] = x.shape;
    const half = cos.shape[2];
    for (const t of [cos, sin]) requireType('rope', 3, 'cos and sin', t, { dtype: x.dtype, shape: [b, s, half] });
    const [pairs, width] = [dimConst(half), dimConst(d)];
    if (pairs === undefined || width === undefined || 2 * pairs > width) {
      fail('rope', 3, `2 * ${dimText(half)} rotated elements must be a constant of at most ${dimText(d)}`);
    }
    return x;
  },

  axes(node) {
    const [x, cos] = node.args.map((a) => a.type.shape);
    const factors = new Factors();
    const [b, h, s] = x.slice(0, 3).map((d) => factors.add(d));
    const d = factors.add(x[3], 'opaque');
    const pairs = factors.add(cos[2], 'opaque');
    return {
      factors: factors.list,
      args: [
        [b, h, s, d],
        [b, s, pairs],
        [b, s, pairs],
      ],
      result: [b, h, s, d],
    };
  },

  eval(node, [x, cos, sin]) {
    const [batch, heads, positions, width] = x.shape;
    const pairs = cos.shape[2];
    const [step, gap] = node.attrs.style === 'half' ? [1, pairs] : [2, 1];
    const data = x.data.slice();
    const round = (v: number): number => roundTo(x.dtype, v);
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) {
        for (let s = 0; s < positions; s++) {
          const start = ((b * heads + h) * positions + s) * width;
          const angle = (b * positions + s) * pairs;
          for (let i = 0; i < pairs; i++) {
            const at = start + i * step;
            const [p, q, c, n] = [x.data[at], x.data[at + gap], cos.data[angle + i], sin.data[angle + i]];
            data[at] = round(round(p * c) - round(q * n));
            data[at + gap] = round(round(q * c) + round(p * n));
          }
        }
      }
    }
    return { dtype: x.dtype, shape: x.shape, data };
  },

  element(node, [b, h, s, d], context) {
    const pairs = index(dimConst(node.args[1].type.shape[2])!);
    const isHalf = node.attrs.style === 'half';
    // the pair of element d, whether d is its first member, and where the other member stands
    const pair = isHalf ? modulo(d, pairs) : floorDiv(d, index(2));
    const first = isHalf ? lessThan(d, pairs) : alu('eq', modulo(d, index(2)), index(0));
    const gap = isHalf ? pairs : index(1);
    const x = context.read(0, [b, h, s, d]);
    const rotated = () => {
      const other = context.read(0, [b, h, s, select(first, add(d, gap), sub(d, gap))]);
      const sine = mul(other, context.read(2, [b, s, pair]));
      return alu('add', mul(x, context.read(1, [b, s, pair])), select(first, alu('neg', sine), sine));
    };
    const [width, rotary] = [dimConst(node.type.shape[3]), dimConst(dimMul(node.args[1].type.shape[2], 2))!];
    return width === rotary ? rotated() : context.guard(lessThan(d, index(rotary)), rotated, x);
  },
};
