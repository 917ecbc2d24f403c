// Solves for the dims of a run that the shapes of its inputs decide.
import { ModelcError } from '../../ir/error.ts';
import { type Dims, evalShape, type Plan, type PlanDim } from '../../ir/program.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';

/** The variable of a dim that is `a * variable + b`. */
function linear(dim: PlanDim): { name: string; factor: number; offset: number } | undefined {
  const names = Object.keys(dim).filter((m) => m !== '');
  if (names.length !== 1 || names[0].includes('*')) return undefined;
  return { name: names[0], factor: dim[names[0]], offset: dim[''] ?? 0 };
}

/**
 * All dims of a run of `plan`: those in `known`, and those that the inputs' shapes decide. Throws ModelcError 'input'
 * when a shape disagrees or a dim leaves its bounds.
 */
export function solveDims(
  entry: string,
  plan: Pick<Plan, 'inputs' | 'dims'>,
  inputs: readonly HostTensor[],
  known: Dims,
): Dims {
  const dims: Record<string, number> = { ...known };
  for (const [i, { name, shape }] of plan.inputs.entries()) {
    const actual = inputs[i].shape;
    if (actual.length !== shape.length) {
      throw new ModelcError('input', `input ${name} of ${entry} must have ${shape.length} axes, but has [${actual}]`);
    }
    for (const [axis, dim] of shape.entries()) {
      const variable = linear(dim);
      if (variable && !Object.hasOwn(dims, variable.name)) {
        dims[variable.name] = (actual[axis] - variable.offset) / variable.factor;
      }
    }
  }
  for (const { name, min, max } of plan.dims) {
    const value = dims[name];
    if (!(Number.isInteger(value) && value >= min && value <= max)) {
      throw new ModelcError(
        'input',
        `${name} is ${value} in this run of ${entry}, but it is compiled for ${min} to ${max}`,
      );
    }
  }
  for (const [i, { name, shape }] of plan.inputs.entries()) {
    const expected = evalShape(shape, dims);
    const { shape: actual, data } = inputs[i];
    if (expected.some((d, axis) => d !== actual[axis]) || data.length !== actual.reduce((n, d) => n * d, 1)) {
      throw new ModelcError(
        'input',
        `input ${name} of ${entry} must have shape [${expected}], but is [${actual}] with ${data.length} elements`,
      );
    }
  }
  return dims;
}
