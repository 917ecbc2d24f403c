// Collators, samplers and the loader, beside what transformers' own give for the same examples.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { lengthsOf, RandomSampler } from '../../runtime/data/samplers.ts';
import {
  AutoTokenizer,
  type Batch,
  type DataCollator,
  DataCollatorForLanguageModeling,
  DataCollatorForMultipleChoice,
  DataCollatorForPermutationLanguageModeling,
  DataCollatorForSeq2Seq,
  DataCollatorForTokenClassification,
  DataCollatorForWholeWordMask,
  DataCollatorWithFlattening,
  DataCollatorWithPadding,
  DataLoader,
  Dataset,
  DefaultDataCollator,
  IterableDataset,
  LengthGroupedSampler,
  remove_unused_columns,
  Tensor,
} from '../../runtime/index.ts';
import { hasMaterial, material, readJson } from '../support/golden.ts';

/** Tensors as nested arrays. */
function show(batch: Batch): Record<string, unknown> {
  const nest = (list: readonly number[], [, ...inner]: readonly number[]): unknown => {
    if (inner.length === 0) return list;
    const size = inner.reduce((n, d) => n * d, 1);
    return Array.from({ length: list.length / size }, (_, i) => nest(list.slice(i * size, (i + 1) * size), inner));
  };
  const entries = Object.entries(batch).map(([name, { shape, data }]) => [name, nest(Array.from(data, Number), shape)]);
  return Object.fromEntries(entries);
}

/** A WordPiece-like vocabulary: [PAD] [UNK] [CLS] [SEP] [MASK], then w5, ##w6, w7, ##w8 … */
const vocabulary = Array.from({ length: 200 }, (_, i) => (i % 2 === 1 ? `w${i}` : `##w${i}`));
vocabulary.splice(0, 5, '[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]');
const tokenizer = {
  pad_token_id: 0 as number | null,
  mask_token_id: 4,
  all_special_ids: [0, 1, 2, 3, 4],
  model_max_length: 512,
  padding_side: 'right' as 'left' | 'right',
  get_vocab: () => new Map(vocabulary.map((token, id) => [token, id])),
  id_to_token: (id: number) => vocabulary[id],
};
const unpadded = { ...tokenizer, pad_token_id: null };

