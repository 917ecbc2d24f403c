// T5: layers that norm first by the root mean square, without biases and without a scale of the scores, to which a learned
// bias for distances between tokens is added: the first layer of either side has it for all of them. Follows transformers'
// modeling_t5.
import {
  type ActivationName,
  activation,
  attention,
  type DecoderInputs,
  dimSub,
  dropout,
  Embedding,
  type EncoderDecoder,
  group,
  Linear,
  type Memory,
  Module,
  mergeHeads,
  normal,
  RelativePositionBias,
  RMSNorm,
  splitHeads,
  type Tensor,
} from '../frontends/dsl/index.ts';

export interface T5Config {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly heads: number;
  readonly headSize: number;
  readonly layers: number;
  readonly decoderLayers: number;
  readonly buckets: number;
  readonly maxDistance: number;
  readonly normEps: number;
  readonly activation: ActivationName;
  /** Whether the feed-forward part multiplies its activation by a second projection. */
  readonly isGated: boolean;
  /** Whether the output layer is the embeddings. */
  readonly isTied: boolean;
  /** Whether the last hidden states are scaled by hiddenSize^-½ before the output layer. */
  readonly isScaled: boolean;
  readonly dropout: number;
}

/** `deviation`: of the values in a new model. */
const linear = (from: number, to: number, deviation: number): Linear =>
  new Linear(from, to, { bias: false, initializer: normal(deviation) });

class T5Attention extends Module {
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly o: Linear;
  readonly relative_attention_bias: RelativePositionBias | undefined;
  readonly #heads: number;
  readonly #dropout: number;

  /** `bias`: whether it has the bias of its stack, and whether that tells keys behind the query apart. */
  constructor(config: T5Config, bias?: { readonly bidirectional: boolean }) {
    super();
    const { hiddenSize: size, heads, headSize, buckets, maxDistance } = config;
    const inner = heads * headSize;
    // Scores are not scaled, so queries begin smaller.
    this.q = linear(size, inner, (size * headSize) ** -0.5);
    this.k = linear(size, inner, size ** -0.5);
    this.v = linear(size, inner, size ** -0.5);
    this.o = linear(inner, size, inner ** -0.5);
    const initializer = normal(size ** -0.5);
    this.relative_attention_bias =
      bias && new RelativePositionBias({ buckets, heads, maxDistance, initializer, ...bias });
    this.#heads = heads;
    this.#dropout = config.dropout;
  }

