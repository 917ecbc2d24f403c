// Adapters as files of any version of PEFT: what a file brings besides low-rank factors takes effect or is refused by name,
// and a configuration that says nothing new is read.
import { cpSync, existsSync, mkdtempSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { readSafetensors, writeSafetensors } from '../../frontends/huggingface/index.ts';
import { decodeElements, readSpan } from '../../frontends/huggingface/safetensors.ts';
import {
  AutoModelForCausalLM,
  get_peft_model,
  LoraConfig,
  PeftModel,
  type PreTrainedModel,
} from '../../runtime/index.ts';
import { pythonPattern } from '../../runtime/peft/python-pattern.ts';
import { hasMaterial, material, readJson } from '../support/golden.ts';

const checkpoint = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));
const folder = (): string => mkdtempSync(join(tmpdir(), 'peft-files-'));
const ids = [[5, 6, 7, 8]];
const load = (dir: string): Promise<PreTrainedModel> => AutoModelForCausalLM.from_pretrained(dir, { target: 'reference' }); // biome-ignore format: one row

interface Table {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}
type Tables = Map<string, Table>;

async function readAll(path: string): Promise<Tables> {
  const { tensors } = await readSafetensors(path);
  const all: Tables = new Map();
  for (const [name, { shape, dtype, span }] of tensors) {
    all.set(name, { shape, data: Float32Array.from(decodeElements(await readSpan(span), dtype as 'f32')) });
  }
  return all;
}

const writeAll = (path: string, all: Tables): Promise<void> =>
  writeSafetensors(path, [...all].map(([name, { shape, data }]) => ({ name, dtype: 'f32' as const, shape, data: new Uint8Array(data.buffer) })), { metadata: { format: 'pt' } }); // biome-ignore format: one row

/** A copy of a folder whose tensors or JSON are changed. */
async function changed(
  dir: string,
  name: 'model' | 'adapter_model',
  change: (all: Tables) => void,
  config: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const to = folder();
  cpSync(dir, to, { recursive: true });
  const path = join(to, `${name}.safetensors`);
  const all = await readAll(path);
  change(all);
  await writeAll(path, all);
  const json = join(to, name === 'model' ? 'config.json' : 'adapter_config.json');
  writeFileSync(json, JSON.stringify({ ...(JSON.parse(readFileSync(json, 'utf8')) as object), ...config }));
  return to;
}

let seed = 1;
const noise = (shape: readonly number[]): Table => ({
  shape,
  // Values that bf16 and f32 hold alike.
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => {
    seed = (seed * 48271) % 2147483647;
    return ((seed % 255) - 127) / 256;
  }),
});

const logitsOf = async (model: Pick<PreTrainedModel, 'forward'>): Promise<Float32Array> =>
  (await model.forward({ input_ids: ids })).logits.data;

function expectSame(a: Float32Array, b: Float32Array): void {
  expect(a.length).toBe(b.length);
  const largest = b.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  const difference = a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), 0);
  expect(difference / largest).toBeLessThan(1e-5);
}

const head = 'base_model.model.lm_head.weight';
const embedding = 'base_model.model.model.embed_tokens.weight';
const query = 'base_model.model.model.layers.0.self_attn.q_proj';

/** The same model in f32, untied and tied, and an adapter. */
let untied: string;
let tied: string;
let adapter: string;
let vocab: number;
let size: number;
beforeAll(async () => {
  untied = await changed(checkpoint, 'model', () => undefined, { tie_word_embeddings: false });
  tied = await changed(untied, 'model', (all) => all.delete('lm_head.weight'), { tie_word_embeddings: true });
  const made = await get_peft_model(await load(untied), new LoraConfig({ r: 4, init_lora_weights: false, task_type: 'CAUSAL_LM' }), 'default', { seed: 3 }); // biome-ignore format: one row
  adapter = folder();
  await made.save_pretrained(adapter);
  [vocab, size] = (await readAll(join(untied, 'model.safetensors'))).get('model.embed_tokens.weight')!.shape;
});

