// Caches as users hold them: the keys and values of the positions that a model has read, kept from one call to the next
// (`past_key_values`). The memory is an executor's states, made at the first use because it depends on the model.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import type { Executor, States } from '../execution/executor.ts';
import { shownValue } from './parameters.ts';

// A cache that nobody holds any more gives its memory back, disposed or not.
const forgotten = new FinalizationRegistry<States>((states) => states.dispose());

/** A generation whose end is known takes its memory at the start, unless the end is so many positions away. */
const farAhead = 4096;

/** The config of a model; a cache learns its layers from the model itself. */
type ModelConfig = Readonly<Record<string, unknown>>;

/** What a DynamicCache is made with. */
export interface DynamicCacheOptions {
  /** As in Python; a cache here learns its layers from the model at its first use. */
  config?: ModelConfig | null;
}

/** What Python's caches take besides, with what asks for nothing. */
const unservedOptions = { ddp_cache_data: null, offloading: false, offload_only_non_sliding: null };

function checkCache(name: string, options: object, served: readonly string[]): void {
  checkOptions(name, options, served, unservedOptions);
  const config: unknown = Reflect.get(options, 'config') ?? {};
  if (typeof config === 'object' && !Array.isArray(config)) return;
  throw new ModelcError('input', `\`config\` of ${name} must be the config of a model, but is ${shownValue(config)}`);
}

/**
 * A cache that grows up to what its model is compiled for: to where a generation is expected to end, or else by doubling.
 *
 *     const past_key_values = new DynamicCache()
 *     const first = await model.generate({ ...inputs, past_key_values, max_new_tokens: 20 })
 *     await model.generate({ input_ids: first, past_key_values, max_new_tokens: 20 }) // goes on
 */
export class DynamicCache {
  /** Set at the first use. */
  private bound: { readonly executor: Executor; readonly states: States } | undefined;
  /** Per row, how many of the positions are attended to: the position id of the next token. */
  positions: number[] = [];
  /**
   * Beside an encoder: tokens of the sources, whose keys and values are kept with the cache, and how many rows after each
   * other have one source. Set before the first use.
   */
  source: { readonly length: number; readonly rows: number } | undefined;

  constructor(options: DynamicCacheOptions = {}) {
    checkCache('DynamicCache', options, ['config']);
  }

  /** Positions that are written. */
  get_seq_length(): number {
    return this.bound?.states.length ?? 0;
  }

  /** Positions it has room for before it has to grow; 0 until its first use. */
  get_max_length(): number {
    return this.bound?.states.dims.capacity ?? 0;
  }

  /** Rows of its batch; 0 until its first use. */
  get batch_size(): number {
    return this.positions.length;
  }

  /**
   * The memory, for `rows` rows of `executor` and at least `positions` positions in all; `expected` are those that it will
   * need in the end. Used by generation.
   */
  bind(executor: Executor, rows: number, positions: number, expected = positions): States {
    const { length: limit } = executor.limits;
    if (!this.bound) {
      const isNear = expected > positions && expected - positions <= farAhead;
      const room = isNear ? Math.min(expected, limit) : this.doubled(positions, limit);
      this.bound = {
        executor,
        states: executor.openStates(
          { batch: rows, capacity: this.room(room), ...(this.source ? { source: this.source.length } : {}) },
          this.grows ? 2 : 1,
        ),
      };
      this.positions = new Array<number>(rows).fill(0);
      forgotten.register(this, this.bound.states, this);
    }
    if (this.bound.executor !== executor) {
      throw new ModelcError('input', 'past_key_values belongs to another model; start with a new cache');
    }
    if (this.positions.length !== rows) {
      throw new ModelcError(
        'input',
        `past_key_values holds ${this.positions.length} rows, but the inputs have ${rows}`,
      );
    }
    const { states } = this.bound;
    if (positions > states.dims.capacity && positions <= limit && this.grows) {
      const near = Math.min(expected, positions + farAhead, limit);
      states.grow(Math.max(near, this.doubled(positions, limit)));
    }
    return states;
  }

