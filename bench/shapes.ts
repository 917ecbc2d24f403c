// The models that are measured, and the work that one token of them costs at least: the floors of DESIGN section 6.
export interface Shape {
  /** The architecture, as config.json names it. */
  readonly family: 'llama' | 'gemma2';
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffn: number;
  readonly vocab: number;
  /** Whether the output head is the embedding. */
  readonly tied: boolean;
}

/** SmolLM2-135M, Llama-3.2-1B, Llama-3-8B and Gemma-2-2B; `tiny` is for smoke runs. */
export const shapes = {
  tiny: {
    ...{ family: 'llama', hidden: 64, layers: 2, heads: 4, kvHeads: 2, headDim: 16, ffn: 128, vocab: 512 },
    tied: true,
  },
  smol135m: {
    ...{ family: 'llama', hidden: 576, layers: 30, heads: 9, kvHeads: 3, headDim: 64, ffn: 1536, vocab: 49152 },
    tied: true,
  },
  llama1b: {
    ...{ family: 'llama', hidden: 2048, layers: 16, heads: 32, kvHeads: 8, headDim: 64, ffn: 8192, vocab: 128256 },
    tied: true,
  },
  llama8b: {
    ...{ family: 'llama', hidden: 4096, layers: 32, heads: 32, kvHeads: 8, headDim: 128, ffn: 14336, vocab: 128256 },
    tied: false,
  },
  gemma2b: {
    ...{ family: 'gemma2', hidden: 2304, layers: 26, heads: 8, kvHeads: 4, headDim: 256, ffn: 9216, vocab: 256000 },
    tied: true,
  },
} as const satisfies Record<string, Shape>;
export type ShapeName = keyof typeof shapes;
export const shapeNames = Object.keys(shapes) as ShapeName[];

export const weightTypes = ['f32', 'bf16'] as const;
export type WeightType = (typeof weightTypes)[number];
export const bytesOf = { f32: 4, bf16: 2 } satisfies Record<WeightType, number>;

/** The norms of a layer, as the checkpoint names them. */
export const normsOf = ({ family }: Shape): readonly string[] => [
  'input_layernorm',
  'post_attention_layernorm',
  ...(family === 'gemma2' ? ['pre_feedforward_layernorm', 'post_feedforward_layernorm'] : []),
];

const layerParams = (s: Shape): number =>
  s.hidden * s.headDim * (2 * s.heads + 2 * s.kvHeads) + 3 * s.hidden * s.ffn + normsOf(s).length * s.hidden;
const headParams = (s: Shape): number => s.hidden * s.vocab;

/**
 * Bytes that decoding one token must read: every weight once (of an embedding that is not the output head, one row: left
 * out) and the keys and values of `context` positions.
 */
export function decodeBytes(s: Shape, type: WeightType, context: number, cacheBytes: number): number {
  const weights = (s.layers * layerParams(s) + headParams(s)) * bytesOf[type];
  return weights + 2 * s.layers * s.kvHeads * s.headDim * context * cacheBytes;
}

/**
 * Floating point operations of a prefill of `tokens`: two per weight and token, causal attention, and the output head
 * for the last token alone.
 */
export function prefillFlops(s: Shape, tokens: number): number {
  const attention = 2 * s.layers * s.heads * s.headDim * tokens * tokens;
  return 2 * s.layers * layerParams(s) * tokens + attention + 2 * headParams(s);
}
