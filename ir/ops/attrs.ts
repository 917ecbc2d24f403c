// The attributes of every op: plain data, one line an op. The records beside this file give them their meaning; their types
// are inferred from this table (attr-kinds.ts).
import type { AttrKind, AttrKinds, ValueOf, ValuesOf } from './attr-kinds.ts';

const integers = { list: 'integer' } as const;
const dims = { list: 'dim' } as const;
const pairs = { list: { pair: 'integer' } } as const;
/** Of the left and of the right argument. */
const axisLists = { pair: integers } as const;
const none = {} as const;

/**
 * What a state is for. `rows` and `positions` are axes of the state: along them lie the rows of the batch, and the positions
 * of each row. States that belong to all layers (masks) name no layer.
 */
const cached = { layer: { optional: 'integer' }, rows: 'integer', positions: 'integer' } as const;
export const stateRoles = {
  /** Keys and values of a layer. */
  kv: { ...cached, layer: 'integer' },
  /** Which positions may be attended to. */
  mask: cached,
  /** What is kept of an encoder's output, written once. */
  cross: cached,
  /** What a recurrent layer leaves to the next run: a run overwrites it, so a run cannot be undone. */
  carried: { layer: 'integer', rows: 'integer' },
  /** Of training: the parameter with that name, what an optimizer keeps of it, or a counter. */
  train: { of: 'string' },
} as const satisfies Readonly<Record<string, AttrKinds>>;
export type StateRole = ValueOf<{ readonly variants: typeof stateRoles }>;

/** How packed integers stand for real numbers: w = (q - zero) * scale, or scale * table[q]. */
const quantSpec = {
  bits: { oneOf: [2, 4, 8] },
  /** Elements along the last axis that share a scale; 0: the whole axis. */
  group: 'integer',
  code: { either: [{ oneOf: ['affine'] }, { list: 'number' }] },
  /** 'none': zero is 0 and q is signed; a number: that constant; 'tensor': a third argument. */
  zero: { either: [{ oneOf: ['none', 'tensor'] }, 'number'] },
} as const;
export type QuantSpec = ValuesOf<typeof quantSpec>;

/** `mesh` names an axis of the device mesh; `size` is its extent. */
const mesh = { mesh: 'string', size: 'integer' } as const;

const attention = {
  scale: 'number',
  causal: 'boolean',
  window: 'integer',
  softcap: 'number',
  operands: { list: { oneOf: ['mask', 'bias', 'sinks', 'lengths'] } },
} as const;

/** How a window moves over spatial axes: one entry each. Negative padding crops. */
const moves = {
  strides: integers,
  padding: pairs,
  dilation: integers,
  /** Zeros between input elements: transposed convolution. */
  inputDilation: integers,
} as const;
export type Windows = ValuesOf<typeof moves>;

const leafKinds = {
  /** 'constant' params carry data made by the model (tables such as rotary frequencies); see Program.constants. */
  param: {
    name: 'string',
    kind: { oneOf: ['input', 'weight', 'state', 'constant'] },
    dtype: 'dtype',
    shape: dims,
    /** Of states only; a state without one is kept from run to run, and nothing else is known of it. */
    role: { optional: { variants: stateRoles } },
  },
  /** A scalar, shape []. Arrays are params. */
  const: { value: 'number', dtype: 'dtype' },
  /** 0, 1, 2, … along `axis`. */
  iota: { shape: dims, axis: 'integer', dtype: 'dtype' },
  /** A dimension as an i32 scalar: the only way from shapes to values; there is none back. */
  dim: { dim: 'dim' },
} as const satisfies Readonly<Record<string, AttrKinds>>;

const elementwiseKinds = {
  neg: none,
  floor: none,
  /** To the nearest integer, ties to even. */
  round: none,
  exp: none,
  log: none,
  sin: none,
  cos: none,
  tanh: none,
  erf: none,
  sqrt: none,
  rsqrt: none,
  add: none,
  mul: none,
  div: none,
  rem: none,
  pow: none,
  max: none,
  min: none,
  and: none,
  or: none,
  xor: none,
  shl: none,
  shr: none,
  compare: { direction: { oneOf: ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] } },
  /** args: condition (bool), value where true, value where false. */
  select: none,
  cast: { dtype: 'dtype' },
  bitcast: { dtype: 'dtype' },
} as const satisfies Readonly<Record<string, AttrKinds>>;

