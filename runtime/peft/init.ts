// The initial values of an adapter. By default A is uniform within 1/√in (Kaiming's with a = √5) and B zero, so that a new
// adapter changes nothing. PiSSA (Meng et al. 2024) and OLoRA (Büyükakyüz 2024) take the main part of the base's weight into
// A and B and leave the rest in the base, so they give the new weights of the base too.
import { ModelcError } from '../../ir/error.ts';
import { RandomStream } from '../generation/random.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { type Adapter, type AdapterTarget, tensorFor } from './adapter.ts';
import {
  combine,
  firstColumns,
  firstRows,
  type Matrix,
  matrix,
  multiply,
  qr,
  randomizedSvd,
  rowNorms,
  scaleRows,
  svd,
  transposed,
} from './linear-algebra.ts';
import { f32Tensor, numbersOf, outByIn, type ReadWeight, storedLike } from './weights.ts';

export interface InitialValues {
  /** By param, f32. */
  readonly tensors: ReadonlyMap<string, HostTensor>;
  /** Weights of the base that the adapter starts from, in place of those it was given. */
  readonly base: ReadonlyMap<string, HostTensor>;
}

interface Factors {
  readonly a: Matrix;
  readonly b: Matrix;
  /** What is left of the base's weight, if that changes. */
  readonly rest?: Matrix;
}

export interface InitialOptions {
  readonly seed?: number | undefined;
  /** Whether every tensor will be read from a file, so that only changes of the base matter. */
  readonly isRead?: boolean;
}

/** Draws an adapter's initial values. Throws ModelcError 'input' where an initialisation does not fit a target. */
export async function initialValues(
  adapter: Adapter,
  read: ReadWeight,
  { seed, isRead = false }: InitialOptions = {},
): Promise<InitialValues> {
  const random = new Draws(seed);
  const tensors = new Map<string, HostTensor>();
  const base = new Map<string, HostTensor>();
  const { init_lora_weights: kind } = adapter.config;
  const changesBase = kind === 'olora' || (typeof kind === 'string' && kind.startsWith('pissa'));
  const set = (module: string, role: 'a' | 'b' | 'bias' | 'magnitude', m: Matrix): void => {
    const tensor = tensorFor(adapter, module, role);
    if (tensor) tensors.set(tensor.param, f32Tensor(tensor.shape, m.data));
  };
  for (const target of adapter.targets) {
    const { module, scaling } = target;
    if (isRead && !changesBase) continue;
    const needsWeight = (changesBase && module.use === 'product') || adapter.config.use_dora;
    const stored = needsWeight ? await read(module.weight) : undefined;
    const weight = stored && outByIn(stored, module.fanInFanOut);
    const { a, b, rest } = factorsOf(target, adapter, weight, random);
    if (stored && rest) base.set(module.weight, storedLike(stored, rest, module.fanInFanOut));
    set(module.name, 'a', a);
    set(module.name, 'b', b);
    const bound = 1 / Math.sqrt(target.rank);
    const biases = Float64Array.from({ length: module.out }, () => (kind === false ? random.uniform(bound) : 0));
    set(module.name, 'bias', matrix(module.out, 1, biases));
    if (weight && adapter.config.use_dora) {
      const norms = rowNorms(combine(1, rest ?? weight, scaling, multiply(b, a)));
      set(module.name, 'magnitude', matrix(module.out, 1, norms));
    }
  }
  for (const { role, param, of, shape } of adapter.tensors) {
    if (role === 'saved') tensors.set(param, f32Tensor(shape, numbersOf(await read(of))));
  }
  for (const { module, indices } of adapter.tokens) {
    const { param, shape } = tensorFor(adapter, module.name, 'rows')!;
    const table = numbersOf(await read(module.weight));
    const rows = indices.flatMap((i) => [...table.subarray(i * module.out, (i + 1) * module.out)]);
    tensors.set(param, f32Tensor(shape, rows));
  }
  return { tensors, base };
}

class Draws {
  readonly #random: RandomStream;

  constructor(seed: number | undefined) {
    this.#random = new RandomStream(seed);
  }

