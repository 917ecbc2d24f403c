// The text-generation pipeline on the reference interpreter against what transformers' pipeline returned.
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { ModelcError, pipeline, type TextGenerationOptions, type TextGenerationPipeline } from '../../runtime/index.ts';
import { hasMaterial, material, readJson } from '../support/golden.ts';

if (!hasMaterial)
  console.warn('pipeline.test.ts: the material beside the repository is missing, golden cases are skipped');

test('an unknown task lists the supported ones', async () => {
  await expect(pipeline('text-to-smell', 'nowhere')).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining('text-generation'),
  });
  await expect(pipeline('text-generation', 'no/such/folder')).rejects.toMatchObject({ code: 'checkpoint' });
});

describe.skipIf(!hasMaterial)('text-generation', () => {
  interface Oracle {
    readonly cases: readonly {
      readonly case: string;
      readonly input: string;
      readonly kwargs: TextGenerationOptions;
      readonly output?: unknown;
      readonly error?: string;
      readonly stable?: boolean;
    }[];
  }
  const folder = join(material, 'hf-oracle/pipelines/text-generation-llama');
  const oracle: Oracle = hasMaterial ? readJson<Oracle>(join(folder, 'golden.json')) : { cases: [] };
  let generator: TextGenerationPipeline;
  beforeAll(async () => {
    generator = await pipeline('text-generation', folder, { target: 'reference', max_cache_len: 1024 });
  });

  for (const c of oracle.cases.filter((k) => k.stable || k.error)) {
    test(c.case, async () => {
      const result = generator(c.input, c.kwargs);
      if (c.error) await expect(result).rejects.toBeInstanceOf(ModelcError);
      else expect(await result).toEqual(c.output);
    });
  }

  test('samples by default, reproducibly with a seed', async () => {
    const run = (): Promise<unknown> => generator('Let us kill', { seed: 3, max_new_tokens: 8 });
    expect(await run()).toEqual(await run());
  });

  test('streams the continuation', async () => {
    const options = { do_sample: false, max_new_tokens: 12, return_full_text: false };
    const [{ generated_text: want }] = await generator('Let us kill', options);
    let text = '';
    for await (const piece of generator.stream('Let us kill', options)) text += piece;
    expect(text).toBe(want);
    const failing = generator.stream('Let us kill', { max_new_tokens: -1 });
    await expect(failing.next()).rejects.toThrow(/max_new_tokens/);
  });

  test('bad inputs are named', async () => {
    await expect(generator(7 as unknown as string)).rejects.toThrow(/must be a text/);
    await expect(generator([{ role: 'user' }, 'x'] as unknown as string[])).rejects.toThrow(/prompt must be/);
    await expect(generator('a', { batch_size: 0 })).rejects.toThrow(/batch_size/);
    await expect(generator('a', { nonsense: 1 } as TextGenerationOptions)).rejects.toThrow(/nonsense/);
  });
});
