// AutoModelForCausalLM: a checkpoint folder to a model that runs. The model is compiled in this process for the CPU, or
// with `target: 'reference'` interpreted. The entry `forward` (all positions' logits) is compiled at its first use.
import type { CompileOptions } from './compiler.ts';
import type { Traced } from '../frontends/dsl/index.ts';
import {
  type CausalLM,
  type Checkpoint,
  causalLM,
  openCheckpoint,
  readSpan,
  readTensor,
} from '../frontends/huggingface/index.ts';
import { dtypeInfo } from '../ir/dtype.ts';
import { ModelcError } from '../ir/error.ts';
import type { PlanTensor } from '../ir/program.ts';
import { packRecipe } from '../passes/pack.ts';
import { GenerationConfig } from './generation/configuration.ts';
import { createModel, type PreTrainedModel } from './generation/model.ts';
import { LazySession } from './lazy-session.ts';
import { evalShape } from './plan-dims.ts';
import type { WeightSource } from './program-session.ts';
import { ReferenceSession } from './reference-session.ts';
import type { Session, SessionLimits } from './session.ts';

export interface LoadOptions {
  /** 'cpu' (default): native code; 'reference': the interpreter, slow and exact. */
  target?: 'cpu' | 'reference';
  /** As in transformers.js; only 'cpu'. */
  device?: 'cpu' | null;
  /** The type to compute in. Weights are used as they are stored, so only 'auto' (default) and that type are served. */
  dtype?: 'auto' | 'float32' | 'fp32' | 'bfloat16' | 'bf16' | 'float16' | 'fp16' | null;
  /** 'dynamic' (default): the cache grows by doubling; 'static': it has max_cache_len positions from the start. */
  cache_implementation?: 'dynamic' | 'static' | null;
  /** Positions that a cache can have at most; default max_position_embeddings. */
  max_cache_len?: number | null;
  /** Rows that can run together at most, beams included; default 8. */
  max_batch?: number;
  /** Prompt tokens per run at most; longer prompts are read in chunks. Default 512. */
  chunk?: number;
}

const defaultBatch = 8;
const defaultChunk = 512;

function count(name: string, value: number): number {
  if (Number.isInteger(value) && value > 0) return value;
  throw new ModelcError('input', `\`${name}\` must be a positive integer, but is ${value}`);
}

/** The checkpoint's generation_config.json, or what its config.json says of generation. */
function generationConfigOf(checkpoint: Checkpoint): GenerationConfig {
  const path = `${checkpoint.dir}/generation_config.json`;
  if (Object.keys(checkpoint.generationConfig).length > 0) {
    return GenerationConfig.parse(JSON.stringify(checkpoint.generationConfig), path);
  }
  return GenerationConfig.from_model_config(checkpoint.config);
}

const dtypeNames: Readonly<Record<string, string>> = {
  float32: 'f32',
  fp32: 'f32',
  bfloat16: 'bf16',
  bf16: 'bf16',
  float16: 'f16',
  fp16: 'f16',
};

function checkDtype(dtype: LoadOptions['dtype'], checkpoint: Checkpoint): void {
  if (dtype === undefined || dtype === null || dtype === 'auto') return;
  const wanted = dtypeNames[dtype];
  const stored = new Set([...checkpoint.tensors.values()].map((t) => t.dtype));
  if (wanted === undefined || [...stored].some((s) => s !== wanted)) {
    throw new ModelcError(
      'unsupported',
      `dtype '${dtype}' is not supported for ${checkpoint.dir}, whose weights are ${[...stored].join(', ')}; leave dtype out`,
    );
  }
}

const loadFields = ['target', 'device', 'dtype', 'cache_implementation', 'max_cache_len', 'max_batch', 'chunk'];

function checkOptions(options: LoadOptions): void {
  for (const name of Object.keys(options)) {
    if (!loadFields.includes(name)) {
      throw new ModelcError('unsupported', `from_pretrained() does not support the option \`${name}\`; it takes ${loadFields.join(', ')}`);
    }
  }
  const { device, target = 'cpu', cache_implementation: cache } = options;
  if ((device ?? 'cpu') !== 'cpu') throw new ModelcError('unsupported', `device '${device}' is not supported; use 'cpu'`);
  if (target !== 'cpu' && target !== 'reference') {
    throw new ModelcError('unsupported', `target '${String(target)}' is not supported; use 'cpu' or 'reference'`);
  }
  if (cache && cache !== 'dynamic' && cache !== 'static') {
    throw new ModelcError('unsupported', `cache_implementation '${String(cache)}' is not supported; use 'dynamic' or 'static'`);
  }
}

