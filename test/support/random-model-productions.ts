// The productions of random graphs that models are made of: indexing, caches, contractions, quantization, composites.
// As in random-productions.ts, undefined means that the drawn values do not suit.
import { dim, dimAdd, dimConst } from '../../ir/dim.ts';
import { decompositionOf } from '../../ir/ops/decompose/index.ts';
import { chooseRanked, dtypeOf, last, type Production, shapeOf } from './random-helpers.ts';

// ---- indexing and state ----

const gathering: Production = (b) => {
  const { x, axis } = chooseRanked(b) ?? {};
  if (!x || axis === undefined || shapeOf(x)[axis].min < 1) return undefined;
  const batch = b.integer(0, axis);
  const indices = b.fresh('i32', [...shapeOf(x).slice(0, batch), ...b.shape().slice(0, 2)]);
  return b.apply('gather', [x, b.keep(indices)], { axis, batch }, x.bound, true);
};

const scattering: Production = (b) => {
  const { x, axis } = chooseRanked(b) ?? {};
  if (!x || axis === undefined || shapeOf(x)[axis].min < 1) return undefined;
  const batch = b.integer(0, axis);
  const indexShape = [...shapeOf(x).slice(0, batch), b.size()];
  const combine = b.pick(['set', 'add', 'min', 'max'] as const);
  const indices = b.keep(b.fresh('i32', indexShape));
  const shape = [...shapeOf(x).slice(0, axis), ...indexShape.slice(batch), ...shapeOf(x).slice(axis + 1)];
  if (!b.fits(shape)) return undefined;
  const updates = b.like(dtypeOf(x), shape);
  const times = combine === 'add' ? b.extent(last(indexShape)) : 0;
  const bound = Math.max(x.bound, updates.bound) + times * updates.bound;
  return b.apply('scatter', [x, indices, updates], { axis, batch, combine }, bound, combine !== 'add');
};

const dynamic: Production = (b) => {
  const { x } = chooseRanked(b) ?? {};
  if (!x || shapeOf(x).some((d) => d.min < 1)) return undefined;
  const starts = shapeOf(x).map(() => b.fresh('i32', []));
  const sizes = shapeOf(x).map((d) => (b.chance(0.5) ? dim(b.integer(1, d.min)) : d));
  if (b.chance(0.5)) return b.apply('dynamic_slice', [x, ...starts], { sizes }, x.bound, true);
  const update = b.like(dtypeOf(x), sizes);
  return b.apply('dynamic_update_slice', [x, update, ...starts], {}, Math.max(x.bound, update.bound), true);
};

const caching: Production = (b) => {
  const { batch, seq, past } = b.sizes();
  const length = dimAdd(seq, past);
  const [heads, width] = [dim(2), dim(4)];
  const dtype = b.float();
  const state = b.like(dtype, [batch, heads, dimAdd(length, 3), width]);
  const values = b.like(dtype, [batch, heads, seq, width]);
  const start = b.apply('dim', [], { dim: past }, 8, true);
  const bound = Math.max(state.bound, values.bound);
  const updated = b.apply('cache_update', [state, values, start], { axis: 2 }, bound, true);
  return b.apply('cache_read', [updated], { axis: 2, length }, bound, true);
};

// ---- contractions ----

const dot: Production = (b) => {
  const { x, axis } = chooseRanked(b) ?? {};
  if (!x || axis === undefined) return undefined;
  const shape = shapeOf(x);
  const inner = shape[axis];
  // a random subset of the other axes is batched; the right side has them and the contracted axis in any order
  const batch = shape.map((_, i) => i).filter((i) => i !== axis && b.chance(0.3));
  const free = Array.from({ length: b.integer(0, 2) }, () => b.size());
  const axes = b.shuffled([...batch.map((i) => shape[i]), inner, ...free].map((d, i) => ({ d, i })));
  const y = b.like(
    dtypeOf(x),
    axes.map((a) => a.d),
  );
  if (!b.fits(shapeOf(y))) return undefined;
  const place = (i: number): number => axes.findIndex((a) => a.i === i);
  const attrs = {
    batch: [batch, batch.map((_, i) => place(i))],
    contract: [[axis], [place(batch.length)]],
    acc: 'f32',
  } as const;
  const left = shape.filter((_, i) => i !== axis && !batch.includes(i));
  if (!b.fits([...batch.map((i) => shape[i]), ...left, ...free])) return undefined;
  return b.apply('dot_general', [x, y], attrs, x.bound * y.bound * Math.max(1, b.extent(inner)), false);
};