  private doubled(positions: number, limit: number): number {
    let capacity = 64;
    while (capacity < positions) capacity *= 2;
    return Math.max(positions, Math.min(capacity, limit));
  }

  /** Positions to make room for at first, where `wanted` are wanted. */
  protected room(wanted: number): number {
    return wanted;
  }

  /** Whether it takes more memory as it fills. */
  protected get grows(): boolean {
    return true;
  }

  /** Row i becomes old row rows[i]. */
  reorder_cache(rows: readonly number[]): void {
    const { length, rows: together } = this.source ?? { length: 0, rows: 1 };
    const groupOf = (row: number): number => Math.floor(row / together);
    const keepsSource = rows.every((row, i) => groupOf(row) === groupOf(i));
    this.bound?.states.reorder(rows, keepsSource);
    if (this.source && !keepsSource) this.source = { length, rows: 1 };
    this.positions = rows.map((row) => this.positions[row]);
  }

  /** Gives the memory back, which the model's next cache uses or frees; the cache is empty afterwards. */
  dispose(): void {
    forgotten.unregister(this);
    this.bound?.states.dispose();
    this.bound = undefined;
    this.positions = [];
  }
}

/** What a StaticCache is made with. */
export interface StaticCacheOptions extends DynamicCacheOptions {
  /** Positions that it holds. */
  max_cache_len: number;
}

/**
 * A cache of a fixed size: a run that does not fit is an error.
 *
 *     await model.generate({ ...inputs, past_key_values: new StaticCache(512), max_new_tokens: 20 })
 */
export class StaticCache extends DynamicCache {
  /** Positions that it has room for. */
  readonly max_cache_len: number;

  /** The size is given with a model's config, as in Python, or alone. Throws ModelcError 'input' for an impossible one. */
  constructor(options: StaticCacheOptions | number);
  constructor(config: ModelConfig, max_cache_len: number);
  constructor(first: StaticCacheOptions | ModelConfig | number, second?: number) {
    super();
    if (typeof first === 'object' && second === undefined)
      checkCache('StaticCache', first, ['max_cache_len', 'config']);
    const size: unknown = second ?? (typeof first === 'object' ? first?.max_cache_len : first);
    if (!(Number.isSafeInteger(size) && Number(size) > 0)) {
      throw new ModelcError('input', `max_cache_len must be a positive integer, but is ${shownValue(size)}`);
    }
    this.max_cache_len = Number(size);
  }

  protected override room(): number {
    return this.max_cache_len;
  }

  /** It stays as it is; the executor refuses the run that does not fit. */
  protected override get grows(): boolean {
    return false;
  }
}

/** A class of transformers that there is not, and the one that does what it is for. */
const unserved = (name: string, instead: string): (new (...args: unknown[]) => never) =>
  class {
    constructor() {
      throw new ModelcError('unsupported', `${name} is not supported; use ${instead}`);
    }
  } as new (
    ...args: unknown[]
  ) => never;

/** Not served: making one throws ModelcError 'unsupported'. Use DynamicCache. */
export const QuantizedCache = unserved('QuantizedCache', 'DynamicCache');
/** Not served: making one throws ModelcError 'unsupported'. DynamicCache holds the cache of both parts. */
export const EncoderDecoderCache = unserved('EncoderDecoderCache', 'DynamicCache, which holds both parts');
/** Not served: making one throws ModelcError 'unsupported'. Use DynamicCache. */
export const OffloadedCache = unserved('OffloadedCache', 'DynamicCache');
/** Not served: making one throws ModelcError 'unsupported'. Use StaticCache. */
export const SlidingWindowCache = unserved('SlidingWindowCache', 'StaticCache');
/** Not served: making one throws ModelcError 'unsupported'. Use StaticCache. */
export const HybridCache = unserved('HybridCache', 'StaticCache');
