// The Llama family against what transformers computed: logits and hidden states of whole sequences, of padded batches and
// of cached decoding, greedy tokens, and the rotary tables.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Tokenizer } from '@huggingface/tokenizers';
import { describe, expect, test } from 'vitest';
import type { Traced } from '../frontends/dsl/index.ts';
import { type CausalLM, causalLM, openCheckpoint } from '../frontends/huggingface/index.ts';
import type { NdArray } from '../ir/ndarray.ts';
import { verify } from '../ir/verify.ts';
import { hasMaterial, Interpreted, material, readArrays, readJson, readWeights, relativeError } from './golden.ts';

const tolerance = 1e-4;
const limits = { maxBatch: 4, maxLength: 512, chunk: 256 };

const rows = (a: NdArray): number[][] =>
  Array.from({ length: a.shape[0] }, (_, i) => [...a.data.slice(i * a.shape[1], (i + 1) * a.shape[1])]);

/** Prefill, then decode, greedily; all on the interpreter. */
function greedy(
  model: CausalLM,
  weights: ReadonlyMap<string, NdArray>,
  prompt: readonly number[],
  count: number,
): number[] {
  const run = new Interpreted(weights, prompt.length + count);
  const decode = model.graph('decode', limits);
  const ids = [...prompt];
  let next = run.run(model.graph('prefill', limits), [prompt]).get('next_token')!;
  for (let i = 1; ; i++) {
    ids.push(next.data[0]);
    if (i === count) return ids;
    next = run.run(decode, [[next.data[0]]]).get('next_token')!;
  }
}

describe.skipIf(!hasMaterial)(hasMaterial ? 'golden cases' : 'golden cases (skipped: no ../shared/data)', () => {
  const cases = ['llama', 'llama_rope_scaled', 'mistral', 'qwen2', 'gemma', 'granite'];
  test.each(cases)('%s: whole sequences, padded, cached, greedy', async (name) => {
    const dir = join(material, 'hf-golden', name);
    const checkpoint = await openCheckpoint(dir);
    const model = causalLM(checkpoint);
    const weights = await readWeights(checkpoint);
    const golden = await readArrays(join(dir, 'golden.safetensors'));
    const ids = rows(golden.get('input_ids')!);
    const mask = rows(golden.get('attention_mask')!);
    const forward = model.graph('forward', limits);
    for (const entry of ['prefill', 'decode', 'forward'] as const) verify(model.graph(entry, limits).graph);

    const whole = new Interpreted(weights, 16).run(forward, ids);
    const expectClose = (actual: ArrayLike<number>, expected: ArrayLike<number>): void =>
      expect(relativeError(actual, expected)).toBeLessThan(tolerance);
    expectClose(whole.get('logits')!.data, golden.get('logits')!.data);
    for (let i = 0; golden.has(`hidden_${i}`); i++) {
      expectClose(whole.get(`hidden_states.${i}`)!.data, golden.get(`hidden_${i}`)!.data);
    }
    expect(whole.has(`hidden_states.${Number(checkpoint.config.num_hidden_layers) + 1}`)).toBe(false);

    // Row 1 begins with padding. transformers counted it as positions there; rotations are relative, so that is the same.
    const masked = new Interpreted(weights, 16).run(forward, ids, mask);
    const [, seq, vocab] = masked.get('logits')!.shape;
    const start = mask[1].indexOf(1);
    expectClose(masked.get('logits')!.data.slice((seq + start) * vocab), golden.get('logits_masked_row1_tail')!.data);

    // In chunks through the cache: the last logits are those of the whole.
    const chunked = new Interpreted(weights, 32);
    chunked.run(
      forward,
      ids.map((row) => row.slice(0, 4)),
    );
    const rest = chunked
      .run(
        forward,
        ids.map((row) => row.slice(4, 10)),
      )
      .get('logits')!.data;
    const expected = rows({ ...golden.get('logits')!, shape: [2, seq * vocab] });
    expectClose(
      rest,
      expected.flatMap((row) => row.slice(4 * vocab, 10 * vocab)),
    );
    const last = chunked
      .run(
        model.graph('decode', limits),
        ids.map((row) => row.slice(10)),
      )
      .get('logits')!.data;
    expectClose(
      last,
      expected.flatMap((row) => row.slice(10 * vocab)),
    );

    const { prompt, greedy: tokens } = readJson<{ prompt: number[]; greedy: number[] }>(join(dir, 'golden.json'));
    expect(greedy(model, weights, prompt, tokens.length - prompt.length)).toEqual(tokens);
  });

  test('stories260K: the first tokens of the golden continuation', async () => {
    const dir = join(material, 'lm', 'stories260K');
    const checkpoint = await openCheckpoint(join(dir, 'hf'));
    const model = causalLM(checkpoint);
    expect(model.config).toMatchObject({ modelType: 'llama', vocabSize: 512, bosTokenId: 1, eosTokenId: 2 });
    const golden = readJson<{ prompt_ids: number[]; ids: number[] }>(join(dir, 'greedy100.json'));
    const count = 12;
    const ids = greedy(model, await readWeights(checkpoint), golden.prompt_ids, count);
    expect(ids).toEqual(golden.ids.slice(0, golden.prompt_ids.length + count));
  });

  test.each(['llama', 'mistral', 'qwen3'])('hf-oracle %s: greedy tokens', async (name) => {
    const dir = join(material, 'hf-oracle', 'generate', name);
    const checkpoint = await openCheckpoint(dir);
    const { cases, inputs } = readJson<{
      cases: { case: string; sequences: number[][] }[];
      inputs: { single: { input_ids: number[][] } };
    }>(join(dir, 'golden.json'));
    const expected = cases.find((c) => c.case === 'greedy_single')!.sequences[0];
    const [prompt] = inputs.single.input_ids;
    const weights = await readWeights(checkpoint);
    expect(greedy(causalLM(checkpoint), weights, prompt, expected.length - prompt.length)).toEqual(expected);
  });

  test('a left-padded batch gives what its rows give alone', async () => {
    const checkpoint = await openCheckpoint(join(material, 'hf-golden', 'llama'));
    const model = causalLM(checkpoint);
    const weights = await readWeights(checkpoint);
    const prefill: Traced = model.graph('prefill', limits);
    const decode = model.graph('decode', limits);
    const [long, short] = [
      [5, 17, 99, 3, 42],
      [7, 100],
    ];
    const both = new Interpreted(weights, 8);
    const mask = [long.map(() => 1), [0, 0, 0, 1, 1]];
    const first = both.run(prefill, [long, [0, 0, 0, ...short]], mask).get('logits')!.data;
    const second = both.run(decode, [[1], [2]]).get('logits')!.data;
    [long, short].forEach((row, i) => {
      const alone = new Interpreted(weights, 8);
      const part = (all: Float64Array): Float64Array => all.slice(i * 131, (i + 1) * 131);
      expect(relativeError(part(first), alone.run(prefill, [row]).get('logits')!.data)).toBeLessThan(1e-6);
      expect(relativeError(part(second), alone.run(decode, [[i + 1]]).get('logits')!.data)).toBeLessThan(1e-6);
    });
  });
});

