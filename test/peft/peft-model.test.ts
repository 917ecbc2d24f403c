// Models with adapters as users meet them: generating through adapters on the CPU, files that are written and read again,
// and what is refused, with the names of the files and values.
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { AdamW, traceTraining } from '../../frontends/dsl/index.ts';
import { readSafetensors, writeSafetensors } from '../../frontends/huggingface/index.ts';
import {
  AutoModelForCausalLM,
  get_peft_model,
  type InitLoraWeights,
  LoraConfig,
  PeftModel,
  type PeftModelForCausalLM,
  type PreTrainedModel,
} from '../../runtime/index.ts';
import { TrainingSession } from '../../runtime/trainer/training-session.ts';

const checkpoint = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));
const folder = (): string => mkdtempSync(join(tmpdir(), 'peft-'));
const ids = [[5, 6, 7, 8]];

let base: PreTrainedModel;
beforeAll(async () => {
  base = await AutoModelForCausalLM.from_pretrained(checkpoint, { target: 'reference' });
});

const logitsOf = async (model: Pick<PreTrainedModel, 'forward'> | PeftModelForCausalLM): Promise<Float32Array> =>
  (await model.forward({ input_ids: ids })).logits.data;

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), 0);
}

/** An adapter that changes what the model computes. */
const random = (options: ConstructorParameters<typeof LoraConfig>[0] = {}): LoraConfig =>
  new LoraConfig({ r: 4, lora_alpha: 8, init_lora_weights: false, task_type: 'CAUSAL_LM', ...options });

