// All families, by the model_type of config.json.
import { albert } from './albert.ts';
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

/** Language models that read from left to right. */
export const families: Readonly<Record<string, Family>> = {
  ...expertFamilies,
  ...gptFamilies,
  ...llamaFamilies,
  ...llamaLikeFamilies,
  gpt2,
};

/** Models that read a whole sequence at once. */
export const encoderFamilies: Readonly<Record<string, EncoderFamily>> = {
  ...bertFamilies,
  distilbert,
  albert,
  mpnet,
};
