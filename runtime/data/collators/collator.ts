// What collators are, take and give. A collator makes a batch of examples: a host tensor for each column, integers as i32,
// other numbers as f32, booleans as bool; sequence-inputs.ts converts them to what a model declares.
import { ModelcError } from '../../../ir/error.ts';
import { checkOptions } from '../../../ir/options.ts';
import { type HostTensor, storeNumbers } from '../../tensors/host-tensor.ts';
import { Tensor } from '../../tensors/tensor.ts';

/** Columns of a batch by name, each a tensor. */
export type Batch = Record<string, HostTensor>;

/** Which batch of a run is made: random numbers follow from it, so that a resumed run draws the same ones. */
export interface BatchPlace {
  /** The seed of the run. */
  readonly seed: number;
  /** Counted from 0. */
  readonly epoch: number;
  /** Of the epoch, counted from 0. */
  readonly batch: number;
}

/** Makes a batch of examples. A function of this form is one; `place` is for those that draw random numbers. */
export type DataCollator = (features: readonly object[], place?: BatchPlace) => Batch;

type KeysOf<O> = O extends unknown ? keyof O & string : never;

/** Options of Python's collators that ask for nothing with these values. */
const unserved = { return_tensors: 'pt', tf_experimental_compile: false } as const;

/** Lets `new NAME(options)` make a collator, which is a function. `served`: the names of its options. */
export function collatorClass<O>(
  name: string,
  served: readonly KeysOf<O>[],
  make: (options: O) => DataCollator,
): CollatorClass<O> {
  function Collator(options: O): DataCollator {
    checkOptions(name, options, served, unserved);
    if (served.includes('tokenizer' as KeysOf<O>) && !(options as { tokenizer?: unknown } | undefined)?.tokenizer) {
      throw new ModelcError('input', `${name} needs a tokenizer: new ${name}({ tokenizer })`);
    }
    return make(options);
  }
  return Collator as unknown as CollatorClass<O>;
}
type CollatorClass<O> = new (...options: undefined extends O ? [options?: O] : [options: O]) => DataCollator;

export type Feature = Readonly<Record<string, unknown>>;

/** The examples of a batch. Throws ModelcError 'input' where there are none. */
export function requireFeatures(features: readonly object[]): readonly Feature[] {
  if (features.length === 0) throw new ModelcError('input', 'a batch needs at least one example');
  return features as readonly Feature[];
}

/** Whether a value is a row of numbers, in one of the usual forms. */
export function isList(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

/** A row of numbers as an array. */
export function listOf(value: unknown, name: string): number[] {
  const list = value instanceof Tensor ? value.data : value;
  if (!isList(list))
    throw new ModelcError('input', `column "${name}" must hold lists of numbers, but holds ${show(value)}`);
  return Array.from(list as ArrayLike<number | bigint>, Number);
}

/** The values of a column, one for each example, as one tensor. */
export function stack(name: string, values: readonly unknown[]): HostTensor {
  const numbers: number[] = [];
  const first = shapeOf(values[0]);
  let booleans = true;
  const collect = (value: unknown, axis: number, example: number): void => {
    if (value instanceof Tensor) {
      collect(axis < first.length ? value.tolist() : value.item(), axis, example);
    } else if (isList(value)) {
      if (value.length !== first[axis]) {
        throw new ModelcError(
          'input',
          `column "${name}" has ${value.length} values in example ${example}, but ${first[axis] ?? 'one'} in example 0; ` +
            'use a collator that pads, or remove the column',
        );
      }
      for (let i = 0; i < value.length; i++) collect(value[i], axis + 1, example);
    } else {
      booleans &&= typeof value === 'boolean';
      numbers.push(numberOf(value, name, example));
    }
  };
  for (const [example, value] of values.entries()) {
    collect(value, 0, example);
    const expected = first.reduce((n, d) => n * d, example + 1);
    if (numbers.length !== expected) {
      throw new ModelcError('input', `column "${name}" holds ${show(value)} in example ${example}, unlike example 0`);
    }
  }
  return tensor(name, numbers, [values.length, ...first], booleans);
}

export function tensor(name: string, numbers: readonly number[], shape: readonly number[], bool = false): HostTensor {
  if (bool) return { dtype: 'bool', shape, data: storeNumbers('bool', numbers) };
  if (!numbers.every(Number.isInteger)) return { dtype: 'f32', shape, data: Float32Array.from(numbers) };
  const large = numbers.find((n) => Math.abs(n) >= 2 ** 31);
  if (large !== undefined)
    throw new ModelcError('input', `column "${name}" holds ${large}, which has more than 32 bits`);
  return { dtype: 'i32', shape, data: Int32Array.from(numbers) };
}

function shapeOf(value: unknown): number[] {
  if (value instanceof Tensor) return [...value.dims];
  return isList(value) ? [value.length, ...(value.length > 0 ? shapeOf(value[0]) : [])] : [];
}

function numberOf(value: unknown, name: string, example: number): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint' || typeof value === 'boolean') return Number(value);
  throw new ModelcError(
    'input',
    `column "${name}" holds ${show(value)} in example ${example}, which is no number; remove the column, or map it to numbers`,
  );
}

export function show(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (typeof value === 'string')
    return `the text ${JSON.stringify(value.length > 30 ? `${value.slice(0, 30)}…` : value)}`;
  return isList(value) ? 'a list' : typeof value === 'object' ? 'an object' : String(value);
}