/** A linear layer: x [.., K] times a weight [N, K], with or without a bias. */
const linear: Production = (b) => {
  const x = b.chooseFloat((v) => shapeOf(v).length > 0 && dimConst(last(shapeOf(v))) !== undefined);
  const shape = shapeOf(x);
  if (shape.length === 0) return undefined;
  const [k, n] = [last(shape), dim(b.integer(1, 16))];
  const w = b.like(dtypeOf(x), [n, k]);
  const contract = [[shape.length - 1], [1]] as const;
  const bound = x.bound * w.bound * Math.max(1, b.extent(k));
  const y = b.apply('dot_general', [x, w], { batch: [[], []], contract, acc: 'f32' }, bound, false);
  const result = dtypeOf(x) === 'f32' ? y : b.apply('cast', [y], { dtype: dtypeOf(x) }, bound, true);
  if (!b.fits(shapeOf(result)) || b.chance(0.5)) return result;
  const bias = b.like(dtypeOf(x), [n]);
  const rows = b.apply('broadcast', [bias], { shape: shapeOf(result), axes: [shape.length - 1] }, bias.bound, true);
  return b.apply('add', [result, rows], {}, bound + bias.bound, false);
};

const convolution: Production = (b) => {
  const spatial = b.integer(1, 2);
  const groups = b.integer(1, 2);
  const [inputs, outputs] = [b.integer(1, 3), b.integer(1, 3)];
  const range = (low: number, high: number): number[] => Array.from({ length: spatial }, () => b.integer(low, high));
  const x = b.like('f32', [b.size(), ...range(4, 7).map((n) => dim(n)), dim(inputs * groups)]);
  const window = range(1, 3);
  const filter = b.like('f32', [...window.map((n) => dim(n)), dim(inputs), dim(outputs * groups)]);
  const attrs = {
    strides: range(1, 2),
    padding: window.map((): readonly [number, number] => [b.integer(0, 2), b.integer(0, 1)]),
    dilation: window.map((n) => (n === 3 ? 1 : b.integer(1, 2))),
    inputDilation: range(1, 2),
    groups,
    acc: 'f32' as const,
  };
  const taps = window.reduce((p, n) => p * n, inputs);
  return b.apply('conv', [x, filter], attrs, x.bound * filter.bound * taps, false);
};

const experts: Production = (b) => {
  const [rows, k, n, e] = [b.size(), dim(b.integer(1, 8)), dim(b.integer(1, 8)), dim(b.integer(1, 4))];
  const x = b.like('f32', [rows, k]);
  const w = b.like('f32', [e, k, n]);
  const share = Math.floor(b.extent(rows) / b.extent(e));
  const counts = b.input('i32', [e], 8, () => b.integer(0, share));
  return b.apply('ragged_dot', [x, w, counts], { acc: 'f32' }, x.bound * w.bound * b.extent(k), false);
};

const quantized: Production = (b) => {
  const bitsOf = b.pick([4, 8] as const);
  const group = b.pick([0, 8, 16]);
  const [rows, k] = [b.size(), dim(32)];
  const zero = b.pick(['none', 2 ** (bitsOf - 1), 'tensor'] as const);
  const hasTable = bitsOf === 4 && b.chance(0.4);
  const spec = hasTable
    ? ({ bits: bitsOf, group, code: Array.from({ length: 16 }, (_, i) => (i - 7) / 8), zero: 'none' } as const)
    : ({ bits: bitsOf, group, code: 'affine', zero } as const);
  const groups = [rows, dim(group === 0 ? 1 : 32 / group)];
  const scale = b.input('f32', groups, 1, () => b.integer(1, 64) / 128);
  const zeros = spec.zero === 'tensor' ? [b.input('u8', groups, 16, () => b.integer(0, 15))] : [];
  const dtype = b.float();
  if (b.chance(0.5)) {
    const x = b.like('f32', [rows, k], (v) => v.exact);
    const packed = b.apply('quantize', [x, scale, ...zeros], { spec }, 2 ** 32, true);
    return b.apply('dequantize', [packed, scale, ...zeros], { spec, dtype }, 2 ** bitsOf, true);
  }
  const words = bitsOf === 8 ? b.input('i8', [rows, k], 128, () => b.integer(-128, 127)) : b.input('u32', [rows, dim(4)], 2 ** 32, () => b.integer(0, 2 ** 32 - 1)); // biome-ignore format: one row
  return b.apply('dequantize', [words, scale, ...zeros], { spec, dtype }, 2 ** bitsOf, true);
};