describe('collators that pad', () => {
  test('default: label becomes labels, text is left out', () => {
    const batch = new DefaultDataCollator()([
      { input_ids: [1, 2], label: 1, text: 'a', score: 0.5, ok: true },
      { input_ids: new Tensor('int64', BigInt64Array.of(3n, 4n), [2]), label: 0, text: 'b', score: 1, ok: false },
    ]);
    expect(show(batch)).toEqual({
      input_ids: [
        [1, 2],
        [3, 4],
      ],
      labels: [1, 0],
      score: [0.5, 1],
      ok: [1, 0],
    });
    expect([batch.input_ids.dtype, batch.score.dtype, batch.ok.dtype]).toEqual(['i32', 'f32', 'bool']);
  });
  test('with padding, to a multiple', () => {
    const collate = new DataCollatorWithPadding({ tokenizer, pad_to_multiple_of: 4 });
    const features = [
      { input_ids: [2, 9, 3], token_type_ids: [0, 1, 1], label: 1 },
      { input_ids: [2, 9, 8, 7, 3], token_type_ids: [0, 0, 0, 1, 1], label: 0 },
    ];
    expect(show(collate(features))).toEqual({
      input_ids: [
        [2, 9, 3, 0, 0, 0, 0, 0],
        [2, 9, 8, 7, 3, 0, 0, 0],
      ],
      token_type_ids: [
        [0, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 0, 0, 0],
      ],
      attention_mask: [
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0],
      ],
      labels: [1, 0],
    });
  });
  test('labels of tokens, on either side', () => {
    const features = [
      { input_ids: [2, 9, 3], labels: [-100, 5, -100] },
      { input_ids: [2, 9, 8, 3], labels: [-100, 1, 2, -100] },
    ];
    const labels = (side: 'left' | 'right') =>
      show(new DataCollatorForTokenClassification({ tokenizer: { ...tokenizer, padding_side: side } })(features));
    expect(labels('right').labels).toEqual([
      [-100, 5, -100, -100],
      [-100, 1, 2, -100],
    ]);
    expect(labels('left')).toEqual({
      input_ids: [
        [0, 2, 9, 3],
        [2, 9, 8, 3],
      ],
      attention_mask: [
        [0, 1, 1, 1],
        [1, 1, 1, 1],
      ],
      labels: [
        [-100, -100, 5, -100],
        [-100, 1, 2, -100],
      ],
    });
  });
  test('sequence to sequence: labels have a length of their own, and the model makes what its decoder reads', () => {
    const features = [
      { input_ids: [2, 9, 3], labels: [5, 3] },
      { input_ids: [2, 3], labels: [1, 2, 3] },
    ];
    const model = { prepare_decoder_input_ids_from_labels: (labels: Batch[string]) => labels };
    const batch = show(new DataCollatorForSeq2Seq({ tokenizer, model, pad_to_multiple_of: 4 })(features));
    expect(batch.labels).toEqual([
      [5, 3, -100, -100],
      [1, 2, 3, -100],
    ]);
    expect(batch.decoder_input_ids).toEqual(batch.labels);
    const longest = show(new DataCollatorForSeq2Seq({ tokenizer, padding: 'max_length', max_length: 5 })(features));
    expect(longest.labels).toEqual([
      [5, 3, -100, -100, -100],
      [1, 2, 3, -100, -100],
    ]);
    expect(longest.input_ids).toEqual([
      [2, 9, 3, 0, 0],
      [2, 3, 0, 0, 0],
    ]);
    expect(longest).not.toHaveProperty('decoder_input_ids');
  });
  test('multiple choice', () => {
    const batch = new DataCollatorForMultipleChoice({ tokenizer })([
      {
        input_ids: [
          [2, 9, 3],
          [2, 3],
        ],
        label: 1,
      },
      {
        input_ids: [
          [2, 3],
          [2, 7, 8, 3],
        ],
        label: 0,
      },
    ]);
    expect(show(batch)).toEqual({
      input_ids: [
        [
          [2, 9, 3, 0],
          [2, 3, 0, 0],
        ],
        [
          [2, 3, 0, 0],
          [2, 7, 8, 3],
        ],
      ],
      attention_mask: [
        [
          [1, 1, 1, 0],
          [1, 1, 0, 0],
        ],
        [
          [1, 1, 0, 0],
          [1, 1, 1, 1],
        ],
      ],
      labels: [1, 0],
    });
  });
  test('flattening', () => {
    const features = [
      { input_ids: [2, 9, 3], labels: [1, 2, -100] },
      { input_ids: [5, 6], labels: [5, 6] },
    ];
    expect(show(new DataCollatorWithFlattening({ return_seq_idx: true })(features))).toEqual({
      input_ids: [[2, 9, 3, 5, 6]],
      labels: [[-100, 2, -100, -100, 6]],
      position_ids: [[0, 1, 2, 0, 1]],
      seq_idx: [[0, 0, 0, 1, 1]],
    });
    expect(show(new DataCollatorWithFlattening()([{ input_ids: [2, 9, 3] }])).labels).toEqual([[-100, 9, 3]]);
  });
  test('examples that make no batch are errors that say which and why', () => {
    const fail = (collate: DataCollator, ...features: object[]) => expect(() => collate(features));
    const plain = new DefaultDataCollator();
    fail(plain, { x: [1, 2] }, { x: [1] }).toThrow(/column "x" has 1 values in example 1, but 2 in example 0/);
    fail(plain, { x: [1, 2] }, { x: 1 }).toThrow(/column "x" holds 1 in example 1, unlike example 0/);
    fail(plain, { x: 1 }, {}).toThrow('example 1 has no "x"');
    fail(plain).toThrow('at least one example');
    fail(plain, { x: 2 ** 40 }).toThrow('more than 32 bits');
    const padding = new DataCollatorWithPadding({ tokenizer });
    fail(padding, { input_ids: [1], text: 'abc' }).toThrow('column "text" holds the text "abc" in example 0');
    fail(padding, { text: 'abc' }).toThrow('need the column input_ids; they have: text');
    const ids = [{ input_ids: [1] }, { input_ids: [1, 2] }];
    fail(new DataCollatorWithPadding({ tokenizer: unpadded }), ...ids).toThrow('the tokenizer has no pad token');
    expect(show(new DataCollatorWithPadding({ tokenizer: unpadded })([ids[0]])).input_ids).toEqual([[1]]);
    fail(new DataCollatorWithPadding({ tokenizer, padding: false }), ...ids).toThrow('set padding');
    const tokens = new DataCollatorForTokenClassification({ tokenizer });
    fail(tokens, { input_ids: [1], labels: [1, 2] }).toThrow('"labels" has 2 values in example 0, but its inputs');
    const used = remove_unused_columns(padding, ['input_ids', 'attention_mask', 'labels']);
    expect(show(used([{ input_ids: [1], text: 'abc', label: 2 }]))).toEqual({
      input_ids: [[1]],
      attention_mask: [[1]],
      labels: [2],
    });
    fail(used, { text: 'abc' }).toThrow('no column of the examples (text) is one that the model takes');
  });
});

