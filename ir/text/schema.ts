// The written form of every op's attributes: the kind of each, as data. The printer and the
// parser both walk this table, so what one writes the other reads, and text from outside can only say what is listed.
import type { Dim } from '../dim.ts';
import type { DType } from '../dtype.ts';
import type { OpName } from '../node.ts';
import type { Attrs } from '../ops/attrs.ts';

/** How an attribute is written. A `oneOf` is a bare word or number; `either` is the first kind that fits. */
export type AttrKind =
  | 'number'
  | 'integer'
  | 'boolean'
  | 'string'
  | 'dtype'
  | 'dim'
  | { readonly oneOf: readonly (string | number)[] }
  | { readonly list: AttrKind; readonly length?: number }
  | { readonly fields: Readonly<Record<string, AttrKind>> }
  | { readonly either: readonly AttrKind[] }
  | { readonly optional: AttrKind };

/** The kinds that can stand for a value of type T; the compiler checks each row of the table against the op's Attrs. */
type KindOf<T> = [undefined] extends [T]
  ? { readonly optional: KindOf<Exclude<T, undefined>> }
  : [T] extends [boolean]
    ? 'boolean'
    : [T] extends [number]
      ? 'number' | 'integer'
      : [T] extends [DType]
        ? 'dtype'
        : [T] extends [Dim]
          ? 'dim'
          : [T] extends [string]
            ? string extends T
              ? 'string'
              : { readonly oneOf: readonly T[] }
            : AttrKind;

/** The attributes of an op, by name, in the order in which they print. */
export type OpSchema<O extends OpName = OpName> = { readonly [K in keyof Attrs[O]]-?: KindOf<Attrs[O][K]> };

const integers = { list: 'integer' } as const;
const dims = { list: 'dim' } as const;
const pairs = { list: { list: 'integer', length: 2 } } as const;
const axisLists = { list: integers, length: 2 } as const;
const mesh = { mesh: 'string', size: 'integer' } as const;
const quantSpec = {
  fields: {
    bits: { oneOf: [2, 4, 8] },
    group: 'integer',
    code: { either: [{ oneOf: ['affine'] }, { list: 'number' }] },
    zero: { either: [{ oneOf: ['none', 'tensor'] }, 'number'] },
  },
} as const;

/** A role's fields in one list: which of them a kind has is checked with the param (C5). */
const stateRole = {
  fields: {
    kind: { oneOf: ['kv', 'mask', 'cross', 'carried', 'train'] },
    layer: { optional: 'integer' },
    rows: { optional: 'integer' },
    positions: { optional: 'integer' },
    of: { optional: 'string' },
  },
} as const;

const attention = {
  scale: 'number',
  causal: 'boolean',
  window: 'integer',
  softcap: 'number',
  operands: { list: { oneOf: ['mask', 'bias', 'sinks'] } },
} as const;

export const schema: { readonly [O in OpName]: OpSchema<O> } = {
  param: {
    name: 'string',
    kind: { oneOf: ['input', 'weight', 'state', 'constant'] },
    dtype: 'dtype',
    shape: dims,
    role: { optional: stateRole },
  },
  const: { value: 'number', dtype: 'dtype' },
  iota: { shape: dims, axis: 'integer', dtype: 'dtype' },
  dim: { dim: 'dim' },

  neg: {},
  floor: {},
  round: {},
  exp: {},
  log: {},
  sin: {},
  cos: {},
  tanh: {},
  erf: {},
  sqrt: {},
  rsqrt: {},
  add: {},
  mul: {},
  div: {},
  rem: {},
  pow: {},
  max: {},
  min: {},
  and: {},
  or: {},
  xor: {},
  shl: {},
  shr: {},
  compare: { direction: { oneOf: ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] } },
  select: {},
  cast: { dtype: 'dtype' },
  bitcast: { dtype: 'dtype' },

  reshape: { shape: dims },
  transpose: { perm: integers },
  broadcast: { shape: dims, axes: integers },
  slice: { starts: dims, sizes: dims, strides: integers },
  pad: { low: dims, high: dims },
  concat: { axis: 'integer' },
  reverse: { axes: integers },

  dot_general: { batch: axisLists, contract: axisLists, acc: 'dtype' },
  conv: {
    strides: integers,
    padding: pairs,
    dilation: integers,
    inputDilation: integers,
    groups: 'integer',
    acc: 'dtype',
  },
  ragged_dot: { acc: 'dtype' },

  reduce: { op: { oneOf: ['add', 'mul', 'max', 'min', 'and', 'or'] }, axes: integers, acc: 'dtype' },
  reduce_window: { op: { oneOf: ['add', 'max', 'min'] }, window: integers, strides: integers, padding: pairs },
  scan: {
    op: { oneOf: ['add', 'mul', 'max', 'min', 'affine'] },
    axis: 'integer',
    exclusive: 'boolean',
    reverse: 'boolean',
  },
  sort: { axis: 'integer', descending: 'boolean' },
  top_k: { k: 'integer' },

  gather: { axis: 'integer', batch: 'integer' },
  scatter: { axis: 'integer', batch: 'integer', combine: { oneOf: ['set', 'add', 'min', 'max'] } },
  dynamic_slice: { sizes: dims },
  dynamic_update_slice: {},

  rng_bits: { shape: dims },

  quantize: { spec: quantSpec },
  dequantize: { spec: quantSpec, dtype: 'dtype' },

  cache_update: { axis: 'integer' },
  cache_read: { axis: 'integer', length: 'dim' },

  all_gather: { ...mesh, axis: 'integer' },
  all_reduce: { ...mesh, op: { oneOf: ['add', 'max', 'min'] } },
  reduce_scatter: { ...mesh, op: { oneOf: ['add'] }, axis: 'integer' },
  all_to_all: { ...mesh, split: 'integer', concat: 'integer' },
  permute: { ...mesh, shift: 'integer' },
  axis_index: mesh,

  fence: {},
  stop_gradient: {},
  gradient: {},
  mark: { name: { optional: 'string' }, save: { optional: 'boolean' } },

  softmax: { axis: 'integer' },
  norm: { kind: { oneOf: ['rms', 'layer'] }, eps: 'number', scaleOffset: 'number' },
  rope: { style: { oneOf: ['half', 'interleaved'] } },
  attention,
  attention_split: { ...attention, splits: 'integer' },
  attention_merge: { dtype: 'dtype' },
  attention_lse: attention,
  attention_backward_q: attention,
  attention_backward_kv: attention,
  attention_backward_bias: attention,
  cross_entropy: { ignore: 'integer', smoothing: 'number' },
};

/** The attribute kinds of an op, by name, for callers that hold an op of unknown name. */
export const attrKinds = (op: OpName): Readonly<Record<string, AttrKind>> => schema[op];
