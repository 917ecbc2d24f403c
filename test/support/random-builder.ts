// What productions of random graphs draw from: random choices, a pool of values, and fresh inputs.
import type { Dim } from '../../ir/dim.ts';
import { dim, dimEval, dimVar, shapeEquals } from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import { isFloat, roundTo } from '../../ir/dtype.ts';
import { make } from '../../ir/make.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import { ndarray, sizeOf } from '../../ir/ndarray.ts';
import type { Node, OpName } from '../../ir/node.ts';
import type { DimEnv } from '../../ir/ops/op.ts';

/** A generator of uniform numbers in 0..1: a Weyl sequence through a multiplicative hash of 32 bits. */
export function randomNumbers(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1);
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let h = state ^ (state >>> 16);
    h = Math.imul(h, 0x21f0aaad);
    h = Math.imul(h ^ (h >>> 15), 0x735a2d97);
    return ((h ^ (h >>> 15)) >>> 0) / 2 ** 32;
  };
}

export interface Value {
  readonly node: Node;
  readonly bound: number;
  readonly exact: boolean;
}

/**
 * Most graphs are small, so that many can be tried; every fourth has dimensions beyond vectors and register tiles.
 * `elements` is what an array has at most, at the values of the dims that are run.
 */
const smallSizes = { elements: 4096, constant: 8, seq: 9 };
const largeSizes = { elements: 32768, constant: 40, seq: 150 };
const maxRank = 5;
const squashAbove = 16;

/** What productions draw from: random choices, the pool, and fresh inputs. */
export class Builder {
  readonly params: Node<'param'>[] = [];
  readonly inputs: NdArray[] = [];
  readonly pool: Value[] = [];
  readonly env: DimEnv;
  private readonly vars: readonly Dim[];
  private readonly limits: typeof smallSizes;
  private readonly random: () => number;
  /** The dtypes of float inputs: most graphs are f32, some mix in a narrow one. */
  private readonly floats: readonly DType[];

  constructor(seed: number) {
    this.random = randomNumbers(seed);
    this.limits = seed % 4 === 3 ? largeSizes : smallSizes;
    const { seq } = this.limits;
    this.vars = [dimVar('batch', 1, 4), dimVar('seq', 2, seq), dimVar('past', 0, 8)];
    this.env = { batch: this.integer(1, 4), seq: this.integer(2, seq), past: this.integer(0, 8) };
    this.floats = this.pick([['f32'], ['f32'], ['f32'], ['f32', 'bf16'], ['f32', 'f16'], ['bf16']] as const);
  }

  /** An integer in low..high. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.random() * (high - low + 1));
  }
  chance(probability: number): boolean {
    return this.random() < probability;
  }
  pick<T>(from: readonly T[]): T {
    return from[this.integer(0, from.length - 1)];
  }
  shuffled<T>(list: readonly T[]): T[] {
    const out = [...list];
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.integer(0, i);
      [out[i], out[j]] = [out[j], out[i]];
    }
    return out;
  }

  float(): DType {
    return this.pick(this.floats);
  }
  /** A dimension of a fresh input; `batch`, `seq` and `past` are symbolic. */
  size(): Dim {
    return this.chance(0.4) ? this.pick(this.vars.slice(0, 2)) : dim(this.integer(1, this.limits.constant));
  }
  /** batch, seq and past, or constants in their place. */
  sizes(): { batch: Dim; seq: Dim; past: Dim } {
    const [batch, seq, past] = this.vars.map((v, i) => (this.chance(0.6) ? v : dim(this.integer(i === 2 ? 0 : 2, 4))));
    return { batch, seq, past };
  }
  shape(): Dim[] {
    return Array.from({ length: this.integer(1, 4) }, () => this.size());
  }
  /** Where the value of a dimension is, in this run. */
  extent(d: Dim): number {
    return dimEval(d, this.env);
  }
  elements(shape: readonly Dim[]): number {
    return sizeOf(shape.map((d) => this.extent(d)));
  }
  /** Whether a value of this shape may be made: it is small, and its bounds prove that no dimension is negative. */
  fits(shape: readonly Dim[]): boolean {
    return shape.length <= maxRank && shape.every((d) => d.min >= 0) && this.elements(shape) <= this.limits.elements;
  }

  /** A fresh input of values that `next` draws. */
  input(dtype: DType, shape: readonly Dim[], bound: number, next: () => number): Value {
    const name = `x${this.params.length}`;
    const node = make('param', [], { name, kind: 'input', dtype, shape });
    const sizes = shape.map((d) => this.extent(d));
    const data = Float64Array.from({ length: sizeOf(sizes) }, () => roundTo(dtype, next()));
    this.params.push(node);
    this.inputs.push(ndarray(dtype, sizes, data));
    return { node, bound, exact: true };
  }
  /** A fresh input: floats in -2..2, integers in 0..7 (-8..7 where signed), or truth values. */
  fresh(dtype: DType, shape: readonly Dim[]): Value {
    if (isFloat(dtype)) return this.input(dtype, shape, 2, () => 4 * this.random() - 2);
    if (dtype === 'bool') return this.input(dtype, shape, 1, () => this.integer(0, 1));
    const low = dtype === 'u8' || dtype === 'u32' ? 0 : -8;
    return this.input(dtype, shape, 8, () => this.integer(low, 7));
  }

  /** A random value of the pool that `wanted` accepts, recent ones more often. */
  choose(wanted: (v: Value) => boolean): Value | undefined {
    const found = this.pool.filter(wanted);
    if (found.length === 0) return undefined;
    return found[Math.floor(this.random() ** 0.3 * found.length)];
  }
  chooseFloat(wanted: (v: Value) => boolean = () => true): Value {
    return (
      this.choose((v) => isFloat(v.node.type.dtype) && wanted(v)) ?? this.keep(this.fresh(this.float(), this.shape()))
    );
  }
  /** A value of a given type: of the pool, or fresh. */
  like(dtype: DType, shape: readonly Dim[], wanted: (v: Value) => boolean = () => true): Value {
    const found = this.choose((v) => v.node.type.dtype === dtype && shapeEquals(v.node.type.shape, shape) && wanted(v));
    return found && this.chance(0.7) ? found : this.keep(this.fresh(dtype, shape));
  }
  keep(value: Value): Value {
    this.pool.push(value);
    return value;
  }

  /** Applies an op. */
  apply<O extends OpName>(
    op: O,
    args: readonly Value[],
    attrs: Parameters<typeof make<O>>[2],
    bound: number,
    exact: boolean,
  ): Value {
    return { node: make(op, args.map((a) => a.node), attrs), bound, exact: exact && args.every((a) => a.exact) }; // biome-ignore format: one row
  }
  /** A scalar constant repeated over a shape. */
  filled(value: number, dtype: DType, shape: readonly Dim[]): Value {
    const scalar = make('const', [], { value: roundTo(dtype, value), dtype });
    return { node: make('broadcast', [scalar], { shape, axes: [] }), bound: Math.abs(value), exact: true };
  }
  /** A float value brought back to -1..1 where it could be large. */
  tame(v: Value): Value {
    if (!isFloat(v.node.type.dtype) || v.bound <= squashAbove) return v;
    return this.apply('tanh', [v], {}, 1, false);
  }
}