const shapeKinds = {
  reshape: { shape: dims },
  /** Result axis i is argument axis perm[i]. */
  transpose: { perm: integers },
  /** Argument axis i becomes result axis axes[i] (ascending); a size-1 axis repeats, other result axes are new. */
  broadcast: { shape: dims, axes: integers },
  /** sizes[i] elements from starts[i], every strides[i]-th. */
  slice: { starts: dims, sizes: dims, strides: integers },
  /** args: x, padding value (scalar). */
  pad: { low: dims, high: dims },
  concat: { axis: 'integer' },
  reverse: { axes: integers },
  /**
   * args: x [N, ...spatial, C]. What a window of the sizes `window` sees at each place, and 0 beyond the edges and
   * between dilated inputs: [N, ...places, ...window, C].
   */
  windows: { window: integers, ...moves },
} as const satisfies Readonly<Record<string, AttrKinds>>;

const contractionKinds = {
  /** args: lhs, rhs of one dtype. Result: batch dims, then lhs free dims, then rhs free dims, in argument order. */
  dot_general: {
    batch: axisLists,
    contract: axisLists,
    /** dtype of the accumulator and of the result. */
    acc: 'dtype',
  },
  /** args: x [N, ...spatial, C], filter [...window, C / groups, O]. Result [N, ...spatial', O]. */
  conv: { ...moves, groups: 'integer', acc: 'dtype' },
  /** args: x [T, K] sorted by group, w [E, K, N], counts i32[E] (sum <= T). Rows beyond the sum give 0. */
  ragged_dot: { acc: 'dtype' },
} as const satisfies Readonly<Record<string, AttrKinds>>;

const reductionKinds = {
  /** Removes `axes`. and/or take bool. acc is the dtype of accumulation; the result has the argument's dtype. */
  reduce: { op: { oneOf: ['add', 'mul', 'max', 'min', 'and', 'or'] }, axes: integers, acc: 'dtype' },
  /** A window per axis of x, padded with the identity of `op`. */
  reduce_window: { op: { oneOf: ['add', 'max', 'min'] }, window: integers, strides: integers, padding: pairs },
  /** Running fold along `axis`. 'affine' takes args (a, b) and maybe y[-1], else 0: y[t] = a[t] * y[t-1] + b[t]; the others take one. */
  scan: {
    op: { oneOf: ['add', 'mul', 'max', 'min', 'affine'] },
    axis: 'integer',
    exclusive: 'boolean',
    reverse: 'boolean',
  },
  /** The stable permutation (i32) that sorts x along `axis`; NaN sorts as the largest. Values: gather. */
  sort: { axis: 'integer', descending: 'boolean' },
  /** i32 positions of the k largest along the last axis, in descending order, the first of equals first; NaN is largest. */
  top_k: { k: 'integer' },
} as const satisfies Readonly<Record<string, AttrKinds>>;

const indexingKinds = {
  /**
   * args: x, idx (i32). The leading `batch` axes of x and idx are shared. Result: x[:axis], idx[batch:], x[axis+1:]
   * (axis >= batch). Out-of-range indices clamp.
   */
  gather: { axis: 'integer', batch: 'integer' },
  /** args: x, idx, updates shaped like gather(x, idx). Out-of-range indices are dropped; 'set' with equal indices: last wins. */
  scatter: { axis: 'integer', batch: 'integer', combine: { oneOf: ['set', 'add', 'min', 'max'] } },
  /** args: x, then one i32 scalar per axis of x: the start, clamped so that the slice fits. */
  dynamic_slice: { sizes: dims },
  /** args: x, update, then one i32 scalar per axis: the start, clamped so that the update fits. */
  dynamic_update_slice: none,
} as const satisfies Readonly<Record<string, AttrKinds>>;

const randomKinds = {
  /** args: key u32[2]. u32 bits, Threefry-2x32 of the element's position: independent of fusion and sharding. */
  rng_bits: { shape: dims },
} as const satisfies Readonly<Record<string, AttrKinds>>;

