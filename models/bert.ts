// BERT, and the encoders whose layers carry the same names: RoBERTa, XLM-RoBERTa and CamemBERT count positions of real
// tokens and have other heads; ELECTRA's embeddings may be narrower than its layers. Follows transformers' modeling_bert,
// modeling_roberta and modeling_electra.
import {
  dropout,
  Embedding,
  type Encoder,
  type EncoderHead,
  type EncoderInputs,
  gelu,
  group,
  LayerNorm,
  Linear,
  Module,
  type Tensor,
} from '../frontends/dsl/index.ts';
import {
  type EncoderConfig,
  encoderLayer,
  firstPosition,
  type LayerOptions,
  positionsOf,
  vocabularyOutput,
  vocabularyScores,
} from './encoder.ts';

export interface BertConfig extends EncoderConfig {
  readonly embeddingSize: number;
  readonly typeVocabSize: number;
  /** Positions are those of real tokens, counted from the padding token on. */
  readonly countsTokens: boolean;
}

export class BertEmbeddings extends Module {
  readonly word_embeddings: Embedding;
  readonly position_embeddings: Embedding;
  readonly token_type_embeddings: Embedding;
  readonly LayerNorm: LayerNorm;
  readonly #counted: number | undefined;
  readonly #dropout: number;

  constructor(config: BertConfig) {
    super();
    this.#dropout = config.dropout.embeddings;
    const { vocabSize, embeddingSize: size, maxPositions, typeVocabSize, normEps: eps, padding, countsTokens } = config;
    this.#counted = countsTokens ? padding : undefined;
    this.word_embeddings = new Embedding(vocabSize, size, { padding });
    this.position_embeddings = new Embedding(maxPositions, size, { padding: this.#counted });
    this.token_type_embeddings = new Embedding(typeVocabSize, size);
    this.LayerNorm = new LayerNorm(size, { eps });
  }

  forward({ inputIds, tokenTypes }: EncoderInputs): Tensor {
    const words = this.word_embeddings.forward(inputIds);
    const types = this.token_type_embeddings.forward(tokenTypes ?? inputIds.mul(0));
    const positions = this.position_embeddings.forward(positionsOf(inputIds, this.#counted));
    return dropout(this.LayerNorm.forward(words.add(types).add(positions)), this.#dropout);
  }
}

class BertLayer extends Module {
  readonly attention;
  readonly intermediate;
  readonly output;

  constructor({ hiddenSize: size, intermediateSize: inner, normEps: eps }: BertConfig) {
    super();
    this.attention = group({
      self: group({ query: new Linear(size, size), key: new Linear(size, size), value: new Linear(size, size) }),
      output: group({ dense: new Linear(size, size), LayerNorm: new LayerNorm(size, { eps }) }),
    });
    this.intermediate = group({ dense: new Linear(size, inner) });
    this.output = group({ dense: new Linear(inner, size), LayerNorm: new LayerNorm(size, { eps }) });
  }

  forward(x: Tensor, options: LayerOptions): Tensor {
    const { self, output } = this.attention;
    const parts = {
      ...{ query: self.query, key: self.key, value: self.value, output: output.dense },
      ...{ attentionNorm: output.LayerNorm, up: this.intermediate.dense },
      ...{ down: this.output.dense, norm: this.output.LayerNorm },
    };
    return encoderLayer(x, parts, options);
  }
}

export class BertModel extends Module implements Encoder {
  readonly hasTokenTypes = true;
  readonly embeddings: BertEmbeddings;
  readonly embeddings_project: Linear | undefined;
  readonly encoder: Module & { readonly layer: readonly BertLayer[] };
  readonly pooler: (Module & { readonly dense: Linear }) | undefined;
  pool?: (hidden: Tensor) => Tensor;

  constructor(
    readonly config: BertConfig,
    { pooler: hasPooler }: { pooler: boolean },
  ) {
    super();
    const { hiddenSize, embeddingSize, layers } = config;
    this.embeddings = new BertEmbeddings(config);
    this.embeddings_project = embeddingSize === hiddenSize ? undefined : new Linear(embeddingSize, hiddenSize);
    this.encoder = group({ layer: Array.from({ length: layers }, () => new BertLayer(config)) });
    if (!hasPooler) return;
    const pooler = group({ dense: new Linear(hiddenSize, hiddenSize) });
    this.pooler = pooler;
    this.pool = (hidden) => pooler.dense.forward(firstPosition(hidden)).tanh();
  }

  forward(inputs: EncoderInputs): Tensor[] {
    const { heads, activation, dropout: rates } = this.config;
    const embedded = this.embeddings.forward(inputs);
    const states = [this.embeddings_project?.forward(embedded) ?? embedded];
    for (const layer of this.encoder.layer) {
      states.push(layer.forward(states[states.length - 1], { heads, activation, dropout: rates, mask: inputs.mask }));
    }
    return states;
  }
}

/** BERT's masked language model: `cls.predictions`. */
export function bertPredictions(config: BertConfig, words: Embedding): EncoderHead {
  const { embeddingSize: size, activation, normEps: eps } = config;
  const transform = group({ dense: new Linear(config.hiddenSize, size), LayerNorm: new LayerNorm(size, { eps }) });
  const output = vocabularyOutput(config, size, words);
  const parts = { dense: transform.dense, norm: transform.LayerNorm, activation, output };
  const { bias, decoder } = output;
  return {
    fields: { cls: group({ predictions: group({ transform, bias, decoder }) }) },
    logits: (hidden) => vocabularyScores(hidden, parts),
  };
}

/** RoBERTa's and MPNet's masked language model: `lm_head`. */
export function robertaPredictions(config: EncoderConfig, words: Embedding): EncoderHead {
  const dense = new Linear(config.hiddenSize, config.hiddenSize);
  const layer_norm = new LayerNorm(config.hiddenSize, { eps: config.normEps });
  const output = vocabularyOutput(config, config.hiddenSize, words);
  const { bias, decoder } = output;
  return {
    fields: { lm_head: group({ dense, layer_norm, bias, decoder }) },
    logits: (hidden) => vocabularyScores(hidden, { dense, norm: layer_norm, activation: 'gelu', output }),
  };
}

/** ELECTRA's generator. */
export function electraPredictions(config: BertConfig, words: Embedding): EncoderHead {
  const dense = new Linear(config.hiddenSize, config.embeddingSize);
  const norm = new LayerNorm(config.embeddingSize, { eps: config.normEps });
  const output = vocabularyOutput(config, config.embeddingSize, words);
  return {
    fields: { generator_predictions: group({ LayerNorm: norm, dense }), generator_lm_head: output.decoder },
    logits: (hidden) => vocabularyScores(hidden, { dense, norm, activation: 'gelu', output }),
  };
}

/** A classifier of the pooled sequence. */
export function pooledClassifier(config: EncoderConfig, pool: (hidden: Tensor) => Tensor): EncoderHead {
  const classifier = new Linear(config.hiddenSize, config.labels);
  const { sequences: rate } = config.dropout;
  return { fields: { classifier }, logits: (hidden) => classifier.forward(dropout(pool(hidden), rate)) };
}

/** A classifier of the first position with a layer of its own: RoBERTa's and MPNet's with tanh, ELECTRA's with GELU. */
export function denseClassifier(
  { hiddenSize, labels, dropout: { sequences: rate } }: EncoderConfig,
  squash: 'tanh' | 'gelu',
): EncoderHead {
  const dense = new Linear(hiddenSize, hiddenSize);
  const out_proj = new Linear(hiddenSize, labels);
  return {
    fields: { classifier: group({ dense, out_proj }) },
    logits(hidden) {
      const inner = dense.forward(dropout(firstPosition(hidden), rate));
      return out_proj.forward(dropout(squash === 'tanh' ? inner.tanh() : gelu(inner), rate));
    },
  };
}
