// DistilBERT from the fields of transformers' DistilBertConfig.
import { DistilBertModel, distilBertClassifier, distilBertPredictions } from '../../../models/distilbert.ts';
import { bertDefaults, headOf, readEncoderConfig } from './encoder-family.ts';
import type { EncoderFamily } from './family.ts';

const names = {
  hiddenSize: 'dim',
  intermediateSize: 'hidden_dim',
  layers: 'n_layers',
  heads: 'n_heads',
  activation: 'activation',
} as const;

export const distilbert: EncoderFamily = {
  prefix: 'distilbert',
  read(fields, { head: task, labels }) {
    const rate = fields.rate('dropout', 0.1);
    const config = {
      ...readEncoderConfig(fields, labels, { ...bertDefaults, layers: 6 }, names),
      normEps: 1e-12,
      dropout: {
        embeddings: rate,
        probabilities: fields.rate('attention_dropout', 0.1),
        attention: 0,
        mlp: rate,
        sequences: fields.rate('seq_classif_dropout', 0.2),
        tokens: rate,
        answers: fields.rate('qa_dropout', 0.1),
      },
    };
    const encoder = new DistilBertModel(config);
    const head = headOf(config, task, {
      predictions: () => distilBertPredictions(config, encoder.embeddings.word_embeddings),
      classifier: () => distilBertClassifier(config),
    });
    return { encoder, head, vocabSize: config.vocabSize, maxPositions: config.maxPositions };
  },
};
