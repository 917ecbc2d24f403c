// What must hold before a run touches memory: dims within their bounds, and every binding as large as its tensor is under
// the dims of the run.
import { dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Plan, PlanDim, Program } from '../../ir/program.ts';
import type { Bindings, Buffer } from '../device.ts';

const spaces = ['weights', 'constants', 'states', 'inputs', 'results'] as const;
export type Bound<B> = Readonly<Record<(typeof spaces)[number], readonly B[]>>;

/** The dims of a run, checked against the entry's bounds. */
export function checkDims(plan: Plan, dims: Readonly<Record<string, number>>): ReadonlyMap<string, number> {
  const values = new Map(Object.entries(dims));
  for (const { name, min, max } of plan.dims) {
    const value = values.get(name);
    if (value === undefined) throw new ModelcError('input', `dimension ${name} is not bound`);
    if (!(Number.isSafeInteger(value) && value >= min && value <= max)) {
      throw new ModelcError('input', `dimension ${name} is ${value}; it must be an integer from ${min} to ${max}`);
    }
  }
  return values;
}

/** The buffers of a run as the device's own, checked for size and that what is written may be. */
export function bindAll<B extends Buffer & { readonly readOnly: boolean }>(
  program: Program,
  plan: Plan,
  bindings: Bindings,
  dims: ReadonlyMap<string, number>,
  own: (buffer: Buffer) => B,
): Bound<B> {
  const { weights, constants, states } = program;
  const tensors = { weights, constants, states, inputs: plan.inputs, results: plan.results };
  const bind = (space: (typeof spaces)[number]): B[] => {
    const given = bindings[space];
    if (tensors[space].length !== given.length) {
      throw new ModelcError('input', `the run binds ${given.length} ${space}; it needs ${tensors[space].length}`);
    }
    return tensors[space].map(({ name, dtype, shape }, i) => {
      const buffer = own(given[i]);
      const bytes = shape.reduce((product, d) => product * dimValue(d, dims), dtypeInfo[dtype].bytes);
      if (buffer.bytes < bytes) {
        throw new ModelcError('input', `${space} '${name}' has ${buffer.bytes} bytes; it needs ${bytes}`);
      }
      if (buffer.readOnly && (space === 'states' || space === 'results')) {
        throw new ModelcError('input', `${space} '${name}' is bound to a mapped weight, which is read only`);
      }
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

function dimValue(d: PlanDim, dims: ReadonlyMap<string, number>): number {
  let sum = 0;
  for (const [monomial, c] of Object.entries(d)) {
    let product = c;
    for (const name of monomial === '' ? [] : monomial.split('*')) {
      const value = dims.get(name);
      if (value === undefined) throw new ModelcError('input', `dimension ${name} is not bound`);
      product *= value;
    }
    sum += product;
  }
  return sum;
}
