// Trains the example model: npm run train:storyteller [-- FOLDER]
// A grammar tells stories (stories.ts), a tokenizer is learned from them, and a small Llama learns to tell new ones: the
// plots within a hundred steps, who is who and what was lost after some hundreds more. Training computes in f32; the
// weights are kept in bf16, half as large. All draws follow from one seed. FOLDER/training keeps the curve of the losses.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readSafetensors, readTensor, writeSafetensors } from '../../frontends/huggingface/index.ts';
import { f32ToBf16Bits } from '../../ir/dtype.ts';
import {
  AutoModelForCausalLM,
  CurveCallback,
  createTokenizer,
  DataCollatorForSeq2Seq,
  Dataset,
  Trainer,
  TrainingArguments,
  train_tokenizer,
} from '../../runtime/index.ts';
import { tellStories } from './stories.ts';

const folder = process.argv[2] ?? join('examples', 'storyteller');
const training = join(folder, 'training');
const seed = 1;
/** Positions of the model: the longest story has some less. */
const context = 256;
/** The second round starts where the first ends: there the friends of stories learn to keep their names. */
const rounds = [
  { max_steps: 1500, learning_rate: 4e-3 },
  { max_steps: 1000, learning_rate: 2e-3 },
];

const texts = tellStories(10_000, seed);
const tokenizer = createTokenizer(train_tokenizer(texts, { vocab_size: 1024, model_max_length: context }));
const end = tokenizer.eos_token_id ?? 0;
const stories = Dataset.from_list(
  texts.map((text) => {
    const input_ids = [...tokenizer.encode(text), end];
    return { input_ids, labels: input_ids };
  }),
);
const { train, test } = stories.train_test_split({ test_size: 64, seed });

const special = { bos_token_id: end, eos_token_id: end, pad_token_id: end };
const config = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  dtype: 'float32',
  vocab_size: 1024,
  hidden_size: 128,
  intermediate_size: 448,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  max_position_embeddings: context,
  initializer_range: 0.06, // about what keeps the size of activations: attention to names is learned far sooner than at 0.02
  tie_word_embeddings: true,
  ...special,
};
const model = await AutoModelForCausalLM.from_config(config, { seed });
for (const [i, round] of rounds.entries()) {
  const trainer = new Trainer({
    model,
    args: new TrainingArguments({
      output_dir: training,
      seed: seed + i,
      ...round,
      per_device_train_batch_size: 8,
      optim: 'muon',
      lr_scheduler_type: 'cosine',
      warmup_steps: 30,
      weight_decay: 0.05,
      adam_beta2: 0.95,
      logging_steps: 20,
      eval_strategy: 'steps',
      eval_steps: 500,
      save_strategy: 'no',
    }),
    train_dataset: train,
    eval_dataset: test,
    processing_class: tokenizer,
    data_collator: new DataCollatorForSeq2Seq({ tokenizer }),
    callbacks: [new CurveCallback({ title: `Storyteller, round ${i + 1}` })],
  });
  await trainer.train();
  await trainer.save_model();
  trainer.dispose();
}

const tensors = [];
for (const [name, { span, shape }] of (await readSafetensors(join(training, 'model.safetensors'))).tensors) {
  const { data } = await readTensor(span, 'f32', shape);
  const bits = Uint16Array.from(data, f32ToBf16Bits);
  tensors.push({ name, dtype: 'bf16' as const, shape, data: new Uint8Array(bits.buffer) });
}
await writeSafetensors(join(folder, 'model.safetensors'), tensors);
await tokenizer.save_pretrained(folder);
const json = (name: string, value: object): Promise<void> =>
  writeFile(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
await json('config.json', { ...config, dtype: 'bfloat16' });
await json('generation_config.json', { ...special, do_sample: true, temperature: 0.8 });