const loading = async (base: string, dir: string, options = {}): Promise<PreTrainedModel | PeftModel> =>
  PeftModel.from_pretrained(await load(base), dir, options);
const logitsWith = async (base: string, dir: string): Promise<Float32Array> =>
  logitsOf(await PeftModel.from_pretrained(await load(base), dir));

describe('tensors of the base in the file of an adapter', () => {
  test('an output layer and embeddings take the place of the base’s', async () => {
    const [h, e, norm] = [noise([vocab, size]), noise([vocab, size]), noise([size])];
    const brings = await changed(adapter, 'adapter_model', (all) => {
      all.set(head, h).set(embedding, e).set('base_model.model.model.norm.weight', norm);
    });
    const other = await changed(untied, 'model', (all) => {
      all.set('lm_head.weight', h).set('model.embed_tokens.weight', e).set('model.norm.weight', norm);
    });
    expectSame(await logitsWith(untied, brings), await logitsWith(other, adapter));
  });

  test('one table that serves both is that of the output layer, else that of the embeddings, as PyTorch reads them', async () => {
    const [h, e] = [noise([vocab, size]), noise([vocab, size])];
    const expected = async (table: Table): Promise<Float32Array> =>
      logitsWith(await changed(tied, 'model', (all) => all.set('model.embed_tokens.weight', table)), adapter);
    const brings = (tables: readonly (readonly [string, Table])[]): Promise<string> =>
      changed(adapter, 'adapter_model', (all) => tables.forEach(([name, table]) => all.set(name, table)));
    const [ofHead, ofEmbedding] = [await expected(h), await expected(e)];
    expectSame(await logitsWith(tied, await brings([[head, h]])), ofHead);
    expectSame(await logitsWith(tied, await brings([[embedding, e]])), ofEmbedding);
    expectSame(await logitsWith(tied, await brings([[embedding, e], [head, h]])), ofHead); // biome-ignore format: one row
    expectSame(await logitsWith(tied, await brings([[head, h], [embedding, e]])), ofHead); // biome-ignore format: one row
  });

  test('tables of a resized vocabulary make the model’s vocabulary', async () => {
    const [h, e] = [noise([vocab + 3, size]), noise([vocab + 3, size])];
    const brings = await changed(adapter, 'adapter_model', (all) => {
      all.set(head, h).set(embedding, e);
    });
    const resized = await changed(
      untied,
      'model',
      (all) => {
        all.set('lm_head.weight', h).set('model.embed_tokens.weight', e);
      },
      { vocab_size: vocab + 3 },
    );
    const logits = await logitsWith(untied, brings);
    expect(logits.length).toBe(4 * (vocab + 3));
    expectSame(logits, await logitsWith(resized, adapter));
    const one = await changed(adapter, 'adapter_model', (all) => {
      all.set(head, h);
    });
    await expect(loading(untied, one)).rejects.toThrow(
      new RegExp(`lm_head has ${vocab + 3} rows, but model\\.embed_tokens has ${vocab}; .*brings both tables`),
    );
    const smaller = await changed(adapter, 'adapter_model', (all) => {
      all.set(embedding, noise([vocab - 1, size]));
    });
    expect((await logitsWith(tied, smaller)).length).toBe(4 * (vocab - 1));
  });

  test('the weight of an adapted module, wrapped or not, is the base’s', async () => {
    const { shape } = (await readAll(join(untied, 'model.safetensors'))).get('model.layers.0.self_attn.q_proj.weight')!;
    const w = noise(shape);
    const other = await changed(untied, 'model', (all) => {
      all.set('model.layers.0.self_attn.q_proj.weight', w);
    });
    const expected = await logitsWith(other, adapter);
    for (const name of ['base_layer.weight', 'weight']) {
      const brings = await changed(adapter, 'adapter_model', (all) => {
        all.set(`${query}.${name}`, w);
      });
      expectSame(await logitsWith(untied, brings), expected);
    }
  });

  test('what nobody reads is refused with all names, layers together', async () => {
    const names = ['base_model.model.score.weight', `${query}.lora_magnitude_vector`, `${query}.lora_B.bias`, `${query}.ia3_l`, `${embedding.slice(0, -7)}.lora_embedding_A`, `${embedding.slice(0, -7)}.token_adapter.trainable_tokens_delta`]; // biome-ignore format: one row
    const all = await changed(adapter, 'adapter_model', (tensors) => {
      for (const name of names) tensors.set(name, noise([4]));
    });
    const error = loading(untied, all);
    for (const name of names) await expect(error).rejects.toThrow(name.replace('.0.', '.0.'));
    await expect(error).rejects.toMatchObject({ code: 'checkpoint' });
  });

  test('buffers that are computed are passed over', async () => {
    const brings = await changed(adapter, 'adapter_model', (all) => {
      all.set('base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq', noise([4]));
    });
    expectSame(await logitsWith(untied, brings), await logitsWith(untied, adapter));
  });
});