const quantizationKinds = {
  /** args: x [..., K], scale [..., K/group], zero?. Result: u32 words [..., K*bits/32], low bits first (i8 if bits 8). */
  quantize: { spec: { fields: quantSpec } },
  /** args: words [..., K*bits/32], scale [..., K/group], zero?. Result [..., K] of dtype. */
  dequantize: { spec: { fields: quantSpec }, dtype: 'dtype' },
} as const satisfies Readonly<Record<string, AttrKinds>>;

const stateKinds = {
  /**
   * args: state [.., capacity, ..], values [.., n, ..], past (i32 scalar, or i32 [rows]: one for every index of the first
   * axis). The state with positions past..past+n-1 along `axis` replaced. Which slot holds a position is the cache-layout pass's choice.
   */
  cache_update: { axis: 'integer' },
  /** args: state. Positions 0..length-1 along `axis`. */
  cache_read: { axis: 'integer', length: 'dim' },
} as const satisfies Readonly<Record<string, AttrKinds>>;

const collectiveKinds = {
  /** Concatenates the ranks' arguments along `axis`. */
  all_gather: { ...mesh, axis: 'integer' },
  all_reduce: { ...mesh, op: { oneOf: ['add', 'max', 'min'] } },
  /** all_reduce, then each rank keeps its slice of `axis`. */
  reduce_scatter: { ...mesh, op: { oneOf: ['add'] }, axis: 'integer' },
  /** Splits `split` over the ranks, concatenates what arrives along `concat`. */
  all_to_all: { ...mesh, split: 'integer', concat: 'integer' },
  /** Rank i sends to rank (i + shift) mod size. */
  permute: { ...mesh, shift: 'integer' },
  /** This rank's position, i32 scalar. */
  axis_index: mesh,
} as const satisfies Readonly<Record<string, AttrKinds>>;

const controlKinds = {
  /** args: x, after. x; forbids merging or moving x before `after`. */
  fence: none,
  /** args: x. x, which counts as constant where a derivative is taken. */
  stop_gradient: none,
  /** args: loss (a float scalar), x (float). The derivative of loss with respect to x, in the type of x. */
  gradient: none,
  /** x, with intent for passes. `prepare`: x is made of weights alone and computed once, before all runs. */
  mark: { name: { optional: 'string' }, save: { optional: 'boolean' }, prepare: { optional: 'boolean' } },
} as const satisfies Readonly<Record<string, AttrKinds>>;

