// How the weights of a checkpoint meet a model: tied tables under any of their names, heads of their own, heads that are made
// new, names that wrappers have put something before, and weights that nobody reads.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Parameter, pathsOf } from '../../frontends/dsl/index.ts';
import {
  describeModel,
  fittedModel,
  openCheckpoint,
  readSafetensors,
  type TaskName,
  type TensorSource,
  writeSafetensors,
} from '../../frontends/huggingface/index.ts';
import type { JsonObject } from '../../frontends/huggingface/json.ts';
import {
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForMaskedLM,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
  type Tensor,
} from '../../runtime/index.ts';
import { newWeights } from '../../runtime/models/new-model.ts';
import { bytesOf } from '../../runtime/tensors/host-tensor.ts';
import { material, readJson, relativeError } from '../support/golden.ts';
import { smallConfigs } from '../support/small-models.ts';

const root = mkdtempSync(join(tmpdir(), 'modelc-fit-'));
afterAll(() => rmSync(root, { recursive: true }));
const reference = { target: 'reference' } as const;

let warnings: string[] = [];
beforeEach(() => {
  warnings = [];
  vi.spyOn(console, 'warn').mockImplementation((text: string) => void warnings.push(text));
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** A folder with that config and those weights. */
async function write(config: JsonObject, tensors: readonly TensorSource[]): Promise<string> {
  const folder = mkdtempSync(join(root, 'f-'));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  return folder;
}

/** The new weights of a config for a task, as they would be saved. */
async function weightsOf(config: JsonObject, task: TaskName): Promise<TensorSource[]> {
  const described = describeModel(config, 'the config', task);
  const store = newWeights(described.task.model, 0.5, 3);
  return Promise.all(
    store.tensors.map(async ([name]) => {
      const { dtype, shape, data } = await store.stored(name);
      return { name, dtype, shape, data: bytesOf(data) };
    }),
  );
}

const named = (tensors: readonly TensorSource[], name: string): TensorSource => tensors.find((t) => t.name === name)!;
const renamed = (tensors: readonly TensorSource[], rename: (name: string) => string): TensorSource[] =>
  tensors.map((t) => ({ ...t, name: rename(t.name) }));
/** The same shape with other values. */
const other = (t: TensorSource, name: string): TensorSource => ({
  ...t,
  name,
  data: bytesOf(Float32Array.from({ length: (t.data as Uint8Array).length / 4 }, (_, i) => Math.sin(i + 1))),
});
const zeros = (name: string, ...shape: number[]): TensorSource => ({
  name,
  dtype: 'f32',
  shape,
  data: new Uint8Array(4 * shape.reduce((n, d) => n * d, 1)),
});

const llama = {
  model_type: 'llama', vocab_size: 24, hidden_size: 16, intermediate_size: 20, num_hidden_layers: 2,
  num_attention_heads: 2, max_position_embeddings: 32, tie_word_embeddings: true,
}; // biome-ignore format: one table
const bert = {
  model_type: 'bert', vocab_size: 24, hidden_size: 16, intermediate_size: 20, num_hidden_layers: 2,
  num_attention_heads: 2, max_position_embeddings: 32, initializer_range: 0.3,
}; // biome-ignore format: one table
const ids = { input_ids: [[3, 9, 2, 7, 10]] };
const table = 'model.embed_tokens.weight';
const logitsOf = async (model: (inputs: typeof ids) => Promise<{ logits: Tensor }>): Promise<number[]> =>
  Array.from((await model(ids)).logits.data, Number);
const causal = async (folder: string): Promise<number[]> =>
  logitsOf(await AutoModelForCausalLM.from_pretrained(folder, reference));

describe('tied tables', () => {
  test('one table serves both uses under either name; a head with the same values is the table', async () => {
    const weights = await weightsOf(llama, 'causal-lm');
    const want = await causal(await write(llama, weights));
    const underHead = renamed(weights, (name) => (name === table ? 'lm_head.weight' : name));
    expect(await causal(await write(llama, underHead))).toEqual(want);
    const both = await write(llama, [...weights, { ...named(weights, table), name: 'lm_head.weight' }]);
    expect(await causal(both)).toEqual(want);
    const model = await AutoModelForCausalLM.from_pretrained(both, reference);
    expect(model.trainable!.weights.tensors.map(([name]) => name)).not.toContain('lm_head.weight');
  });

  test('a head with other values is used, whatever the flag says, and is saved again', async () => {
    const weights = await weightsOf(llama, 'causal-lm');
    const own = [...weights, other(named(weights, table), 'lm_head.weight')];
    const want = await causal(await write({ ...llama, tie_word_embeddings: false }, own));
    const folder = await write(llama, own);
    expect(await causal(folder)).toEqual(want);
    expect(want).not.toEqual(await causal(await write(llama, weights)));
    const model = await AutoModelForCausalLM.from_pretrained(folder, reference);
    const saved = join(root, 'saved-again');
    await model.trainable!.write(saved);
    expect([...(await readSafetensors(join(saved, 'model.safetensors'))).tensors.keys()]).toContain('lm_head.weight');
    expect(await causal(saved)).toEqual(want);
  });

  test('in every family, every name of a tied weight serves, and an output layer of its own is read', async () => {
    for (const { config, tasks } of smallConfigs) {
      for (const task of tasks.filter((name) => ['causal-lm', 'seq2seq-lm', 'masked-lm'].includes(name))) {
        const tied = { ...config, tie_word_embeddings: true };
        const { model } = describeModel(tied, 'the config', task).task;
        const shared = [...pathsOf(model).values()].filter((paths) => paths.length > 1);
        expect(
          shared.some(([first]) => model.named().get(first)!.constructor === Parameter),
          config.model_type,
        ).toBe(true);
        const weights = await weightsOf(tied, task);
        const open = async (tensors: readonly TensorSource[]) =>
          fittedModel(await openCheckpoint(await write(tied, tensors)), task);
        for (const [first, ...others] of shared) {
          for (const name of others) {
            const { checkpoint } = await open(renamed(weights, (n) => (n === first ? name : n)));
            expect([...checkpoint.tensors.keys()].sort()).toEqual(weights.map((t) => t.name).sort());
          }
        }
        const [first, ...others] = shared.find(([path]) => named(weights, path).shape.length === 2)!;
        const head = others.at(-1)!; // the output layer comes last
        const { checkpoint } = await open([...weights, other(named(weights, first), head)]);
        expect(checkpoint.tensors.has(head), `${config.model_type}: ${head}`).toBe(true);
      }
    }
  });

  test('two tables that the model has as one are refused', async () => {
    const { config } = smallConfigs.find(({ config: c }) => c.model_type === 'bart')!;
    const weights = await weightsOf(config, 'seq2seq-lm');
    const folder = await write(config, [
      ...weights,
      other(named(weights, 'model.shared.weight'), 'model.encoder.embed_tokens.weight'),
    ]);
    await expect(AutoModelForSeq2SeqLM.from_pretrained(folder, reference)).rejects.toThrow(
      /different values for model\.shared\.weight and model\.encoder\.embed_tokens\.weight, which are one weight/,
    );
  });

  test.skipIf(!existsSync(join(material, 'field')))('cases from the field', async () => {
    for (const name of [
      'tied-flag-but-own-head',
      'tied-weights-under-lm-head',
      'gemma-legacy-gelu',
      'pad-token-minus-one',
    ]) {
      const folder = join(material, 'field', name);
      const { input_ids, last_logits, greedy } = readJson<{
        input_ids: number[][];
        last_logits: number[];
        greedy: number[];
      }>(join(folder, 'expected.json'));
      const model = await AutoModelForCausalLM.from_pretrained(join(folder, 'model'), reference);
      const { logits } = await model({ input_ids });
      const last = Array.from(logits.data).slice(-last_logits.length);
      expect(relativeError(last, last_logits), name).toBeLessThan(2e-5);
      const max_new_tokens = greedy.length - input_ids[0].length;
      const tokens = await model.generate({ input_ids, max_new_tokens, do_sample: false });
      expect(tokens.tolist(), name).toEqual([greedy.map(BigInt)]);
    }
  });
});

describe('names', () => {
  test.each([
    ['DataParallel', (name: string) => `module.${name}`],
    ['torch.compile', (name: string) => `_orig_mod.${name}`],
    ['both', (name: string) => `module._orig_mod.${name}`],
    ['FSDP', (name: string) => name.replace('layers.', '_fsdp_wrapped_module.layers.')],
    ['a model around it', (name: string) => `model.${name}`],
    ['anything around it', (name: string) => `student.net.${name}`],
  ])('that %s wrapped are read', async (_, wrap) => {
    const untied = { ...llama, tie_word_embeddings: false };
    for (const config of [llama, untied]) {
      const weights = await weightsOf(config, 'causal-lm');
      const want = await causal(await write(config, weights));
      expect(await causal(await write(config, renamed(weights, wrap)))).toEqual(want);
    }
  });

  test('gamma and beta are a weight and a bias of a norm', async () => {
    const weights = await weightsOf(bert, 'masked-lm');
    const old = renamed(weights, (n) => n.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta')); // biome-ignore format: one line
    const open = async (tensors: readonly TensorSource[]) =>
      logitsOf(await AutoModelForMaskedLM.from_pretrained(await write(bert, tensors), reference));
    expect(await open(old)).toEqual(await open(weights));
  });
});

describe('weights that nobody reads', () => {
  const buffers = [
    'model.layers.0.self_attn.rotary_emb.inv_freq',
    'model.rotary_emb.inv_freq',
    'model.layers.1.attn.masked_bias',
    'model.position_ids',
  ];

  test('buffers are passed over without a word', async () => {
    const weights = await weightsOf(llama, 'causal-lm');
    const mask = zeros('model.layers.0.attn.bias', 1, 1, 4, 4);
    const folder = await write(llama, [...weights, ...buffers.map((name) => zeros(name, 4)), mask]);
    expect(await causal(folder)).toEqual(await causal(await write(llama, weights)));
    expect(warnings).toEqual([]);
  });

  test.each([
    ['a norm', 'model.layers.0.self_attn.q_norm.weight', /the weight model\.layers\.0\.self_attn\.q_norm\.weight that/],
    [
      'a bias',
      'model.layers.0.mlp.up_proj.bias',
      /the weight model\.layers\.0\.mlp\.up_proj\.bias that .* does not read/,
    ],
    ['a bias of the head', 'lm_head.bias', /lm_head\.bias/],
    ['a further layer', 'model.layers.2.mlp.up_proj.weight', /mend config\.json/],
    ['an unknown part', '__proto__.weight', /__proto__\.weight/],
  ])('%s is refused by name', async (_, name, message) => {
    const weights = await weightsOf(llama, 'causal-lm');
    await expect(causal(await write(llama, [...weights, zeros(name, 4)]))).rejects.toThrow(message);
  });

  test('packed weights are refused as such', async () => {
    const weights = renamed(await weightsOf(llama, 'causal-lm'), (n) =>
      n.replace(/up_proj\.weight$/, 'up_proj.qweight'),
    );
    await expect(causal(await write(llama, weights))).rejects.toThrow(/packed weights .*up_proj\.qweight/);
  });

  test('a layer that predicts further tokens is passed over', async () => {
    const weights = await weightsOf(llama, 'causal-lm');
    const further = ['eh_proj', 'enorm', 'self_attn.q_proj'].map((part) => zeros(`model.layers.2.${part}.weight`, 4));
    expect(await causal(await write(llama, [...weights, ...further]))).toHaveLength(5 * 24);
  });

  test('heads of other tasks are named in a warning', async () => {
    const pretrained = [...(await weightsOf(bert, 'masked-lm')), zeros('cls.seq_relationship.weight', 2, 16)];
    const folder = await write(bert, pretrained);
    await AutoModel.from_pretrained(folder, reference);
    expect(warnings.join('\n')).toMatch(
      /has \d weights \(.*cls\.seq_relationship\.weight.* of which this model makes no use/,
    );
    expect(warnings.join('\n')).toMatch(
      /lacks 2 weights \(pooler\.dense\.weight, pooler\.dense\.bias\): new values are drawn/,
    );
  });
});

describe('weights that are missing', () => {
  test('are listed together, with what is there instead', async () => {
    const weights = (await weightsOf({ ...llama, num_hidden_layers: 4 }, 'causal-lm')).filter(
      ({ name }) => !/layers\.\d\.mlp/.test(name),
    );
    const folder = await write({ ...llama, num_hidden_layers: 4 }, [
      ...weights,
      zeros('model.norm_of_mine.weight', 16),
    ]);
    await expect(causal(folder)).rejects.toThrow(
      /lacks 12 weights \(model\.layers\.\[0-3\]\.mlp\.gate_proj\.weight, .*\); it has the weight model\.norm_of_mine\.weight instead; its config\.json does not fit/,
    );
  });

  test('a head is made new, the same for the same checkpoint, with a warning', async () => {
    const base = (await weightsOf(bert, 'encoder')).map((t) => ({ ...t, name: `bert.${t.name}` }));
    const folder = await write(bert, base);
    const open = (options = {}) =>
      AutoModelForSequenceClassification.from_pretrained(folder, { ...reference, num_labels: 3, ...options });
    const [one, two] = [await open(), await open()];
    expect(await logitsOf(one)).toHaveLength(3);
    expect(await logitsOf(one)).toEqual(await logitsOf(two));
    expect(new Set(await logitsOf(one)).size).toBe(3);
    expect(warnings).toEqual([
      expect.stringMatching(/lacks 2 weights \(classifier\.weight, classifier\.bias\): new values are drawn/),
    ]);
    const deviation = (values: ArrayLike<number>): number =>
      Math.sqrt(Array.from(values).reduce((sum, v) => sum + v * v, 0) / values.length);
    const { data } = await one.trainable!.weights.read('classifier.weight');
    expect(Math.abs(deviation(data as Float32Array) - 0.3)).toBeLessThan(0.12); // 48 numbers of that deviation
  });

  test('num_labels, id2label and label2id are written as transformers writes them', async () => {
    const base = await weightsOf(bert, 'encoder');
    const folder = await write({ ...bert, id2label: { 0: 'a', 1: 'b' }, label2id: { a: 0, b: 1 } }, base);
    const configOf = async (options: object): Promise<JsonObject> => {
      const model = await AutoModelForTokenClassification.from_pretrained(folder, { ...reference, ...options });
      return model.trainable!.config;
    };
    expect((await configOf({})).id2label).toEqual({ 0: 'a', 1: 'b' });
    expect((await configOf({ num_labels: 2 })).id2label).toEqual({ 0: 'a', 1: 'b' });
    const three = await configOf({ num_labels: 3 });
    expect(three.id2label).toEqual({ 0: 'LABEL_0', 1: 'LABEL_1', 2: 'LABEL_2' });
    expect(three.label2id).toEqual({ LABEL_0: 0, LABEL_1: 1, LABEL_2: 2 });
    const own = await configOf({ id2label: { 0: 'x', 1: 'y', 2: 'z' } });
    expect([own.id2label, own.label2id]).toEqual([
      { 0: 'x', 1: 'y', 2: 'z' },
      { x: 0, y: 1, z: 2 },
    ]);
    await expect(configOf({ num_labels: 2, id2label: { 0: 'x' } })).rejects.toThrow(
      /`num_labels` is 2, but `id2label`/,
    );
    await expect(configOf({ num_labels: 1e9 })).rejects.toThrow(/num_labels/);
    await expect(configOf({ num_labls: 3 })).rejects.toThrow(/did you mean `num_labels`/);
  });

  test('weights of other shapes are refused, or made new where that is asked for', async () => {
    const folder = await write(bert, await weightsOf({ ...bert, num_labels: 3 }, 'sequence-classification'));
    const open = (options: object) =>
      AutoModelForSequenceClassification.from_pretrained(folder, { ...reference, ...options });
    await expect(open({ num_labels: 5 })).rejects.toThrow(
      /classifier\.weight .* has shape \[3,16\], but .*asks for \[5,16\].*ignore_mismatched_sizes: true/,
    );
    const model = await open({ num_labels: 5, ignore_mismatched_sizes: true });
    expect(await logitsOf(model)).toHaveLength(5);
    expect(warnings.at(-1)).toMatch(
      /classifier\.weight, classifier\.bias\), or has other shapes: new values are drawn/,
    );
  });

  test('a whole file of other names is not called an incomplete download alone', async () => {
    const folder = await write(llama, [zeros('alpha.w', 3), zeros('beta.w', 3)]);
    await expect(causal(folder)).rejects.toThrow(/it has 2 weights \(alpha\.w, beta\.w\) instead/);
  });
});

test("Gemma's legacy gelu is the approximation with tanh, and a warning says so", async () => {
  const gemma = { ...llama, model_type: 'gemma', head_dim: 8, num_key_value_heads: 1, hidden_act: 'gelu' };
  const weights = await weightsOf({ ...gemma, model_type: 'llama' }, 'causal-lm');
  const open = async (config: JsonObject, hidden_act: string): Promise<number[]> =>
    causal(await write({ ...config, hidden_act }, weights));
  expect(await open(gemma, 'gelu')).toEqual(await open(gemma, 'gelu_pytorch_tanh'));
  expect(warnings).toEqual([expect.stringMatching(/hidden_act 'gelu' of a Gemma means 'gelu_pytorch_tanh'/)]);
  const plain = { ...gemma, model_type: 'llama' };
  expect(await open(plain, 'gelu')).not.toEqual(await open(plain, 'gelu_pytorch_tanh'));
});
