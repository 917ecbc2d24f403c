// Every reader of outside data, by the name that the command takes.
import type { Prepare } from '../reader.ts';
import { csv, jsonLines, parquet } from './data.ts';
import { config, generationConfig, index, safetensors } from './models.ts';
import { irText, manifest } from './programs.ts';
import { template, tokenizer } from './texts.ts';
import { adapter, trainConfig, trainerCheckpoint } from './training.ts';

export const readers: Readonly<Record<string, Prepare>> = {
  config,
  'generation-config': generationConfig,
  safetensors,
  index,
  tokenizer,
  template,
  adapter,
  'ir-text': irText,
  'json-lines': jsonLines,
  csv,
  parquet,
  'train-config': trainConfig,
  'trainer-checkpoint': trainerCheckpoint,
  manifest,
};
