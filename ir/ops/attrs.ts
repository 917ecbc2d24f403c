// The attributes of every op: plain data, one line an op. The records beside this file give them their meaning.
import type { Dim } from '../dim.ts';
import type { DType } from '../dtype.ts';

/** Ops without attributes. */
export type None = Readonly<Record<string, never>>;

/**
 * What a state is for. `rows` and `positions` are axes of the state: along them lie the rows of the batch, and the positions
 * of each row. States that belong to all layers (masks) name no layer.
 */
export type StateRole =
  /** Keys and values of a layer; which positions may be attended to; both of an encoder's output, written once. */
  | {
      readonly kind: 'kv' | 'mask' | 'cross';
      readonly layer?: number | undefined;
      readonly rows: number;
      readonly positions: number;
    }
  /** What a recurrent layer leaves to the next run: a run overwrites it, so a run cannot be undone. */
  | { readonly kind: 'carried'; readonly layer: number; readonly rows: number }
  /** Of training: the parameter with that name, what an optimizer keeps of it, or a counter. */
  | { readonly kind: 'train'; readonly of: string };

export interface LeafAttrs {
  /** 'constant' params carry data made by the model (tables such as rotary frequencies); see Program.constants. */
  param: {
    readonly name: string;
    readonly kind: 'input' | 'weight' | 'state' | 'constant';
    readonly dtype: DType;
    readonly shape: readonly Dim[];
    /** Of states only; a state without one is kept from run to run, and nothing else is known of it. */
    readonly role?: StateRole | undefined;
  };
  /** A scalar, shape []. Arrays are params. */
  const: { readonly value: number; readonly dtype: DType };
  /** 0, 1, 2, … along `axis`. */
  iota: { readonly shape: readonly Dim[]; readonly axis: number; readonly dtype: DType };
  /** A dimension as an i32 scalar: the only way from shapes to values; there is none back. */
  dim: { readonly dim: Dim };
}

