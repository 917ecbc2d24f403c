// Every number of a config.json may be anything: a model of any family, its weights beside it, is opened with each of its
// numbers changed to each of the values below, and either works or is refused in one sentence of ours, at once.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import {
  type Checkpoint,
  describeModel,
  fittedModel,
  kindOf,
  openCheckpoint,
  type TaskName,
  writeSafetensors,
} from '../../frontends/huggingface/index.ts';
import { isObject, type JsonObject } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import {
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
} from '../../runtime/index.ts';
import { newWeights } from '../../runtime/models/new-model.ts';
import { bytesOf } from '../../runtime/tensors/host-tensor.ts';
import { smallConfigs } from '../support/small-models.ts';

const root = mkdtempSync(join(tmpdir(), 'modelc-numbers-'));
afterAll(() => rmSync(root, { recursive: true }));

const large = [1e6, 1e9, 2 ** 31 - 1, 2 ** 31, 2 ** 53];
const odd = [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 'x', null, [], {}, true];

/** Opens a model and, where sizes may be large, traces what compiling it traces. */
function open(checkpoint: Checkpoint, task: TaskName, value: unknown): void {
  const traces = large.includes(value as number);
  const model = fittedModel(checkpoint, task);
  const entry = kindOf(task) === 'encoder' ? 'forward' : 'decode';
  if (traces) model.trace(entry, { batch: 2, length: 8, chunk: 4, source: 8 }, () => 'f32');
}

/** Every place of a config that holds a number, and what stands there. */
function numbers(json: unknown, path: readonly (string | number)[] = []): (readonly (string | number)[])[] {
  if (typeof json === 'number') return [path];
  if (Array.isArray(json)) return json.flatMap((item, i) => numbers(item, [...path, i]));
  return isObject(json) ? Object.entries(json).flatMap(([key, item]) => numbers(item, [...path, key])) : [];
}

function changed(json: unknown, [key, ...rest]: readonly (string | number)[], value: unknown): unknown {
  if (key === undefined) return value;
  if (Array.isArray(json)) return json.map((item, i) => (i === key ? changed(item, rest, value) : item));
  return { ...(json as JsonObject), [key]: changed((json as JsonObject)[key], rest, value) };
}

/** What is too slow, or threw what is no error of ours. */
function faults(checkpoint: Checkpoint, task: TaskName): string[] {
  vi.spyOn(console, 'warn').mockImplementation(() => undefined);
  const found: string[] = [];
  open(checkpoint, task, 1e9);
  for (const path of numbers(checkpoint.config)) {
    for (const value of [...large, ...odd]) {
      const start = process.cpuUsage();
      let outcome = 'works';
      try {
        open({ ...checkpoint, config: changed(checkpoint.config, path, value) as JsonObject }, task, value);
      } catch (error) {
        outcome = String(error);
        if (!(error instanceof ModelcError)) found.push(`${path.join('.')} = ${String(value)}: ${outcome}`);
      }
      const { user, system } = process.cpuUsage(start);
      const seconds = (user + system) / 1e6;
      if (seconds > 1) found.push(`${path.join('.')} = ${String(value)}: ${seconds} s, ${outcome}`);
    }
  }
  return found;
}

/** Fields that a family reads although its small config does not name them. */
const more: JsonObject = {
  n_ctx: 16, n_inner: 12, bos_token_id: 1, eos_token_id: 2, pad_token_id: 0, decoder_start_token_id: 1, num_labels: 2,
  initializer_range: 0.02, layer_norm_epsilon: 1e-5, layer_norm_eps: 1e-5, rms_norm_eps: 1e-6, rope_theta: 10000,
  window_size: 3, sliding_window: 3, max_window_layers: 1, decoder_sparse_step: 1, type_vocab_size: 2,
  rotary_emb_base: 10000, n_shared_experts: 1, routed_scaling_factor: 1, expand: 2, conv_L_cache: 3, logit_scale: 1,
}; // biome-ignore format: one table

describe('with weights beside it', () => {
  test.each(smallConfigs.map(({ config, tasks }) => [config.model_type, config, tasks] as const))(
    '%s',
    async (_, small, tasks) => {
      for (const task of tasks.filter(
        (name) => !['encoder', 'token-classification', 'question-answering'].includes(name),
      )) {
        const config = { ...more, ...small };
        const folder = mkdtempSync(join(root, 'f-'));
        const store = newWeights(describeModel(config, 'the config', task).task.model, 0.02);
        const tensors = store.tensors.map(async ([name]) => {
          const { dtype, shape, data } = await store.stored(name);
          return { name, dtype, shape, data: bytesOf(data) };
        });
        writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
        await writeSafetensors(join(folder, 'model.safetensors'), await Promise.all(tensors));
        expect(faults(await openCheckpoint(folder), task), task).toEqual([]);
      }
    },
  );
});

describe('without weights', () => {
  const from = (config: JsonObject): Promise<unknown> => {
    const options = { target: 'reference' } as const;
    if (config.model_type === 't5') return AutoModelForSeq2SeqLM.from_config(config, options);
    return config.model_type === 'bert'
      ? AutoModelForSequenceClassification.from_config(config, options)
      : AutoModelForCausalLM.from_config(config, options);
  };
  const names = ['llama', 'gpt2', 'qwen3_moe', 'mamba', 't5', 'bert'];
  test.each(smallConfigs.flatMap(({ config }) => (names.includes(config.model_type) ? [config] : [])))(
    '$model_type',
    async (small) => {
      const config = { ...more, ...small };
      for (const path of numbers(config)) {
        for (const value of [1e9, 2 ** 53]) {
          const start = process.cpuUsage();
          const error: unknown = await from(changed(config, path, value) as JsonObject).then(
            () => undefined,
            (e: unknown) => e,
          );
          const { user, system } = process.cpuUsage(start);
          expect(error === undefined || error instanceof ModelcError, `${path}: ${String(error)}`).toBe(true);
          expect((user + system) / 1e6, `${path} = ${value}: ${String(error)}`).toBeLessThan(2);
        }
      }
      await expect(from({ ...config, vocab_size: 4e6, hidden_size: 4e6, n_embd: 4e6, d_model: 4e6 })).rejects.toThrow(
        ModelcError,
      );
    },
  );
});
