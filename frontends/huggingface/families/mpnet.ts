// MPNet from the fields of transformers' MPNetConfig.
import { denseClassifier, robertaPredictions } from '../../../models/bert.ts';
import { MPNetModel, mpnetPad } from '../../../models/mpnet.ts';
import { bertDefaults, headOf, readEncoderConfig } from './encoder-family.ts';
import type { EncoderFamily } from './family.ts';

export const mpnet: EncoderFamily = {
  prefix: 'mpnet',
  read(fields, { head: task, labels }) {
    const config = {
      ...readEncoderConfig(fields, labels, { ...bertDefaults, vocabSize: 30527 }),
      padding: mpnetPad,
      buckets: fields.size('relative_attention_num_buckets', 32),
    };
    const encoder = new MPNetModel(config, { pooler: task === undefined });
    const head = headOf(config, task, {
      predictions: () => robertaPredictions(config, encoder.embeddings.word_embeddings),
      classifier: () => denseClassifier(config, 'tanh'),
    });
    return { encoder, head, vocabSize: config.vocabSize, maxPositions: config.maxPositions - mpnetPad - 1 };
  },
};
