// What encoders of BERT's kind share: layers that attend in both directions and norm after each residual sum, positions,
// and the heads that read one position or all of them. The files beside this one give the parts their names.
import {
  type ActivationName,
  activation,
  arange,
  attention,
  dropout,
  type Embedding,
  type LayerNorm,
  Linear,
  mergeHeads,
  Parameter,
  splitHeads,
  type Tensor,
  zeros,
} from '../frontends/dsl/index.ts';

export interface EncoderConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly maxPositions: number;
  readonly activation: ActivationName;
  readonly normEps: number;
  /** The token that fills rows up, if there is one: its embedding is not trained. */
  readonly padding: number | undefined;
  /** Whether the output layer of a masked language model is the embeddings, and whether its bias has two names. */
  readonly tiedEmbeddings: boolean;
  readonly tiedBias: boolean;
  /** Classes of a classifier. */
  readonly labels: number;
  readonly dropout: EncoderDropout;
}

/** Rates of dropout in training. */
export interface EncoderDropout {
  readonly embeddings: number;
  /** Of the probabilities of attention, of what attention gives, and of what the feed-forward part gives. */
  readonly probabilities: number;
  readonly attention: number;
  readonly mlp: number;
  /** Of what the heads read that classify sequences and tokens, and that find answers. */
  readonly sequences: number;
  readonly tokens: number;
  readonly answers: number;
}

/** The parts of a layer, however they are called. */
export interface EncoderLayerParts {
  readonly query: Linear;
  readonly key: Linear;
  readonly value: Linear;
  readonly output: Linear;
  readonly attentionNorm: LayerNorm;
  readonly up: Linear;
  readonly down: Linear;
  readonly norm: LayerNorm;
}

export interface LayerOptions {
  readonly heads: number;
  readonly activation: ActivationName;
  readonly dropout: EncoderDropout;
  /** Tokens that may be attended to, bool [batch, seq]. */
  readonly mask: Tensor;
  /** Added to the scores, [1, heads, seq, seq]. */
  readonly bias?: Tensor | undefined;
}

/** norm(a + mlp(a)), a = norm(x + attention(x)). */
export function encoderLayer(x: Tensor, parts: EncoderLayerParts, options: LayerOptions): Tensor {
  const { heads, mask, bias, dropout: rates } = options;
  const [q, k, v] = [parts.query, parts.key, parts.value].map((linear) => splitHeads(linear.forward(x), heads));
  const mixed = mergeHeads(attention(q, k, v, { causal: false, mask, bias, dropout: rates.probabilities }));
  const attended = parts.attentionNorm.forward(x.add(dropout(parts.output.forward(mixed), rates.attention)));
  const inner = activation(options.activation)(parts.up.forward(attended));
  return parts.norm.forward(attended.add(dropout(parts.down.forward(inner), rates.mlp)));
}

/** Where every token stands, i32: [seq], counted from 0; or [batch, seq], where only tokens other than `pad` are counted, from pad + 1. */
export function positionsOf(inputIds: Tensor, pad?: number): Tensor {
  if (pad === undefined) return arange(inputIds.shape[1]);
  const isToken = inputIds.ne(pad).cast('i32');
  return isToken.cumsum(1).mul(isToken).add(pad);
}

/** The first position of hidden states [batch, seq, hidden]: [batch, hidden]. */
export const firstPosition = (hidden: Tensor): Tensor => hidden.slice(1, 0, 1).squeeze(1);

/** The output layer of a masked language model. */
export interface VocabularyOutput {
  readonly bias: Parameter;
  /** States [.., size] to scores [.., vocab]: the embeddings and the bias under another name, where these are tied. */
  readonly decoder: Linear;
}

export function vocabularyOutput(
  { vocabSize, tiedEmbeddings, tiedBias }: EncoderConfig,
  size: number,
  words: Embedding,
): VocabularyOutput {
  const bias = new Parameter([vocabSize], zeros);
  const weight = tiedEmbeddings ? { weight: words.weight } : {};
  return { bias, decoder: new Linear(size, vocabSize, { ...weight, bias: tiedBias ? bias : true }) };
}

/** Scores of the vocabulary from hidden states, which a layer transforms first. */
export function vocabularyScores(
  hidden: Tensor,
  head: {
    readonly dense: Linear;
    readonly norm: LayerNorm;
    readonly activation: ActivationName;
    readonly output: VocabularyOutput;
  },
): Tensor {
  return head.output.decoder.forward(head.norm.forward(activation(head.activation)(head.dense.forward(hidden))));
}
