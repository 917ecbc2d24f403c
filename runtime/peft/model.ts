// Models with adapters, made of models without: by a new adapter, or by one of a folder.

import type { KindName } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { PreTrainedModel } from '../generation/model.ts';
import type { Seq2SeqModel } from '../generation/seq2seq-model.ts';
import type { Models } from '../models/bind.ts';
import { type OpenedModel, sourceOf } from '../models/open.ts';
import type { SequenceModel } from '../models/sequence-model.ts';
import {
  checkLoading,
  checkMaking,
  type FirstAdapter,
  type LoadAdapterOptions,
  type NewAdapterOptions,
} from './adapted-model.ts';
import { checkConfig, type LoraConfig } from './config.ts';
import { openAdapter } from './files.ts';
import { PeftModelForCausalLM, PeftModelForSeq2SeqLM, PeftModelForSequences } from './models.ts';

/** A model with low-rank adapters. */
export type PeftModel = PeftModelForCausalLM | PeftModelForSeq2SeqLM | PeftModelForSequences<unknown>;

/** A model that takes adapters. */
type BaseModel = PreTrainedModel | Seq2SeqModel | SequenceModel<unknown>;

type PeftClass<K extends KindName> = new (model: Models[K], opened: OpenedModel<K>, first: FirstAdapter) => PeftModel;

/** The class of models with adapters, by kind. */
const classes: { readonly [K in KindName]: PeftClass<K> } = {
  'causal-lm': PeftModelForCausalLM,
  'seq2seq-lm': PeftModelForSeq2SeqLM,
  encoder: PeftModelForSequences<unknown>,
};

/** A model without adapters yet. */
function wrap<K extends KindName>(model: Models[K], first: FirstAdapter): PeftModel {
  const opened: OpenedModel<K> | undefined = sourceOf(model);
  if (opened) {
    const Wrapped: PeftClass<K> = classes[opened.kind.name];
    return new Wrapped(model, opened, first);
  }
  throw new ModelcError(
    'unsupported',
    'adapters need a model of from_pretrained; compiled artifacts and models with adapters take none',
  );
}

/**
 * A model with a new adapter. The model itself stays as it is. Throws ModelcError 'input' for targets that it lacks, and
 * 'unsupported' for what is not served.
 *
 *     const adapted = await get_peft_model(model, new LoraConfig({ r: 8 }))
 *     await new Trainer({ model: adapted, train_dataset }).train()
 *     await adapted.save_pretrained('out/adapter')
 */
export async function get_peft_model(
  model: PreTrainedModel,
  config: LoraConfig,
  adapter_name?: string,
  options?: NewAdapterOptions,
): Promise<PeftModelForCausalLM>;
export async function get_peft_model(
  model: Seq2SeqModel,
  config: LoraConfig,
  adapter_name?: string,
  options?: NewAdapterOptions,
): Promise<PeftModelForSeq2SeqLM>;
export async function get_peft_model<O>(
  model: SequenceModel<O>,
  config: LoraConfig,
  adapter_name?: string,
  options?: NewAdapterOptions,
): Promise<PeftModelForSequences<O>>;
export async function get_peft_model(
  model: BaseModel,
  config: LoraConfig,
  adapter_name = 'default',
  options: NewAdapterOptions = {},
): Promise<PeftModel> {
  checkConfig('get_peft_model()', config);
  checkMaking('get_peft_model()', options);
  const peft = wrap(model, { config });
  await peft.add_adapter(adapter_name, config, options);
  return peft;
}

/**
 * A model with the adapter of a folder. Embeddings and an output layer that its file brings are the model's, and so is
 * their number of rows. Throws ModelcError 'checkpoint' where that belongs to
 * another model.
 */
async function from_pretrained(
  model: PreTrainedModel,
  folder: string,
  options?: LoadAdapterOptions,
): Promise<PeftModelForCausalLM>;
async function from_pretrained(
  model: Seq2SeqModel,
  folder: string,
  options?: LoadAdapterOptions,
): Promise<PeftModelForSeq2SeqLM>;
async function from_pretrained<O>(
  model: SequenceModel<O>,
  folder: string,
  options?: LoadAdapterOptions,
): Promise<PeftModelForSequences<O>>;
async function from_pretrained(model: BaseModel, folder: string, options: LoadAdapterOptions = {}): Promise<PeftModel> {
  checkLoading('PeftModel.from_pretrained()', options, ['adapter_name', 'is_trainable', 'subfolder']);
  const { adapter_name = 'default', ...rest } = options;
  const peft = wrap(model, await openAdapter(folder, rest.subfolder));
  await peft.load_adapter(folder, adapter_name, rest);
  return peft;
}

export const PeftModel = { from_pretrained } as const;
