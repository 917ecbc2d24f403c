// Tokens that a device feeds to itself: the same as those of single steps, however many are submitted together, wherever
// the reader stops, and whatever else the model is asked for meanwhile.
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import type { WebGpuDevice } from '../../backends/webgpu/device.ts';
import { createNodeWebGpuDevice } from '../../backends/webgpu/node.ts';
import { DecodeLoop } from '../../runtime/generation/decode-loop.ts';
import {
  AutoTokenizer,
  DynamicCache,
  type GenerateOptions,
  type PreTrainedModel,
  StaticCache,
  type Tensor,
} from '../../runtime/index.ts';
import { loadModel, openModel } from '../../runtime/models/open.ts';
import { openEmulated } from '../support/cuda-device.ts';
import { chooseDriver } from '../support/webgpu-device.ts';

const example = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));
chooseDriver();
const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
const gpu: WebGpuDevice | string = await createNodeWebGpuDevice().catch(reasonOf);

const rowsOf = (t: Tensor): number[][] => t.tolist().map((row) => (row as (number | bigint)[]).map(Number));
const tokenizer = await AutoTokenizer.from_pretrained(example);
const prompt = tokenizer.encode('Once upon a time');
const short = prompt.slice(0, 3).toReversed();

const padded = {
  input_ids: [prompt, [...new Array<number>(prompt.length - short.length).fill(0), ...short]],
  attention_mask: [prompt.map(() => 1), prompt.map((_, i) => (i < prompt.length - short.length ? 0 : 1))],
};
const drawing = {
  ...padded,
  max_new_tokens: 7,
  do_sample: true,
  temperature: 2,
  top_k: 40,
  top_p: 0.95,
  min_p: 0.01,
  seed: 5,
};
let interpreted: Promise<number[][]> | undefined;
/** What the interpreter and the host draw. */
const drawn = (): Promise<number[][]> => {
  interpreted ??= targets[0]
    .open()
    .then(async (model) => rowsOf(await model.generate({ ...drawing, eos_token_id: null, pad_token_id: 0 })));
  return interpreted;
};

/** One row a target: how its model is opened, or why it is not. */
const targets: readonly { readonly name: string; readonly missing?: string; open(): Promise<PreTrainedModel> }[] = [
  { name: 'reference', open: async () => loadModel(await openModel<'causal-lm'>(example, { target: 'reference' })) },
  { name: 'cpu', open: async () => loadModel(await openModel<'causal-lm'>(example)) },
  {
    name: 'cuda (emulated)',
    open: async () => (await openEmulated(example, {}, ['prefill', 'decode', 'decode_sample'])).model,
  },
  {
    name: 'webgpu',
    ...(typeof gpu === 'string' ? { missing: gpu } : {}),
    open: async () => loadModel(await openModel<'causal-lm'>(example, { target: 'webgpu' }), gpu as WebGpuDevice),
  },
];