describe('keys and folders of other versions', () => {
  const renamed = (rename: (key: string) => string): Promise<string> =>
    changed(adapter, 'adapter_model', (all) => {
      for (const [key, table] of [...all]) {
        all.delete(key);
        all.set(rename(key), table);
      }
    });

  test('keys with the adapter’s name, and without the prefix', async () => {
    const expected = await logitsWith(untied, adapter);
    const named = await renamed((key) => key.replace(/(lora_[AB])/, '$1.default'));
    expectSame(await logitsWith(untied, named), expected);
    const plain = await renamed((key) => key.replace('base_model.model.', ''));
    expectSame(await logitsWith(untied, plain), expected);
    const two = await changed(adapter, 'adapter_model', (all) => {
      all.set(`${query}.lora_A.other.weight`, noise([4, size]));
    });
    await expect(loading(untied, two)).rejects.toThrow(/both .*lora_A\.weight' and .*lora_A\.other\.weight'/);
  });

  test('a folder of adapters names them, and `subfolder` opens one', async () => {
    const parent = folder();
    cpSync(adapter, join(parent, 'chat'), { recursive: true });
    await expect(loading(untied, parent)).rejects.toThrow(/adapter_config\.json does not exist.*'chat'.*subfolder/);
    const model = await PeftModel.from_pretrained(await load(untied), parent, { subfolder: 'chat' });
    expectSame(await logitsOf(model), await logitsWith(untied, adapter));
    const pickled = folder();
    cpSync(adapter, pickled, { recursive: true });
    renameSync(join(pickled, 'adapter_model.safetensors'), join(pickled, 'adapter_model.bin'));
    await expect(loading(untied, pickled)).rejects.toThrow(
      /pickle format; save it again as adapter_model\.safetensors/,
    );
  });
});

