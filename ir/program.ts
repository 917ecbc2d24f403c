// Program: the serialisable end of the compiler. Kernels, and per entry point a flat plan of launches over slots.
// Plain JSON, except that dims are stored as polynomials (see `PlanDim`).
import { type DType, dtypeInfo } from './dtype.ts';
import { ModelcError } from './error.ts';
import type { Kernel } from './loop.ts';
import type { StateRole } from './ops/attrs.ts';

/** A dim as data: monomial ('seq*batch', '' for the constant) to coefficient. */
export type PlanDim = Readonly<Record<string, number>>;

export interface PlanTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly PlanDim[];
}

/** A state, and what it is for. */
export interface PlanState extends PlanTensor {
  readonly role?: StateRole | undefined;
}

/** A weight: a stored one, by its name in the checkpoint, or one that is made of stored ones. */
export interface PlanWeight extends PlanTensor {
  /** The graph that makes it, in Program.prepare. */
  readonly prepare?: number;
}

/** A place in memory. Arena offsets are byte offsets at the maxima of the dims; the others index the binding lists. */
export type Slot =
  | { readonly space: 'arena'; readonly offset: number; readonly bytes: number }
  | { readonly space: 'weight' | 'constant' | 'state' | 'input' | 'result'; readonly index: number };

/** Kernels that run side by side as one parallel region: their grids are laid end to end. */
export interface Launch {
  readonly do: 'launch';
  readonly parts: readonly { readonly kernel: number; readonly args: readonly Slot[] }[];
  /** Layer or op that it came from, for people. */
  readonly origin: string;
}
export type Step = Launch;

export interface DimBound {
  readonly name: string;
  readonly min: number;
  readonly max: number;
}

/** One entry point: what the runtime binds, and what happens. */
export interface Plan {
  readonly inputs: readonly PlanTensor[];
  readonly results: readonly PlanTensor[];
  readonly dims: readonly DimBound[];
  readonly steps: readonly Step[];
  readonly arenaBytes: number;
}

export interface Program {
  readonly version: 1;
  readonly name: string;
  readonly target: { readonly language: string; readonly features: readonly string[] };
  readonly entries: Readonly<Record<string, Plan>>;
  readonly kernels: readonly Kernel[];
  /** Texts of graphs that make weights, each of stored weights to one result. They run before the program, once. */
  readonly prepare: readonly string[];
  /** Read only. */
  readonly weights: readonly PlanWeight[];
  /** Tables made by the model, read only. */
  readonly constants: readonly (PlanTensor & { readonly data: readonly number[] })[];
  /**
   * Read and written by the entries that have a slot of a state; all zero at first. Shapes may name dims that the runtime
   * chooses (capacity).
   */
  readonly states: readonly PlanState[];
}

/** Values of dims, by name. */
export type Dims = Readonly<Record<string, number>>;

/** The value of a dim. Throws ModelcError 'input' when one of its variables has none. */
export function evalDim(dim: PlanDim, dims: Dims): number {
  let sum = 0;
  for (const monomial in dim) {
    let product = dim[monomial];
    for (const name of monomial === '' ? [] : monomial.split('*')) {
      if (!Object.hasOwn(dims, name)) throw new ModelcError('input', `dimension ${name} is not bound`);
      product *= dims[name];
    }
    sum += product;
  }
  return sum;
}

export const evalShape = (shape: readonly PlanDim[], dims: Dims): number[] => shape.map((d) => evalDim(d, dims));

/** Bytes of a tensor as the host has it. */
export const byteSize = ({ dtype, shape }: PlanTensor, dims: Dims): number =>
  shape.reduce((bytes, d) => bytes * evalDim(d, dims), dtypeInfo[dtype].bytes);

/** Names of all dims of a program, in the order in which a run passes their values. */
export function dimNames(program: Program): string[] {
  const names = new Set<string>();
  for (const plan of Object.values(program.entries)) for (const d of plan.dims) names.add(d.name);
  for (const kernel of program.kernels) for (const name of kernel.dims) names.add(name);
  return [...names].sort();
}

const overlap = (a: Slot, b: Slot): boolean =>
  a.space === 'arena' && b.space === 'arena'
    ? a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes
    : a.space !== 'arena' && b.space !== 'arena' && a.space === b.space && a.index === b.index;

/** Kernels that some launch gives the same memory twice: their pointers cannot be declared distinct. */
export function aliasedKernels(program: Program): Set<number> {
  const found = new Set<number>();
  for (const plan of Object.values(program.entries)) {
    for (const step of plan.steps) {
      for (const { kernel, args } of step.parts) {
        if (args.some((a, i) => args.some((b, j) => j < i && overlap(a, b)))) found.add(kernel);
      }
    }
  }
  return found;
}

const withStates = new WeakMap<Plan, boolean>();

/** The states that the runs of an entry bind: all of the program's, or none where no step of the entry has one. */
export function statesOf({ states }: Pick<Program, 'states'>, plan: Plan): readonly PlanState[] {
  let uses = withStates.get(plan);
  if (uses === undefined) {
    uses = plan.steps.some(({ parts }) => parts.some(({ args }) => args.some(({ space }) => space === 'state')));
    withStates.set(plan, uses);
  }
  return uses ? states : [];
}
