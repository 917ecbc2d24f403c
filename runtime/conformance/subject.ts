// The model under test, reached through the public API, in the plain arrays that the checks compare.
import { readSafetensors, readSpan, supportedModels } from '../../frontends/huggingface/index.ts';
import { isDType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { TargetName } from '../execution/devices.ts';
import { AutoModelForCausalLM, AutoTokenizer, type GenerateOptions, type Tensor } from '../index.ts';
import { viewOf } from '../tensors/host-tensor.ts';
import type { GoldenTensor, GoldenTensors } from './checks.ts';

export interface SubjectOptions {
  readonly target: TargetName;
  readonly cache: 'dynamic' | 'static';
  /** Whole trainings, not just their first steps. */
  readonly full?: boolean;
}
export type GenerateSettings = Pick<
  GenerateOptions,
  'max_new_tokens' | 'repetition_penalty' | 'no_repeat_ngram_size' | 'num_beams' | 'num_return_sequences'
>;

export interface Subject {
  /** Logits and hidden states of every position, row-major; positions count what the mask lets be seen. */
  forward(
    ids: readonly (readonly number[])[],
    mask?: readonly (readonly number[])[],
  ): Promise<{ logits: Float32Array; hidden: Float32Array[] }>;
  /** Sequences that continue `prompt`, without sampling and without an end token. */
  generate(prompt: readonly number[], settings: GenerateSettings): Promise<number[][]>;
  encode(text: string): Promise<number[]>;
  decode(ids: readonly number[]): Promise<string>;
  dispose(): void;
}

export const supports = (modelType: string | undefined): boolean =>
  modelType !== undefined && supportedModels.includes(modelType);

export const idsOf = (ids: Tensor<'int64'>): number[][] => {
  const [rows, length] = ids.dims;
  return Array.from({ length: rows }, (_, r) => Array.from(ids.data.subarray(r * length, (r + 1) * length), Number));
};

export async function openSubject(folder: string, options: SubjectOptions): Promise<Subject> {
  const model = await AutoModelForCausalLM.from_pretrained(folder, {
    target: options.target,
    cache_implementation: options.cache,
  });
  return {
    async forward(ids, mask) {
      const { logits, hidden_states = [] } = await model({
        input_ids: ids,
        attention_mask: mask ?? null,
        output_hidden_states: true,
      });
      return { logits: logits.data, hidden: hidden_states.map((h) => h.data) };
    },
    async generate(prompt, settings) {
      const fixed = { do_sample: false, eos_token_id: null, pad_token_id: 0 } as const;
      return idsOf(await model.generate({ input_ids: [prompt], ...settings, ...fixed }));
    },
    async encode(text) {
      const tokenizer = await AutoTokenizer.from_pretrained(folder);
      return tokenizer.encode(text);
    },
    async decode(ids) {
      const tokenizer = await AutoTokenizer.from_pretrained(folder);
      return tokenizer.decode(ids, { skip_special_tokens: true });
    },
    dispose: () => model.dispose(),
  };
}

/** The integers of a tensor of a golden file, of 16, 32 or 64 bits. */
export async function readIntegers(path: string, name: string): Promise<number[]> {
  const { tensors } = await readSafetensors(path);
  const tensor = tensors.get(name);
  if (!tensor) throw new ModelcError('parse', `${path} has no tensor ${name}: is the case complete?`);
  const { buffer } = (await readSpan(tensor.span)).slice();
  switch (tensor.dtype) {
    case 'I16':
      return Array.from(new Int16Array(buffer));
    case 'I32':
    case 'i32':
      return Array.from(new Int32Array(buffer));
    case 'I64':
    case 'i64':
      return Array.from(new BigInt64Array(buffer), Number);
    default:
      throw new ModelcError('parse', `${path}: tensor ${name} has dtype ${tensor.dtype}, not one of integers`);
  }
}

/** Every tensor of a golden file. */
export async function readTensors(path: string): Promise<GoldenTensors> {
  const { tensors } = await readSafetensors(path);
  const read = new Map<string, GoldenTensor>();
  for (const [name, { dtype, shape, span }] of tensors) {
    if (!isDType(dtype)) throw new ModelcError('parse', `${path}: tensor ${name} has dtype ${dtype}`);
    read.set(name, { shape, data: viewOf(dtype, await readSpan(span)) });
  }
  return read;
}
