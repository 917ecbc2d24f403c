// The model classes of each kind: an executor and facts about a model become what users call. It knows executors, not
// compilers, so that compiled artifacts have the same classes as models that are compiled in this process.
import type { KindName } from '../../frontends/huggingface/index.ts';
import type { Executor } from '../execution/executor.ts';
import type { GenerationConfig } from '../generation/configuration.ts';
import { createModel, type ModelInfo, type PreTrainedModel } from '../generation/model.ts';
import { createSeq2SeqModel, type Seq2SeqInfo, type Seq2SeqModel } from '../generation/seq2seq-model.ts';
import { createSequenceModel, type SequenceModel, type SequenceModelInfo } from './sequence-model.ts';

/** Facts about a model that running it takes, by kind: plain data, which artifacts keep. */
export interface Infos {
  'causal-lm': ModelInfo;
  'seq2seq-lm': Seq2SeqInfo;
  encoder: SequenceModelInfo;
}

/** What users call, by kind. */
export interface Models {
  'causal-lm': PreTrainedModel;
  'seq2seq-lm': Seq2SeqModel;
  encoder: SequenceModel<unknown>;
}

type Binder<K extends KindName> = (
  executor: Executor,
  info: Infos[K],
  config: Readonly<Record<string, unknown>>,
  generationConfig: GenerationConfig,
) => Models[K];

const binders: { readonly [K in KindName]: Binder<K> } = {
  'causal-lm': createModel,
  'seq2seq-lm': createSeq2SeqModel,
  encoder: (executor, info, config) => createSequenceModel(executor, info, config),
};

/** The model of a kind. `config`: its config.json. `generationConfig`: of kinds that generate. */
export const bindModel = <K extends KindName>(kind: K, ...args: Parameters<Binder<K>>): Models[K] => {
  const bind: Binder<K> = binders[kind];
  return bind(...args);
};