  keysAndValues(x: Tensor): [key: Tensor, value: Tensor] {
    return [splitHeads(this.k.forward(x), this.#heads), splitHeads(this.v.forward(x), this.#heads)];
  }

  /** x [batch, seq, size] attends to keys and values. */
  forward(x: Tensor, keys: Tensor, values: Tensor, options: { causal: boolean; mask: Tensor; bias?: Tensor }): Tensor {
    const q = splitHeads(this.q.forward(x), this.#heads);
    return this.o.forward(mergeHeads(attention(q, keys, values, { ...options, scale: 1, dropout: this.#dropout })));
  }
}

class T5FeedForward extends Module {
  readonly wi: Linear | undefined;
  readonly wi_0: Linear | undefined;
  readonly wi_1: Linear | undefined;
  readonly wo: Linear;
  readonly #config: T5Config;

  constructor(config: T5Config) {
    super();
    const { hiddenSize: size, intermediateSize: inner, isGated } = config;
    const up = (): Linear => linear(size, inner, size ** -0.5);
    if (isGated) {
      this.wi_0 = up();
      this.wi_1 = up();
    } else this.wi = up();
    this.wo = linear(inner, size, inner ** -0.5);
    this.#config = config;
  }

  forward(x: Tensor): Tensor {
    const { activation: name, dropout: rate } = this.#config;
    const inner = activation(name)((this.wi ?? this.wi_0)!.forward(x));
    return this.wo.forward(dropout(this.wi_1 ? inner.mul(this.wi_1.forward(x)) : inner, rate));
  }
}

type Normed<T> = Module & T & { readonly layer_norm: RMSNorm };

/** How the layers of a stack attend to its own positions. */
interface SelfOptions {
  readonly causal: boolean;
  readonly mask: Tensor;
  readonly bias: Tensor;
}

class T5Block extends Module {
  readonly layer: readonly Module[];
  readonly #self: Normed<{ readonly SelfAttention: T5Attention }>;
  readonly #cross: Normed<{ readonly EncDecAttention: T5Attention }> | undefined;
  readonly #inner: Normed<{ readonly DenseReluDense: T5FeedForward }>;
  readonly #dropout: number;

  constructor(config: T5Config, { isDecoder, isFirst }: { readonly isDecoder: boolean; readonly isFirst: boolean }) {
    super();
    const layer_norm = (): RMSNorm => new RMSNorm(config.hiddenSize, { eps: config.normEps });
    const bias = isFirst ? { bidirectional: !isDecoder } : undefined;
    this.#self = group({ SelfAttention: new T5Attention(config, bias), layer_norm: layer_norm() });
    this.#cross = isDecoder ? group({ EncDecAttention: new T5Attention(config), layer_norm: layer_norm() }) : undefined;
    this.#inner = group({ DenseReluDense: new T5FeedForward(config), layer_norm: layer_norm() });
    this.layer = [this.#self, ...(this.#cross ? [this.#cross] : []), this.#inner];
    this.#dropout = config.dropout;
  }

  /** The bias of the stack, which its first layer has. */
  get bias(): RelativePositionBias {
    return this.#self.SelfAttention.relative_attention_bias!;
  }

  /** What the layer takes from the encoder's last hidden state. */
  memory(hidden: Tensor): [key: Tensor, value: Tensor] {
    return this.#cross!.EncDecAttention.keysAndValues(hidden);
  }

  /** `keep` takes the keys and values of these positions and gives those of all that are attended to. */
  forward(
    x: Tensor,
    options: SelfOptions,
    keep: (key: Tensor, value: Tensor) => [Tensor, Tensor] = (key, value) => [key, value],
    cross?: { readonly keyAndValue: Memory['layers'][number]; readonly mask: Tensor },
  ): Tensor {
    const { SelfAttention: attention, layer_norm: selfNorm } = this.#self;
    const normed = selfNorm.forward(x);
    const [keys, values] = keep(...attention.keysAndValues(normed));
    let y = x.add(dropout(attention.forward(normed, keys, values, options), this.#dropout));
    if (this.#cross && cross) {
      const { EncDecAttention: crossAttention, layer_norm } = this.#cross;
      const { keyAndValue, mask } = cross;
      const attended = crossAttention.forward(layer_norm.forward(y), ...keyAndValue, { causal: false, mask });
      y = y.add(dropout(attended, this.#dropout));
    }
    const { DenseReluDense: feedForward, layer_norm: innerNorm } = this.#inner;
    return y.add(dropout(feedForward.forward(innerNorm.forward(y)), this.#dropout));
  }
}

const stackOf = (config: T5Config, count: number, isDecoder: boolean, words: Embedding) =>
  group({
    embed_tokens: words, // under one of its other names
    block: Array.from({ length: count }, (_, i) => new T5Block(config, { isDecoder, isFirst: i === 0 })),
    final_layer_norm: new RMSNorm(config.hiddenSize, { eps: config.normEps }),
  });

export class T5ForConditionalGeneration extends Module implements EncoderDecoder {
  readonly hiddenSize: number;
  readonly shared: Embedding;
  readonly encoder;
  readonly decoder;
  readonly lm_head: Linear;
  readonly #config: T5Config;

  constructor(config: T5Config) {
    super();
    const { vocabSize, hiddenSize, layers, decoderLayers, isTied } = config;
    this.hiddenSize = hiddenSize;
    this.shared = new Embedding(vocabSize, hiddenSize);
    this.encoder = stackOf(config, layers, false, this.shared);
    this.decoder = stackOf(config, decoderLayers, true, this.shared);
    const tied = isTied ? { weight: this.shared.weight } : {};
    this.lm_head = new Linear(hiddenSize, vocabSize, { bias: false, ...tied });
    this.#config = config;
  }

  encode(inputIds: Tensor, mask: Tensor): Tensor[] {
    const source = inputIds.shape[1];
    const { block, final_layer_norm: norm } = this.encoder;
    const bias = block[0].bias.forward(source, source);
    return this.#stack(inputIds, block, norm, (layer, x) => layer.forward(x, { causal: false, mask, bias }));
  }

  memory(hidden: Tensor): [key: Tensor, value: Tensor][] {
    return this.decoder.block.map((layer) => layer.memory(hidden));
  }

  decode({ inputIds, mask, cache, memory }: DecoderInputs): Tensor[] {
    const seq = inputIds.shape[1];
    const { block, final_layer_norm: norm } = this.decoder;
    const bias = block[0].bias.forward(seq, cache.length, dimSub(cache.length, seq));
    return this.#stack(inputIds, block, norm, (layer, x, i) =>
      layer.forward(x, { causal: true, mask, bias }, (key, value) => cache.update(i, key, value), {
        keyAndValue: memory.layers[i],
        mask: memory.mask,
      }),
    );
  }

  /** The embeddings and the output of every layer, the last one normed. */
  #stack(
    inputIds: Tensor,
    blocks: readonly T5Block[],
    norm: RMSNorm,
    run: (block: T5Block, x: Tensor, layer: number) => Tensor,
  ): Tensor[] {
    const { dropout: rate } = this.#config;
    const states = [dropout(this.shared.forward(inputIds), rate)];
    for (const [i, block] of blocks.entries()) states.push(run(block, states[i], i));
    return [...states.slice(0, -1), dropout(norm.forward(states[states.length - 1]), rate)];
  }

  logits(hidden: Tensor): Tensor {
    const { hiddenSize, isScaled } = this.#config;
    const scaled = isScaled ? hidden.mul(hiddenSize ** -0.5) : hidden;
    return this.lm_head.forward(scaled);
  }
}
