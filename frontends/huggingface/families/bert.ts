// BERT, RoBERTa and its kin, and ELECTRA from the fields of transformers' config classes.
import {
  type BertConfig,
  BertModel,
  bertPredictions,
  denseClassifier,
  electraPredictions,
  pooledClassifier,
  robertaPredictions,
} from '../../../models/bert.ts';
import { firstPosition } from '../../../models/encoder.ts';
import type { Fields } from '../fields.ts';
import { bertDefaults, type EncoderDefaults, headOf, readEncoderConfig } from './encoder-family.ts';
import type { EncoderFamily } from './family.ts';

const loraTargets = ['query', 'value'];

/** Where a member departs from BERT. */
interface Member {
  readonly defaults?: EncoderDefaults;
  /** Positions are counted from the padding token on. */
  readonly countsTokens?: boolean;
  readonly embeddingSize?: number;
}

function readBertConfig(config: Fields, labels: number, member: Member): BertConfig {
  const encoder = readEncoderConfig(config, labels, member.defaults ?? bertDefaults);
  const embeddingSize = member.embeddingSize && config.size('embedding_size', member.embeddingSize);
  return {
    ...encoder,
    embeddingSize: embeddingSize ?? encoder.hiddenSize,
    typeVocabSize: config.size('type_vocab_size', 2),
    countsTokens: member.countsTokens ?? false,
  };
}

/** Positions of the longest sequence. */
const positions = ({ maxPositions, countsTokens, padding = -1 }: BertConfig): number =>
  countsTokens ? maxPositions - padding - 1 : maxPositions;

/** The pooler is a part of the encoder alone and of BERT's classifier, not of models that score tokens. */
const bert: EncoderFamily = {
  prefix: 'bert',
  loraTargets,
  read(fields, { head: task, labels }) {
    const config = readBertConfig(fields, labels, {});
    const encoder = new BertModel(config, { pooler: task === undefined || task === 'sequence-classification' });
    const head = headOf(config, task, {
      predictions: () => bertPredictions(config, encoder.embeddings.word_embeddings),
      classifier: () => pooledClassifier(config, encoder.pool ?? firstPosition),
    });
    return { encoder, head, vocabSize: config.vocabSize, maxPositions: positions(config) };
  },
};

const roberta = (defaults: EncoderDefaults): EncoderFamily => ({
  prefix: 'roberta',
  loraTargets,
  read(fields, { head: task, labels }) {
    const config = readBertConfig(fields, labels, { defaults, countsTokens: true });
    const encoder = new BertModel(config, { pooler: task === undefined });
    const head = headOf(config, task, {
      predictions: () => robertaPredictions(config, encoder.embeddings.word_embeddings),
      classifier: () => denseClassifier(config, 'tanh'),
    });
    return { encoder, head, vocabSize: config.vocabSize, maxPositions: positions(config) };
  },
});

const electra: EncoderFamily = {
  prefix: 'electra',
  loraTargets,
  read(fields, { head: task, labels }) {
    const defaults = { ...bertDefaults, hiddenSize: 256, intermediateSize: 1024, heads: 4 };
    const config = readBertConfig(fields, labels, { defaults, embeddingSize: 128 });
    const encoder = new BertModel(config, { pooler: false });
    const head = headOf(config, task, {
      predictions: () => electraPredictions(config, encoder.embeddings.word_embeddings),
      classifier: () => denseClassifier(config, 'gelu'),
    });
    return { encoder, head, vocabSize: config.vocabSize, maxPositions: positions(config) };
  },
};

const robertaDefaults = { ...bertDefaults, padding: 1 };

export const bertFamilies = {
  bert,
  roberta: roberta({ ...robertaDefaults, vocabSize: 50265 }),
  'xlm-roberta': roberta(robertaDefaults),
  camembert: roberta(robertaDefaults),
  electra,
} satisfies Readonly<Record<string, EncoderFamily>>;
