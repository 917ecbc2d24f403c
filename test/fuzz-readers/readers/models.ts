// Checkpoints: config.json of every family beside weights that fit it, generation_config.json, safetensors and the index of
// shards.
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  decodeElements,
  describeModel,
  openCheckpoint,
  readSafetensors,
  readSpan,
  type TaskName,
  writeSafetensors,
} from '../../../frontends/huggingface/index.ts';
import { isDType } from '../../../ir/dtype.ts';
import { AutoModelForCausalLM, GenerationConfig, ModelcError } from '../../../runtime/index.ts';
import { newWeights } from '../../../runtime/models/new-model.ts';
import { openModel } from '../../../runtime/models/open.ts';
import { savePretrained } from '../../../runtime/trainer/save-model.ts';
import { smallConfigs } from '../../support/small-models.ts';
import { mutateSafetensors } from '../bytes.ts';
import { mutateJson } from '../json.ts';
import type { Prepare } from '../reader.ts';

type SmallConfig = (typeof smallConfigs)[number];
const families = smallConfigs.map(({ config }) => config.model_type);

/** The weights of a small model, drawn and written. */
async function saveSmall({ config, tasks }: SmallConfig, folder: string): Promise<void> {
  const { task, initializerRange } = describeModel(config, 'a small config', tasks[tasks.length - 1]);
  await savePretrained(folder, { config, generationConfig: {}, weights: newWeights(task.model, initializerRange) });
}

/** The folder of a small checkpoint of a family. */
export async function smallCheckpoint(family: string, folder: string): Promise<string> {
  const path = join(folder, family);
  await saveSmall(smallConfigs[families.indexOf(family)], path);
  return path;
}

/** Opens a folder for a task, and traces what would be compiled. */
async function openFor(task: TaskName, folder: string): Promise<unknown> {
  const opened = await openModel(folder, { task, max_batch: 2 });
  return opened.trace(opened.kind.generates ? 'decode' : 'forward');
}

export const config: Prepare = async (folder) => {
  for (const [i, small] of smallConfigs.entries()) await saveSmall(small, join(folder, families[i]));
  const configs = smallConfigs.map((small) => small.config);
  return {
    make(random) {
      const { config } = random.pick(smallConfigs);
      const link = join(folder, config.model_type, 'model.safetensors');
      return { 'config.json': mutateJson(config, random, configs), 'model.safetensors': { link } };
    },
    async use(path) {
      // What loads a folder is the caller's choice: here that of the config's family, where it names one.
      const { model_type } = (await openCheckpoint(path)).config;
      const at = families.findIndex((family) => family === model_type);
      const { tasks } = smallConfigs[Math.max(0, at)];
      for (const task of tasks.slice(0, 2)) await openFor(task, path);
    },
  };
};

const generationSeeds = [
  { bos_token_id: 1, eos_token_id: 2, pad_token_id: 0, do_sample: true, temperature: 0.7, top_p: 0.9, top_k: 5, max_length: 12 },
  { eos_token_id: [1, 2], max_new_tokens: 3, num_beams: 2, length_penalty: 1.5, early_stopping: true, num_return_sequences: 2 },
  {
    _from_model_config: true, transformers_version: '4.46.1', cache_implementation: 'hybrid', repetition_penalty: 1.2,
    no_repeat_ngram_size: 2, bad_words_ids: [[3, 4], [5]], suppress_tokens: [7], begin_suppress_tokens: [8], min_p: 0.1,
    forced_bos_token_id: 1, forced_eos_token_id: 2, sequence_bias: [[[3], -1]], min_length: 2, typical_p: 0.9, epsilon_cutoff: 0.1,
    renormalize_logits: true, exponential_decay_length_penalty: [3, 1.1], guidance_scale: 1.5, stop_strings: ['a'], use_cache: true,
  },
]; // biome-ignore format: one table

export const generationConfig: Prepare = async (folder) => {
  const path = await smallCheckpoint('llama', folder);
  const model = await AutoModelForCausalLM.from_pretrained(path, { target: 'reference', max_batch: 4 });
  return {
    make: (random) => ({ 'generation_config.json': mutateJson(random.pick(generationSeeds), random, generationSeeds) }),
    async use(path) {
      const file = join(path, 'generation_config.json');
      const generation_config = GenerationConfig.parse(readFileSync(file, 'utf8'), file);
      try {
        await model.generate({ input_ids: [[3, 4]], generation_config, max_new_tokens: 1 });
      } catch (error) {
        // What a call refuses is named by its option: the file was read.
        if (!(error instanceof ModelcError)) throw error;
      }
    },
  };
};

export const safetensors: Prepare = async (folder) => {
  const path = await smallCheckpoint('gpt2', folder);
  const small = join(folder, 'small.safetensors');
  const tensor = (name: string, dtype: 'f32' | 'i64' | 'bool' | 'bf16', shape: number[], bytes: number) => ({ name, dtype, shape, data: new Uint8Array(bytes) }); // biome-ignore format: one row
  await writeSafetensors(small, [
    tensor('a', 'f32', [2, 3], 24),
    tensor('b', 'bf16', [4], 8),
    tensor('c', 'i64', [], 8),
    tensor('d', 'bool', [3, 0], 0),
    tensor('e', 'bool', [3], 3),
  ]);
  const seeds = [small, small, join(path, 'model.safetensors')].map((file) => readFileSync(file));
  return {
    make: (random) => ({ 'model.safetensors': mutateSafetensors(random.pick(seeds), random) }),
    async use(path) {
      const { tensors } = await readSafetensors(join(path, 'model.safetensors'));
      for (const { dtype, span } of tensors.values()) {
        const bytes = await readSpan(span);
        if (isDType(dtype)) decodeElements(bytes, dtype);
      }
    },
  };
};

export const index: Prepare = async (folder) => {
  const names = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
  const shard = (name: string) => ({ name, dtype: 'f32', shape: [2], data: new Uint8Array(8) }) as const;
  await writeSafetensors(join(folder, names[0]), [shard('a'), shard('b')]);
  await writeSafetensors(join(folder, names[1]), [shard('c')]);
  mkdirSync(join(folder, 'folder.safetensors'));
  const seed = { metadata: { total_size: 24 }, weight_map: { a: names[0], b: names[0], c: names[1] } };
  const others = [{ x: 'folder.safetensors' }, { x: '../x.safetensors' }, { x: 'config.json' }];
  return {
    make: (random) => ({
      'config.json': '{}',
      'model.safetensors.index.json': mutateJson(seed, random, others),
      ...Object.fromEntries([...names, 'folder.safetensors'].map((name) => [name, { link: join(folder, name) }])),
    }),
    async use(path) {
      const { tensors } = await openCheckpoint(path);
      for (const { span } of tensors.values()) await readSpan(span);
    },
  };
};