describe('configurations of any version', () => {
  const withConfig = (config: Readonly<Record<string, unknown>>): Promise<string> =>
    changed(adapter, 'adapter_model', () => undefined, config);

  test('fields that say nothing, and how the adapter began, change nothing', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    const expected = await logitsWith(untied, adapter);
    const nothing = {
      merge_weights: false, enable_lora: null, megatron_config: { tensor_model_parallel_size: 2 }, megatron_core: 'megatron.core',
      eva_config: { rho: 2 }, corda_config: null, loftq_config: { loftq_bits: 4 }, runtime_config: { ephemeral_gpu_offload: false },
      arrow_config: null, target_parameters: [], ensure_weight_tying: true, qalora_group_size: 32, auto_mapping: { base_model_class: 'X' },
      peft_version: '0.99', layer_replication: null, use_bdlora: {}, revision: 'main', a_field_of_tomorrow: null, another: [], third: '',
    }; // biome-ignore format: one table
    expectSame(await logitsWith(untied, await withConfig(nothing)), expected);
    expect(warn).not.toHaveBeenCalled();
    for (const kind of ['gaussian', 'eva', 'orthogonal', 'loftq', 'corda', 'lora_ga', 'strange', false, true]) {
      expectSame(await logitsWith(untied, await withConfig({ init_lora_weights: kind })), expected);
    }
    expect(warn.mock.calls.flat().join()).toMatch(/'corda'; such an adapter belongs to the base/);
    expectSame(await logitsWith(untied, await withConfig({ tomorrow: true })), expected);
    expect(warn.mock.calls.flat().join()).toMatch(/does not know, which are passed over: 'tomorrow'/);
    warn.mockRestore();
  });

  test('fields that change what is computed are refused by name', async () => {
    const served: Record<string, unknown> = {
      use_qalora: true, alora_invocation_tokens: [1, 2], arrow_config: { top_k: 2 }, target_parameters: ['experts.w'], use_bdlora: { nblocks: 2 },
      kasa_config: { beta: 0.1 }, monteclora_config: { num_samples: 8 }, velora_config: { num_groups: 4 }, enable_lora: [true, false],
    }; // biome-ignore format: one table
    for (const [name, value] of Object.entries(served)) {
      const refused = loading(untied, await withConfig({ [name]: value }));
      await expect(refused, name).rejects.toThrow(`it sets \`${name}\``);
      await expect(refused, name).rejects.toMatchObject({ code: 'unsupported' });
    }
    const tying = await withConfig({ ensure_weight_tying: true, modules_to_save: ['lm_head'] });
    await expect(loading(tied, tying)).rejects.toThrow(/ensure_weight_tying is not served for lm_head/);
  });

  test('a configuration for another model names the file, and the modules that there are', async () => {
    const other = loading(untied, await withConfig({ target_modules: ['query', 'value'] }));
    await expect(other).rejects.toThrow(/adapter_config\.json does not fit this model: target_modules query, value match no module.*q_proj/); // biome-ignore format: one row
    await expect(other).rejects.toMatchObject({ code: 'checkpoint' });
  });

  test('rank_pattern with ^ matches as in Python', async () => {
    const config = await withConfig({ r: 7, lora_alpha: 14, rank_pattern: { '^.*q_proj': 4, v_proj: 4 }, alpha_pattern: { '^.*q_proj': 8, v_proj: 8 } }); // biome-ignore format: one row
    expectSame(await logitsWith(untied, config), await logitsWith(untied, adapter));
  });

  test.skipIf(!hasMaterial)('cases that users reported, against PEFT', async () => {
    for (const name of ['adapter-brings-its-own-head', 'adapter-config-of-2023']) {
      const dir = join(material, 'field', name);
      expect(existsSync(dir)).toBe(true);
      const { input_ids, last_logits } = readJson<{ input_ids: number[][]; last_logits: number[] }>(join(dir, 'expected.json')); // biome-ignore format: one row
      const model = await PeftModel.from_pretrained(await load(join(dir, 'base')), join(dir, 'adapter'));
      const { logits } = await model.forward({ input_ids });
      expectSame(logits.data.slice(-last_logits.length), Float32Array.from(last_logits));
    }
  });
});

