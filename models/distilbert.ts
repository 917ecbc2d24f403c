// DistilBERT: BERT without token types and pooler, under names of its own. Follows transformers' modeling_distilbert.
import {
  dropout,
  Embedding,
  type Encoder,
  type EncoderHead,
  type EncoderInputs,
  group,
  LayerNorm,
  Linear,
  Module,
  relu,
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

class DistilBertLayer extends Module {
  readonly attention;
  readonly sa_layer_norm: LayerNorm;
  readonly ffn;
  readonly output_layer_norm: LayerNorm;

  constructor({ hiddenSize: size, intermediateSize: inner, normEps: eps }: EncoderConfig) {
    super();
    const linear = (): Linear => new Linear(size, size);
    this.attention = group({ q_lin: linear(), k_lin: linear(), v_lin: linear(), out_lin: linear() });
    this.sa_layer_norm = new LayerNorm(size, { eps });
    this.ffn = group({ lin1: new Linear(size, inner), lin2: new Linear(inner, size) });
    this.output_layer_norm = new LayerNorm(size, { eps });
  }

  forward(x: Tensor, options: LayerOptions): Tensor {
    const { q_lin: query, k_lin: key, v_lin: value, out_lin: output } = this.attention;
    const { lin1: up, lin2: down } = this.ffn;
    const norms = { attentionNorm: this.sa_layer_norm, norm: this.output_layer_norm };
    return encoderLayer(x, { query, key, value, output, up, down, ...norms }, options);
  }
}

export class DistilBertModel extends Module implements Encoder {
  readonly hasTokenTypes = false;
  readonly embeddings;
  readonly transformer: Module & { readonly layer: readonly DistilBertLayer[] };

  constructor(readonly config: EncoderConfig) {
    super();
    const { vocabSize, hiddenSize, padding, maxPositions, normEps: eps, layers } = config;
    this.embeddings = group({
      word_embeddings: new Embedding(vocabSize, hiddenSize, { padding }),
      position_embeddings: new Embedding(maxPositions, hiddenSize),
      LayerNorm: new LayerNorm(hiddenSize, { eps }),
    });
    this.transformer = group({ layer: Array.from({ length: layers }, () => new DistilBertLayer(config)) });
  }

  forward({ inputIds, mask }: EncoderInputs): Tensor[] {
    const { word_embeddings, position_embeddings, LayerNorm: norm } = this.embeddings;
    const { heads, activation, dropout: rates } = this.config;
    const positions = position_embeddings.forward(positionsOf(inputIds));
    const embedded = norm.forward(word_embeddings.forward(inputIds).add(positions));
    const states = [dropout(embedded, rates.embeddings)];
    for (const layer of this.transformer.layer) {
      states.push(layer.forward(states[states.length - 1], { heads, activation, dropout: rates, mask }));
    }
    return states;
  }
}

export function distilBertPredictions(config: EncoderConfig, words: Embedding): EncoderHead {
  const { hiddenSize: size, activation, normEps: eps } = config;
  const vocab_transform = new Linear(size, size);
  const vocab_layer_norm = new LayerNorm(size, { eps });
  const output = vocabularyOutput(config, size, words);
  const parts = { dense: vocab_transform, norm: vocab_layer_norm, activation, output };
  return {
    fields: { vocab_transform, vocab_layer_norm, vocab_projector: output.decoder },
    logits: (hidden) => vocabularyScores(hidden, parts),
  };
}

export function distilBertClassifier({ hiddenSize, labels, dropout: rates }: EncoderConfig): EncoderHead {
  const pre_classifier = new Linear(hiddenSize, hiddenSize);
  const classifier = new Linear(hiddenSize, labels);
  return {
    fields: { pre_classifier, classifier },
    logits: (hidden) =>
      classifier.forward(dropout(relu(pre_classifier.forward(firstPosition(hidden))), rates.sequences)),
  };
}
