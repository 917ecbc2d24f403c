// All families, by the model_type of config.json.
import { albert } from './albert.ts';
import { bartFamilies } from './bart.ts';
import { bertFamilies } from './bert.ts';
import { distilbert } from './distilbert.ts';
import type { EncoderFamily } from './encoder-family.ts';
import { expertFamilies } from './experts.ts';
import type { Family } from './family.ts';
import { gptFamilies } from './gpt.ts';
import { gpt2 } from './gpt2.ts';
import { llamaFamilies } from './llama.ts';
import { llamaLikeFamilies } from './llama-like.ts';
import { mpnet } from './mpnet.ts';
import { recurrentFamilies } from './recurrent.ts';
import type { Seq2SeqFamily } from './seq2seq-family.ts';
import { t5Families } from './t5.ts';

/** Language models that read from left to right. */
export const families: Readonly<Record<string, Family>> = {
  ...expertFamilies,
  ...gptFamilies,
  ...llamaFamilies,
  ...llamaLikeFamilies,
  ...recurrentFamilies,
  gpt2,
};

/** Models that read a whole sequence at once. */
export const encoderFamilies: Readonly<Record<string, EncoderFamily>> = {
  ...bertFamilies,
  distilbert,
  albert,
  mpnet,
};

/** Models whose decoder continues a target beside what an encoder has read. */
export const seq2seqFamilies: Readonly<Record<string, Seq2SeqFamily>> = {
  ...t5Families,
  ...bartFamilies,
};
