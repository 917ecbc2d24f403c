// The layers that models are made of. Weights have the shapes and names of PyTorch's modules and are read in the dtype in
// which the checkpoint stores them; computation is in f32.
import { type Dim, dim, dimConst, dimDivExact, dimText } from '../../ir/dim.ts';
import { roundTo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Node } from '../../ir/node.ts';
import { attentionOver } from '../../ir/ops/decompose/attention.ts';
import { dropout, isDropping } from './dropout.ts';
import { filled, type Initializer, normal, ones, zeroRow, zeros } from './initializers.ts';
import { Module, Parameter } from './module.ts';
import type { Rotation } from './rope.ts';
import { op, Tensor, where } from './tensor.ts';

/** Options of Linear. */
export interface LinearOptions {
  /** Whether there is a bias, or that of another layer. */
  readonly bias?: boolean | Parameter;
  /** The weight of another layer or a table of embeddings, which serves this one, too. */
  readonly weight?: Parameter;
  /** The weight's values in a new model (normal()). */
  readonly initializer?: Initializer;
  /** The bias's values in a new model (zeros). */
  readonly biasInitializer?: Initializer;
}

/**
 * y = x Wᵀ + b: torch.nn.Linear. W is [out, in], as PyTorch stores it.
 *
 *     const up = new Linear(64, 256, { bias: false });
 *     up.forward(x); // [batch, seq, 64] to [batch, seq, 256]
 */
export class Linear extends Module {
  /** [out, in] */
  readonly weight: Parameter;
  /** [out]; undefined with `bias: false`. */
  readonly bias: Parameter | undefined;

  constructor(
    inFeatures: number,
    outFeatures: number,
    { bias = true, weight, initializer = normal(), biasInitializer = zeros }: LinearOptions = {},
  ) {
    super();
    this.weight = weight ?? new Parameter([outFeatures, inFeatures], initializer);
    this.bias = bias === true ? new Parameter([outFeatures], biasInitializer) : bias || undefined;
  }

  /** x f32 [.., in] to f32 [.., out]. Throws ModelcError 'type' where the last axis of x is not `in`. */
  forward(x: Tensor): Tensor {
    const contract = [[x.rank - 1], [1]] as const;
    const y = op('dot_general', [x, this.weight.value], { batch: [[], []], contract, acc: 'f32' });
    return this.bias ? y.add(this.bias.value) : y;
  }
}

/** y = x W + b, W [in, out]: the linear layer of GPT-2's checkpoints. */
export class Conv1D extends Module {
  /** [in, out] */
  readonly weight: Parameter;
  /** [out] */
  readonly bias: Parameter;

  constructor(inFeatures: number, outFeatures: number, { initializer = normal() }: { initializer?: Initializer } = {}) {
    super();
    this.weight = new Parameter([inFeatures, outFeatures], initializer);
    this.bias = new Parameter([outFeatures], zeros);
  }

  /** x [.., in] to [.., out]. */
  forward(x: Tensor): Tensor {
    const contract = [[x.rank - 1], [0]] as const;
    const y = op('dot_general', [x, this.weight.value], { batch: [[], []], contract, acc: 'f32' });
    return y.add(this.bias.value);
  }
}

/**
 * y = x * W + b over images: torch.nn.Conv2d, without padding. W is [out, in, size, size], as PyTorch stores it.
 *
 *     const patches = new Conv2d(3, 768, 16, { stride: 16 });
 *     patches.forward(pixels); // [batch, 3, 224, 224] to [batch, 768, 14, 14]
 */
export class Conv2d extends Module {
  /** [out, in, size, size] */
  readonly weight: Parameter;
  /** [out] */
  readonly bias: Parameter;
  readonly #stride: number;

  constructor(
    inChannels: number,
    outChannels: number,
    size: number,
    { stride = 1 }: { readonly stride?: number } = {},
  ) {
    super();
    this.weight = new Parameter([outChannels, inChannels, size, size], normal());
    this.bias = new Parameter([outChannels], zeros);
    this.#stride = stride;
  }

