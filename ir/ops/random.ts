// Random bits as a function of a key and a position. The generator is Threefry-2x32 with 20 rounds (Salmon et al.,
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Element i of a result encrypts the 64-bit counter i and gives
// the exclusive or of the two words, so that a value depends on nothing but key and position.
import { dimProduct } from '../dim.ts';
import type { Expr } from '../loop.ts';
import { alu, cast, constant, floorDiv, index, modulo } from '../loop.ts';
import { ndarray } from '../ndarray.ts';
import type { RandomAttrs } from './attrs.ts';
import { linearIndex, passthroughAxes, requireArity, requireShape, requireType, shapeOf } from './common.ts';
import type { OpTable } from './op.ts';

/** Words of 32 bits, as numbers or as kernel code. */
interface Words<W> {
  constant(value: number): W;
  add(a: W, b: W): W;
  xor(a: W, b: W): W;
  rotate(a: W, bits: number): W;
}

const rotations = [13, 15, 26, 6, 17, 29, 16, 24];
const parity = 0x1bd11bda;
const rounds = 20;

/** The two words that Threefry-2x32-20 makes of a counter. */
export function threefry2x32<W>(w: Words<W>, key: readonly [W, W], counter: readonly [W, W]): [W, W] {
  const schedule = [key[0], key[1], w.xor(w.xor(w.constant(parity), key[0]), key[1])];
  let x = w.add(counter[0], schedule[0]);
  let y = w.add(counter[1], schedule[1]);
  for (let round = 1; round <= rounds; round++) {
    x = w.add(x, y);
    y = w.xor(w.rotate(y, rotations[(round - 1) % 8]), x);
    if (round % 4 === 0) {
      const injection = round / 4;
      x = w.add(x, schedule[injection % 3]);
      y = w.add(y, w.add(schedule[(injection + 1) % 3], w.constant(injection)));
    }
  }
  return [x, y];
}

export const numberWords: Words<number> = {
  constant: (value) => value,
  add: (a, b) => (a + b) >>> 0,
  xor: (a, b) => (a ^ b) >>> 0,
  rotate: (a, bits) => ((a << bits) | (a >>> (32 - bits))) >>> 0,
};

/** `bind` gives a value a name, for values that are used more than once. */
const exprWords = (bind: (e: Expr) => Expr): Words<Expr> => ({
  constant: (value) => constant(value, 'u32'),
  add: (a, b) => bind(alu('add', a, b)),
  xor: (a, b) => bind(alu('xor', a, b)),
  rotate: (a, bits) => alu('or', alu('shl', a, constant(bits, 'u32')), alu('shr', a, constant(32 - bits, 'u32'))),
});

const wordSize = 2 ** 32;

export const random: OpTable<RandomAttrs> = {
  /** C1: key is u32[2]. C2: no dimension can be negative. */
  rng_bits: {
    infer(args, attrs) {
      requireArity('rng_bits', args, 1);
      requireType('rng_bits', 1, 'the key', args[0], { dtype: 'u32', shape: [2] });
      requireShape('rng_bits', 2, attrs.shape);
      return { dtype: 'u32', shape: attrs.shape };
    },
    // a part of the result does not know its position: every axis must be seen whole
    axes(node) {
      const { shape } = node.type;
      const rule = passthroughAxes([...shape, ...node.args[0].type.shape], 1, [...shape.keys(), shape.length]);
      return {
        factors: rule.factors,
        args: [rule.result.slice(shape.length)],
        result: rule.result.slice(0, shape.length),
      };
    },
    eval(node, [key], env) {
      const result = ndarray('u32', shapeOf(node, env));
      for (let i = 0; i < result.data.length; i++) {
        const counter = [Math.floor(i / wordSize), i % wordSize] as const;
        const [x, y] = threefry2x32(numberWords, [key.data[0], key.data[1]], counter);
        result.data[i] = numberWords.xor(x, y);
      }
      return result;
    },
    element(node, at, context) {
      const words = exprWords(context.let);
      const position = linearIndex(at, node.type.shape, context);
      const isLong = dimProduct(node.type.shape).max > wordSize;
      const high = isLong ? cast(floorDiv(position, index(wordSize)), 'u32') : constant(0, 'u32');
      const low = cast(isLong ? modulo(position, index(wordSize)) : position, 'u32');
      const [x, y] = threefry2x32(words, [context.read(0, [index(0)]), context.read(0, [index(1)])], [high, low]);
      return alu('xor', x, y);
    },
  },
};
