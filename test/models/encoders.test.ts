// Encoders against what transformers computed, and what holds for any of them: rows of a batch do not see each other or
// padding, native code agrees with the interpreter, losses follow their formulas, and misuse is named.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  binaryCrossEntropy,
  group,
  initialValues,
  meanSquaredError,
  relativeBucket,
  spanLoss,
  type Tracer,
  trace,
  traceTask,
} from '../../frontends/dsl/index.ts';
import { describeModel, writeSafetensors } from '../../frontends/huggingface/index.ts';
import { evaluate } from '../../ir/eval.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import {
  AutoModel,
  AutoModelForImageClassification,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
  Tensor,
} from '../../runtime/index.ts';
import { hasMaterial, material, readArrays, readJson, relativeError } from '../support/golden.ts';

const reference = { target: 'reference' } as const;
const listOf = ({ shape, data }: NdArray): number[] | number[][] =>
  shape.length === 1
    ? [...data]
    : Array.from({ length: shape[0] }, (_, r) => [...data.slice(r * shape[1], (r + 1) * shape[1])]);

describe.skipIf(!hasMaterial)(hasMaterial ? 'golden cases' : 'golden cases (skipped: no ../shared/data)', () => {
  const heads = {
    mlm: AutoModelForMaskedLM,
    seqcls: AutoModelForSequenceClassification,
    tokcls: AutoModelForTokenClassification,
  };
  const cases = ['bert', 'roberta', 'xlm_roberta', 'camembert', 'distilbert'].flatMap((name) => [
    `${name}_mlm`,
    `${name}_seqcls`,
  ]);
  test.each([...cases, 'bert_tokcls', 'distilbert_tokcls', 'electra_mlm', 'albert_seqcls', 'mpnet_mlm'])(
    '%s: logits, hidden states and loss',
    async (name) => {
      const folder = join(material, 'hf-golden', name);
      const { kind, train } = readJson<{ kind: keyof typeof heads; train: { losses: number[] } }>(
        join(folder, 'golden.json'),
      );
      const golden = await readArrays(join(folder, 'golden.safetensors'));
      const model = await heads[kind].from_pretrained(folder, reference);
      const column = (name: string): number[] | number[][] | null => {
        const array = golden.get(name);
        return array ? listOf(array) : null;
      };
      const { logits, hidden_states, loss } = await model({
        input_ids: column('input_ids') ?? [],
        attention_mask: column('attention_mask'),
        token_type_ids: column('token_type_ids'),
        labels: column('label_labels'),
        output_hidden_states: true,
      });
      expect(relativeError(logits.data, golden.get('logits')!.data)).toBeLessThan(1e-5);
      for (const [i, state] of hidden_states!.entries()) {
        expect(relativeError(state.data, golden.get(`hidden_${i}`)!.data)).toBeLessThan(1e-5);
      }
      expect(hidden_states).toHaveLength(3);
      expect(loss!.item()).toBeCloseTo(train.losses[0], 4);
    },
  );

  test.each(['reference', 'cpu'] as const)('a ViT classifies images on %s', async (target) => {
    const folder = join(material, 'hf-golden', 'vit');
    const golden = await readArrays(join(folder, 'golden.safetensors'));
    const { shape, data } = golden.get('pixel_values')!;
    const model = await AutoModelForImageClassification.from_pretrained(folder, { target });
    const { logits } = await model({ pixel_values: new Tensor('float32', Float32Array.from(data), shape) });
    expect(relativeError(logits.data, golden.get('logits')!.data)).toBeLessThan(1e-5);
    await expect(model({ input_ids: [1] })).rejects.toThrow('does not know the option `input_ids`');
    model.dispose();
  });

  test('the encoder of a checkpoint with a head, and its pooled output', async () => {
    const folder = join(material, 'hf-golden', 'bert_seqcls');
    const golden = await readArrays(join(folder, 'golden.safetensors'));
    const model = await AutoModel.from_pretrained(folder, reference);
    const { last_hidden_state, pooler_output } = await model({
      input_ids: listOf(golden.get('input_ids')!),
      attention_mask: listOf(golden.get('attention_mask')!),
      token_type_ids: listOf(golden.get('token_type_ids')!),
    });
    expect(relativeError(last_hidden_state.data, golden.get('hidden_2')!.data)).toBeLessThan(1e-5);
    expect(pooler_output!.dims).toEqual([2, 32]);
  });
});

