// Text that streams out of a compiled model: its pieces, joined, are what the generation adds to the prompt, to the
// character, whatever the tokenizer does with leading spaces and with characters of several ids; and failures arrive.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { lazyModel } from '../../runtime/artifact/lazy-model.ts';
import type { LoadedModel } from '../../runtime/artifact/loaded-model.ts';
import { Pieces } from '../../runtime/artifact/pieces.ts';
import { AutoModelForCausalLM, AutoTokenizer, type PreTrainedTokenizer } from '../../runtime/index.ts';
import { hasMaterial, material } from '../support/golden.ts';

const example = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));

async function collect(pieces: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const piece of pieces) all.push(piece);
  return all;
}

/** Feeds the ids of `text` as a generation does: a prompt of `promptLength` ids, then one by one. */
async function stream(tokenizer: PreTrainedTokenizer, text: string, promptLength: number) {
  const ids = tokenizer.encode(text);
  const counted: number[] = [];
  const pieces = new Pieces(tokenizer, (step) => counted.push(...step));
  pieces.put([ids.slice(0, promptLength).map(BigInt)]);
  for (const id of ids.slice(promptLength)) pieces.put([[BigInt(id)]]);
  pieces.end();
  const decode = (part: readonly number[]): string => tokenizer.decode(part, { skip_special_tokens: true });
  const expected = decode(ids).slice(decode(ids.slice(0, promptLength)).length);
  return { pieces: await collect(pieces), expected, counted, newIds: ids.slice(promptLength) };
}

const texts = [
  'Once upon a time, there was\na little  girl.\n\n"Yes," she said.',
  'naïve 文字 and 👩‍🚀 here',
  ' led by a space',
];

describe.each([
  ['bytes', example, true],
  ['words that begin with a space', join(material, 'lm/stories260K/hf'), hasMaterial],
] as const)('pieces of a tokenizer of %s', (_, folder, present) => {
  test.skipIf(!present).each(texts)('%j', async (text) => {
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    const length = tokenizer.encode(text).length;
    for (const promptLength of [1, 2, 5, length - 1]) {
      const { pieces, expected, counted, newIds } = await stream(tokenizer, text, promptLength);
      expect(pieces.join('')).toBe(expected);
      expect(counted).toEqual(newIds);
      expect(pieces.slice(0, -1).join('')).not.toContain('\uFFFD');
    }
  });

  test.skipIf(!present)('come as early as they can be read', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    const { pieces, newIds } = await stream(tokenizer, 'Once upon a time there was', 2);
    expect(pieces.length).toBe(newIds.length);
  });
});

/** The example model, opened at its first use. */
const opened = (tokenizer: PreTrainedTokenizer) => async (): Promise<LoadedModel> => ({
  kind: 'causal-lm',
  task: 'causal-lm',
  tokenizer,
  model: await AutoModelForCausalLM.from_pretrained(example),
});

describe('a generation', () => {
  test('that is both iterated over and awaited runs once', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(example);
    const model = lazyModel(opened(tokenizer));
    let tokens = 0;
    const generation = model.generate('Once upon a', {
      max_new_tokens: 12,
      do_sample: false,
      token_callback_function: (ids) => (tokens += ids.length),
    });
    const text = (await collect(generation)).join('');
    const output = await generation;
    expect(text).toBe(output.new_text);
    expect(output.text).toBe(`Once upon a${text}`);
    expect(tokens).toBe(12);
    await model.dispose();
  });

  test('that cannot begin throws where it is iterated over', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(example);
    const model = lazyModel(opened(tokenizer));
    const wrong = model.generate([], { max_new_tokens: 1 });
    await expect(collect(wrong)).rejects.toThrow(/input_ids|prompt|empty/);
    tokenizer.encode = () => {
      throw new Error('no tokenizer');
    };
    await expect(collect(model.generate('x'))).rejects.toThrow('no tokenizer');
    await model.dispose();
  });
});
