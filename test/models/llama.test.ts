// The Llama family: trained checkpoints, padding, configs that do not fit, and the rotary tables.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Traced } from '../../frontends/dsl/index.ts';
import { fittedModel, openCheckpoint } from '../../frontends/huggingface/index.ts';
import { AutoTokenizer } from '../../runtime/tokenization/index.ts';
import {
  graphOf,
  greedy,
  hasMaterial,
  Interpreted,
  material,
  readJson,
  readWeights,
  relativeError,
} from '../support/golden.ts';

const limits = { batch: 4, length: 512, chunk: 256 };

describe.skipIf(!hasMaterial)(hasMaterial ? 'golden cases' : 'golden cases (skipped: no ../shared/data)', () => {
  test('stories260K: the first tokens of the golden continuation', async () => {
    const dir = join(material, 'lm', 'stories260K');
    const checkpoint = await openCheckpoint(join(dir, 'hf'));
    const model = fittedModel(checkpoint, 'causal-lm');
    expect(model).toMatchObject({ modelType: 'llama', vocabSize: 512, bosTokenId: 1 });
    const golden = readJson<{ prompt_ids: number[]; ids: number[] }>(join(dir, 'greedy100.json'));
    const count = 12;
    const ids = greedy(model, await readWeights(checkpoint), golden.prompt_ids, count);
    expect(ids).toEqual(golden.ids.slice(0, golden.prompt_ids.length + count));
  });

  test('a left-padded batch gives what its rows give alone', async () => {
    const checkpoint = await openCheckpoint(join(material, 'hf-golden', 'llama'));
    const model = fittedModel(checkpoint, 'causal-lm');
    const weights = await readWeights(checkpoint);
    const prefill: Traced = graphOf(model, 'prefill', limits);
    const decode = graphOf(model, 'decode', limits);
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
  const dir = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));

  test('tells its story', async () => {
    const checkpoint = await openCheckpoint(dir);
    const tokenizer = await AutoTokenizer.from_pretrained(dir);
    const prompt = tokenizer.encode('The birds');
    const ids = greedy(fittedModel(checkpoint, 'causal-lm'), await readWeights(checkpoint), prompt, 30);
    expect(tokenizer.decode(ids, { skip_special_tokens: true })).toContain('stopped to listen. "I can speak!"');
  });

  test('its tokenizer takes any text', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(dir);
    const text = ' Über 🙂 "x"\n\t 42';
    expect(tokenizer.decode(tokenizer.encode(text), { skip_special_tokens: true })).toBe(text);
  });

  test('weights that do not fit the config are refused by name', async () => {
    const checkpoint = await openCheckpoint(dir);
    const build = (config: object, tensors = checkpoint.tensors): (() => void) => {
      const changed = { ...checkpoint, config: { ...checkpoint.config, ...config }, tensors };
      return () => void graphOf(fittedModel(changed, 'causal-lm'), 'decode', limits);
    };
    expect(build({ num_hidden_layers: 3 })).toThrow(
      /lacks 9 weights \(model\.layers\.2\.self_attn\.q_proj\.weight, .*; its config\.json does not fit its weights/,
    );
    expect(build({ intermediate_size: 64 })).toThrow(
      /weight model\.layers\.0\.mlp\.gate_proj\.weight in .*model\.safetensors has shape \[128,96\], but .*config\.json asks for \[64,96\] \(intermediate_size 64\)/,
    );
    const headless = new Map([...checkpoint.tensors].filter(([name]) => name !== 'lm_head.weight'));
    expect(fittedModel({ ...checkpoint, tensors: headless }, 'causal-lm').notes).toEqual([
      expect.stringMatching(/lacks the weight lm_head\.weight: new values/),
    ]);
    expect(build({ tie_word_embeddings: true }, headless)).not.toThrow();
    const head = checkpoint.tensors.get('lm_head.weight')!;
    expect(build({}, new Map([...headless, ['lm_head.weight', { ...head, dtype: 'F64' }]]))).toThrow(
      /stored as F64; convert it/,
    );
  });
});
