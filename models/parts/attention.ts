// Grouped-query attention with rotary positions, as the models around Llama have it: four projections by name, and what
// some of them add (norms on queries and keys, sliding windows, capped scores, sinks).
import {
  attention,
  type CausalInputs,
  Linear,
  Module,
  mergeHeads,
  type Norm,
  Parameter,
  type Rotation,
  rope,
  splitHeads,
  type Tensor,
} from '../../frontends/dsl/index.ts';

export interface AttentionConfig {
  readonly hiddenSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly attentionScale: number;
  /** Sliding window of each layer; 0: full attention. */
  readonly windows: readonly number[];
  /** Which elements of a head are turned together: see `rope`. */
  readonly ropeStyle: 'half' | 'interleaved';
  /** c * tanh(score / c) if c > 0. */
  readonly scoreCap: number;
  /** Share of the probabilities that are dropped in training. */
  readonly attentionDropout: number;
}

export interface AttentionExtras {
  /** Makes the norms of queries and keys, for so many heads, before the rotation: of every head, or of all together. */
  readonly norm?: { readonly over: 'head' | 'all'; make(heads: number): Norm };
  /** One more logit per head that takes no value. */
  readonly hasSinks?: boolean;
}

/** What layers with rotary positions are given. */
export interface RotaryInputs extends CausalInputs {
  readonly rotation: Rotation;
}

export class RotaryAttention extends Module {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly o_proj: Linear;
  readonly q_norm: Norm | undefined;
  readonly k_norm: Norm | undefined;
  readonly sinks: Parameter | undefined;
  readonly #normOver: 'head' | 'all' | undefined;

  constructor(
    readonly config: AttentionConfig,
    readonly layer: number,
    { norm, hasSinks = false }: AttentionExtras = {},
  ) {
    super();
    const { hiddenSize, heads, kvHeads, headDim, qkvBias: bias } = config;
    this.q_proj = new Linear(hiddenSize, heads * headDim, { bias });
    this.k_proj = new Linear(hiddenSize, kvHeads * headDim, { bias });
    this.v_proj = new Linear(hiddenSize, kvHeads * headDim, { bias });
    this.o_proj = new Linear(heads * headDim, hiddenSize, { bias: config.outputBias });
    this.q_norm = norm?.make(heads);
    this.k_norm = norm?.make(kvHeads);
    this.#normOver = norm?.over;
    this.sinks = hasSinks ? new Parameter([heads]) : undefined;
  }

  /** The heads of a projection, normed. */
  #heads(y: Tensor, heads: number, norm: Norm | undefined): Tensor {
    if (!norm) return splitHeads(y, heads);
    return this.#normOver === 'all' ? splitHeads(norm.forward(y), heads) : norm.forward(splitHeads(y, heads));
  }

  forward(x: Tensor, { rotation, mask, cache }: RotaryInputs): Tensor {
    const { heads, kvHeads, attentionScale: scale, windows, ropeStyle, scoreCap: softcap } = this.config;
    const { attentionDropout: dropout } = this.config;
    const q = rope(this.#heads(this.q_proj.forward(x), heads, this.q_norm), rotation, ropeStyle);
    const k = rope(this.#heads(this.k_proj.forward(x), kvHeads, this.k_norm), rotation, ropeStyle);
    const v = splitHeads(this.v_proj.forward(x), kvHeads);
    const [keys, values] = cache.update(this.layer, k, v);
    const sinks = this.sinks?.value;
    const y = attention(q, keys, values, { mask, scale, window: windows[this.layer], softcap, sinks, dropout });
    return this.o_proj.forward(mergeHeads(y));
  }
}

/** Rates of dropout in training. */
export interface DecoderDropout {
  readonly embeddings: number;
  /** Of the probabilities of attention. */
  readonly probabilities: number;
  /** Of what the parts of a layer add. */
  readonly residual: number;
}

/** What attention does with projected heads, and how. */
export interface AttendOptions {
  readonly layer: number;
  readonly scale?: number;
  readonly window?: number;
  readonly bias?: Tensor;
  /** Share of the probabilities that are dropped in training. */
  readonly dropout?: number;
  readonly rotation?: Rotation;
  readonly ropeStyle?: 'half' | 'interleaved';
}

/** Heads of queries, keys and values [B, heads, S, D], through the cache, to [B, S, heads * D]. */
export function attend([q, k, v]: readonly Tensor[], { mask, cache }: CausalInputs, options: AttendOptions): Tensor {
  const { layer, rotation, ropeStyle, ...others } = options;
  const turned = (x: Tensor): Tensor => (rotation ? rope(x, rotation, ropeStyle) : x);
  const [keys, values] = cache.update(layer, turned(k), v);
  return mergeHeads(attention(turned(q), keys, values, { mask, ...others }));
}

/**
 * Cuts a fused projection [B, S, groups * (queries + 2) * size], in which every group has its queries, a key and a value,
 * into heads: [B, groups * queries, S, size], [B, groups, S, size] twice.
 */
export function splitGroups(fused: Tensor, groups: number, queries: number): Tensor[] {
  const [batch, seq] = fused.shape;
  const grouped = fused.reshape([batch, seq, groups, queries + 2, -1]);
  return grouped
    .split([queries, 1, 1], 3)
    .map((part) => part.reshape([batch, seq, -1, grouped.shape[4]]).transpose(1, 2));
}
