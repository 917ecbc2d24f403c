// Training: adapters, the config of `modelc train`, and the checkpoints that a training goes on from.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { readTrainConfig } from '../../../runtime/cli/train-config.ts';
import {
  AutoModelForCausalLM,
  get_last_checkpoint,
  get_peft_model,
  LoraConfig,
  ModelcError,
  PeftModel,
  TrainingArguments,
} from '../../../runtime/index.ts';
import { checkArguments, readPlace, readTrainerState } from '../../../runtime/trainer/checkpoint.ts';
import { TrainerState } from '../../../runtime/trainer/trainer-state.ts';
import { mutateSafetensors } from '../bytes.ts';
import { Raw } from '../hostile-values.ts';
import { mutateJson, mutateText, mutateTree } from '../json.ts';
import type { Prepare } from '../reader.ts';
import { smallCheckpoint } from './models.ts';

export const adapter: Prepare = async (folder) => {
  const base = await AutoModelForCausalLM.from_pretrained(await smallCheckpoint('llama', folder), {
    target: 'reference',
  });
  const configs = [
    { r: 2, target_modules: ['q_proj', 'v_proj'] },
    { r: 4, lora_alpha: 16, target_modules: '.*(down|up)_proj', use_dora: true, rank_pattern: { up_proj: 2 } },
    { r: 2, target_modules: 'all-linear', use_rslora: true, lora_bias: true },
  ];
  const names = ['adapter_config.json', 'adapter_model.safetensors'] as const;
  const seeds: { config: unknown; weights: Buffer }[] = [];
  for (const [i, fields] of configs.entries()) {
    const place = join(folder, `adapter-${i}`);
    await (await get_peft_model(base, new LoraConfig(fields))).save_pretrained(place);
    const [config, weights] = names.map((name) => readFileSync(join(place, name)));
    seeds.push({ config: JSON.parse(config.toString()), weights });
  }
  const others = seeds.map(({ config }) => config);
  return {
    make(random) {
      const { config, weights } = random.pick(seeds);
      const isConfig = random.chance(0.7);
      return {
        [names[0]]: isConfig ? mutateJson(config, random, others) : JSON.stringify(config),
        [names[1]]: !isConfig || random.chance(0.2) ? mutateSafetensors(weights, random) : weights,
      };
    },
    async use(path) {
      await PeftModel.from_pretrained(base, path);
    },
  };
};

const trainSeeds = [
  {
    model: { model_type: 'llama', vocab_size: 64, hidden_size: 16, num_hidden_layers: 1 },
    tokenizer: { vocab_size: 300 },
    data: { format: 'text', train: ['a.txt'], eval_part: 0.1, block_size: 16, sample_by: 'line' },
    training: { output_dir: 'out', max_steps: 10, learning_rate: 5e-4, lr_scheduler_type: 'cosine', optim: 'adamw_torch', logging_steps: 5 },
  },
  {
    model: 'folder',
    data: { format: 'json', train: 'b.jsonl', eval: 'c.jsonl', text_column: 'text' },
    training: { output_dir: 'out', num_train_epochs: 2, per_device_train_batch_size: 4, save_strategy: 'epoch', eval_strategy: 'steps', seed: 1, bf16: false },
    lora: { r: 8, target_modules: ['q_proj'], lora_alpha: 16 },
  },
]; // biome-ignore format: one table
const yamlSeeds = [
  ...trainSeeds.map((seed) => stringify(seed)),
  'a: &a [x, x]\nb: &b [*a, *a]\nmodel: *b\n',
  'model: folder\n<<: {data: {}}\ntraining: !!map {output_dir: out}\n? [a]\n: b\n--- \nx: |\n  y\n',
];

/** Aliases of aliases: a short text that says very much. */
const bomb = (depth: number): string =>
  Array.from({ length: depth }, (_, i) => `a${i}: &a${i} [${i === 0 ? 'x' : Array(9).fill(`*a${i - 1}`)}]\n`).join('');

const isPlain = (value: unknown): boolean => !(value instanceof Raw);

export const trainConfig: Prepare = async () => ({
  make(random) {
    if (random.chance(0.01)) return { 'train.yaml': bomb(random.below(30)) + yamlSeeds[0] };
    if (random.chance(0.4)) return { 'train.yaml': mutateText(random.pick(yamlSeeds), random, yamlSeeds) };
    const tree = mutateTree(random.pick(trainSeeds), random, trainSeeds);
    const text = JSON.stringify(tree, (_, value) => (isPlain(value) ? value : value.text));
    return { 'train.yaml': random.chance(0.5) ? text : stringify(JSON.parse(text)) };
  },
  async use(folder) {
    const { training, lora } = readTrainConfig(join(folder, 'train.yaml'));
    try {
      new TrainingArguments(training as ConstructorParameters<typeof TrainingArguments>[0]);
      if (lora) new LoraConfig(lora);
    } catch (error) {
      // They are named by their field: the file was read.
      if (!(error instanceof ModelcError)) throw error;
    }
  },
});

const stateSeed = (): unknown => {
  const state = new TrainerState();
  Object.assign(state, { epoch: 0.5, global_step: 5, max_steps: 10, num_train_epochs: 1, best_metric: 1.5 });
  state.log_history = [{ loss: 2.5, learning_rate: 1e-4, epoch: 0.5, step: 5 }];
  state.stateful_callbacks = { TrainerControl: { args: { should_save: true }, attributes: {} } };
  return JSON.parse(state.to_json());
};

export const trainerCheckpoint: Prepare = async () => {
  const args = new TrainingArguments({ output_dir: 'out' });
  const files = {
    'trainer_state.json': stateSeed(),
    'scheduler.json': {
      steps: 5,
      metric: { best: 1, num_bad_epochs: 0, cooldown_counter: 0, last_epoch: 1, _last_lr: [1e-4] },
    },
    'training_args.json': JSON.parse(JSON.stringify(args.to_dict())) as unknown,
  };
  const others = Object.values(files);
  return {
    make(random) {
      const broken = random.pick(Object.keys(files));
      return Object.fromEntries(
        Object.entries(files).map(([name, seed]) => [
          name,
          name === broken ? mutateJson(seed, random, others) : JSON.stringify(seed),
        ]),
      );
    },
    async use(folder) {
      await get_last_checkpoint(folder);
      (await readTrainerState(folder)).to_json();
      await readPlace(folder);
      await checkArguments(folder, args);
    },
  };
};