  /** x f32 [batch, in, height, width] to f32 [batch, out, places down, places across]. */
  forward(x: Tensor): Tensor {
    const [strides, ones] = [[this.#stride, this.#stride], [1, 1]]; // biome-ignore format: one row
    const windows = { strides, padding: [[0, 0], [0, 0]], dilation: ones, inputDilation: ones, groups: 1, acc: 'f32' } as const; // biome-ignore format: one row
    const [image, filter] = [x.permute([0, 2, 3, 1]), this.weight.value.permute([2, 3, 1, 0])];
    return op('conv', [image, filter], windows).add(this.bias.value).permute([0, 3, 1, 2]);
  }
}

/** Options of Embedding. */
export interface EmbeddingOptions {
  /** What rows are multiplied by (1), rounded to the dtype of the table, as Gemma does. */
  readonly scale?: number;
  /** A row that stands for nothing: looking it up teaches it nothing, and it is 0 in a new model. */
  readonly padding?: number | undefined;
}

/**
 * Rows of a table [count, size]: torch.nn.Embedding.
 *
 *     const tokens = new Embedding(32000, 64);
 *     tokens.forward(inputIds); // i32 [batch, seq] to f32 [batch, seq, 64]
 */
export class Embedding extends Module {
  /** [count, size] */
  readonly weight: Parameter;
  readonly #scale: number;
  readonly #padding: number | undefined;

  constructor(count: number, size: number, { scale = 1, padding }: EmbeddingOptions = {}) {
    super();
    if (padding !== undefined && !(Number.isSafeInteger(padding) && padding >= 0 && padding < count)) {
      throw new ModelcError('input', `an embedding of ${count} rows cannot have row ${padding} as padding`);
    }
    this.weight = new Parameter([count, size], padding === undefined ? normal() : zeroRow(normal(), padding));
    this.#scale = scale;
    this.#padding = padding;
  }

  /** ids [..] of integers to [.., size]. */
  forward(ids: Tensor): Tensor {
    const table = this.weight.stored;
    const found = table.gather(ids).cast('f32');
    const rows =
      this.#padding === undefined ? found : where(ids.eq(this.#padding).unsqueeze(-1), found.detach(), found);
    return this.#scale === 1 ? rows : rows.mul(roundTo(table.dtype, this.#scale));
  }

  /** The transposed use, as output layer with tied weights: x [.., size] to [.., count]. */
  project(x: Tensor): Tensor {
    const contract = [[x.rank - 1], [1]] as const;
    return op('dot_general', [x, this.weight.value], { batch: [[], []], contract, acc: 'f32' });
  }
}

/** A layer that norms the last axis. */
export interface Norm extends Module {
  /** x f32 [.., size] to its normed values, of the same shape. */
  forward(x: Tensor): Tensor;
}

/**
 * x * rsqrt(mean(x²) + eps) * (weight + offset) over the last axis (Zhang and Sennrich 2019), the norm of Llama and its
 * kin. `eps` is 1e-6 and `offset` 0 by default; Gemma's is 1.
 */
export class RMSNorm extends Module implements Norm {
  /** [size] */
  readonly weight: Parameter;
  readonly #eps: number;
  readonly #offset: number;

  constructor(size: number, { eps = 1e-6, offset = 0 }: { eps?: number; offset?: number } = {}) {
    super();
    this.weight = new Parameter([size], filled(1 - offset));
    this.#eps = eps;
    this.#offset = offset;
  }

  forward(x: Tensor): Tensor {
    return op('norm', [x, this.weight.value], { kind: 'rms', eps: this.#eps, scaleOffset: this.#offset });
  }
}

/**
 * (x - mean) * rsqrt(var + eps) * weight + bias over the last axis: torch.nn.LayerNorm (Ba et al. 2016). `eps` is 1e-5
 * by default.
 */
export class LayerNorm extends Module implements Norm {
  /** [size]; undefined with `affine: false`. */
  readonly weight: Parameter | undefined;
  /** [size]; undefined with `affine: false` or `bias: false`. */
  readonly bias: Parameter | undefined;
  readonly #eps: number;

  /** `affine`: whether it has a weight, and `bias`: whether it then has a bias. */
  constructor(
    size: number,
    { eps = 1e-5, affine = true, bias = true }: { eps?: number; affine?: boolean; bias?: boolean } = {},
  ) {
    super();
    this.weight = affine ? new Parameter([size], ones) : undefined;
    this.bias = affine && bias ? new Parameter([size], zeros) : undefined;
    this.#eps = eps;
  }

  forward(x: Tensor): Tensor {
    const args = [x, ...[this.weight, this.bias].flatMap((p) => (p ? [p.value] : []))];
    return op('norm', args, { kind: 'layer', eps: this.#eps, scaleOffset: 0 });
  }
}

/** Rotates query or key heads x [B, H, S, D] by their positions; see RotaryEmbedding for cos and sin. */
export const rope = (x: Tensor, { cos, sin }: Rotation, style: 'half' | 'interleaved' = 'half'): Tensor =>
  op('rope', [x, cos, sin], { style });

/** Rows that hold different numbers of keys, from the first one on. The queries of a row stand at the last of them. */
export class RowLengths {
  constructor(
    /** How many keys each row holds, i32 [B]. */
    readonly lengths: Tensor,
  ) {}
}

/** Which keys count: those of a mask, bool [B, T], or the first ones of each row. */
export type KeyMask = Tensor | RowLengths;

/** What attention does besides products and softmax. */
export interface AttentionOptions {
  /** Factor of the scores; default head size^-½. */
  scale?: number;
  /** Query i sees keys up to its own position T - S + i. Default true. */
  causal?: boolean;
  /** Sliding window: the last so many keys are seen; 0 or undefined: all. */
  window?: number | undefined;
  /** c * tanh(score / c) if c > 0. */
  softcap?: number;
  /** Keys that may be attended to (all). */
  mask?: KeyMask | undefined;
  /** Added to the scaled scores, [1|B, 1|H, S, T]. */
  bias?: Tensor | undefined;
  /** One more logit per head that takes no value, [H]. */
  sinks?: Tensor | undefined;
  /** Share of the probabilities that are dropped in training (0). */
  dropout?: number;
}

/**
 * Scaled dot-product attention (Vaswani et al. 2017): q [B, H, S, D], k [B, G, T, D], v [B, G, T, E], H a multiple of
 * G: query head h reads head ⌊h G / H⌋ of keys and values. Gives f32 [B, H, S, E]. Throws ModelcError 'type' for other
 * shapes.
 *
 *     const [keys, values] = cache.update(layer, rope(k, rotation), v);
 *     const mixed = mergeHeads(attention(rope(q, rotation), keys, values, { mask }));
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  for (const x of [q, k, v]) x.requireRank('attention()', '[batch, heads, seq, size]', 4);
  const size = dimConst(q.shape[3]);
  if (size === undefined) throw new ModelcError('type', 'attention() needs heads of a size that is known');
  const { mask, bias, sinks } = options;
  const isRows = mask instanceof RowLengths;
  const optional = { mask: isRows ? undefined : mask, lengths: isRows ? mask.lengths : undefined, bias, sinks };
  const operands = (['mask', 'lengths', 'bias', 'sinks'] as const).filter((name) => optional[name] !== undefined);
  const attended = op('attention', [q, k, v, ...operands.map((name) => optional[name]!)], {
    scale: options.scale ?? size ** -0.5,
    causal: options.causal ?? true,
    window: options.window ?? 0,
    softcap: options.softcap ?? 0,
    operands,
  });
  const rate = options.dropout ?? 0;
  if (rate === 0 || !isDropping()) return attended;
  return new Tensor(attentionOver(attended.node as Node<'attention'>, (p) => dropout(new Tensor(p), rate).node));
}

/** [B, S, heads * D] to [B, heads, S, D]. */
export function splitHeads(x: Tensor, heads: number): Tensor {
  x.requireRank('splitHeads()', '[batch, seq, heads * size]', 3);
  const size = Number.isSafeInteger(heads) && heads > 0 ? dimDivExact(x.shape[2], dim(heads)) : undefined;
  if (!size) throw new ModelcError('type', `splitHeads(): ${dimText(x.shape[2])} values are no multiple of ${heads} heads`); // biome-ignore format: one row
  return x.reshape([x.shape[0], x.shape[1], heads, size]).transpose(1, 2);
}

/** [B, heads, S, D] to [B, S, heads * D]. */
export function mergeHeads(x: Tensor): Tensor {
  x.requireRank('mergeHeads()', '[batch, heads, seq, size]', 4);
  const [batch, , seq]: readonly Dim[] = x.shape;
  return x.transpose(1, 2).reshape([batch, seq, -1]);
}
