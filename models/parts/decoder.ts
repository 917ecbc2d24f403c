// A decoder-only model from its parts: embeddings, layers, a last norm, and an output layer that may be tied to the
// embeddings. Families bring the parts, and the names that their checkpoints have for them.
import {
  type CausalInputs,
  type CausalModel,
  Embedding,
  Linear,
  Module,
  moduleTree,
  type Norm,
  type RopeOptions,
  RotaryEmbedding,
  type Tensor,
} from '../../frontends/dsl/index.ts';
import type { RotaryInputs } from './attention.ts';

/** A layer that is given the inputs `I`. */
export interface Layer<I extends CausalInputs> extends Module {
  forward(x: Tensor, inputs: I): Tensor;
}

/** Names of the parts: all but the output layer lie below the path `root`. */
export interface DecoderNames {
  readonly root: string;
  readonly embeddings: string;
  readonly layers: string;
  /** Absent where the parts of the last norm are among the others. */
  readonly norm?: string;
  readonly head: string;
}

export const llamaNames: DecoderNames = {
  root: 'model',
  embeddings: 'embed_tokens',
  layers: 'layers',
  norm: 'norm',
  head: 'lm_head',
};
export const gptNames: DecoderNames = {
  root: 'transformer',
  embeddings: 'wte',
  layers: 'h',
  norm: 'ln_f',
  head: 'lm_head',
};

export interface DecoderParts<I extends CausalInputs> {
  readonly embeddings: Embedding;
  readonly layers: readonly Layer<I>[];
  readonly norm: Norm;
  /** Whether the weight of the output layer is the embeddings, and whether it has a bias. */
  readonly isTied: boolean;
  readonly hasHeadBias?: boolean;
  /** What else lies below the root. */
  readonly others?: Readonly<Record<string, Module | undefined>>;
  readonly positions?: CausalModel['positions'];
  readonly padding?: CausalModel['padding'];
  /** What layers are given. */
  inputs(inputs: CausalInputs): I;
  /** The input of the first layer, where it is not the embeddings alone. */
  first?(embeddings: Tensor, inputs: CausalInputs): Tensor;
  /** What becomes of the logits. */
  scaleLogits?(logits: Tensor): Tensor;
}

export class Decoder<I extends CausalInputs = CausalInputs> extends Module implements CausalModel {
  readonly positions: CausalModel['positions'];
  readonly padding: CausalModel['padding'];
  readonly #parts: DecoderParts<I>;
  readonly #head: Linear;

  constructor(names: DecoderNames, parts: DecoderParts<I>) {
    super();
    this.#parts = parts;
    this.positions = parts.positions;
    this.padding = parts.padding;
    const { embeddings, layers, norm, others, isTied, hasHeadBias: bias = false } = parts;
    const { weight } = embeddings;
    const [vocabSize, size] = weight.shape;
    this.#head = new Linear(size, vocabSize, { bias, ...(isTied ? { weight } : {}) });
    const below = {
      [names.embeddings]: embeddings,
      ...others,
      [names.layers]: layers,
      ...(names.norm === undefined ? {} : { [names.norm]: norm }),
    };
    Object.assign(this, moduleTree(names.root, below), { [names.head]: this.#head });
  }

  forward(inputs: CausalInputs): Tensor[] {
    const { embeddings, layers, first } = this.#parts;
    const embedded = embeddings.forward(inputs.inputIds);
    const states = [first ? first(embedded, inputs) : embedded];
    const given = this.#parts.inputs(inputs);
    for (const [i, layer] of layers.entries()) states.push(layer.forward(states[i], given));
    return states;
  }

  finalNorm(hidden: Tensor): Tensor {
    return this.#parts.norm.forward(hidden);
  }

  logits(hidden: Tensor): Tensor {
    const { scaleLogits } = this.#parts;
    const logits = this.#head.forward(hidden);
    return scaleLogits ? scaleLogits(logits) : logits;
  }
}

/** Layers by number. */
export const stack = <L>(count: number, layer: (index: number) => L): L[] =>
  Array.from({ length: count }, (_, i) => layer(i));

/** Gives layers the rotation of their positions. */
export function rotating(rotary_emb: RotaryEmbedding) {
  return {
    others: { rotary_emb },
    inputs: (inputs: CausalInputs): RotaryInputs => ({
      ...inputs,
      rotation: rotary_emb.forward(inputs.positionIds, inputs.cache.length),
    }),
  };
}

export interface RotaryDecoderConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly tiedEmbeddings: boolean;
  readonly rope: RopeOptions;
  readonly embeddingScale: number;
  /** Factor of the logits. */
  readonly logitsScale: number;
  /** c * tanh(logit / c) if c > 0. */
  readonly logitsCap: number;
}

export type RotaryLayer = Layer<RotaryInputs>;

/** A decoder with rotary positions, under the names that Llama gave its parts. */
export class RotaryDecoder extends Decoder<RotaryInputs> {
  constructor(config: RotaryDecoderConfig, parts: { readonly norm: Norm; layer(index: number): RotaryLayer }) {
    const { vocabSize, hiddenSize, embeddingScale, logitsScale: scale, logitsCap: cap } = config;
    super(llamaNames, {
      embeddings: new Embedding(vocabSize, hiddenSize, { scale: embeddingScale }),
      layers: stack(config.layers, (i) => parts.layer(i)),
      norm: parts.norm,
      isTied: config.tiedEmbeddings,
      ...rotating(new RotaryEmbedding(config.rope)),
      scaleLogits(logits) {
        const scaled = scale === 1 ? logits : logits.mul(scale);
        return cap > 0 ? scaled.div(cap).tanh().mul(cap) : scaled;
      },
    });
  }
}
