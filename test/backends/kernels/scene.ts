// How kernel cases are written: a Scene declares inputs of random values, idioms of models are functions over nodes.
import { type Dim, dim, dimEval, dimVar } from '../../../ir/dim.ts';
import { type DType, roundTo } from '../../../ir/dtype.ts';
import type { Graph } from '../../../ir/graph.ts';
import { make } from '../../../ir/make.ts';
import { type NdArray, ndarray, sizeOf } from '../../../ir/ndarray.ts';
import type { Node } from '../../../ir/node.ts';
import type { Attrs } from '../../../ir/ops/attrs.ts';
import { uniform } from '../../support/cases/case.ts';
import type { DeviceRun } from '../../support/test-device.ts';

export interface KernelCase extends DeviceRun {
  readonly name: string;
  readonly tolerance: number;
}

/** Rounding of one result of each dtype, and of sums of a few hundred products in f32, relative to the largest. */
const tolerances: Partial<Record<DType, number>> = { f32: 1e-5, bf16: 2 ** -8, f16: 2 ** -10 };

/** Builds a graph: `input` declares params of random values (or of those given). */
export class Scene {
  readonly params: Node<'param'>[] = [];
  readonly values = new Map<string, NdArray>();

  constructor(readonly dims: Readonly<Record<string, number>> = {}) {}

  input(shape: readonly (Dim | number)[], dtype: DType = 'f32', data?: (i: number) => number): Node {
    const name = `x${this.params.length}`;
    const type = shape.map((d) => dim(d));
    const sizes = type.map((d) => dimEval(d, this.dims));
    const random = uniform(sizes, 1 + this.params.length);
    const numbers = data ? Array.from({ length: sizeOf(sizes) }, (_, i) => data(i)) : random.data;
    const node = make('param', [], { name, kind: 'input', dtype, shape: type });
    this.params.push(node);
    this.values.set(
      name,
      ndarray(
        dtype,
        sizes,
        Array.from(numbers, (v) => roundTo(dtype, v)),
      ),
    );
    return node;
  }
}

export function scene(
  name: string,
  build: (s: Scene) => Node | Readonly<Record<string, Node>>,
  options: { dims?: Readonly<Record<string, number>>; tolerance?: number } = {},
): KernelCase {
  const s = new Scene(options.dims);
  const built = build(s);
  const results = new Map<string, Node>('op' in built ? [['y', built as Node]] : Object.entries(built));
  const graph: Graph = { name: 'kernels', params: s.params, results, updates: new Map() };
  const tolerance = options.tolerance ?? Math.max(...[...results.values()].map((n) => tolerances[n.type.dtype] ?? 0));
  return { name, graph, params: s.values, dims: s.dims, tolerance };
}

export const add = (a: Node, b: Node): Node => make('add', [a, b], {});
export const mul = (a: Node, b: Node): Node => make('mul', [a, b], {});
export const castTo = (x: Node, dtype: DType): Node => (x.type.dtype === dtype ? x : make('cast', [x], { dtype }));
export const constant = (value: number, like: Node): Node => {
  const scalar = make('const', [], { value, dtype: like.type.dtype });
  return like.type.shape.length === 0 ? scalar : make('broadcast', [scalar], { shape: like.type.shape, axes: [] });
};
export const spread = (x: Node, like: Node, axes: readonly number[]): Node =>
  make('broadcast', [x], { shape: like.type.shape, axes });
const lastAxis = (x: Node): number => x.type.shape.length - 1;
export const silu = (x: Node): Node =>
  make('div', [x, add(constant(1, x), make('exp', [make('neg', [x], {})], {}))], {});
/** x [.., K] times w [N, K], in the dtype of x. */
export const linear = (x: Node, w: Node): Node => {
  const contract = [[lastAxis(x)], [lastAxis(w)]] as const;
  return castTo(make('dot_general', [x, w], { batch: [[], []], contract, acc: 'f32' }), x.type.dtype);
};
export const norm = (x: Node, scale: Node, kind: 'rms' | 'layer' = 'rms'): Node =>
  make('norm', [x, scale], { kind, eps: 1e-5, scaleOffset: 0 });
export const reduce = (x: Node, op: Attrs['reduce']['op'], axes: readonly number[], acc: DType = 'f32'): Node =>
  make('reduce', [x], { op, axes, acc });

export const seq = dimVar('seq', 0, 400);
export const batch = dimVar('batch', 1, 8);
export const past = dimVar('past', 0, 200);
