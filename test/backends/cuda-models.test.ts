// Models on the emulated CUDA device say what they say on the CPU and what the golden files hold. One or more of each kind
// of layer; CI's conformance on the emulation goes through more families, and training.
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test, vi } from 'vitest';
import { openCheckpoint, readTensor, writeSafetensors } from '../../frontends/huggingface/index.ts';
import { AutoModelForCausalLM, AutoTokenizer, type Tensor } from '../../runtime/index.ts';
import { bytesOf, storeNumbers } from '../../runtime/tensors/host-tensor.ts';
import { openEmulated } from '../support/cuda-device.ts';
import { hasMaterial, material, readArrays, readJson, relativeError } from '../support/golden.ts';

const example = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));

const idsOf = (ids: Tensor<'int64'>): number[] => Array.from(ids.data, Number);

vi.setConfig({ testTimeout: 300_000 });

test.each([{}, { cache_implementation: 'static' }] as const)(
  'tiny-llama says what it says on the CPU: %o',
  async (load) => {
    const { model } = await openEmulated(example, load);
    const cpu = await AutoModelForCausalLM.from_pretrained(example, load);
    const tokenizer = await AutoTokenizer.from_pretrained(example);
    const { input_ids } = tokenizer('Once upon a time');
    const ids = idsOf(input_ids);
    for (const rows of [[ids], [ids, ids.toReversed()]]) {
      const settings = { input_ids: rows, max_new_tokens: 24, do_sample: false, pad_token_id: 0 } as const;
      expect(idsOf(await model.generate(settings))).toEqual(idsOf(await cpu.generate(settings)));
    }
    const [got, want] = [await model({ input_ids: [ids] }), await cpu({ input_ids: [ids] })];
    // The GPU rounds the left operands of products to bf16, as the weights are
    expect(relativeError(got.logits.data, want.logits.data)).toBeLessThan(2 ** -8);
  },
);

describe.skipIf(!hasMaterial)(hasMaterial ? 'stories260K' : 'stories260K (skipped: no ../shared/data)', () => {
  test('greedy text is the golden one', async () => {
    const root = join(material, 'lm/stories260K');
    const want = readJson<{ prompt: string; ids: number[]; max_new_tokens: number; text: string }>(
      join(root, 'greedy100.json'),
    );
    const { model } = await openEmulated(join(root, 'hf'));
    const tokenizer = await AutoTokenizer.from_pretrained(join(root, 'hf'));
    const output = await model.generate({ ...tokenizer(want.prompt), max_new_tokens: want.max_new_tokens });
    expect(idsOf(output)).toEqual(want.ids);
    expect(tokenizer.batch_decode(output, { skip_special_tokens: true })).toEqual([want.text]);
  });

  test.each(['llama', 'gemma', 'olmo2', 'gpt2', 'mixtral', 'gpt_oss', 'mamba', 'lfm2'])(
    '%s: logits and greedy tokens',
    async (name) => {
      const dir = join(material, 'hf-golden', name);
      const { model } = await openEmulated(dir);
      const golden = await readArrays(join(dir, 'golden.safetensors'));
      const [ids, logits] = [golden.get('input_ids')!, golden.get('logits')!];
      const rows = Array.from({ length: ids.shape[0] }, (_, i) => [
        ...ids.data.slice(i * ids.shape[1], (i + 1) * ids.shape[1]),
      ]);
      const got = await model({ input_ids: rows, output_hidden_states: true });
      expect(relativeError(got.logits.data, logits.data)).toBeLessThan(1e-4);
      got.hidden_states!.forEach((h, i) => {
        expect(relativeError(h.data, golden.get(`hidden_${i}`)!.data)).toBeLessThan(1e-4);
      });
      const { prompt, greedy } = readJson<{ prompt: number[]; greedy: number[] }>(join(dir, 'golden.json'));
      const generated = await model.generate({
        input_ids: [prompt],
        max_new_tokens: 12,
        eos_token_id: null,
        pad_token_id: 0,
      });
      expect(idsOf(generated)).toEqual(greedy);
    },
  );

  test('GPT-2 with weights of bf16: the logits of the CPU', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'modelc-bf16-'));
    try {
      const { dir, tensors } = await openCheckpoint(join(material, 'hf-golden', 'gpt2'));
      copyFileSync(join(dir, 'config.json'), join(folder, 'config.json'));
      const rounded = [...tensors].map(async ([key, { span, shape }]) => {
        const { data } = await readTensor(span, 'f32', shape);
        return { name: key, dtype: 'bf16', shape, data: bytesOf(storeNumbers('bf16', data)) } as const;
      });
      await writeSafetensors(join(folder, 'model.safetensors'), await Promise.all(rounded));
      const { model } = await openEmulated(folder);
      const cpu = await AutoModelForCausalLM.from_pretrained(folder);
      const input_ids = [[3, 9, 27, 17, 5, 40, 11, 6, 8, 21, 2, 19, 30, 33, 4, 12, 7]];
      const [got, want] = [await model({ input_ids }), await cpu({ input_ids })];
      // rows of products are rounded to bf16 here, on a CPU without matrix units they are not
      expect(relativeError(got.logits.data, want.logits.data)).toBeLessThan(2 ** -6);
      cpu.dispose();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