  uniform(bound: number): number {
    return (2 * this.#random.next() - 1) * bound;
  }

  /** From N(0, 1), by Box and Muller. */
  readonly normal = (): number =>
    Math.sqrt(-2 * Math.log(1 - this.#random.next())) * Math.cos(2 * Math.PI * this.#random.next());

  uniforms = (rows: number, columns: number, bound: number): Matrix =>
    matrix(
      rows,
      columns,
      Float64Array.from({ length: rows * columns }, () => this.uniform(bound)),
    );

  normals = (rows: number, columns: number, deviation = 1): Matrix =>
    matrix(
      rows,
      columns,
      Float64Array.from({ length: rows * columns }, () => this.normal() * deviation),
    );
}

function factorsOf(
  { module, rank, scaling }: AdapterTarget,
  { config }: Adapter,
  weight: Matrix | undefined,
  random: Draws,
): Factors {
  const { init_lora_weights: kind } = config;
  const [zeroA, zeroB] = [matrix(rank, module.in), matrix(module.out, rank)];
  if (module.use === 'lookup') {
    if (kind !== false && kind !== true && kind !== 'gaussian') {
      throw new ModelcError(
        'unsupported',
        `init_lora_weights '${kind}' is for linear layers, but ${module.name} is an embedding; leave it out of target_modules`,
      );
    }
    return { a: kind === false ? random.normals(rank, module.in) : zeroA, b: random.normals(module.out, rank) };
  }
  const uniform = random.uniforms(rank, module.in, 1 / Math.sqrt(module.in));
  switch (kind) {
    case true:
      return { a: uniform, b: zeroB };
    case false:
      return { a: uniform, b: random.uniforms(module.out, rank, 1 / Math.sqrt(rank)) };
    case 'gaussian':
      return { a: random.normals(rank, module.in, 1 / rank), b: zeroB };
    case 'orthogonal':
      return orthogonal(module.in, module.out, rank, random);
    default: {
      const most = Math.min(module.in, module.out);
      if (rank > most) {
        throw new ModelcError(
          'input',
          `init_lora_weights '${kind}' needs a rank of at most ${most} for ${module.name}, but it is ${rank}; lower r or give it a rank_pattern`,
        );
      }
      const { a, b } = kind === 'olora' ? olora(weight!, rank) : pissa(weight!, rank, scaling, kind, random);
      return { a, b, rest: combine(1, weight!, -scaling, multiply(b, a)) };
    }
  }
}

function olora(weight: Matrix, rank: number): Factors {
  const { q, r } = qr(weight);
  return { a: firstRows(r, rank), b: firstColumns(q, rank) };
}

/** W = U S Vᵀ; A = √(S/s) Vᵀ and B = U √(S/s), of the largest singular values. */
function pissa(weight: Matrix, rank: number, scaling: number, kind: string, random: Draws): Factors {
  const [, iterations] = kind.split('_niter_');
  const { u, s, vt } =
    iterations === undefined ? svd(weight) : randomizedSvd(weight, rank, Number(iterations), random.normal);
  const roots = s.slice(0, rank).map((value) => Math.sqrt(value / scaling));
  return {
    a: scaleRows(firstRows(vt, rank), roots),
    b: transposed(scaleRows(transposed(firstColumns(u, rank)), roots)),
  };
}

/** Factors whose product is zero: A and B are spanned by the odd and the even rows of one orthogonal matrix. */
function orthogonal(inputs: number, outputs: number, rank: number, random: Draws): Factors {
  if (rank % 2 !== 0) {
    throw new ModelcError('input', `init_lora_weights 'orthogonal' needs an even rank, but it is ${rank}`);
  }
  const { q } = qr(random.normals(rank, rank));
  const everySecond = (start: number): Matrix =>
    matrix(
      rank / 2,
      rank,
      q.data.filter((_, i) => Math.floor(i / rank) % 2 === start),
    );
  const a = transposed(multiply(random.normals(inputs, rank / 2), everySecond(0)));
  const b = multiply(transposed(random.normals(rank / 2, outputs)), everySecond(1));
  const tenth = (m: Matrix): Matrix => combine(0.1, m, 0, m);
  return { a: tenth(a), b: tenth(b) };
}
