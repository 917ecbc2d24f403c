// What tests of models share: golden cases of the material beside the repository, and one run of a graph on the interpreter.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Traced } from '../../frontends/dsl/index.ts';
import {
  type Checkpoint,
  type EntryLimits,
  type FittedModel,
  readSafetensors,
  readTensor,
  weightResolver,
} from '../../frontends/huggingface/index.ts';
import { dimEval } from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import { evaluate } from '../../ir/eval.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';

/** The folder of test material. Tests that need it are skipped where it does not exist. */
export const material = fileURLToPath(new URL('../../../shared/data/', import.meta.url));
export const hasMaterial = existsSync(material);

export const readJson = <T>(path: string): T => JSON.parse(readFileSync(path, 'utf8')) as T;

/** Every tensor of a safetensors file. */
export async function readArrays(path: string): Promise<Map<string, NdArray>> {
  const { tensors } = await readSafetensors(path);
  const read = [...tensors].map(
    async ([name, t]) => [name, await readTensor(t.span, t.dtype as DType, t.shape)] as const,
  );
  return new Map(await Promise.all(read));
}

/** The weights that graphs of this checkpoint may ask for. */
export async function readWeights(checkpoint: Checkpoint): Promise<Map<string, NdArray>> {
  const read = [...checkpoint.tensors].map(
    async ([name, t]) => [name, await readTensor(t.span, t.dtype as DType, t.shape)] as const,
  );
  return new Map(await Promise.all(read));
}

/** A generation on the interpreter: feeds token ids, keeps the cache between runs. */
export class Interpreted {
  readonly #capacity: number;
  readonly #weights: ReadonlyMap<string, NdArray>;
  #states: ReadonlyMap<string, NdArray> | undefined;
  /** Real tokens of every row so far. */
  #positions: number[] | undefined;
  /** Columns of every row that are padding, all at its left. */
  #padding: number[] | undefined;
  past = 0;

  constructor(weights: ReadonlyMap<string, NdArray>, capacity: number) {
    this.#weights = weights;
    this.#capacity = capacity;
  }

  /** Runs `traced` on rows of ids; mask 0 marks padding. */
  run(
    traced: Traced,
    ids: readonly (readonly number[])[],
    mask?: readonly (readonly number[])[],
  ): Map<string, NdArray> {
    const [batch, seq] = [ids.length, ids[0].length];
    const real = mask ?? ids.map((row) => row.map(() => 1));
    const positions = (this.#positions ??= ids.map(() => 0));
    const padding = (this.#padding ??= real.map((row) => row.indexOf(1)));
    const dims = { batch, seq, past: this.past, capacity: this.#capacity };
    const params = new Map<string, NdArray>(this.#weights);
    params.set('input_ids', ndarray('i32', [batch, seq], ids.flat()));
    params.set('attention_mask', ndarray('bool', [batch, seq], real.flat()));
    params.set('padding', ndarray('i32', [batch], padding));
    params.set(
      'position_ids',
      ndarray(
        'i32',
        [batch, seq],
        real.flatMap((row, b) => row.map((m) => (m ? positions[b]++ : 1))),
      ),
    );
    for (const { attrs } of traced.graph.params) {
      const shape = attrs.shape.map((d) => dimEval(d, dims));
      const table = traced.constants.get(attrs.name);
      if (table) params.set(attrs.name, ndarray('f32', shape, table));
      if (attrs.kind === 'state') {
        params.set(attrs.name, this.#states?.get(attrs.name) ?? ndarray(attrs.dtype, shape));
      }
    }
    const { results, updates } = evaluate(traced.graph, { params, dims });
    this.#states = updates;
    this.past += seq;
    return results;
  }
}

/** Largest difference, relative to the largest expected entry. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, largest] = [actual.length === expected.length ? 0 : Number.POSITIVE_INFINITY, 0];
  for (let i = 0; i < expected.length; i++) {
    const d = Math.abs(actual[i] - expected[i]);
    difference = Math.max(difference, d); // NaN stays, and is less than nothing
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return difference / largest;
}

/** The graph of an entry of a checkpoint's model. */
export const graphOf = (model: FittedModel, entry: string, bounds: EntryLimits): Traced =>
  model.trace(entry, bounds, weightResolver(model.checkpoint, model.fresh));

const limits = { batch: 4, length: 512, chunk: 256 };

/** Prefill, then decode, greedily; all on the interpreter. */
export function greedy(
  model: FittedModel,
  weights: ReadonlyMap<string, NdArray>,
  prompt: readonly number[],
  count: number,
): number[] {
  const run = new Interpreted(weights, prompt.length + count);
  const decode = graphOf(model, 'decode', limits);
  const ids = [...prompt];
  let next = run.run(graphOf(model, 'prefill', limits), [prompt]).get('next_token')!;
  for (let i = 1; ; i++) {
    ids.push(next.data[0]);
    if (i === count) return ids;
    next = run.run(decode, [[next.data[0]]]).get('next_token')!;
  }
}