const config = {
  model_type: 'bert',
  vocab_size: 50,
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 24,
  max_position_embeddings: 12,
  id2label: { 0: 'no', 1: 'perhaps', 2: 'yes' },
};

describe('a small BERT', () => {
  let folder = '';
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'modelc-bert-'));
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    let seed = 1;
    const uniform = (): number => (seed = (seed * 48271) % 2147483647) / 2147483647;
    const tasks = (['sequence-classification', 'masked-lm', 'question-answering'] as const).map(
      (name) =>
        describeModel(name === 'question-answering' ? { ...config, id2label: null } : config, 'config.json', name).task
          .model,
    );
    const weights = new Map(tasks.flatMap((model) => [...initialValues(model, uniform, 0.5)]));
    const shapes = new Map(tasks.flatMap((model) => [...model.named()].map(([name, p]) => [name, p.shape] as const)));
    const tensors = [...weights].map(([name, data]) => {
      const shape = shapes.get(name)!;
      return { name, dtype: 'f32', shape, data: new Uint8Array(data.buffer) } as const;
    });
    await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('a row gives the same alone, padded in a batch, and in native code', async () => {
    const [interpreted, native] = await Promise.all([
      AutoModelForSequenceClassification.from_pretrained(folder, reference),
      AutoModelForSequenceClassification.from_pretrained(folder, { max_batch: 2 }),
    ]);
    const batch = {
      input_ids: [
        [1, 2, 3, 0, 0],
        [9, 8, 7, 6, 5],
      ],
      attention_mask: [
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1],
      ],
      token_type_ids: [
        [0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
      ],
    };
    const alone = await interpreted({ input_ids: [1, 2, 3], token_type_ids: [0, 1, 1] });
    const together = await interpreted(batch);
    const compiled = await native(batch);
    expect(alone.logits.dims).toEqual([1, 3]);
    expect(relativeError(together.logits.data.subarray(0, 3), alone.logits.data)).toBeLessThan(1e-6);
    expect(relativeError(compiled.logits.data, together.logits.data)).toBeLessThan(1e-5);
    // Types matter, and without labels there is no loss.
    const untyped = await native({ input_ids: [1, 2, 3] });
    expect(relativeError(untyped.logits.data, alone.logits.data)).toBeGreaterThan(1e-3);
    expect(Object.keys(compiled)).toEqual(['logits']);
    native.dispose();
  });

  test('answers have two scores for every position', async () => {
    await expect(AutoModelForQuestionAnswering.from_pretrained(folder, reference)).rejects.toThrow(
      /id2label must be 2 labels, the start and the end of an answer \(num_labels: 2 makes it so\), found \{"0":"no"/,
    );
    const model = await AutoModelForQuestionAnswering.from_pretrained(folder, { ...reference, num_labels: 2 });
    const ids = new Tensor('int64', BigInt64Array.of(4n, 5n, 6n, 7n), [1, 4]);
    const output = await model({ input_ids: ids, start_positions: [1], end_positions: [2] });
    expect([output.start_logits.dims, output.end_logits.dims]).toEqual([
      [1, 4],
      [1, 4],
    ]);
    const score = (logits: Float32Array, at: number): number =>
      Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0)) - logits[at];
    const expected = (score(output.start_logits.data, 1) + score(output.end_logits.data, 2)) / 2;
    expect(output.loss!.item()).toBeCloseTo(expected, 5);
  });

  test('misuse is named', async () => {
    const model = await AutoModelForMaskedLM.from_pretrained(folder, { ...reference, max_batch: 2, max_length: 6 });
    await expect(model({ input_ids: [1, 2, 50] })).rejects.toThrow(
      'input_ids holds the token id 50, but the vocabulary has 50 tokens',
    );
    await expect(model({ input_ids: [[1, 2], [3]] })).rejects.toThrow('input_ids has rows of 2 and 1 numbers');
    await expect(model({ input_ids: [1], start_positions: [0] })).rejects.toThrow(
      'does not know the option `start_positions`',
    );
    await expect(model({ input_ids: [1, 2, 3, 4, 5, 6, 7] })).rejects.toThrow('seq');
    await expect(AutoModelForMaskedLM.from_pretrained(folder, { max_length: 13 })).rejects.toThrow(
      'max_length is 13, but the model has positions for 12 tokens',
    );
    expect(() => describeModel({ model_type: 'llama' }, 'config.json', 'masked-lm')).toThrow(
      "config.json has model_type 'llama', which is not known for this task",
    );
    expect(() => describeModel({ ...config, is_decoder: true }, 'config.json', 'masked-lm')).toThrow('is_decoder');
  });
});

