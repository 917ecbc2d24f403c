// KVCache: the keys and values of earlier positions, as states of the graph. A model says only which positions it writes
// and reads; how the positions lie in memory (growing, fixed, ring, …) is decided by the cache-layout pass. Recurrent
// layers carry a state of a fixed size in place of positions. NoCache stands in its place where a run reads whole
// sequences: in training and evaluation.
//
// Rows may hold fewer positions than the run counts: `padding` says how many fewer. Their keys lie from position 0 on all
// the same, so that new ones are written at past - padding, or not at all where that is negative, and the length of a row
// is what attention needs to know. Without it all rows hold as many, and a mask, which is a state, too, says which count.
import type { Dim, DimLike } from '../../ir/dim.ts';
import { dimAdd } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';
import type { StateRole } from '../../ir/ops/attrs.ts';
import { RowLengths } from './nn.ts';
import { arange, op, sizeOf, type Tensor } from './tensor.ts';
import type { Tracer } from './trace.ts';

/** The dims of a cache in one run. */
export interface CacheDims {
  /** Positions that the memory has room for; the runtime's choice. */
  readonly capacity: Dim;
  /** Positions written before this run, and by it. */
  readonly past: Dim;
  /** Positions that this run writes. */
  readonly seq: DimLike;
}

/** What a model needs of a cache. */
export interface Cache {
  /** Positions after this run. */
  readonly length: Dim;
  /** Takes a layer's new keys and values [batch, kvHeads, seq, headDim]; gives those of all positions. */
  update(layer: number, key: Tensor, value: Tensor): [key: Tensor, value: Tensor];
  /** What a layer carries from run to run under `name`: f32 [batch, …]. */
  carry(layer: number, name: string, shape: readonly DimLike[]): Carried;
}

/** A state of a fixed size. */
export interface Carried {
  /** Its value before this run, all zero at first; undefined where no run came before. */
  readonly before: Tensor | undefined;
  /** Names its value after this run. */
  keep(after: Tensor): void;
}

type CacheRole = Extract<StateRole, { positions: number }>;

/** Nothing came before: keys and values are those of this run. */
export class NoCache implements Cache {
  constructor(readonly length: Dim) {}

  update(_layer: number, key: Tensor, value: Tensor): [key: Tensor, value: Tensor] {
    return [key, value];
  }

  carry(): Carried {
    return { before: undefined, keep() {} };
  }
}

/**
 * The cache of a traced graph: keys, values and what layers carry are states, which the runtime keeps from run to run.
 */
export class KVCache implements Cache {
  /** past + seq. */
  readonly length: Dim;
  readonly #tracer: Tracer;
  readonly #dims: CacheDims;
  readonly #padding: Tensor | undefined;
  /** Where new positions are written: i32, or i32 [batch]. */
  readonly #place: Tensor;

  /** `padding`: how many of past + seq positions each row does not hold, i32 [batch]. */
  constructor(tracer: Tracer, dims: CacheDims, padding?: Tensor) {
    this.#tracer = tracer;
    this.#dims = dims;
    this.#padding = padding;
    const past = sizeOf(dims.past);
    this.#place = padding ? past.sub(padding) : past;
    this.length = dimAdd(dims.past, dims.seq);
  }

  /** Appends to state `cache.{name}`; gives all positions so far. */
  #append(name: string, values: Tensor, role: CacheRole): Tensor {
    const axis = role.positions;
    const shape = values.shape.map((d, i) => (i === axis ? this.#dims.capacity : d));
    const state = this.#tracer.state(`cache.${name}`, values.dtype, shape, role);
    const updated = op('cache_update', [state, values, this.#place], { axis });
    this.#tracer.update(state, updated);
    return op('cache_read', [updated], { axis, length: this.length });
  }

  /** How many positions each row holds after this run. Throws ModelcError 'input' where rows are not told apart. */
  lengths(): RowLengths {
    if (!this.#padding) throw new ModelcError('input', 'all rows of this cache hold as many positions: use its mask');
    return new RowLengths(sizeOf(this.length).sub(this.#padding));
  }

  /** Which of the new tokens are a row's, bool [batch, seq]: none that stand before its first position. */
  isHeld(): Tensor {
    return arange(this.#dims.seq).add(this.#place.unsqueeze(-1)).ge(0);
  }

  /** Appends which of the new tokens are real, bool [batch, seq]; gives the mask of all keys, [batch, length]. */
  mask(attentionMask: Tensor): Tensor {
    return this.#append('mask', attentionMask, { kind: 'mask', rows: 0, positions: 1 });
  }

  update(layer: number, key: Tensor, value: Tensor): [key: Tensor, value: Tensor] {
    const role: CacheRole = { kind: 'kv', layer, rows: 0, positions: 2 };
    return [this.#append(`${layer}.key`, key, role), this.#append(`${layer}.value`, value, role)];
  }

  carry(layer: number, name: string, shape: readonly DimLike[]): Carried {
    if (this.#padding) {
      throw new ModelcError('input', `layer ${layer} carries ${name}, so the model must declare padding = 'mask'`);
    }
    const before = this.#tracer.state(`carried.${layer}.${name}`, 'f32', shape, { kind: 'carried', layer, rows: 0 });
    return { before, keep: (after) => this.#tracer.update(before, after) };
  }
}