export interface ElementwiseAttrs {
  neg: None;
  floor: None;
  /** To the nearest integer, ties to even. */
  round: None;
  exp: None;
  log: None;
  sin: None;
  cos: None;
  tanh: None;
  erf: None;
  sqrt: None;
  rsqrt: None;
  add: None;
  mul: None;
  div: None;
  rem: None;
  pow: None;
  max: None;
  min: None;
  and: None;
  or: None;
  xor: None;
  shl: None;
  shr: None;
  compare: { readonly direction: 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge' };
  /** args: condition (bool), value where true, value where false. */
  select: None;
  cast: { readonly dtype: DType };
  bitcast: { readonly dtype: DType };
}

export interface ShapeAttrs {
  reshape: { readonly shape: readonly Dim[] };
  /** Result axis i is argument axis perm[i]. */
  transpose: { readonly perm: readonly number[] };
  /** Argument axis i becomes result axis axes[i] (ascending); a size-1 axis repeats, other result axes are new. */
  broadcast: { readonly shape: readonly Dim[]; readonly axes: readonly number[] };
  /** sizes[i] elements from starts[i], every strides[i]-th. */
  slice: { readonly starts: readonly Dim[]; readonly sizes: readonly Dim[]; readonly strides: readonly number[] };
  /** args: x, padding value (scalar). */
  pad: { readonly low: readonly Dim[]; readonly high: readonly Dim[] };
  concat: { readonly axis: number };
  reverse: { readonly axes: readonly number[] };
}

export interface ContractionAttrs {
  /** args: lhs, rhs of one dtype. Result: batch dims, then lhs free dims, then rhs free dims, in argument order. */
  dot_general: {
    readonly batch: readonly [lhs: readonly number[], rhs: readonly number[]];
    readonly contract: readonly [lhs: readonly number[], rhs: readonly number[]];
    /** dtype of the accumulator and of the result. */
    readonly acc: DType;
  };
  /** args: x [N, ...spatial, C], filter [...window, C / groups, O]. Result [N, ...spatial', O]. */
  conv: {
    readonly strides: readonly number[];
    readonly padding: readonly (readonly [low: number, high: number])[];
    readonly dilation: readonly number[];
    /** Zeros between input elements: transposed convolution. */
    readonly inputDilation: readonly number[];
    readonly groups: number;
    readonly acc: DType;
  };
  /** args: x [T, K] sorted by group, w [E, K, N], counts i32[E] (sum <= T). Rows beyond the sum give 0. */
  ragged_dot: { readonly acc: DType };
}

export interface ReductionAttrs {
  /** Removes `axes`. and/or take bool. acc is the dtype of accumulation; the result has the argument's dtype. */
  reduce: {
    readonly op: 'add' | 'mul' | 'max' | 'min' | 'and' | 'or';
    readonly axes: readonly number[];
    readonly acc: DType;
  };
  /** A window per axis of x, padded with the identity of `op`. */
  reduce_window: {
    readonly op: 'add' | 'max' | 'min';
    readonly window: readonly number[];
    readonly strides: readonly number[];
    readonly padding: readonly (readonly [low: number, high: number])[];
  };
  /** Running fold along `axis`. 'affine' takes args (a, b) and maybe y[-1], else 0: y[t] = a[t] * y[t-1] + b[t]; the others take one. */
  scan: {
    readonly op: 'add' | 'mul' | 'max' | 'min' | 'affine';
    readonly axis: number;
    readonly exclusive: boolean;
    readonly reverse: boolean;
  };
  /** The stable permutation (i32) that sorts x along `axis`; NaN sorts as the largest. Values: gather. */
  sort: { readonly axis: number; readonly descending: boolean };
  /** i32 positions of the k largest along the last axis, in descending order, the first of equals first; NaN is largest. */
  top_k: { readonly k: number };
}

export interface IndexingAttrs {
  /**
   * args: x, idx (i32). The leading `batch` axes of x and idx are shared. Result: x[:axis], idx[batch:], x[axis+1:]
   * (axis >= batch). Out-of-range indices clamp.
   */
  gather: { readonly axis: number; readonly batch: number };
  /** args: x, idx, updates shaped like gather(x, idx). Out-of-range indices are dropped; 'set' with equal indices: last wins. */
  scatter: { readonly axis: number; readonly batch: number; readonly combine: 'set' | 'add' | 'min' | 'max' };
  /** args: x, then one i32 scalar per axis of x: the start, clamped so that the slice fits. */
  dynamic_slice: { readonly sizes: readonly Dim[] };
  /** args: x, update, then one i32 scalar per axis: the start, clamped so that the update fits. */
  dynamic_update_slice: None;
}

export interface RandomAttrs {
  /** args: key u32[2]. u32 bits, Threefry-2x32 of the element's position: independent of fusion and sharding. */
  rng_bits: { readonly shape: readonly Dim[] };
}

/** How packed integers stand for real numbers: w = (q - zero) * scale, or scale * table[q]. */
export interface QuantSpec {
  readonly bits: 2 | 4 | 8;
  /** Elements along the last axis that share a scale; 0: the whole axis. */
  readonly group: number;
  readonly code: 'affine' | readonly number[];
  /** 'none': zero is 0 and q is signed; a number: that constant; 'tensor': a third argument. */
  readonly zero: 'none' | number | 'tensor';
}

export interface QuantizationAttrs {
  /** args: x [..., K], scale [..., K/group], zero?. Result: u32 words [..., K*bits/32], low bits first (i8 if bits 8). */
  quantize: { readonly spec: QuantSpec };
  /** args: words [..., K*bits/32], scale [..., K/group], zero?. Result [..., K] of dtype. */
  dequantize: { readonly spec: QuantSpec; readonly dtype: DType };
}

export interface StateAttrs {
  /**
   * args: state [.., capacity, ..], values [.., n, ..], past (i32 scalar). The state with positions past..past+n-1
   * along `axis` replaced. Which slot holds a position is the cache-layout pass's choice.
   */
  cache_update: { readonly axis: number };
  /** args: state. Positions 0..length-1 along `axis`. */
  cache_read: { readonly axis: number; readonly length: Dim };
}

/** `mesh` names an axis of the device mesh; `size` is its extent. */
interface MeshAxis {
  readonly mesh: string;
  readonly size: number;
}
export interface CollectiveAttrs {
  /** Concatenates the ranks' arguments along `axis`. */
  all_gather: MeshAxis & { readonly axis: number };
  all_reduce: MeshAxis & { readonly op: 'add' | 'max' | 'min' };
  /** all_reduce, then each rank keeps its slice of `axis`. */
  reduce_scatter: MeshAxis & { readonly op: 'add'; readonly axis: number };
  /** Splits `split` over the ranks, concatenates what arrives along `concat`. */
  all_to_all: MeshAxis & { readonly split: number; readonly concat: number };
  /** Rank i sends to rank (i + shift) mod size. */
  permute: MeshAxis & { readonly shift: number };
  /** This rank's position, i32 scalar. */
  axis_index: MeshAxis;
}

export interface ControlAttrs {
  /** args: x, after. x; forbids merging or moving x before `after`. */
  fence: None;
  /** args: x. x, which counts as constant where a derivative is taken. */
  stop_gradient: None;
  /** args: loss (a float scalar), x (float). The derivative of loss with respect to x, in the type of x. */
  gradient: None;
  /** x, with intent for passes. */
  mark: { readonly name?: string; readonly save?: boolean };
}

interface AttentionAttrs {
  readonly scale: number;
  readonly causal: boolean;
  readonly window: number;
  readonly softcap: number;
  readonly operands: readonly ('mask' | 'bias' | 'sinks')[];
}
export interface CompositeAttrs {
  softmax: { readonly axis: number };
  /**
   * Over the last axis. rms: x * rsqrt(mean(x²) + eps); layer: (x - mean) * rsqrt(var + eps).
   * args: x, scale?, bias? ([K] each); the result is multiplied by (scale + scaleOffset), then bias is added.
   */
  norm: { readonly kind: 'rms' | 'layer'; readonly eps: number; readonly scaleOffset: number };
  /**
   * args: x [B, H, S, D], cos [B, S, R/2], sin [B, S, R/2], R <= D even: rotates the first R of each head. half: pairs are (i, i+R/2);
   * interleaved: pairs are (2i, 2i+1).
   */
  rope: { readonly style: 'half' | 'interleaved' };
  /**
   * args: q [B, H, S, D], k [B, G, T, D], v [B, G, T, E], then per `operands`: mask bool [B, T] (false: never attended),
   * bias [1|B, 1|H, S, T] (added to the scaled scores), sinks [H] (one more logit per head that takes no value).
   * H is a multiple of G; query head h uses group h / (H / G). Query i stands at position T - S + i.
   * causal: key j <= position; window w > 0: key j > position - w. softcap c > 0: c * tanh(score / c).
   * A query with no key to attend to gives 0. Scores and softmax are f32. Result [B, H, S, E] in the dtype of q.
   */
  attention: AttentionAttrs;
  /**
   * The args of attention. Split i owns keys i*n .. min(T, (i+1)*n)-1 with n = ceil(T / splits). Result f32
   * [B, H, S, splits, E + 2]: sum of exp(score - m) * v over the visible keys of the split, then their maximum score m
   * (-inf if there is none), then the sum of exp(score - m). Sinks count in split 0.
   */
  attention_split: AttentionAttrs & { readonly splits: number };
  /** args: the result of an attention_split. Result [B, H, S, E] of dtype: the attention over all splits. */
  attention_merge: { readonly dtype: DType };
  /** The args of attention. f32 [B, H, S]: log(sum(exp(score))) over the keys that may be attended to and the sink; 0 if there is none. */
  attention_lse: AttentionAttrs;
  /**
   * The parts of attention's backward pass, which computes scores anew instead of keeping them (Dao et al. 2022).
   * args: those of attention, then cotangent [B, H, S, E] in the dtype of q, lse f32 [B, H, S] as attention_lse gives it, and
   * delta f32 [B, H, S], the sum over E of cotangent * result of attention. For query i and key j, in f32:
   *     r = scale * (q_i . k_j);  s = r, or softcap * tanh(r / softcap) if softcap > 0;  s = s + bias
   *     p = exp(s - lse_i) where i may attend to j, else 0
   *     ds = p * (cotangent_i . v_j - delta_i);  dr = scale * ds, times 1 - tanh(r / softcap)^2 if softcap > 0
   * q: [B, H, S, D] in the dtype of q, the sum over j of dr * k_j.
   */
  attention_backward_q: AttentionAttrs;
  /**
   * [B, G, T, D + E] in the dtype of q: for every key, the sum over the queries of all heads of its group of dr * q_i, the
   * cotangent of k, and behind it the sum of p * cotangent_i, the cotangent of v.
   */
  attention_backward_kv: AttentionAttrs;
  /** In the type of bias: ds, summed over the axes along which bias repeats. */
  attention_backward_bias: AttentionAttrs;
  /** args: logits [.., V], labels i32 [..]. Per-position loss f32 [..]; 0 where label is ignore. */
  cross_entropy: { readonly ignore: number; readonly smoothing: number };
}

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