describe('adapters', () => {
  test('a new one changes nothing, whatever it starts from', async () => {
    const expected = await logitsOf(base);
    const kinds: InitLoraWeights[] = [true, 'gaussian', 'orthogonal', 'olora', 'pissa', 'pissa_niter_4'];
    for (const init_lora_weights of kinds) {
      const model = await get_peft_model(base, random({ init_lora_weights }), 'default', { seed: 1 });
      // What PiSSA and OLoRA leave in the base is rounded to the dtype of its weights.
      const change = largestDifference(await logitsOf(model), expected);
      expect(change, String(init_lora_weights)).toBeLessThan(
        /pissa|olora/.test(String(init_lora_weights)) ? 0.1 : 1e-4,
      );
    }
  });

  test('what is saved and loaded computes the same, and another seed does not', async () => {
    const expected = await logitsOf(base);
    const model = await get_peft_model(base, random({ use_dora: true }), 'default', { seed: 1 });
    await model.add_adapter('other', random({ target_modules: 'all-linear' }), { seed: 2 });
    const own = await logitsOf(model);
    expect(largestDifference(own, expected)).toBeGreaterThan(0.01);
    const written = folder();
    await model.save_pretrained(written);
    const again = await PeftModel.from_pretrained(base, written);
    expect(await logitsOf(again)).toEqual(own);
    await again.load_adapter(join(written, 'other'), 'other');
    model.set_adapter('other');
    again.set_adapter('other');
    const other = await logitsOf(model);
    expect(largestDifference(other, own)).toBeGreaterThan(0.01);
    expect(await logitsOf(again)).toEqual(other);
    const same = await get_peft_model(base, random({ target_modules: 'all-linear' }), 'x', { seed: 2 });
    expect(await logitsOf(same)).toEqual(other);
    const written2 = JSON.parse(readFileSync(join(written, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
    expect(written2).toMatchObject({ peft_type: 'LORA', r: 4, target_modules: ['q_proj', 'v_proj'], use_dora: true });
    expect(written2).toMatchObject({ base_model_name_or_path: checkpoint, loftq_config: {}, inference_mode: true });
  });

  test('generate goes through the active adapter on the CPU, and rows have their own', async () => {
    const cpu = await AutoModelForCausalLM.from_pretrained(checkpoint, { target: 'cpu', max_cache_len: 32 });
    const config = random({ target_modules: 'all-linear', lora_alpha: 64 });
    const model = await get_peft_model(cpu, config, 'a', { seed: 1 });
    const options = { max_new_tokens: 6, do_sample: false, eos_token_id: null };
    const plain = [...(await cpu.generate({ input_ids: ids, ...options })).data];
    const adapted = [...(await model.generate({ input_ids: ids, ...options })).data];
    expect(adapted).not.toEqual(plain);
    const rows = { input_ids: [...ids, ...ids, ...ids], adapter_names: ['a', '__base__', 'a'] };
    expect([...(await model.generate({ ...rows, ...options })).data]).toEqual([...adapted, ...plain, ...adapted]);
    const without = await model.disable_adapter(() => model.generate({ input_ids: ids, ...options }));
    expect([...without.data]).toEqual(plain);
    const merged = await model.merge_and_unload();
    // The merged weights are rounded to bf16, so they are compared with the same ones in the interpreter.
    const same = await (await get_peft_model(base, config, 'a', { seed: 1 })).merge_and_unload();
    const expected = await same.generate({ input_ids: ids, ...options });
    expect([...(await merged.generate({ input_ids: ids, ...options })).data]).toEqual([...expected.data]);
    for (const m of [merged, model, cpu]) m.dispose();
  }, 120_000);

  test('training drops what the adapter reads, anew in every run, and evaluation does not', async () => {
    const lossesWith = async (lora_dropout: number): Promise<number[]> => {
      const model = await get_peft_model(base, random({ lora_dropout, use_dora: true }), 'default', { seed: 1 });
      const { task, weights, isTrained } = model.trainable;
      const options = { optimizer: AdamW(), dims: { batch: 1, seq: 8 }, isTrained: isTrained! };
      const training = traceTraining(task, ['accumulate', 'evaluate'], options, weights.resolve);
      const session = await TrainingSession.open({ training, target: 'reference', weights });
      const column = { dtype: 'i64', shape: [1, 4], data: BigInt64Array.from(ids[0], BigInt) } as const;
      const batch = { input_ids: column, labels: column };
      const losses: number[] = [];
      for (const entry of ['accumulate', 'accumulate', 'evaluate'] as const) {
        losses.push(Number((await session.run(entry, batch, { num_items: 3 })).loss.data[0]));
      }
      session.dispose();
      return losses;
    };
    const [first, second, evaluated] = await lossesWith(0.5);
    const plain = await lossesWith(0);
    expect(new Set([first, second, evaluated]).size).toBe(3);
    for (const loss of plain) expect(loss).toBeCloseTo(evaluated, 5);
  });

  test('a tied table is adapted in one of its uses', async () => {
    const folderOfTied = folder();
    await cp(checkpoint, folderOfTied, { recursive: true });
    const path = join(folderOfTied, 'config.json');
    writeFileSync(
      path,
      readFileSync(path, 'utf8').replace('"tie_word_embeddings": false', '"tie_word_embeddings": true'),
    );
    const tied = await AutoModelForCausalLM.from_pretrained(folderOfTied, { target: 'reference' });
    const model = await get_peft_model(tied, random({ target_modules: ['lm_head'] }), 'default', { seed: 1 });
    const states = async (m: PreTrainedModel | PeftModelForCausalLM): Promise<Float32Array> => {
      const { hidden_states } = await m.forward({ input_ids: ids, output_hidden_states: true });
      return hidden_states![0].data;
    };
    expect(await states(model)).toEqual(await states(tied));
    const adapted = await logitsOf(model);
    expect(largestDifference(adapted, await logitsOf(tied))).toBeGreaterThan(0.01);
    const merged = await model.merge_and_unload();
    expect(await states(merged)).toEqual(await states(tied));
    expect(largestDifference(await logitsOf(merged), adapted)).toBeLessThan(0.1);
  });
});

describe('what is refused', () => {
  const saved = async (options?: Parameters<typeof random>[0]): Promise<string> => {
    const written = folder();
    await (await get_peft_model(base, random(options))).save_pretrained(written);
    return written;
  };
  const configOf = (dir: string): Record<string, unknown> =>
    JSON.parse(readFileSync(join(dir, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
  const writeConfig = (dir: string, changes: Record<string, unknown>): void =>
    writeFileSync(join(dir, 'adapter_config.json'), JSON.stringify({ ...configOf(dir), ...changes }));
  const loading = (dir: string): Promise<PeftModelForCausalLM> => PeftModel.from_pretrained(base, dir);

  test('targets that the model lacks, with those that it has', async () => {
    await expect(get_peft_model(base, new LoraConfig({ target_modules: ['nope_proj'] }))).rejects.toThrow(
      /target_modules nope_proj match no module.*there are .*q_proj/,
    );
    await expect(get_peft_model(base, new LoraConfig({ target_modules: ['self_attn'] }))).rejects.toThrow(
      /model\.layers\.0\.self_attn, which is neither/,
    );
    await expect(get_peft_model(base, new LoraConfig({ modules_to_save: ['scorer'] }))).rejects.toThrow(
      /modules_to_save names scorer/,
    );
    await expect(get_peft_model(base, new LoraConfig({ trainable_token_indices: [1e6] }))).rejects.toThrow(
      /token 1000000/,
    );
  });

  test('an adapter of another base: the tensor and both shapes', async () => {
    const dir = await saved();
    writeConfig(dir, { r: 5 });
    await expect(loading(dir)).rejects.toThrow(
      /adapter_model\.safetensors: tensor base_model\.model\.model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight has shape \[4,\d+\], but this base model needs \[5,\d+\]/,
    );
    writeConfig(dir, { r: 4, target_modules: ['q_proj'] });
    await expect(loading(dir)).rejects.toThrow(
      /tensors that nothing of this model reads .*v_proj\.lora_A\.weight \(2\).*v_proj\.lora_B\.weight \(2\).*another base/,
    );
    writeConfig(dir, { target_modules: ['q_proj', 'v_proj', 'k_proj'] });
    await expect(loading(dir)).rejects.toThrow(/lacks tensors .*k_proj\.lora_A\.weight \(2\)/);
  });

  test('files that are broken, missing or of another kind', async () => {
    const dir = await saved();
    const copy = async (): Promise<string> => {
      const to = folder();
      await cp(dir, to, { recursive: true });
      return to;
    };
    const cut = await copy();
    const weights = join(cut, 'adapter_model.safetensors');
    writeFileSync(weights, readFileSync(weights).subarray(0, -100));
    await expect(loading(cut)).rejects.toThrow(/adapter_model\.safetensors/);
    const noConfig = folder();
    await expect(loading(noConfig)).rejects.toThrow(/adapter_config\.json does not exist/);
    const pickled = await copy();
    writeFileSync(join(pickled, 'adapter_model.bin'), '');
    const file = await readSafetensors(join(pickled, 'adapter_model.safetensors'));
    expect(file.metadata.get('format')).toBe('pt');
    const ia3 = await copy();
    writeConfig(ia3, { peft_type: 'IA3' });
    await expect(loading(ia3)).rejects.toThrow(/adapter_config\.json has the peft_type 'IA3'; only LORA/);
    const wrong = await copy();
    writeConfig(wrong, { r: '8' });
    await expect(loading(wrong)).rejects.toThrow(/adapter_config\.json: `r` must be a positive integer, but is '8'/);
    const unserved = await copy();
    writeConfig(unserved, { use_qalora: true });
    await expect(loading(unserved)).rejects.toThrow(/it sets `use_qalora`.*not served/);
    const integers = await copy();
    const [first] = file.tensors.keys();
    const tensors = [...file.tensors].map(([name, t]) => ({ name, dtype: name === first ? ('i32' as const) : ('f32' as const), shape: t.shape, data: t.span })); // biome-ignore format: one row
    await writeSafetensors(join(integers, 'adapter_model.safetensors'), tensors);
    await expect(loading(integers)).rejects.toThrow(/is stored as i32/);
  });

  test('settings that do not go together', async () => {
    expect(() => new LoraConfig({ r: 0 })).toThrow(/`r` must be a positive integer/);
    expect(() => new LoraConfig({ lora_dropout: 1 })).toThrow(/`lora_dropout`/);
    expect(() => new LoraConfig({ target_modules: '(' })).toThrow(/no regular expression/);
    expect(() => new LoraConfig({ target_modules: 'a++b' })).toThrow(/possessive/);
    for (const target_modules of ['([a-z._0-9]+)+!', `${'.*'.repeat(40)}!`]) {
      await expect(get_peft_model(base, new LoraConfig({ target_modules }))).rejects.toThrow(/takes too long to match/);
    }
    expect(() => new LoraConfig({ target_modules: 'q', layers_to_transform: [0] })).toThrow(/`layers_to_transform`/);
    expect(() => new LoraConfig({ lora_bias: true, use_dora: true })).toThrow(/`lora_bias`/);
    const unknown = JSON.parse('{"rank": 4}') as ConstructorParameters<typeof LoraConfig>[0];
    expect(() => new LoraConfig(unknown)).toThrow(/does not know the option `rank`.*r, lora_alpha/);
    const data = JSON.parse('{"init_lora_weights": "eva"}') as ConstructorParameters<typeof LoraConfig>[0];
    expect(() => new LoraConfig(data)).toThrow(/'eva' is not served/);
    const odd = random({ init_lora_weights: 'orthogonal', r: 3 });
    await expect(get_peft_model(base, odd)).rejects.toThrow(/even rank/);
    const large = random({ init_lora_weights: 'pissa', r: 4096 });
    await expect(get_peft_model(base, large)).rejects.toThrow(/a rank of at most \d+ for model\.layers\.0/);
  });

  test('adapters that are not there, or twice, and merging what is not finite', async () => {
    const model = await get_peft_model(base, random());
    expect(() => model.set_adapter('none')).toThrow("there is no adapter 'none'; there are default");
    await expect(model.add_adapter('default', random())).rejects.toThrow(/an adapter 'default' already/);
    await expect(model.add_adapter('../x', random())).rejects.toThrow(/cannot be the name/);
    await expect(model.forward({ input_ids: ids, adapter_names: ['default', 'default'] })).rejects.toThrow(
      /adapter_names has 2 names, but input_ids has 1 rows/,
    );
    const [b] = [...model.adapters.values].find(([name]) => name.includes('lora_B'))!.slice(1);
    (b as { data: Float32Array }).data[0] = Number.NaN;
    await expect(model.merge_adapter({ safe_merge: true })).rejects.toThrow(
      /NaN or infinite values in .*q_proj\.weight/,
    );
    expect(model.merged_adapters).toEqual([]);
    await expect(get_peft_model(model as unknown as PreTrainedModel, random())).rejects.toThrow(/from_pretrained/);
  });
});