describe('collators of language modelling', () => {
  const row = [2, ...Array.from({ length: 97 }, (_, i) => 5 + i), 3];
  const rows = Array.from({ length: 40 }, () => ({ input_ids: row }));

  test('causal: labels are the tokens, padding does not count', () => {
    const collate = new DataCollatorForLanguageModeling({ tokenizer, mlm: false });
    expect(show(collate([{ input_ids: [2, 9, 3] }, { input_ids: [2, 3] }]))).toEqual({
      input_ids: [
        [2, 9, 3],
        [2, 3, 0],
      ],
      attention_mask: [
        [1, 1, 1],
        [1, 1, 0],
      ],
      labels: [
        [2, 9, 3],
        [2, 3, -100],
      ],
    });
    expect(show(collate([[5, 6]])).labels).toEqual([[5, 6]]);
  });
  test('masked: 15 % are asked for, of which 80 % are masked and 10 % random; special tokens never', () => {
    const collate = new DataCollatorForLanguageModeling({ tokenizer, seed: 3 });
    const { input_ids, labels } = collate([...rows, { input_ids: [2, 3] }]);
    const counts = { asked: 0, masked: 0, same: 0 };
    for (let i = 0; i < labels.data.length; i++) {
      const [id, label] = [Number(input_ids.data[i]), Number(labels.data[i])];
      const original = i < 40 * row.length ? row[i % row.length] : ([2, 3][i - 40 * row.length] ?? 0);
      if (label === -100) expect(id).toBe(original);
      else {
        expect(label).toBe(original);
        expect(original).toBeGreaterThan(4);
        counts.asked++;
        if (id === 4) counts.masked++;
        else if (id === original) counts.same++;
      }
    }
    expect(counts.asked / (40 * 97)).toBeCloseTo(0.15, 1);
    expect(counts.masked / counts.asked).toBeCloseTo(0.8, 1);
    expect(counts.same / counts.asked).toBeCloseTo(0.1, 1);
  });
  test('a batch of a run draws the same numbers whenever it is made', () => {
    const collate = new DataCollatorForLanguageModeling({ tokenizer });
    const at = (seed: number, epoch: number, batch: number) => show(collate(rows, { seed, epoch, batch })).labels;
    const labels = at(42, 1, 7);
    collate(rows);
    expect(at(42, 1, 7)).toEqual(labels);
    for (const other of [at(43, 1, 7), at(42, 2, 7), at(42, 1, 8)]) expect(other).not.toEqual(labels);
  });
  test('whole words are masked or not', () => {
    for (const side of ['left', 'right'] as const) {
      const collate = new DataCollatorForWholeWordMask({
        tokenizer: { ...tokenizer, padding_side: side },
        mlm_probability: 0.5,
        seed: 1,
      });
      const short = [2, 5, 6, 7, 8, 3]; // words: 5 6, 7 8
      const { labels, input_ids } = collate([...rows, { input_ids: short }]);
      let words = 0;
      const firstWord = 1;
      for (let r = 0; r < 40; r++) {
        for (let i = firstWord; i + 1 < row.length - 1; i += 2) {
          const [a, b] = [i, i + 1].map((k) => Number(labels.data[r * row.length + k]) !== -100);
          expect(a).toBe(b);
          if (a) expect(Number(input_ids.data[r * row.length + i])).toBe(4);
          if (a) words++;
        }
      }
      expect(words / (40 * 48)).toBeCloseTo(0.5, 1);
      const last = Array.from(labels.data, Number).slice(40 * row.length);
      const start = side === 'left' ? row.length - short.length : 0;
      expect(last[start + 1] === -100).toBe(last[start + 2] === -100);
      for (const [i, label] of last.entries()) if (i < start || i >= start + short.length) expect(label).toBe(-100);
    }
    const collate = new DataCollatorForLanguageModeling({
      tokenizer,
      whole_word_mask: true,
      mlm_probability: 0.5,
      seed: 2,
    });
    const offsets = [
      [0, 0],
      [0, 2],
      [2, 4],
      [4, 6],
      [7, 9],
      [0, 0],
    ];
    for (let i = 0; i < 20; i++) {
      const batch = collate([{ input_ids: [2, 5, 7, 9, 11, 3], offset_mapping: offsets }]);
      const asked = Array.from(batch.labels.data, Number).map((label) => label !== -100);
      expect(new Set(asked.slice(1, 4)).size).toBe(1);
      expect(batch).not.toHaveProperty('offset_mapping');
    }
  });
  test('permutation: what is asked for is hidden from itself and from what comes earlier in the order', () => {
    const collate = new DataCollatorForPermutationLanguageModeling({ tokenizer, seed: 1 });
    const even = row.slice(0, 60);
    const { input_ids, labels, perm_mask, target_mapping } = collate([{ input_ids: even }]);
    let asked = 0;
    for (let i = 0; i < 60; i++) {
      const isAsked = Number(labels.data[i]) !== -100;
      if (isAsked) asked++;
      expect(Number(input_ids.data[i])).toBe(isAsked ? 4 : even[i]);
      expect(Number(target_mapping.data[i * 60 + i])).toBe(1);
      expect(Number(perm_mask.data[i * 60 + i])).toBe(isAsked ? 1 : 0);
      for (let j = 0; j < i; j++) {
        const hidden = [perm_mask.data[i * 60 + j], perm_mask.data[j * 60 + i]].map(Number);
        if (isAsked && Number(labels.data[j]) !== -100) expect(hidden[0] + hidden[1]).toBeGreaterThan(0);
      }
    }
    expect(asked).toBeGreaterThan(3);
    expect(() => collate([{ input_ids: [5, 6, 7] }])).toThrow('rows of an even length');
  });
  test('a tokenizer without a mask, and probabilities out of range', () => {
    const bare = { ...tokenizer, mask_token_id: null };
    expect(() => new DataCollatorForLanguageModeling({ tokenizer: bare })).toThrow('pass mlm: false');
    expect(() => new DataCollatorForLanguageModeling({ tokenizer, mlm_probability: 1.5 })).toThrow('between 0 and 1');
  });
});

