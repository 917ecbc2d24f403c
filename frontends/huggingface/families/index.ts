// All families, by the model_type of config.json: those of decoders, of encoder-decoders and of encoders.
import { albert } from './albert.ts';
import { bartFamilies } from './bart.ts';
import { bertFamilies } from './bert.ts';
import { distilbert } from './distilbert.ts';
import { expertFamilies } from './experts.ts';
import type { AnyFamily, Family, FamilyReader, KindName } from './family.ts';
import { gptFamilies } from './gpt.ts';
import { gpt2 } from './gpt2.ts';
import { llamaFamilies } from './llama.ts';
import { llamaLikeFamilies } from './llama-like.ts';
import { mpnet } from './mpnet.ts';
import { otherNames } from './other-names.ts';
import { recurrentFamilies } from './recurrent.ts';
import { t5Families } from './t5.ts';
import { vit } from './vit.ts';

const rows = <K extends KindName>(
  kind: K,
  readers: Readonly<Record<string, FamilyReader<K>>>,
): Record<string, Family<K>> =>
  Object.fromEntries(
    Object.entries(readers).map(([modelType, reader]) => [
      modelType,
      { ...reader, modelType, kind, names: otherNames[modelType] ?? {} },
    ]),
  );

export const families: Readonly<Record<string, AnyFamily>> = {
  ...rows('causal-lm', {
    ...expertFamilies,
    ...gptFamilies,
    ...llamaFamilies,
    ...llamaLikeFamilies,
    ...recurrentFamilies,
    gpt2,
  }),
  ...rows('seq2seq-lm', { ...t5Families, ...bartFamilies }),
  ...rows('encoder', { ...bertFamilies, distilbert, albert, mpnet, vit }),
};

/** The model_types of the families of a kind. */
export const supportedTypes = (kind: KindName): string[] =>
  Object.values(families).flatMap((family) => (family.kind === kind ? [family.modelType] : []));
