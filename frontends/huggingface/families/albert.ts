// ALBERT from the fields of transformers' AlbertConfig.
import { AlbertModel, albertPredictions } from '../../../models/albert.ts';
import { pooledClassifier } from '../../../models/bert.ts';
import { firstPosition } from '../../../models/encoder.ts';
import { type EncoderDefaults, headOf, readEncoderConfig } from './encoder-family.ts';
import type { EncoderFamily } from './family.ts';

const defaults: EncoderDefaults = {
  vocabSize: 30000,
  hiddenSize: 4096,
  intermediateSize: 16384,
  layers: 12,
  heads: 64,
  activation: 'gelu_new',
  padding: 0,
  dropout: 0,
};

export const albert: EncoderFamily = {
  prefix: 'albert',
  read(fields, { head: task, labels }) {
    const encoderConfig = readEncoderConfig(fields, labels, defaults);
    const classifier = fields.rate('classifier_dropout_prob', 0.1);
    const config = {
      ...encoderConfig,
      dropout: { ...encoderConfig.dropout, mlp: 0, sequences: classifier, tokens: classifier },
      embeddingSize: fields.size('embedding_size', 128),
      typeVocabSize: fields.size('type_vocab_size', 2),
      countsTokens: false,
      groups: fields.parts('num_hidden_groups', 1),
      groupLayers: fields.parts('inner_group_num', 1),
    };
    const encoder = new AlbertModel(config, { pooler: task === undefined || task === 'sequence-classification' });
    const head = headOf(config, task, {
      predictions: () => albertPredictions(config, encoder.embeddings.word_embeddings),
      classifier: () => pooledClassifier(config, encoder.pool ?? firstPosition),
    });
    return { encoder, head, vocabSize: config.vocabSize, maxPositions: config.maxPositions };
  },
};
