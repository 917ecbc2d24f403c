// Training adapters against what Python's PEFT computed: from the same initial adapters, five steps of AdamW on one batch.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { DeviceName } from '../../backends/index.ts';
import { AdamW, traceTraining } from '../../frontends/dsl/index.ts';
import { readSafetensors, readSpan } from '../../frontends/huggingface/index.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import {
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  type LogitsOutput,
  PeftModel,
  type PeftModelForCausalLM,
  type PeftModelForSeq2SeqLM,
  type PeftModelForSequences,
} from '../../runtime/index.ts';
import type { HostTensor } from '../../runtime/tensors/host-tensor.ts';
import { TrainingSession } from '../../runtime/trainer/training-session.ts';
import { hasMaterial, material, readArrays, readJson } from '../support/golden.ts';

const oracle = join(material, 'hf-oracle/peft');

/** f32 in another order of summation, after steps of Adam: as the oracle's README suggests. */
const lossTolerance = 1e-4;
const normTolerance = 1e-3;
/** Norms below this part of the largest one are what rounding left of 0. */
const normFloor = 1e-3;
const logitsTolerance = 2e-4;

interface Golden {
  readonly losses: readonly number[];
  readonly loss_after: number;
  readonly grad_norms_step0: Readonly<Record<string, number>>;
}

const ignored = -100;
const integers = ({ shape, data }: NdArray): HostTensor => ({
  dtype: 'i64',
  shape,
  data: BigInt64Array.from(data, BigInt),
});

const listOf = ({ shape: [rows, length], data }: NdArray): number[][] =>
  Array.from({ length: rows }, (_, r) => [...data.slice(r * length, (r + 1) * length)]);

async function load(
  model: string,
  folder: string,
): Promise<PeftModelForCausalLM | PeftModelForSeq2SeqLM | PeftModelForSequences<LogitsOutput>> {
  const path = join(oracle, model, 'checkpoint');
  const options = { target: 'reference' } as const;
  const trained = { is_trainable: true };
  switch (model) {
    case 'bert':
      return PeftModel.from_pretrained(
        await AutoModelForSequenceClassification.from_pretrained(path, options),
        folder,
        trained,
      );
    case 't5':
      return PeftModel.from_pretrained(await AutoModelForSeq2SeqLM.from_pretrained(path, options), folder, trained);
    default:
      return PeftModel.from_pretrained(await AutoModelForCausalLM.from_pretrained(path, options), folder, trained);
  }
}

async function check(model: string, variant: string, target: DeviceName): Promise<void> {
  const folder = join(oracle, model, variant);
  const golden = readJson<Golden>(join(folder, 'golden.json'));
  const arrays = await readArrays(join(folder, 'golden.safetensors'));
  const peft = await load(model, join(folder, 'adapter_init'));
  if (variant.startsWith('pissa_niter')) await restoreBase(peft);
  const { trainable } = peft;
  const { task, weights, isTrained } = trainable;
  const columns = { input_ids: integers(arrays.get('input_ids')!), labels: integers(arrays.get('labels')!) };
  const [rows, length] = columns.input_ids.shape;
  // The rows of a model with an encoder are pairs: a source, and a target that is as long as the labels.
  const isPair = task.inputs.some(({ name }) => name === 'decoder_input_ids');
  const dims: Record<string, number> = isPair
    ? { batch: rows, source: length, seq: columns.labels.shape[1] }
    : { batch: rows, seq: length };
  const labels = Array.from(columns.labels.data as BigInt64Array, Number);
  const count = labels.filter((label, i) => i % length > 0 && label !== ignored).length;
  const items = task.countsItems ? { num_items: count } : {};
  const training = traceTraining(
    task,
    ['train', 'accumulate'],
    { optimizer: AdamW({ weight_decay: 0.01 }), dims, isTrained: isTrained! },
    weights.resolve,
  );
  const session = await TrainingSession.open({ training, target, weights });
  const relative = (loss: HostTensor, want: number): number => Math.abs(Number(loss.data[0]) - want) / want;
  try {
    await session.run('accumulate', columns, items);
    const largest = Math.max(...Object.values(golden.grad_norms_step0));
    const read: string[] = [];
    for (const { name, param } of peft.adapters.trainable) {
      if (!session.states.includes(`grad.${param}`)) continue;
      const { data } = await session.read(`grad.${param}`);
      const want = golden.grad_norms_step0[name];
      const error = Math.abs(Math.hypot(...Array.from(data as Float32Array)) - want);
      expect(error / Math.max(want, normFloor * largest), name).toBeLessThan(normTolerance);
      read.push(name);
    }
    const moving = Object.keys(golden.grad_norms_step0).filter((name) => golden.grad_norms_step0[name] > 0);
    expect(read).toEqual(expect.arrayContaining(moving));
    for (const [i, want] of golden.losses.entries()) {
      const { loss } = await session.run('train', columns, { learning_rate: 0.01, ...items });
      expect(relative(loss, want), `loss of step ${i}`).toBeLessThan(lossTolerance);
    }
    const values = new Map<string, HostTensor>();
    for (const name of training.parameters) values.set(name, await session.read(name));
    await trainable.adopt(values);
    const { loss } = await session.run('accumulate', columns, items);
    expect(relative(loss, golden.loss_after)).toBeLessThan(lossTolerance);
    const inputs = { input_ids: listOf(arrays.get('input_ids')!) };
    const { logits } = await peft.forward(isPair ? { ...inputs, labels: listOf(arrays.get('labels')!) } : inputs);
    const wanted = arrays.get('logits_trained')!.data;
    const worst = logits.data.reduce((most, v, i) => Math.max(most, Math.abs(v - wanted[i])), 0);
    expect(worst).toBeLessThan(10 * logitsTolerance);
  } finally {
    session.dispose();
  }
}

