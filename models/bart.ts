// BART and the models of its kind (mBART, Marian, Pegasus, Blenderbot, M2M100): they differ in where norms stand, in what
// positions add, and in whether embeddings are scaled. Follows transformers' modeling_bart and its kin.
import {
  type ActivationName,
  activation,
  attention,
  type DecoderInputs,
  dimSub,
  dropout,
  Embedding,
  type EncoderDecoder,
  FixedParameter,
  group,
  LayerNorm,
  Linear,
  type Memory,
  Module,
  mergeHeads,
  splitHeads,
  type Tensor,
  zeros,
} from '../frontends/dsl/index.ts';
import type { Positions } from './parts/absolute-positions.ts';
import { stack } from './parts/decoder.ts';

/** One side of the model. */
export interface BartStackConfig {
  readonly layers: number;
  readonly heads: number;
  readonly intermediateSize: number;
}

export interface BartConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly encoder: BartStackConfig;
  readonly decoder: BartStackConfig;
  readonly activation: ActivationName;
  readonly padding: number;
  /** Factor of the embeddings. */
  readonly embeddingScale: number;
  /** Norms stand before the parts of a layer, in place of behind them, and behind the last layer. */
  readonly normBefore: boolean;
  /** Whether embeddings are normed: with the positions, or in the decoder before these are added. */
  readonly embeddingNorm: 'none' | 'sum' | 'words of the decoder';
  /** Whether the output layer is the embeddings, and whether it has a bias, which is not trained. */
  readonly isTied: boolean;
  readonly hasLogitsBias: boolean;
  /** Rates of dropout in training: of what parts add, of the probabilities of attention, inside the feed-forward part. */
  readonly dropout: { readonly residual: number; readonly probabilities: number; readonly inner: number };
}

class BartAttention extends Module {
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly q_proj: Linear;
  readonly out_proj: Linear;
  readonly #heads: number;
  readonly #dropout: number;

  constructor({ hiddenSize: size, dropout: rates }: BartConfig, heads: number) {
    super();
    this.k_proj = new Linear(size, size);
    this.v_proj = new Linear(size, size);
    this.q_proj = new Linear(size, size);
    this.out_proj = new Linear(size, size);
    this.#heads = heads;
    this.#dropout = rates.probabilities;
  }

  keysAndValues(x: Tensor): [key: Tensor, value: Tensor] {
    return [splitHeads(this.k_proj.forward(x), this.#heads), splitHeads(this.v_proj.forward(x), this.#heads)];
  }

  /** x [batch, seq, size] attends to keys and values. */
  forward(x: Tensor, keys: Tensor, values: Tensor, options: { causal: boolean; mask: Tensor }): Tensor {
    const q = splitHeads(this.q_proj.forward(x), this.#heads);
    const dropout = this.#dropout;
    return this.out_proj.forward(mergeHeads(attention(q, keys, values, { ...options, dropout })));
  }
}

class BartLayer extends Module {
  readonly self_attn: BartAttention;
  readonly self_attn_layer_norm: LayerNorm;
  readonly encoder_attn: BartAttention | undefined;
  readonly encoder_attn_layer_norm: LayerNorm | undefined;
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly final_layer_norm: LayerNorm;
  readonly #config: BartConfig;

  constructor(config: BartConfig, { heads, intermediateSize }: BartStackConfig, isDecoder: boolean) {
    super();
    const { hiddenSize: size } = config;
    this.self_attn = new BartAttention(config, heads);
    this.self_attn_layer_norm = new LayerNorm(size);
    this.encoder_attn = isDecoder ? new BartAttention(config, heads) : undefined;
    this.encoder_attn_layer_norm = isDecoder ? new LayerNorm(size) : undefined;
    this.fc1 = new Linear(size, intermediateSize);
    this.fc2 = new Linear(intermediateSize, size);
    this.final_layer_norm = new LayerNorm(size);
    this.#config = config;
  }

  #added(x: Tensor, norm: LayerNorm, part: (y: Tensor) => Tensor): Tensor {
    const { normBefore, dropout: rates } = this.#config;
    const added = (y: Tensor): Tensor => x.add(dropout(part(y), rates.residual));
    return normBefore ? added(norm.forward(x)) : norm.forward(added(x));
  }

  /** `keep` takes the keys and values of these positions and gives those of all that are attended to. */
  forward(
    x: Tensor,
    options: { readonly causal: boolean; readonly mask: Tensor },
    keep: (key: Tensor, value: Tensor) => [Tensor, Tensor] = (key, value) => [key, value],
    cross?: { readonly keyAndValue: Memory['layers'][number]; readonly mask: Tensor },
  ): Tensor {
    const { self_attn: attention, encoder_attn, encoder_attn_layer_norm } = this;
    let y = this.#added(x, this.self_attn_layer_norm, (z) =>
      attention.forward(z, ...keep(...attention.keysAndValues(z)), options),
    );
    if (cross && encoder_attn && encoder_attn_layer_norm) {
      const { keyAndValue, mask } = cross;
      y = this.#added(y, encoder_attn_layer_norm, (z) =>
        encoder_attn.forward(z, ...keyAndValue, { causal: false, mask }),
      );
    }
    const { activation: name, dropout: rates } = this.#config;
    return this.#added(y, this.final_layer_norm, (z) =>
      this.fc2.forward(dropout(activation(name)(this.fc1.forward(z)), rates.inner)),
    );
  }
}

