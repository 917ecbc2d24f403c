// Low-rank adapters against what Python's PEFT computed: adapters that it trained, on models of transformers; merged
// weights; several adapters together; and adapters saved here and read again.
import { existsSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { NdArray } from '../../ir/ndarray.ts';
import {
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  type CausalLMOutput,
  type CombineOptions,
  type LogitsOutput,
  PeftModel,
  type PreTrainedModel,
  type Seq2SeqLMOutput,
} from '../../runtime/index.ts';
import type { AdaptedModel } from '../../runtime/peft/adapted-model.ts';
import { numbersOf } from '../../runtime/peft/weights.ts';
import { hasMaterial, material, readArrays, readJson } from '../support/golden.ts';

/** Logits are below 30, and all arithmetic is in f32. */
const tolerance = 2e-4;

const oracle = join(material, 'hf-oracle/peft');

interface Golden {
  readonly args: Readonly<Record<string, unknown>>;
  readonly error?: string;
  readonly trainable_params: number;
  readonly all_params: number;
  readonly trainable_names: readonly string[];
  readonly targeted_module_names: readonly string[];
  readonly scaling: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly merge_error?: string;
}

interface TwoAdapters {
  readonly active_initial: readonly string[];
  readonly weighted: Readonly<
    Record<string, CombineOptions & { readonly adapters: readonly string[]; readonly weights: readonly number[] }>
  >;
  readonly adapters_after_delete: readonly string[];
}

const rowsOf = (a: NdArray): number[][] =>
  Array.from({ length: a.shape[0] }, (_, i) => [...a.data.slice(i * a.shape[1], (i + 1) * a.shape[1])]);

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = Math.abs(a.length - b.length) * 1e9;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i] - b[i]));
  return largest;
}

const load = (model: string): Promise<PreTrainedModel> =>
  AutoModelForCausalLM.from_pretrained(join(oracle, model, 'checkpoint'), { target: 'reference' });

interface Inputs {
  readonly input_ids: number[][];
  readonly labels?: number[][];
}
interface Runs {
  forward(inputs: Inputs): Promise<LogitsOutput | CausalLMOutput | Seq2SeqLMOutput>;
}
const logitsOf = async (model: Runs, inputs: Inputs): Promise<Float32Array> =>
  (await model.forward(inputs)).logits.data;

const loadAdapter = async (
  model: string,
  folder: string,
): Promise<{
  readonly plain: Runs;
  readonly peft: Pick<
    AdaptedModel<'causal-lm', PreTrainedModel>,
    'adapters' | 'get_nb_trainable_parameters' | 'save_pretrained' | 'merge_adapter'
  > &
    Runs & { merge_and_unload(): Promise<Runs> };
  again(f: string): Promise<Runs>;
}> => {
  const options = { is_trainable: true };
  if (model === 'bert') {
    const path = join(oracle, model, 'checkpoint');
    const plain = await AutoModelForSequenceClassification.from_pretrained(path, { target: 'reference' });
    const load = (f: string) => PeftModel.from_pretrained(plain, f, options);
    return { plain, peft: await load(folder), again: load };
  }
  if (model === 't5') {
    const path = join(oracle, model, 'checkpoint');
    const plain = await AutoModelForSeq2SeqLM.from_pretrained(path, { target: 'reference' });
    const load = (f: string) => PeftModel.from_pretrained(plain, f, options);
    return { plain, peft: await load(folder), again: load };
  }
  const plain = await load(model);
  const loadFrom = (f: string) => PeftModel.from_pretrained(plain, f, options);
  return { plain, peft: await loadFrom(folder), again: loadFrom };
};

const variantsOf = (model: string): string[] =>
  hasMaterial
    ? readdirSync(join(oracle, model)).filter((v) => existsSync(join(oracle, model, v, 'adapter_trained')))
    : [];

/** Initialisations whose change of the base cannot be computed again, for it was drawn at random. */
const isDrawn = (variant: string): boolean => variant.startsWith('pissa_niter');

