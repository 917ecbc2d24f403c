// What must hold before a run touches memory, checked in one place for all devices: the entry is there, every dim lies
// within its bounds, every buffer is the device's own, lives, is as large as its tensor is under the dims of the run, and
// is not read only where the run writes. Also the sizes of grids, for hosts that launch kernels one by one.
// Runs that follow one another bind the same buffers, hundreds in a model, and checking their sizes takes longer than
// launching a run: what was checked is remembered with the bindings, as long as no dim that a shape names changes.
import { ModelcError } from '../ir/error.ts';
import type { Expr, Kernel } from '../ir/loop.ts';
import { byteSize, type Dims, type Plan, type PlanTensor, type Program, statesOf } from '../ir/program.ts';
import type { Bindings, Buffer } from './device.ts';
import { malformed } from './malformed.ts';
import type { DeviceBuffer } from './memory.ts';

/** The list of bindings that a slot of a space names. */
export const listOf = {
  weight: 'weights',
  constant: 'constants',
  state: 'states',
  input: 'inputs',
  result: 'results',
} as const;
export type BindingList = (typeof listOf)[keyof typeof listOf];
const lists: readonly BindingList[] = Object.values(listOf);

/** The buffers of a run as the device's own. */
export type Bound<B> = Readonly<Record<BindingList, readonly B[]>>;

export interface BinderOptions<B extends DeviceBuffer, T> {
  readonly program: Program;
  /** The buffer as the device's own, checked to be live. */
  own(buffer: Buffer): B;
  /** What the device makes of checked buffers; remembered with them. */
  prepare(bound: Bound<B>): T;
  /** Throws where the device cannot take the buffer for the tensor, though it is large enough. */
  accept?(list: BindingList, tensor: PlanTensor, buffer: B): void;
}

interface Known<T> {
  readonly plan: Plan;
  /** Values of the dims that shapes name. */
  readonly sizes: string;
  readonly prepared: T;
}

/** Checks the runs of one program on one device. */
export class Binder<B extends DeviceBuffer, T> {
  private readonly known = new WeakMap<Bindings, Known<T>>();
  private readonly sizeNames = new Map<Plan, readonly string[]>();
  private closed = false;

  constructor(private readonly options: BinderOptions<B, T>) {}

  /** The plan of an entry. */
  plan(entry: string): Plan {
    const { entries } = this.options.program;
    if (this.closed) throw new ModelcError('input', 'the program was disposed');
    if (Object.hasOwn(entries, entry)) return entries[entry];
    throw new ModelcError('input', `the program has no entry '${entry}'; it has ${Object.keys(entries).join(', ')}`);
  }

  /** What the device has prepared of the buffers of a run, which is checked. */
  bind(plan: Plan, bindings: Bindings, dims: Dims): T {
    checkDims(plan, dims);
    const { own, prepare } = this.options;
    for (const list of lists) bindings[list].forEach(own);
    const sizes = this.sizesOf(plan, dims);
    const known = this.known.get(bindings);
    if (known?.plan === plan && known.sizes === sizes) return known.prepared;
    const prepared = prepare(this.check(plan, bindings, dims));
    this.known.set(bindings, { plan, sizes, prepared });
    return prepared;
  }

  /** From now on there are no runs; false if it was so before. */
  close(): boolean {
    const isFirst = !this.closed;
    this.closed = true;
    return isFirst;
  }

  private check(plan: Plan, bindings: Bindings, dims: Dims): Bound<B> {
    const { program, own, accept } = this.options;
    const { weights, constants } = program;
    const states = statesOf(program, plan);
    const tensors = { weights, constants, states, inputs: plan.inputs, results: plan.results };
    const bind = (list: BindingList): B[] => {
      const given = bindings[list];
      if (tensors[list].length !== given.length) {
        throw new ModelcError('input', `the run binds ${given.length} ${list}; it needs ${tensors[list].length}`);
      }
      return tensors[list].map((tensor, i) => {
        const buffer = own(given[i]);
        const bytes = byteSize(tensor, dims);
        if (buffer.bytes < bytes) {
          throw new ModelcError('input', `${list} '${tensor.name}' has ${buffer.bytes} bytes; it needs ${bytes}`);
        }
        if (buffer.readOnly && (list === 'states' || list === 'results')) {
          throw new ModelcError('input', `${list} '${tensor.name}' is bound to a mapped weight, which is read only`);
        }
        accept?.(list, tensor, buffer);
        return buffer;
      });
    };
    return {
      weights: bind('weights'),
      constants: bind('constants'),
      states: bind('states'),
      inputs: bind('inputs'),
      results: bind('results'),
    };
  }

  private sizesOf(plan: Plan, dims: Dims): string {
    let names = this.sizeNames.get(plan);
    if (!names) {
      const { weights, constants } = this.options.program;
      const states = statesOf(this.options.program, plan);
      const shapes = [...weights, ...constants, ...states, ...plan.inputs, ...plan.results].flatMap((t) => t.shape);
      const used = new Set(shapes.flatMap((d) => Object.keys(d)).flatMap((monomial) => monomial.split('*')));
      names = [...used].filter((name) => name !== '');
      this.sizeNames.set(plan, names);
    }
    return names.map((name) => dims[name]).join();
  }
}

/** Dims of a run within the bounds of its entry. */
function checkDims(plan: Plan, dims: Dims): void {
  for (const { name, min, max } of plan.dims) {
    if (!Object.hasOwn(dims, name)) throw new ModelcError('input', `dimension ${name} is not bound`);
    const value = dims[name];
    if (!(Number.isSafeInteger(value) && value >= min && value <= max)) {
      throw new ModelcError('input', `dimension ${name} is ${value}; it must be an integer from ${min} to ${max}`);
    }
  }
}

/** How many tasks a kernel has under the dims of a run. */
export const gridOf = ({ grid }: Pick<Kernel, 'grid'>, dims: Dims): number => Math.max(0, evalIndex(grid, dims));

/** The value of an index expression over dims; division by zero gives 0, as kernels have it. */
function evalIndex(e: Expr, dims: Dims): number {
  if (e.dtype !== 'index' || e.lanes !== 1) throw malformed('a grid is a scalar of type index');
  if (e.kind === 'const') return e.value;
  if (e.kind === 'var') {
    if (Object.hasOwn(dims, e.name)) return dims[e.name];
    throw malformed(`a grid reads '${e.name}', which is no dim of the entry`);
  }
  if (e.kind !== 'alu') throw malformed(`a grid cannot be a '${e.kind}'`);
  const [a, b] = e.args.map((x) => evalIndex(x, dims));
  switch (e.op) {
    case 'add':
      return a + b;
    case 'sub':
      return a - b;
    case 'mul':
      return a * b;
    case 'div':
      return b === 0 ? 0 : Math.floor(a / b);
    case 'rem':
      return b === 0 ? a : a - Math.floor(a / b) * b;
    case 'max':
      return Math.max(a, b);
    case 'min':
      return Math.min(a, b);
    default:
      throw malformed(`a grid cannot use '${e.op}'`);
  }
}