class BartStack extends Module {
  /** The table of the whole model, under one of its other names. */
  readonly embed_tokens: Embedding;
  readonly embed_positions: Positions;
  readonly layers: readonly BartLayer[];
  readonly layernorm_embedding: LayerNorm | undefined;
  readonly layer_norm: LayerNorm | undefined;

  constructor(
    readonly config: BartConfig,
    readonly isDecoder: boolean,
    words: Embedding,
    positions: Positions,
  ) {
    super();
    const { hiddenSize: size, embeddingNorm, normBefore } = config;
    const own = isDecoder ? config.decoder : config.encoder;
    this.embed_tokens = words;
    this.embed_positions = positions;
    this.layers = stack(own.layers, () => new BartLayer(config, own, isDecoder));
    this.layernorm_embedding = embeddingNorm === 'none' ? undefined : new LayerNorm(size);
    this.layer_norm = normBefore ? new LayerNorm(size) : undefined;
  }

  /** Words [batch, seq, size] and positions, normed. */
  #embedded(words: Tensor, positions: Tensor): Tensor {
    const { embeddingNorm } = this.config;
    const norm = (x: Tensor): Tensor => this.layernorm_embedding?.forward(x) ?? x;
    const isEarly = embeddingNorm === 'words of the decoder' && this.isDecoder;
    return isEarly ? norm(words).add(positions) : norm(words.add(positions));
  }

  /** The embeddings and the output of every layer, the last one normed where the stack ends in a norm. */
  forward(words: Tensor, positions: Tensor, run: (layer: BartLayer, x: Tensor, index: number) => Tensor): Tensor[] {
    const states = [dropout(this.#embedded(words, positions), this.config.dropout.residual)];
    for (const [i, layer] of this.layers.entries()) states.push(run(layer, states[i], i));
    const last = states[states.length - 1];
    return [...states.slice(0, -1), this.layer_norm?.forward(last) ?? last];
  }
}

export class BartForConditionalGeneration extends Module implements EncoderDecoder {
  readonly hiddenSize: number;
  readonly model;
  readonly final_logits_bias: FixedParameter | undefined;
  readonly lm_head: Linear;
  readonly #config: BartConfig;

  /** `positions` makes those of either side. */
  constructor(config: BartConfig, positions: () => Positions) {
    super();
    const { vocabSize, hiddenSize, padding, isTied, hasLogitsBias } = config;
    this.#config = config;
    this.hiddenSize = hiddenSize;
    const shared = new Embedding(vocabSize, hiddenSize, { padding });
    this.model = group({
      shared,
      encoder: new BartStack(config, false, shared, positions()),
      decoder: new BartStack(config, true, shared, positions()),
    });
    this.final_logits_bias = hasLogitsBias ? new FixedParameter([1, vocabSize], zeros) : undefined;
    const tied = isTied ? { weight: shared.weight } : {};
    this.lm_head = new Linear(hiddenSize, vocabSize, { bias: false, ...tied });
  }

  encode(inputIds: Tensor, mask: Tensor): Tensor[] {
    const { shared, encoder } = this.model;
    const positions = encoder.embed_positions.forward(inputIds, 0);
    return encoder.forward(shared.forward(inputIds).mul(this.#config.embeddingScale), positions, (layer, x) =>
      layer.forward(x, { causal: false, mask }),
    );
  }

  memory(hidden: Tensor): [key: Tensor, value: Tensor][] {
    return this.model.decoder.layers.map((layer) => layer.encoder_attn!.keysAndValues(hidden));
  }

  decode({ inputIds, mask, cache, memory }: DecoderInputs): Tensor[] {
    const { shared, decoder } = this.model;
    const positions = decoder.embed_positions.forward(inputIds, dimSub(cache.length, inputIds.shape[1]));
    const { embeddingNorm, embeddingScale } = this.#config;
    const scale = embeddingNorm === 'words of the decoder' ? 1 : embeddingScale; // what is normed is not scaled
    return decoder.forward(shared.forward(inputIds).mul(scale), positions, (layer, x, i) =>
      layer.forward(x, { causal: true, mask }, (key, value) => cache.update(i, key, value), {
        keyAndValue: memory.layers[i],
        mask: memory.mask,
      }),
    );
  }

  logits(hidden: Tensor): Tensor {
    const logits = this.lm_head.forward(hidden);
    return this.final_logits_bias ? logits.add(this.final_logits_bias.value.squeeze(0)) : logits;
  }
}