describe.skipIf(!hasMaterial)('adapters that Python trained', () => {
  for (const model of ['llama', 'gpt2', 'bert', 't5']) {
    test.each(variantsOf(model))(`${model}: %s`, async (variant) => {
      const folder = join(oracle, model, variant);
      const golden = readJson<Golden>(join(folder, 'golden.json'));
      const arrays = await readArrays(join(folder, 'golden.safetensors'));
      const base = await readArrays(join(oracle, model, 'checkpoint', 'golden.safetensors'));
      // What T5's decoder reads is made of the labels.
      const labels = model === 't5' ? { labels: rowsOf(arrays.get('labels')!) } : {};
      const ids: Inputs = { input_ids: rowsOf(arrays.get('input_ids')!), ...labels };
      const { plain, peft, again } = await loadAdapter(model, join(folder, 'adapter_trained'));

      expect(peft.get_nb_trainable_parameters()).toEqual([golden.trainable_params, golden.all_params]);
      const { trainable } = peft.adapters;
      expect(trainable.map((t) => t.name).sort()).toEqual([...golden.trainable_names].sort());
      const adapter = peft.adapters.get('default');
      expect(adapter.targets.map((t) => t.module.name).sort()).toEqual([...golden.targeted_module_names].sort());
      for (const { module, scaling } of adapter.targets) {
        expect(scaling).toBeCloseTo(golden.scaling[`base_model.model.${module.name}`].default, 12);
      }
      if (isDrawn(variant)) return;

      const trained = arrays.get('logits_trained')!.data;
      expect(largestDifference(await logitsOf(peft, ids), trained)).toBeLessThan(tolerance);

      if (golden.args.layer_replication === undefined) {
        expect(largestDifference(await logitsOf(plain, ids), base.get('logits_base')!.data)).toBeLessThan(tolerance);
      }
      const written = mkdtempSync(join(tmpdir(), 'peft-'));
      await peft.save_pretrained(written);
      expect(largestDifference(await logitsOf(await again(written), ids), trained)).toBeLessThan(tolerance);

      if (golden.merge_error) {
        await expect(peft.merge_and_unload()).rejects.toThrow(/lora_bias.*cannot be merged/);
        return;
      }
      await peft.merge_adapter({ safe_merge: true });
      const { tensors } = await peft.adapters.effect();
      for (const [name, expected] of arrays) {
        const weight = name.startsWith('merged/') ? name.slice('merged/'.length) : undefined;
        // PEFT adds both adapters of a layer that comes twice to the one weight; here each layer has its own.
        if (weight === undefined || golden.args.layer_replication !== undefined) continue;
        const saved = adapter.tensors.find((t) => t.role === 'saved' && t.of === weight);
        expect(largestDifference(numbersOf(tensors.get(saved?.param ?? weight)!), expected.data)).toBeLessThan(1e-5);
      }
      const merged = await peft.merge_and_unload();
      expect(largestDifference(await logitsOf(merged, ids), trained)).toBeLessThan(tolerance);
    });
  }

  test.each(['llama', 'gpt2'])(
    'several adapters on %s: switched, together, by row, combined and merged',
    async (name) => {
      const folder = join(oracle, name, 'two_adapters');
      const golden = readJson<TwoAdapters>(join(folder, 'golden.json'));
      const arrays = await readArrays(join(folder, 'golden.safetensors'));
      const input_ids = rowsOf(arrays.get('input_ids')!);
      const ids = { input_ids };
      const model = await PeftModel.from_pretrained(await load(name), folder, { is_trainable: true });
      const names = readdirSync(folder, { withFileTypes: true }).flatMap((e) => (e.isDirectory() ? [e.name] : []));
      for (const name of names) await model.load_adapter(join(folder, name), name);
      expect(model.active_adapters).toEqual(golden.active_initial);
      const expectLogits = async (key: string, logits: Promise<Float32Array>): Promise<void> =>
        expect(largestDifference(await logits, arrays.get(`logits/${key}`)!.data), key).toBeLessThan(tolerance);

      for (const name of ['default', ...names]) {
        model.set_adapter(name);
        await expectLogits(name, logitsOf(model, ids));
        const size = (golden as unknown as Record<string, unknown>)[`trainable_${name}`];
        expect(model.get_nb_trainable_parameters()[0]).toBe(size);
      }
      await model.disable_adapter(() => expectLogits('disabled', logitsOf(model, ids)));
      model.set_adapter(['default', 'second']);
      await expectLogits('both_active', logitsOf(model, ids));
      model.set_adapter('default');
      for (const key of arrays.keys()) {
        const rows = /^logits\/mixed_(\w+)_(\w+)$/.exec(key)?.slice(1, 3);
        if (!rows) continue;
        const adapter_names = rows.map((name) => (name === 'base' ? '__base__' : name));
        const { logits } = await model.forward({ input_ids, adapter_names });
        await expectLogits(key.slice('logits/'.length), Promise.resolve(logits.data));
      }
      for (const [name, { adapters, weights, ...options }] of Object.entries(golden.weighted)) {
        if (/dare/.test(name)) continue;
        model.add_weighted_adapter(adapters, weights, name, options);
        model.set_adapter(name);
        await expectLogits(name, logitsOf(model, ids));
      }
      model.set_adapter('default');
      model.delete_adapter('third');
      expect(Object.keys(model.peft_config)).toEqual(golden.adapters_after_delete);
      const merged = await model.merge_and_unload({ adapter_names: ['default', 'second'] });
      await expectLogits('merged_default_second', logitsOf(merged, ids));
    },
  );
});