describe('the example checkpoint', () => {
  const dir = fileURLToPath(new URL('../examples/tiny-llama', import.meta.url));
  const json = (name: string): object => readJson<object>(join(dir, name));

  test('tells its story', async () => {
    const checkpoint = await openCheckpoint(dir);
    const tokenizer = new Tokenizer(json('tokenizer.json'), json('tokenizer_config.json'));
    const prompt = tokenizer.encode('The birds').ids;
    const ids = greedy(causalLM(checkpoint), await readWeights(checkpoint), prompt, 30);
    expect(tokenizer.decode(ids, { skip_special_tokens: true })).toContain('stopped to listen. "I can speak!"');
  });

  test('its tokenizer takes any text', () => {
    const tokenizer = new Tokenizer(json('tokenizer.json'), json('tokenizer_config.json'));
    const text = ' Über 🙂 "x"\n\t 42';
    expect(tokenizer.decode(tokenizer.encode(text).ids, { skip_special_tokens: true })).toBe(text);
  });

  test('weights that do not fit the config are refused by name', async () => {
    const checkpoint = await openCheckpoint(dir);
    const build = (config: object, tensors = checkpoint.tensors): (() => void) => {
      const changed = { ...checkpoint, config: { ...checkpoint.config, ...config }, tensors };
      return () => void causalLM(changed).graph('decode', limits);
    };
    expect(build({ num_hidden_layers: 3 })).toThrow(
      /lacks the weight model\.layers\.2\.input_layernorm\.weight of shape \[96\]/,
    );
    expect(build({ intermediate_size: 64 })).toThrow(
      /weight model\.layers\.0\.mlp\.gate_proj\.weight in .*model\.safetensors has shape \[128,96\], but config\.json asks for \[64,96\]/,
    );
    const headless = new Map([...checkpoint.tensors].filter(([name]) => name !== 'lm_head.weight'));
    expect(build({}, headless)).toThrow(/lacks the weight lm_head\.weight/);
    expect(build({ tie_word_embeddings: true }, headless)).not.toThrow();
    const head = checkpoint.tensors.get('lm_head.weight')!;
    expect(build({}, new Map([...headless, ['lm_head.weight', { ...head, dtype: 'F64' }]]))).toThrow(
      /stored as F64; convert it/,
    );
  });
});