// biome-ignore lint/complexity/noStaticOnlyClass: the name and form that users of transformers know
export class AutoModelForCausalLM {
  /**
   * The model of a checkpoint folder. Throws ModelcError 'checkpoint' or 'parse' when its files do not fit together,
   * 'toolchain' when it cannot be compiled, 'unsupported' for options that are not served.
   */
  static async from_pretrained(directory: string, options: LoadOptions = {}): Promise<PreTrainedModel> {
    checkOptions(options);
    const checkpoint = await openCheckpoint(directory);
    const model = causalLM(checkpoint);
    checkDtype(options.dtype, checkpoint);
    const limits: SessionLimits = {
      batch: count('max_batch', options.max_batch ?? defaultBatch),
      chunk: count('chunk', options.chunk ?? defaultChunk),
      length: count('max_cache_len', options.max_cache_len ?? model.config.maxPositionEmbeddings),
      fixedLength: options.cache_implementation === 'static',
    };
    const session =
      options.target === 'reference' ? openReference(checkpoint, model, limits) : await openCompiled(checkpoint, model, limits);
    const info = {
      vocabSize: model.config.vocabSize,
      maxPositionEmbeddings: model.config.maxPositionEmbeddings,
      ...(model.config.bosTokenId === undefined ? {} : { bosTokenId: model.config.bosTokenId }),
    };
    return createModel(session, info, checkpoint.config, generationConfigOf(checkpoint));
  }
}

/** Traces entries of a model under limits, each once. */
function tracer(model: CausalLM, limits: SessionLimits): (entry: string) => Traced {
  const traced = new Map<string, Traced>();
  return (entry) => {
    let graph = traced.get(entry);
    if (!graph) {
      if (entry !== 'prefill' && entry !== 'decode' && entry !== 'forward') {
        throw new ModelcError('input', `the model has no entry '${entry}'; it has prefill, decode and forward`);
      }
      graph = model.graph(entry, {
        maxBatch: limits.batch,
        maxLength: limits.length,
        chunk: Math.min(limits.chunk, limits.length),
      });
      traced.set(entry, graph);
    }
    return graph;
  };
}

/** A model in the interpreter. */
export function openReference(checkpoint: Checkpoint, model: CausalLM, limits: SessionLimits): Session {
  return new ReferenceSession({
    limits: { ...limits, chunk: Math.min(limits.chunk, limits.length) },
    trace: tracer(model, limits),
    weight: (name, dtype, shape) => readTensor(storedTensor(checkpoint, name).span, dtype, shape),
  });
}

async function openCompiled(checkpoint: Checkpoint, model: CausalLM, limits: SessionLimits): Promise<Session> {
  const [{ compile }, { createCpuDevice }] = await Promise.all([
    import('./compiler.ts'),
    import('../backends/cpu/device.ts'),
  ]);
  const device = await createCpuDevice();
  const trace = tracer(model, limits);
  const options: CompileOptions = {
    cache: limits.fixedLength
      ? { kind: 'static', capacity: limits.length, store: 'f32' }
      : { kind: 'dynamic', store: 'f32' },
  };
  const compileEntries = (entries: readonly string[]) =>
    compile(model.config.modelType, Object.fromEntries(entries.map((e) => [e, trace(e)])), device.target, options);
  return LazySession.open(device, compileEntries, (weight) => weightSource(checkpoint, weight));
}

const storedTensor = (checkpoint: Checkpoint, name: string) => {
  const tensor = checkpoint.tensors.get(name);
  if (!tensor) throw new ModelcError('checkpoint', `${checkpoint.dir} lacks the weight ${name}; download it again`);
  return tensor;
};

/** Where the bytes of a program's weight are: in the checkpoint, or permuted as its pack recipe says. */
export async function weightSource(checkpoint: Checkpoint, weight: PlanTensor): Promise<WeightSource> {
  const { source, perm } = packRecipe(weight.name);
  const { span } = storedTensor(checkpoint, source);
  if (!perm) return span;
  const packed = evalShape(weight.shape, {});
  const shape = new Array<number>(packed.length);
  for (const [i, p] of perm.entries()) shape[p] = packed[i];
  return permuteBytes(await readSpan(span), shape, perm, dtypeInfo[weight.dtype].bytes);
}

/** Row-major elements of `size` bytes, axes permuted: result axis i is argument axis perm[i]. */
export function permuteBytes(bytes: Uint8Array, shape: readonly number[], perm: readonly number[], size: number): Uint8Array {
  const strides = new Array<number>(shape.length);
  for (let axis = shape.length - 1, step = size; axis >= 0; axis--) {
    strides[axis] = step;
    step *= shape[axis];
  }
  const out = new Uint8Array(bytes.length);
  const index = new Array<number>(perm.length).fill(0);
  for (let to = 0, from = 0; to < out.length; to += size) {
    for (let b = 0; b < size; b++) out[to + b] = bytes[from + b];
    for (let axis = perm.length - 1; axis >= 0; axis--) {
      from += strides[perm[axis]];
      if (++index[axis] < shape[perm[axis]]) break;
      from -= strides[perm[axis]] * shape[perm[axis]];
      index[axis] = 0;
    }
  }
  return out;
}

export { CausalLanguageModel, createModel, type PreTrainedModel } from './generation/model.ts';
