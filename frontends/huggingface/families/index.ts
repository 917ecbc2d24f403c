// All families, by the model_type of config.json.
import type { Family } from './family.ts';
import { gptFamilies } from './gpt.ts';
import { gpt2 } from './gpt2.ts';
import { llamaFamilies } from './llama.ts';
import { llamaLikeFamilies } from './llama-like.ts';

export const families: Readonly<Record<string, Family>> = {
  ...gptFamilies,
  ...llamaFamilies,
  ...llamaLikeFamilies,
  gpt2,
};