describe('the order of examples', () => {
  const numbered = (n: number) => Dataset.from_list(Array.from({ length: n }, (_, x) => ({ x })));
  const collate_fn = new DefaultDataCollator();
  const seen = async (batches: AsyncIterable<Batch>): Promise<number[][]> => {
    const list: number[][] = [];
    for await (const { x } of batches) list.push(Array.from(x.data, Number));
    return list;
  };

  test('groups by length as transformers does', () => {
    const lengths = Array.from({ length: 30 }, (_, i) => ((i * 7) % 13) + 1);
    expect(new LengthGroupedSampler({ lengths, batch_size: 3, seed: 5 }).order(0)).toEqual([
      11, 25, 6, 28, 15, 2, 22, 20, 18, 29, 12, 13, 24, 7, 1, 27, 10, 17, 3, 16, 23, 21, 4, 0, 9, 5, 14, 8, 19, 26,
    ]);
    const data = Dataset.from_dict({ input_ids: [[1], [1, 2]] });
    expect(lengthsOf(data)).toEqual([1, 2]);
    expect(lengthsOf(data.map(() => ({ length: 9 })))).toEqual([9, 9]);
    expect(() => lengthsOf(Dataset.from_dict({ text: ['a'] }))).toThrow('there is no column "input_ids"');
  });
  test.skipIf(!hasMaterial)('is that of the Trainer, as is the padding', async () => {
    const folder = join(material, 'hf-oracle/trainer/gpt2');
    const { train } = readJson<{ train: { input_ids: number[] }[] }>(join(folder, 'data.json'));
    const tokenizer = await AutoTokenizer.from_pretrained(join(folder, 'checkpoint'));
    for (const variant of ['random_order', 'base']) {
      const golden = readJson<{ microbatch_first_tokens: number[][][] }>(join(folder, variant, 'golden.json'));
      const loader = new DataLoader({
        dataset: Dataset.from_list(train),
        batch_size: 4,
        collate_fn: new DataCollatorForLanguageModeling({ tokenizer, mlm: false }),
        ...(variant === 'random_order' && { sampler: new RandomSampler(train.length, 42) }),
      });
      const first: unknown[] = [];
      for (const epoch of [0, 1]) {
        for await (const batch of loader.batches(epoch)) {
          first.push((show(batch).input_ids as number[][]).map((ids) => ids.slice(0, 6)));
        }
      }
      expect(first).toEqual(golden.microbatch_first_tokens);
    }
  });
  test('an epoch goes on after the batches that were seen', async () => {
    const loader = new DataLoader({
      dataset: numbered(10),
      batch_size: 3,
      collate_fn,
      sampler: new RandomSampler(10, 1),
    });
    const whole = await seen(loader.batches(2));
    expect(whole.map((batch) => batch.length)).toEqual([3, 3, 3, 1]);
    expect(await seen(loader.batches(2, 2))).toEqual(whole.slice(2));
    expect(loader.length).toBe(4);
  });
  test('drop_last, streams and prefetch', async () => {
    const short = new DataLoader({ dataset: numbered(10), batch_size: 4, collate_fn, drop_last: true });
    expect(await seen(short)).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ]);
    expect(short.length).toBe(2);
    let made = 0;
    const stream = IterableDataset.from_generator(function* () {
      for (let x = 0; x < 100; x++) {
        made++;
        yield { x };
      }
    });
    const loader = new DataLoader({ dataset: stream, batch_size: 2, collate_fn, prefetch: 3 });
    expect(loader.length).toBeUndefined();
    for await (const { x } of loader.batches(0, 1)) {
      expect(Array.from(x.data, Number)).toEqual([2, 3]);
      await new Promise((done) => setTimeout(done, 5));
      break;
    }
    expect(made).toBeGreaterThan(6);
    expect(made).toBeLessThan(14);
    expect((await seen(loader)).length).toBe(50);
    const broken = IterableDataset.from_generator(function* () {
      yield { x: 1 };
      throw new Error('the source is gone');
    });
    await expect(seen(new DataLoader({ dataset: broken, batch_size: 1, collate_fn }))).rejects.toThrow(
      'source is gone',
    );
  });
});