describe('names, options and patterns', () => {
  test('names that are paths or no names are refused, and others become folders', async () => {
    const base = await load(untied);
    const bad = ['', '.', '..', '../x', 'a/b', 'a\\b', 'a.b', '__proto__', '__base__', ' a', 'a\n', 'a\0', 'x'.repeat(300), 3, null, {}]; // biome-ignore format: one row
    for (const name of bad as string[]) {
      await expect(PeftModel.from_pretrained(base, adapter, { adapter_name: name }), String(name)).rejects.toThrow(/cannot be the name of an adapter/); // biome-ignore format: one row
    }
    for (const name of ['constructor', 'größe_1', 'v-2']) {
      const model = await PeftModel.from_pretrained(base, adapter, { adapter_name: name });
      expect(Object.keys(model.peft_config)).toEqual([name]);
      expect(model.active_adapter).toBe(name);
      const to = folder();
      await model.save_pretrained(to);
      expect(existsSync(join(to, name, 'adapter_config.json'))).toBe(true);
    }
  });

  test('options that nobody knows, with the nearest name, and those of PEFT that are not served', async () => {
    const base = await load(untied);
    const cast = <T>(options: unknown): T => options as T;
    await expect(PeftModel.from_pretrained(base, adapter, cast({ is_trainble: true }))).rejects.toThrow(/is_trainable/);
    await expect(PeftModel.from_pretrained(base, adapter, cast({ key_mapping: { a: 'b' } }))).rejects.toThrow(/`key_mapping`/); // biome-ignore format: one row
    const model = await PeftModel.from_pretrained(base, adapter, cast({ low_cpu_mem_usage: false, autocast_adapter_dtype: true })); // biome-ignore format: one row
    await expect(model.load_adapter(adapter, 'b', cast({ trainable: true }))).rejects.toThrow(/`trainable`/);
    await expect(model.merge_adapter(cast({ safe: true }))).rejects.toThrow(/`safe`/);
    await expect(model.merge_and_unload(cast({ adapters: ['default'] }))).rejects.toThrow(/`adapters`/);
    await expect(model.save_pretrained(folder(), cast({ safe_serialization: false }))).rejects.toThrow(/`safe_serialization`/); // biome-ignore format: one row
    await expect(model.save_pretrained(folder(), { selected_adapters: ['../x'] })).rejects.toThrow(/no adapter '..\/x'/); // biome-ignore format: one row
    await expect(model.add_adapter('c', cast({ r: 8 }))).rejects.toThrow(/needs a LoraConfig/);
    await expect(get_peft_model(base, cast({ r: 8 }))).rejects.toThrow(/needs a LoraConfig/);
    await expect(get_peft_model(base, new LoraConfig(), 'x', cast({ mixed: true }))).rejects.toThrow(/`mixed`/);
    expect(() => model.add_weighted_adapter(['default'], [1], 'w', cast({ combination: 'cat' }))).toThrow(/combination_type/); // biome-ignore format: one row
    expect(() => new LoraConfig(cast({ alpha: 16 }))).toThrow(/`alpha`/);
    expect(() => new LoraConfig(cast({ lora_aplha: 16 }))).toThrow(/did you mean `lora_alpha`/);
    await expect(model.forward({ input_ids: ids, adapter_names: cast('default') })).rejects.toThrow(/adapter_names/);
  });

  test('patterns mean what they mean in Python', () => {
    const matches = (pattern: string, name: string): boolean => pythonPattern(pattern).test(name);
    expect(matches('\\Amodel\\..*\\Z', 'model.q')).toBe(true);
    expect(matches('A', '\\A')).toBe(false);
    expect(matches('[]a]+', ']a')).toBe(true);
    expect(matches('(?P<n>a)(?P=n)', 'aa')).toBe(true);
    expect(matches('a{,2}', 'aa')).toBe(true);
    expect(matches('a{,2}', 'a{,2}')).toBe(false);
    expect(matches('a{x', 'a{x')).toBe(true);
    expect(matches('(?i)Q_PROJ', 'q_proj')).toBe(true);
    expect(matches('^(?!.*visual).*(?:q_proj|k_proj)$', 'model.layers.0.q_proj')).toBe(true);
    expect(matches('^(?!.*visual).*(?:q_proj|k_proj)$', 'visual.layers.0.q_proj')).toBe(false);
    expect(matches('(\\w+\\.)+q_proj', 'model.layers.q_proj')).toBe(true);
    for (const pattern of ['(?>a)', 'a++', '(?i:a)', '(?(1)a|b)']) {
      expect(() => pythonPattern(pattern), pattern).toThrow(expect.objectContaining({ code: 'unsupported' }) as Error);
    }
    for (const pattern of ['\\q', '(', '[a', '*', 'a\\']) {
      expect(() => pythonPattern(pattern), pattern).toThrow(/no regular expression/);
    }
    expect(() => pythonPattern('(a|a)*b').test('a'.repeat(100))).toThrow(/takes too long/);
  });
});