for (const { name, missing, open } of targets) {
  describe.skipIf(missing !== undefined)(missing ? `${name} (skipped: ${missing})` : name, () => {
    let model: PreTrainedModel;
    beforeAll(async () => {
      model = await open();
    }, 240_000);
    const generate = async (options: GenerateOptions): Promise<number[][]> =>
      rowsOf(await model.generate({ do_sample: false, eos_token_id: null, pad_token_id: 0, ...options }));
    /** Generation with the host between all tokens: somebody looks at the scores. */
    const stepped = async (options: GenerateOptions): Promise<number[][]> => {
      const look = { return_dict_in_generate: true, output_scores: true } as const;
      const all = { do_sample: false, eos_token_id: null, pad_token_id: 0, ...options, ...look } as const;
      return rowsOf((await model.generate(all)).sequences);
    };
    test.each([1, 3])('rows of different length, %i tokens a submit', async (tokens_per_submit) => {
      const options = { ...padded, max_new_tokens: 8 };
      expect(await generate({ ...options, tokens_per_submit })).toEqual(await stepped(options));
    });

    test.each([1, 3])('tokens that are drawn are those of the interpreter, %i a submit', async (tokens_per_submit) => {
      expect(await generate({ ...drawing, tokens_per_submit })).toEqual(await drawn());
      const eos_token_id = (await drawn())[0][prompt.length + 3];
      const ending = { ...drawing, eos_token_id, tokens_per_submit };
      expect(await generate(ending)).toEqual(await stepped(ending));
    });

    test('a row that ends in the middle is padded, the other goes on; the cache holds the same', async () => {
      const whole = await stepped({ ...padded, max_new_tokens: 6 });
      const eos_token_id = whole[0][prompt.length + 2];
      for (const pad_token_id of [0, eos_token_id]) {
        const options = { ...padded, max_new_tokens: 6, eos_token_id, pad_token_id };
        const continued: number[][][] = [];
        for (const way of [generate, stepped]) {
          const cache = new DynamicCache();
          const first = await way({ ...options, past_key_values: cache, tokens_per_submit: 2 });
          const mask = first.map((row, r) => row.map((_, i) => padded.attention_mask[r][i] ?? 1));
          const then = { input_ids: first, attention_mask: mask, max_new_tokens: 2, past_key_values: cache };
          continued.push(await stepped({ ...options, ...then, eos_token_id: null }));
          cache.dispose();
        }
        expect(continued[0]).toEqual(continued[1]);
      }
    });

    test('what was computed ahead of an end is taken back', async () => {
      const whole = (await stepped({ input_ids: [prompt], max_new_tokens: 10 }))[0];
      const cache = new DynamicCache();
      const isFour = (ids: bigint[][]): boolean[] => ids.map((row) => row.length === prompt.length + 4);
      const settings = { past_key_values: cache, tokens_per_submit: 3 };
      const first = await generate({
        ...settings,
        input_ids: [prompt],
        max_new_tokens: 10,
        stopping_criteria: [isFour],
      });
      expect(first[0]).toEqual(whole.slice(0, prompt.length + 4));
      expect(cache.get_seq_length()).toBe(prompt.length + 3);
      expect(await generate({ ...settings, input_ids: first, max_new_tokens: 6 })).toEqual([whole]);
      cache.dispose();
    });

    test('an abort ends it between two tokens, and the cache goes on from there', async () => {
      const whole = (await stepped({ input_ids: [prompt], max_new_tokens: 6 }))[0];
      const cache = new DynamicCache();
      const stop = new AbortController();
      const seen: number[] = [];
      const streamer = {
        put(value: bigint[][]): void {
          if (value[0].length === 1) seen.push(Number(value[0][0]));
          if (seen.length === 3) stop.abort();
        },
        end(): void {
          seen.push(-1);
        },
      };
      const options = { input_ids: [prompt], past_key_values: cache, tokens_per_submit: 2, max_new_tokens: 6 };
      await expect(generate({ ...options, streamer, signal: stop.signal })).rejects.toMatchObject({
        name: 'AbortError',
      });
      expect(seen).toEqual(whole.slice(prompt.length, prompt.length + 3));
      expect(cache.get_seq_length()).toBe(prompt.length + 2);
      const input_ids = [whole.slice(0, prompt.length + 3)];
      expect(await generate({ input_ids, past_key_values: cache, max_new_tokens: 3 })).toEqual([whole]);
      cache.dispose();
    });

    test('a cache that is full gives all that it has room for, then says so', async () => {
      const whole = (await stepped({ input_ids: [prompt], max_new_tokens: 6 }))[0];
      const cache = new StaticCache(prompt.length + 3);
      const ids: number[] = [];
      const generated = async (): Promise<void> => {
        const options = { input_ids: [prompt], max_new_tokens: 6, do_sample: false, eos_token_id: null } as const;
        for await (const [id] of model.stream({ ...options, past_key_values: cache, tokens_per_submit: 4 }))
          ids.push(Number(id));
      };
      await expect(generated()).rejects.toThrow(/room for \d+ positions/);
      expect(ids).toEqual(whole.slice(prompt.length, prompt.length + 4));
      cache.dispose();
    });

    test('generations at the same time, one of them within the other', async () => {
      const [a, b] = [[prompt], [short]];
      const [wholeA, wholeB] = [
        await stepped({ input_ids: a, max_new_tokens: 4 }),
        await stepped({ input_ids: b, max_new_tokens: 4 }),
      ];
      const both = await Promise.all([a, b].map((input_ids) => generate({ input_ids, max_new_tokens: 4 })));
      expect(both).toEqual([wholeA, wholeB]);
      const ids: number[] = [];
      for await (const [id] of model.stream({
        input_ids: a,
        max_new_tokens: 4,
        do_sample: false,
        eos_token_id: null,
      })) {
        ids.push(Number(id));
        if (ids.length === 2) expect(await generate({ input_ids: b, max_new_tokens: 4 })).toEqual(wholeB);
      }
      expect(ids).toEqual(wholeA[0].slice(prompt.length));
    });

    test('tokens_per_submit is checked', async () => {
      await expect(generate({ input_ids: [prompt], tokens_per_submit: 0 })).rejects.toThrow(
        '`tokens_per_submit` must be a positive integer, but is 0',
      );
    });

    test.runIf(name === 'webgpu')(
      'a token takes one write, one pass, one submit and one reading back; or fewer, together',
      async () => {
        const { gpu: device } = gpu as WebGpuDevice;
        const counts = { writes: 0, submits: 0 };
        const { writeBuffer, submit } = device.queue;
        device.queue.writeBuffer = (...args: Parameters<typeof writeBuffer>) => {
          counts.writes++;
          return writeBuffer.apply(device.queue, args);
        };
        device.queue.submit = (...args) => {
          counts.submits++;
          return submit.apply(device.queue, args);
        };
        const countsOf = async (options: GenerateOptions): Promise<typeof counts> => {
          Object.assign(counts, { writes: 0, submits: 0 });
          await generate({ input_ids: [prompt], ...options });
          return { ...counts };
        };
        for (const [tokens_per_submit, do_sample] of [
          [1, false],
          [1, true],
          [4, false],
        ] as const) {
          const options = { tokens_per_submit, do_sample };
          const [few, many] = [
            await countsOf({ ...options, max_new_tokens: 5 }),
            await countsOf({ ...options, max_new_tokens: 9 }),
          ];
          const more = 4 / tokens_per_submit;
          expect(many).toEqual({ writes: few.writes + more, submits: few.submits + more });
        }
        Object.assign(device.queue, { writeBuffer, submit });
      },
    );

    test.runIf(name === 'webgpu')('a device that is lost on the way is a typed error', async () => {
      const seen: bigint[] = [];
      const generated = async (): Promise<void> => {
        for await (const [id] of model.stream({ input_ids: [prompt], max_new_tokens: 9, do_sample: false })) {
          seen.push(id);
          if (seen.length === 3) (gpu as WebGpuDevice).gpu.destroy();
        }
      };
      await expect(generated()).rejects.toMatchObject({ name: 'ModelcError', code: 'unsupported' });
      expect(seen.length).toBeGreaterThanOrEqual(3);
    });
  });
}

test('a cache that grows on the way: the device begins anew', async () => {
  const { executor } = await openEmulated(example, {}, ['prefill', 'decode', 'decode_sample']);
  const long = Array.from({ length: 60 }, (_, i) => BigInt(prompt[i % prompt.length]));
  const caches: DynamicCache[] = []; // held, so that their memory is not used again
  const generated = async (positions?: number): Promise<number[]> => {
    const cache = new DynamicCache();
    caches.push(cache);
    const decoder = new DecodeLoop({ executor, cache, ...(positions ? { positions } : {}) });
    const [first] = await decoder.feed([long], undefined, 'next_token');
    const ids = [first];
    for await (const [id] of decoder.follow([BigInt(first)], [true], 8)) ids.push(id);
    expect(cache.get_max_length()).toBe(positions ?? 128);
    return ids;
  };
  const grown = await generated();
  expect(grown.length).toBe(9);
  expect(grown).toEqual(await generated(100));
  for (const cache of caches) cache.dispose();
  executor.dispose();
}, 240_000);