/** A copy of the bytes of the one tensor in a file. */
async function bytesOf(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const { tensors } = await readSafetensors(path);
  return Uint8Array.from(await readSpan(tensors.get('data')!.span));
}

const variantsOf = (model: string): string[] =>
  hasMaterial ? readdirSync(join(oracle, model)).filter((v) => existsSync(join(oracle, model, v, 'adapter_init'))) : [];

/**
 * An initialisation that is drawn at random has left in the base what the adapter of the file does not hold: gives the
 * base W - s B A, as it was then.
 */
async function restoreBase({ adapters }: Awaited<ReturnType<typeof load>>): Promise<void> {
  for (const { module, scaling, rank } of adapters.get('default').targets) {
    const [a, b] = ['lora_A', 'lora_B'].map(
      (name) => adapters.values.get(`base_model.model.${module.name}.${name}.default.weight`)!.data,
    );
    const whole = await adapters.base.read(module.weight);
    const data = Float32Array.from(whole.data as Float32Array, (w, i) => {
      const [row, column] = [Math.floor(i / module.in), i % module.in];
      let change = 0;
      for (let k = 0; k < rank; k++) change += Number(b[row * rank + k]) * Number(a[k * module.in + column]);
      return w - scaling * change;
    });
    adapters.changed.set(module.weight, { ...whole, data });
  }
}

describe.skipIf(!hasMaterial)('steps of training', () => {
  for (const model of ['llama', 'gpt2', 'bert', 't5']) {
    test.each(variantsOf(model))(`${model} in the interpreter: %s`, (variant) => check(model, variant, 'reference'));
  }
  test('llama on the CPU: dora_embedding', () => check('llama', 'dora_embedding', 'cpu'));

  test('LoRA on stories260K: the first steps of the recorded run, and what its adapter computes in the end', async () => {
    const folder = join(material, 'hf-trained/lora-stories260K-shakespeare');
    const golden = readJson<{ readonly train_loss: readonly number[] }>(join(folder, 'golden.json'));
    const tokens = new Int16Array((await bytesOf(join(folder, 'tokens.safetensors'))).buffer);
    const offsets = new Int32Array((await bytesOf(join(folder, 'batch_offsets.safetensors'))).buffer);
    const base = await AutoModelForCausalLM.from_pretrained(join(material, 'lm/stories260K/hf'), {
      target: 'reference',
    });
    const peft = await PeftModel.from_pretrained(base, join(folder, 'init'), { is_trainable: true });
    const { task, weights, isTrained } = peft.trainable;
    // Each row has 128 tokens and, as labels, those that follow them.
    const [rows, length] = [8, 129];
    const training = traceTraining(
      task,
      ['train'],
      { optimizer: AdamW({ weight_decay: 0 }), dims: { batch: rows, seq: length }, isTrained: isTrained! },
      weights.resolve,
    );
    const session = await TrainingSession.open({ training, target: 'cpu', weights });
    for (const [step, want] of golden.train_loss.slice(0, 8).entries()) {
      const starts = Array.from(offsets.subarray(step * rows, (step + 1) * rows));
      const ids = starts.flatMap((start) => [...tokens.subarray(start, start + length)]);
      const input: HostTensor = { dtype: 'i64', shape: [rows, length], data: BigInt64Array.from(ids, BigInt) };
      const scalars = { learning_rate: 2e-3, num_items: rows * (length - 1) };
      const { loss } = await session.run('train', { input_ids: input, labels: input }, scalars);
      expect(Math.abs(Number(loss.data[0]) - want) / want, `loss of step ${step}`).toBeLessThan(1e-5);
    }
    session.dispose();

    const final = await PeftModel.from_pretrained(base, join(folder, 'final'));
    const arrays = await readArrays(join(folder, 'golden_logits.safetensors'));
    const input_ids = [[...arrays.get('input_ids')!.data]];
    const difference = (a: Float32Array, b: ArrayLike<number>): number =>
      a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), 0);
    const adapted = (await final.forward({ input_ids })).logits.data;
    expect(difference(adapted, arrays.get('logits_adapter')!.data)).toBeLessThan(logitsTolerance);
    const merged = (await (await final.merge_and_unload()).forward({ input_ids })).logits.data;
    expect(difference(merged, arrays.get('logits_merged')!.data)).toBeLessThan(logitsTolerance);
  });
});