// ---- control and composites ----

const control: Production = (b) => {
  const x = b.chooseFloat();
  return b.chance(0.5)
    ? b.apply('mark', [x], { name: 'marked', save: b.chance(0.5) }, x.bound, true)
    : b.apply('fence', [x, b.chooseFloat()], {}, x.bound, x.exact);
};

const softmax: Production = (b) => {
  const { x, axis } = chooseRanked(b) ?? {};
  if (!x || axis === undefined) return undefined;
  return b.apply('softmax', [x], { axis }, 1, false);
};

const norm: Production = (b) => {
  const { x } = chooseRanked(b) ?? {};
  if (!x) return undefined;
  const width = [last(shapeOf(x))];
  const affine = Array.from({ length: b.integer(0, 2) }, () => b.fresh(dtypeOf(x), width));
  const attrs = {
    kind: b.pick(['rms', 'layer'] as const),
    eps: b.pick([0.01, 0.1]),
    scaleOffset: b.pick([0, 0, 1]),
  };
  return b.apply('norm', [x, ...affine.map((v) => b.keep(v))], attrs, 12, false);
};

const rope: Production = (b) => {
  const { batch, seq } = b.sizes();
  const width = b.pick([4, 8]);
  const half = dim(b.pick([1, width / 2]));
  const dtype = b.float();
  const x = b.like(dtype, [batch, dim(b.integer(1, 3)), seq, dim(width)]);
  const [cos, sin] = [0, 1].map(() => b.like(dtype, [batch, seq, half], (v) => v.bound <= 2));
  return b.apply('rope', [x, cos, sin], { style: b.pick(['half', 'interleaved'] as const) }, 4 * x.bound, false);
};

const attention: Production = (b) => {
  const { batch, seq, past } = b.sizes();
  const length = b.chance(0.5) ? seq : dimAdd(seq, past);
  const [groups, members, width] = [b.integer(1, 2), b.integer(1, 3), dim(b.pick([4, 8]))];
  const heads = dim(groups * members);
  const dtype = b.float();
  const q = b.like(dtype, [batch, heads, seq, width]);
  const k = b.like(dtype, [batch, dim(groups), length, width]);
  const v = b.like(dtype, [batch, dim(groups), length, b.chance(0.7) ? width : dim(3)]);
  const operands = b.shuffled(['mask', 'bias', 'sinks', 'lengths'] as const).filter(() => b.chance(0.3));
  const extra = operands.map((name) => {
    if (name === 'mask') return b.fresh('bool', [batch, length]);
    if (name === 'lengths') return b.fresh('i32', [batch]);
    if (name === 'sinks') return b.fresh(dtype, [heads]);
    return b.fresh(dtype, [b.pick([dim(1), batch]), b.pick([dim(1), heads]), seq, length]);
  });
  const attrs = {
    scale: b.pick([0.5, 0.25]),
    causal: b.chance(0.6),
    window: b.chance(0.3) ? b.integer(1, 4) : 0,
    softcap: b.chance(0.2) ? 5 : 0,
    operands,
  };
  return b.apply('attention', [q, k, v, ...extra.map((e) => b.keep(e))], attrs, v.bound, false);
};

const crossEntropy: Production = (b) => {
  const { x } = chooseRanked(b) ?? {};
  if (!x || last(shapeOf(x)).min < 1) return undefined;
  const labels = b.fresh('i32', shapeOf(x).slice(0, -1));
  const attrs = { ignore: b.pick([-100, 0]), smoothing: b.pick([0, 0.1]) };
  return b.apply('cross_entropy', [x, b.keep(labels)], attrs, 2 * x.bound + 10, false);
};

/** A composite's decomposition, so that rewrites and kernels meet its parts in graphs. */
const decomposed: Production = (b) => {
  const v = b.pick([softmax, norm, rope, attention])(b);
  if (!v) return undefined;
  const decompose = decompositionOf(v.node.op);
  return decompose ? { ...v, node: decompose(v.node) } : v;
};

/** Repeated entries are more likely. */
export const modelProductions: readonly Production[] = [
  gathering, scattering, dynamic, caching, dot, dot, linear, linear, convolution, experts, quantized, control, softmax,
  norm, norm, rope, attention, attention, crossEntropy, decomposed,
]; // biome-ignore format: a table
