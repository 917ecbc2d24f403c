// Scores that are no numbers choose no token: the graphs that choose one say so on every device, and a generation ends with
// an error that names step and row, however its tokens are chosen.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Module, mostLikely, sampleTokens, trace } from '../../frontends/dsl/index.ts';
import { readSafetensors } from '../../frontends/huggingface/index.ts';
import { evaluate } from '../../ir/eval.ts';
import { ndarray } from '../../ir/ndarray.ts';
import {
  AutoModelForCausalLM,
  type GenerateOptions,
  LogitsProcessor,
  type PreTrainedModel,
  type Scores,
} from '../../runtime/index.ts';
import { devices } from '../support/devices.ts';
import type { DeviceRun } from '../support/test-device.ts';

const { present, missing } = await devices();
for (const { name, why } of missing) test.skip(`${name} (skipped: ${why})`, () => {});

/** Rows of scores, and whether they choose a token. The last one is searched in parts. */
const kinds: readonly (readonly [
  vocab: number,
  at: Readonly<Record<number, number>>,
  fill: number,
  isValid: boolean,
])[] = [50, 5000].flatMap((vocab) => [
  [vocab, { 7: 5 }, 1, true],
  [vocab, { 7: 5, [vocab - 1]: Number.NEGATIVE_INFINITY }, 1, true],
  [vocab, { 7: Number.NaN }, 1, false],
  [vocab, { 0: 9, [vocab - 1]: Number.NaN }, 1, false],
  [vocab, { 7: Number.POSITIVE_INFINITY }, 1, false],
  [vocab, {}, Number.NEGATIVE_INFINITY, false],
  [vocab, {}, Number.NaN, false],
]);

const runs: readonly DeviceRun[] = kinds.map(([vocab, at, fill]) => {
  const { graph } = trace(
    'g',
    new (class extends Module {})(),
    () => 'f32',
    (t) => {
      const logits = t.input('logits', 'f32', [1, vocab]);
      t.result('likely', mostLikely(logits));
      t.result('drawn', sampleTokens(logits, t.input('sampling', 'f32', [4]), t.input('uniform', 'f32', [1])));
    },
  );
  const data = new Array<number>(vocab).fill(fill);
  for (const [i, value] of Object.entries(at)) data[Number(i)] = value;
  const params = new Map([
    ['logits', ndarray('f32', [1, vocab], data)],
    ['sampling', ndarray('f32', [4], [1, 1, 1, 0])],
    ['uniform', ndarray('f32', [1], [0.5])],
  ]);
  return { graph, params };
});
const wanted = kinds.map(([, , , isValid]) => (isValid ? [7, 7] : [-1, -1]));
const tokensOf = ({ results }: ReturnType<typeof evaluate>): number[] =>
  ['likely', 'drawn'].map((name) => results.get(name)!.data[0]);

describe('choosing a token of scores that may be no numbers', () => {
  test('interpreted', () => {
    expect(runs.map(({ graph, params }) => tokensOf(evaluate(graph, { params, dims: {} })))).toEqual(wanted);
  });
  test.each(present)('$name', { timeout: 120_000 }, async (device) => {
    const results = await device.run(runs);
    const found = results.map((result) => {
      if (result instanceof Error) throw result;
      return tokensOf(result);
    });
    expect(found).toEqual(wanted);
  });
});

/** The example with NaN for the embedding of one token: what reads it computes NaN. */
const example = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));
const poison = 300;
let folder = '';
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'modelc-invalid-'));
  cpSync(example, folder, { recursive: true });
  const path = join(folder, 'model.safetensors');
  const { tensors } = await readSafetensors(path);
  const { span, shape } = tensors.get('model.embed_tokens.weight')!;
  const bytes = readFileSync(path);
  for (let i = 0; i < shape[1]; i++) bytes.writeUInt16LE(0x7fc0, span.offset + 2 * (poison * shape[1] + i));
  writeFileSync(path, bytes);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Chooses the poisoned token in the second step of the first row. */
class Poisoned extends LogitsProcessor {
  _call(input_ids: bigint[][], logits: Scores): Scores {
    if (input_ids[0].length === 4) logits.data[poison] = 1e9;
    return logits;
  }
}

const ways: Readonly<Record<string, GenerateOptions>> = {
  'the most likely one': { do_sample: false },
  'drawn, by the device where it can': { do_sample: true, seed: 1 },
  'drawn after processors': { do_sample: true, seed: 1, repetition_penalty: 1.1 },
  'beam search': { num_beams: 2 },
  'sampled beams': { num_beams: 2, do_sample: true, seed: 1 },
};

describe.each(['reference', 'cpu'] as const)('a damaged model, %s', (target) => {
  let model: PreTrainedModel;
  beforeAll(async () => {
    model = await AutoModelForCausalLM.from_pretrained(folder, { target, max_cache_len: 64 });
  }, 240_000);

  test.each(Object.entries(ways))('%s: ends in the first step', async (_, options) => {
    const input_ids = [
      [5, 6, 7],
      [5, poison, 7],
    ];
    const row = (options.num_beams ?? 1) > 1 ? 2 : 1; // each row is num_beams of them
    await expect(
      model.generate({ input_ids, max_new_tokens: 4, eos_token_id: null, ...options }),
    ).rejects.toMatchObject({
      code: 'checkpoint',
      message: expect.stringMatching(`^in step 1 the model computed .*row ${row}`),
    });
  });

  test('names a later step', async () => {
    const options = { max_new_tokens: 6, eos_token_id: null, logits_processor: [new Poisoned()] };
    await expect(model.generate([[5, 6, 7]], options)).rejects.toThrow(/^in step 3 the model computed NaN/);
  });

  test('goes on where it is told to remove such values', async () => {
    const output = await model.generate([[5, poison, 7]], {
      max_new_tokens: 3,
      eos_token_id: null,
      remove_invalid_values: true,
    });
    expect(output.dims).toEqual([1, 6]);
  });

  test('streams end with the error', async () => {
    const read = async (): Promise<void> => {
      for await (const _ of model.stream([[5, poison, 7]], { max_new_tokens: 3 }));
    };
    await expect(read()).rejects.toThrow(/^in step 1/);
  });

  test('processors that leave no token are named', async () => {
    for (const [fill, message] of [
      [Number.NaN, /step 1 the scores of row 0 hold NaN after the logits processors/],
      [Number.NEGATIVE_INFINITY, /step 1 the scores of row 0 forbid every token/],
    ] as const) {
      const fillAll = (_: bigint[][], logits: Scores): Scores => {
        logits.data.fill(fill);
        return logits;
      };
      for (const options of [{}, { do_sample: true }, { num_beams: 2 }]) {
        const call = { max_new_tokens: 3, logits_processor: [fillAll], ...options };
        await expect(model.generate([[5, 6]], call)).rejects.toThrow(message);
      }
    }
  });
});