describe('losses', () => {
  const lossOf = (
    inputs: Record<string, NdArray>,
    build: (t: Tracer) => ReturnType<typeof meanSquaredError>,
  ): number => {
    const { graph } = trace(
      'loss',
      group({}),
      () => 'f32',
      (t) => t.result('loss', build(t)),
    );
    return evaluate(graph, { params: new Map(Object.entries(inputs)) }).results.get('loss')!.data[0];
  };

  test('regression and independent decisions', () => {
    const inputs = { x: ndarray('f32', [2, 2], [1, -2, 30, -40]), y: ndarray('f32', [2, 2], [0, 1, 1, 0]) };
    const with_ = (loss: typeof meanSquaredError) =>
      lossOf(inputs, (t) => loss(t.input('x', 'f32', [2, 2]), t.input('y', 'f32', [2, 2])));
    expect(with_(meanSquaredError)).toBeCloseTo((1 + 9 + 29 ** 2 + 1600) / 4, 3);
    expect(with_(binaryCrossEntropy)).toBeCloseTo((Math.log1p(Math.E) + Math.log1p(Math.exp(2))) / 4, 6);
  });

  test('an answer behind the sequence does not count', () => {
    const logits = ndarray('f32', [2, 3], [1, 2, 3, 5, 5, 5]);
    const inputs = { a: logits, b: logits, from: ndarray('i32', [2], [0, 3]), to: ndarray('i32', [2], [7, 1]) };
    const loss = lossOf(inputs, (t) =>
      spanLoss(
        [t.input('a', 'f32', [2, 3]), t.input('b', 'f32', [2, 3])],
        [t.input('from', 'i32', [2]), t.input('to', 'i32', [2])],
      ),
    );
    const first = Math.log(Math.exp(1) + Math.exp(2) + Math.exp(3)) - 1;
    expect(loss).toBeCloseTo((first + Math.log(3)) / 2, 5);
  });
});

test('distances fall into the buckets that T5 was trained with', () => {
  const one = { buckets: 32, heads: 1, bidirectional: false };
  const two = { ...one, bidirectional: true };
  expect([0, 5, -1, -15, -16, -20, -31, -64, -127, -128, -500].map((d) => relativeBucket(d, one))).toEqual([
    0, 0, 1, 15, 16, 17, 21, 26, 31, 31, 31,
  ]);
  expect([0, 1, 7, 8, 11, 12, 16, 64, 128, -1, -7, -16, -300].map((d) => relativeBucket(d, two))).toEqual([
    0, 17, 23, 24, 24, 25, 26, 30, 31, 1, 7, 10, 15,
  ]);
});

test.each([
  ['bert', 'cls.predictions.decoder', 'cls.predictions.bias'],
  ['roberta', 'lm_head.decoder', 'lm_head.bias'],
  ['distilbert', 'vocab_projector', undefined],
  ['electra', 'generator_lm_head', undefined],
])('%s: an output layer that is not tied is read in place of the embeddings', (model_type, layer, bias) => {
  const read = (tie_word_embeddings: boolean): string[] => {
    const { task } = describeModel({ model_type, tie_word_embeddings }, 'config.json', 'masked-lm');
    const { graph } = traceTask(task, 'forward', { batch: 2, seq: 8 }, () => 'f32');
    return graph.params.map((p) => p.attrs.name);
  };
  expect(read(true)).not.toContain(`${layer}.weight`);
  expect(read(false)).toEqual(expect.arrayContaining([`${layer}.weight`, `${layer}.bias`]));
  if (bias) expect(read(false)).not.toContain(bias);
});