const compositeKinds = {
  softmax: { axis: 'integer' },
  /**
   * Over the last axis. rms: x * rsqrt(mean(x²) + eps); layer: (x - mean) * rsqrt(var + eps).
   * args: x, scale?, bias? ([K] each); the result is multiplied by (scale + scaleOffset), then bias is added.
   */
  norm: { kind: { oneOf: ['rms', 'layer'] }, eps: 'number', scaleOffset: 'number' },
  /**
   * args: x [B, H, S, D], cos [B, S, R/2], sin [B, S, R/2], R <= D even: rotates the first R of each head. half: pairs are (i, i+R/2);
   * interleaved: pairs are (2i, 2i+1).
   */
  rope: { style: { oneOf: ['half', 'interleaved'] } },
  /**
   * args: q [B, H, S, D], k [B, G, T, D], v [B, G, T, E], then per `operands`: mask bool [B, T] (false: never attended),
   * bias [1|B, 1|H, S, T] (added to the scaled scores), sinks [H] (one more logit per head that takes no value),
   * lengths i32 [B] (keys that each row holds, 0..T; without it all rows hold T).
   * H is a multiple of G; query head h uses group h / (H / G). Query i stands at position length - S + i.
   * causal: key j <= position; window w > 0: key j > position - w. softcap c > 0: c * tanh(score / c).
   * A query with no key to attend to gives 0. Scores and softmax are f32. Result [B, H, S, E] in the dtype of q.
   */
  attention,
  /**
   * The args of attention. Split i owns keys i*n .. min(T, (i+1)*n)-1 with n = ceil(T / splits), where T is
   * the row's length. Result f32 [B, H, S, splits, E + 2]: sum of exp(score - m) * v over the visible keys of the split, then their maximum score m
   * (-inf if there is none), then the sum of exp(score - m). Sinks count in split 0.
   */
  attention_split: { ...attention, splits: 'integer' },
  /** args: the result of an attention_split. Result [B, H, S, E] of dtype: the attention over all splits. */
  attention_merge: { dtype: 'dtype' },
  /** The args of attention. f32 [B, H, S]: log(sum(exp(score))) over the keys that may be attended to and the sink; 0 if there is none. */
  attention_lse: attention,
  /**
   * The parts of attention's backward pass, which computes scores anew instead of keeping them (Dao et al. 2022).
   * args: those of attention, then cotangent [B, H, S, E] in the dtype of q, lse f32 [B, H, S] as attention_lse gives it, and
   * delta f32 [B, H, S], the sum over E of cotangent * result of attention. For query i and key j, in f32:
   *     r = scale * (q_i . k_j);  s = r, or softcap * tanh(r / softcap) if softcap > 0;  s = s + bias
   *     p = exp(s - lse_i) where i may attend to j, else 0
   *     ds = p * (cotangent_i . v_j - delta_i);  dr = scale * ds, times 1 - tanh(r / softcap)^2 if softcap > 0
   * q: [B, H, S, D] in the dtype of q, the sum over j of dr * k_j.
   */
  attention_backward_q: attention,
  /**
   * [B, G, T, D + E] in the dtype of q: for every key, the sum over the queries of all heads of its group of dr * q_i, the
   * cotangent of k, and behind it the sum of p * cotangent_i, the cotangent of v.
   */
  attention_backward_kv: attention,
  /** In the type of bias: ds, summed over the axes along which bias repeats. */
  attention_backward_bias: attention,
  /** args: logits [.., V], labels i32 [..]. Per-position loss f32 [..]; 0 where label is ignore. */
  cross_entropy: { ignore: 'integer', smoothing: 'number' },
} as const satisfies Readonly<Record<string, AttrKinds>>;

export const attrKinds = {
  ...leafKinds,
  ...elementwiseKinds,
  ...shapeKinds,
  ...contractionKinds,
  ...reductionKinds,
  ...indexingKinds,
  ...randomKinds,
  ...quantizationKinds,
  ...stateKinds,
  ...collectiveKinds,
  ...controlKinds,
  ...compositeKinds,
} as const;

type AttrsOf<Family> = { readonly [O in keyof Family]: ValuesOf<Family[O]> };
export type LeafAttrs = AttrsOf<typeof leafKinds>;
export type ElementwiseAttrs = AttrsOf<typeof elementwiseKinds>;
export type ShapeAttrs = AttrsOf<typeof shapeKinds>;
export type ContractionAttrs = AttrsOf<typeof contractionKinds>;
export type ReductionAttrs = AttrsOf<typeof reductionKinds>;
export type IndexingAttrs = AttrsOf<typeof indexingKinds>;
export type RandomAttrs = AttrsOf<typeof randomKinds>;
export type QuantizationAttrs = AttrsOf<typeof quantizationKinds>;
export type StateAttrs = AttrsOf<typeof stateKinds>;
export type CollectiveAttrs = AttrsOf<typeof collectiveKinds>;
export type ControlAttrs = AttrsOf<typeof controlKinds>;
export type CompositeAttrs = AttrsOf<typeof compositeKinds>;

/** The attributes of every op. */
export interface Attrs
  extends LeafAttrs,
    ElementwiseAttrs,
    ShapeAttrs,
    ContractionAttrs,
    ReductionAttrs,
    IndexingAttrs,
    RandomAttrs,
    QuantizationAttrs,
    StateAttrs,
    CollectiveAttrs,
    ControlAttrs,
    CompositeAttrs {}

/** The kinds of an op's attributes, for callers that hold an op of unknown name. */
export const kindsOf = (op: keyof Attrs): AttrKinds => attrKinds[op];

/** What a choice among words or numbers offers. */
export const choicesOf = (kind: AttrKind): readonly (string | number)[] =>
  typeof kind === 'object' && 'oneOf' in kind ? kind.oneOf : [];
