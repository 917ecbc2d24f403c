// AutoModelFor…: classes by the names that users of transformers know, each a task of openModel. A checkpoint folder, or a
// config alone, becomes a model that runs: compiled in this process for the CPU or a GPU, or interpreted.
import { kindOf, type TaskName } from '../../frontends/huggingface/index.ts';
import type { PreTrainedModel } from '../generation/model.ts';
import type { Seq2SeqModel } from '../generation/seq2seq-model.ts';
import { kinds } from '../models/kinds.ts';
import {
  checkLoadOptions,
  type LoadOptions,
  type SeedOption,
  type Seq2SeqLoadOptions,
  type TaskLoadOptions,
} from '../models/load-options.ts';
import { loadModel, newModel, openModel } from '../models/open.ts';
import type { EncoderOutput, LogitsOutput, SequenceModel, SpanOutput } from '../models/sequence-model.ts';

/** What the classes have: models are loaded, and not made with `new`. */
export interface AutoModelClass<M, O> {
  /** Makes no model; from_pretrained and from_config do. */
  new (): object;
  /**
   * The model of a checkpoint folder. Throws ModelcError 'checkpoint' or 'parse' when its files do not fit together,
   * 'toolchain' when it cannot be compiled, 'unsupported' for options that are not served.
   */
  from_pretrained(directory: string, options?: O): Promise<M>;
  /**
   * A new model of a config.json, its weights drawn as transformers draws them; `seed` (42) says which. Throws ModelcError
   * 'checkpoint' for a config that describes no model of this kind.
   */
  from_config(config: Readonly<Record<string, unknown>>, options?: O & SeedOption): Promise<M>;
}

function autoModel<M, O extends object>(task: TaskName): AutoModelClass<M, O> {
  const own = kinds[kindOf(task)].options;
  // biome-ignore lint/complexity/noStaticOnlyClass: the form that users of transformers know
  return class {
    static async from_pretrained(directory: string, options?: O): Promise<M> {
      checkLoadOptions('from_pretrained()', options, own);
      return (await loadModel(await openModel(directory, { ...options, task }))) as M;
    }
    static async from_config(config: Readonly<Record<string, unknown>>, options?: O & SeedOption): Promise<M> {
      const { seed, ...load } = { ...options } as O & SeedOption;
      checkLoadOptions('from_config()', load, own);
      return (await loadModel(newModel(config, { ...load, ...(seed === undefined ? {} : { seed }), task }))) as M;
    }
  };
}

/**
 * Decoders, which continue texts.
 *
 *     const model = await AutoModelForCausalLM.from_pretrained('FOLDER')
 *     const ids = await model.generate({ ...tokenizer('Once upon a time'), max_new_tokens: 20 })
 */
export class AutoModelForCausalLM extends autoModel<PreTrainedModel, LoadOptions>('causal-lm') {}

/**
 * Encoder-decoders, which translate and summarize.
 *
 *     const model = await AutoModelForSeq2SeqLM.from_pretrained('FOLDER')
 *     const ids = await model.generate({ ...tokenizer('translate English to German: Good morning.') })
 */
export class AutoModelForSeq2SeqLM extends autoModel<Seq2SeqModel, Seq2SeqLoadOptions>('seq2seq-lm') {}

/**
 * The model without a head: `last_hidden_state`, and `pooler_output` where it has one.
 *
 *     const encoder = await AutoModel.from_pretrained('FOLDER')
 *     const { last_hidden_state } = await encoder(tokenizer('Good morning.'))
 */
export class AutoModel extends autoModel<SequenceModel<EncoderOutput>, TaskLoadOptions>('encoder') {}

/**
 * Scores of the vocabulary for every position: `logits` [batch, length, vocab].
 *
 *     const bert = await AutoModelForMaskedLM.from_pretrained('FOLDER')
 *     const { logits } = await bert(tokenizer('The capital of France is [MASK].'))
 */
export class AutoModelForMaskedLM extends autoModel<SequenceModel<LogitsOutput>, TaskLoadOptions>('masked-lm') {}

/**
 * Scores of classes for every sequence: `logits` [batch, classes].
 *
 *     const classifier = await AutoModelForSequenceClassification.from_pretrained('FOLDER', { num_labels: 2 })
 *     const { logits } = await classifier(tokenizer(['So good.', 'So dull.'], { padding: true }))
 */
export class AutoModelForSequenceClassification extends autoModel<SequenceModel<LogitsOutput>, TaskLoadOptions>(
  'sequence-classification',
) {}

/**
 * Scores of classes for every position: `logits` [batch, length, classes].
 *
 *     const tagger = await AutoModelForTokenClassification.from_pretrained('FOLDER')
 *     const { logits } = await tagger(tokenizer('Ada Lovelace was born in London.'))
 */
export class AutoModelForTokenClassification extends autoModel<SequenceModel<LogitsOutput>, TaskLoadOptions>(
  'token-classification',
) {}

/**
 * Scores of where an answer starts and ends: `start_logits` and `end_logits` [batch, length].
 *
 *     const reader = await AutoModelForQuestionAnswering.from_pretrained('FOLDER')
 *     const { start_logits, end_logits } = await reader(tokenizer('Where was she born?', { text_pair: 'In London.' }))
 */
export class AutoModelForQuestionAnswering extends autoModel<SequenceModel<SpanOutput>, TaskLoadOptions>(
  'question-answering',
) {}

/**
 * Scores of classes for every image: `logits` [batch, classes] of `pixel_values` [batch, channels, height, width].
 *
 *     const classifier = await AutoModelForImageClassification.from_pretrained('FOLDER')
 *     const pixels = new Tensor('float32', new Float32Array(3 * 224 * 224), [1, 3, 224, 224])
 *     const { logits } = await classifier({ pixel_values: pixels })
 */
export class AutoModelForImageClassification extends autoModel<SequenceModel<LogitsOutput>, TaskLoadOptions>(
  'image-classification',
) {}

/** The class of every task. */
export const autoModels = {
  'causal-lm': AutoModelForCausalLM,
  'seq2seq-lm': AutoModelForSeq2SeqLM,
  encoder: AutoModel,
  'masked-lm': AutoModelForMaskedLM,
  'sequence-classification': AutoModelForSequenceClassification,
  'token-classification': AutoModelForTokenClassification,
  'question-answering': AutoModelForQuestionAnswering,
  'image-classification': AutoModelForImageClassification,
} as const satisfies Readonly<Record<TaskName, unknown>>;
